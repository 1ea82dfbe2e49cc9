"""What is printed and what is kept: tables, one verdict per budget, one JSON object a line."""
import json
import os
import platform
import subprocess
import time

from measure import Figure


HERE = os.path.dirname(os.path.abspath(__file__))


def processor():
    with open("/proc/cpuinfo") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")),
                    platform.machine())


def commit():
    """Of the checkout, with a + where files differ from it; unknown outside of git."""
    done = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty=+", "--abbrev=12"],
                          capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


class Report:
    """Verdicts are met, missed, or not measured; the last are not the first."""

    def __init__(self, path):
        self.out = open(path, "w") if path else None
        self.budgets = []  # (met, text)
        self.unmeasured = []
        self.failed = False

    def head(self, o, haproxies):
        """@haproxies: {2.6: 2.6.12}, those that are measured."""
        about = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "processor": processor(),
                 "kernel": platform.release(), "commit": commit(), "haproxy_versions": haproxies,
                 "rounds": o.rounds, "seconds": o.seconds}
        load = os.getloadavg()[0]
        print(f"{about['date']}, {about['cores']} x {about['processor']}, Linux {about['kernel']}, "
              f"commit {about['commit']}, HAProxy {', '.join(haproxies.values()) or '-'}, load "
              f"{load:.1f} before; {o.rounds} rounds of {o.seconds} s. Figures are medians, "
              "(lowest-highest) of the rounds.", flush=True)
        self.keep("run", "load_before", round(load, 2), **about)

    def title(self, text):
        print(f"\n== {text}", flush=True)

    def table(self, head, lines):
        widths = [max(len(str(line[i])) for line in [head, *lines]) for i in range(len(head))]
        for line in [head, *lines]:
            print("  ".join(str(cell).ljust(w) for cell, w in zip(line, widths)).rstrip())
        print(flush=True)

    def keep(self, case, metric, value, haproxy=None, body=None, connections=None, alone=None,
             floor=None, ratio=None, **more):
        """One JSON line; values are numbers or Figures, whose medians are kept with the rounds."""
        def number(v):
            return round(v.median, 4) if isinstance(v, Figure) else v

        row = {"case": case, "haproxy": haproxy, "body": body, "connections": connections,
               "metric": metric, "value": number(value), "alone": number(alone),
               "floor": number(floor), "ratio": number(ratio)}
        if isinstance(value, Figure):
            row["rounds"] = [round(v, 4) for v in value.values]
        row |= {k: number(v) for k, v in more.items()}
        if self.out:
            self.out.write(json.dumps(row).replace("NaN", "null") + "\n")
            self.out.flush()

    def budget(self, what, value, limit, at_least=False, unit="", note="", **where):
        """@value a Figure or a number; its median is what counts. @where: haproxy, body,
        connections, where the budget is of one of them."""
        figure = value if isinstance(value, Figure) else Figure([value])
        if not figure.values:
            self.not_measured(what, "no round gave a value", **where)
            return
        good = figure.median >= limit if at_least else figure.median <= limit
        spread = f" ({figure.low:.2f}-{figure.high:.2f})" if len(figure.values) > 1 else ""
        self.budgets.append((good, f"{what}: {figure.median:.2f}{unit}{spread} (must be "
                             f"{'>=' if at_least else '<='} {limit}{unit}){note}"))
        self.keep("budget", what, figure, **where, ratio=None, limit=limit,
                  at_least=at_least, verdict="met" if good else "missed")

    def not_measured(self, what, why, **where):
        self.unmeasured.append(f"{what}: {why}")
        self.keep("budget", what, None, **where, verdict="not measured", why=why)

    def verdicts(self, seconds):
        """Prints them; the exit status: 0 all met, 1 one missed or a part failed, 2 all met but
        for what could not be measured."""
        self.title("budgets")
        for good, text in self.budgets:
            print(f"{'met   ' if good else 'MISSED'}  {text}")
        for text in self.unmeasured:
            print(f"NOT MEASURED  {text}")
        met = sum(good for good, _ in self.budgets)
        if self.budgets or self.unmeasured:
            print(f"\n{met} of {len(self.budgets)} met, {len(self.unmeasured)} not measured, "
                  f"{seconds:.0f} s", flush=True)
        else:
            print(f"none was judged, {seconds:.0f} s", flush=True)
        if self.out:
            self.out.close()
        if self.failed or met < len(self.budgets):
            return 1
        return 2 if self.unmeasured else 0
