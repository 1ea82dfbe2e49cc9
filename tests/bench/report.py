"""What is printed and what is kept: tables, one verdict per budget, one JSON object a line."""
import json
import os
import platform
import time

from measure import Figure


class Report:
    def __init__(self, path):
        self.out = open(path, "w") if path else None
        self.budgets = []
        self.failed = False

    def head(self, o):
        with open("/proc/cpuinfo") as f:
            model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")),
                         platform.machine())
        print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} x {model}, Linux "
              f"{platform.release()}, load {os.getloadavg()[0]:.1f} before; {o.rounds} rounds of "
              f"{o.seconds} s. Figures are medians, (lowest-highest) of the rounds.", flush=True)

    def title(self, text):
        print(f"\n== {text}", flush=True)

    def table(self, head, lines):
        widths = [max(len(str(line[i])) for line in [head, *lines]) for i in range(len(head))]
        for line in [head, *lines]:
            print("  ".join(str(cell).ljust(w) for cell, w in zip(line, widths)).rstrip())
        print(flush=True)

    def keep(self, case, metric, value, haproxy=None, body=None, connections=None, alone=None,
             floor=None, ratio=None):
        """One JSON line; values are numbers or Figures, whose medians are kept with the rounds."""
        def number(v):
            return round(v.median, 4) if isinstance(v, Figure) else v

        row = {"case": case, "haproxy": haproxy, "body": body, "connections": connections,
               "metric": metric, "value": number(value), "alone": number(alone),
               "floor": number(floor), "ratio": number(ratio)}
        if isinstance(value, Figure):
            row["rounds"] = [round(v, 4) for v in value.values]
        if self.out:
            self.out.write(json.dumps(row).replace("NaN", "null") + "\n")
            self.out.flush()

    def budget(self, what, value, limit, at_least=False, unit=""):
        """@value a Figure or a number; its median is what counts."""
        figure = value if isinstance(value, Figure) else Figure([value])
        good = figure.median >= limit if at_least else figure.median <= limit
        self.budgets.append((good, what, figure, limit, at_least, unit))
        self.keep("budget", what, figure, ratio=round(figure.median / limit, 4) if limit else None)

    def verdicts(self, seconds):
        self.title("budgets")
        for good, what, figure, limit, at_least, unit in self.budgets:
            self.failed = self.failed or not good
            sign = ">=" if at_least else "<="
            print(f"{'met   ' if good else 'MISSED'}  {what}: {figure:.2f}{unit} "
                  f"(must be {sign} {limit}{unit})")
        met = sum(b[0] for b in self.budgets)
        print(f"\n{met} of {len(self.budgets)} met, {seconds:.0f} s", flush=True)
        if self.out:
            self.out.close()
