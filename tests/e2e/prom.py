"""The Prometheus text format (0.0.4), read strictly: what `promtool check metrics` would refuse, and
what a scraper would silently misread, raises Wrong with its line."""
import math
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\Z|[+-]?Inf\Z|NaN\Z")
TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Wrong(Exception):
    pass


def _labels(text, line):
    found, at = {}, 0
    while at < len(text):
        m = LABEL.match(text, at)
        if not m:
            raise Wrong(f"labels: {line}")
        if m.group(1) in found or m.group(1).startswith("__"):
            raise Wrong(f"label {m.group(1)}: {line}")
        found[m.group(1)] = re.sub(
            r"\\(.)", lambda e: "\n" if e.group(1) == "n" else e.group(1), m.group(2))
        at = m.end()
        if at < len(text):
            if text[at] != ",":
                raise Wrong(f"labels: {line}")
            at += 1
    return found


class Page(dict):
    """family → {frozenset of labels: value}; a histogram's parts stand under their own names."""

    def __init__(self, text):
        super().__init__()
        self.types, self.helps = {}, {}
        if not text.endswith("\n"):
            raise Wrong("the last line is not ended")
        family, done = None, set()
        for line in text[:-1].split("\n"):
            if line.startswith("# HELP ") or line.startswith("# TYPE "):
                _, kind, name, rest = (line.split(" ", 3) + [""])[:4]
                if not NAME.match(name):
                    raise Wrong(line)
                table = self.helps if kind == "HELP" else self.types
                if name in table:
                    raise Wrong(f"{kind} twice: {line}")
                if name != family:
                    if name in done:
                        raise Wrong(f"family in two places: {line}")
                    done.add(name)
                    family = name
                if kind == "TYPE" and rest not in TYPES:
                    raise Wrong(line)
                if kind == "TYPE" and any(n in self for n in self._names(name, rest)):
                    raise Wrong(f"TYPE after samples: {line}")
                table[name] = rest
            elif line and not line.startswith("#"):
                self._sample(line, family)
        self._histograms()

    @staticmethod
    def _names(family, kind):
        return [family + s for s in SUFFIXES.get(kind, ("",))]

    def _sample(self, line, family):
        m = re.match(r"([^ {]+)(?:\{(.*)\})? (\S+)\Z", line)
        if not m or not NAME.match(m.group(1)) or not NUMBER.match(m.group(3)):
            raise Wrong(line)
        if family is None or m.group(1) not in self._names(family, self.types.get(family)):
            raise Wrong(f"outside its family: {line}")
        labels = frozenset(_labels(m.group(2) or "", line).items())
        series = self.setdefault(m.group(1), {})
        if labels in series:
            raise Wrong(f"series twice: {line}")
        series[labels] = float(m.group(3))
        if self.types.get(family) == "counter" and not series[labels] >= 0:
            raise Wrong(f"a counter below zero: {line}")
        if self.types.get(family) == "counter" and not family.endswith("_total"):
            raise Wrong(f"a counter that does not end in _total: {line}")

    def _histograms(self):
        for family in [f for f, t in self.types.items() if t == "histogram"]:
            groups = {}
            for labels, value in self.get(family + "_bucket", {}).items():
                named = dict(labels)
                le = float(named.pop("le").replace("Inf", "inf"))
                groups.setdefault(frozenset(named.items()), {})[le] = value
            for labels, buckets in groups.items():
                counts = [buckets[le] for le in sorted(buckets)]
                if math.inf not in buckets or counts != sorted(counts):
                    raise Wrong(f"{family}: buckets {buckets}")
                if self[family + "_count"][labels] != buckets[math.inf]:
                    raise Wrong(f"{family}: _count is not its +Inf bucket")
                if labels not in self[family + "_sum"]:
                    raise Wrong(f"{family}: no _sum")

    def get_one(self, name, **labels):
        return self[name][frozenset(labels.items())]

    def sum(self, name, **labels):
        """Over all series of that name with these labels; 0 when there is none."""
        wanted = set(labels.items())
        return sum(v for k, v in self.get(name, {}).items() if wanted <= k)
