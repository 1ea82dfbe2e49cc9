#!/usr/bin/env python3
"""The parts of charts/*/README.md that are made: values, rights, what an Envoy-based chart's value means.

    readme.py [--check]     writes them, or says which are old (exit status 1)

A made part stands between `<!-- NAME -->` and `<!-- end -->`.
"""
import json
import os
import re
import sys

import yaml

import charts

UNUSED = ("Not used", "Of no use", "Refused")  # those stand in the table of the Envoy-based chart
STALE = "is not what values.schema.json and the templates say: run tests/charts/readme.py"


def defaults(chart):
    with open(os.path.join(charts.CHARTS, chart, "values.yaml"), encoding="utf-8") as f:
        return yaml.safe_load(f)


def schema(chart):
    with open(os.path.join(charts.CHARTS, chart, "values.schema.json"), encoding="utf-8") as f:
        return json.load(f)


def leaves(node, path=()):
    """(path, its schema) of every value, in the schema's order; @node's objects are walked."""
    for name, child in node.get("properties", {}).items():
        if child.get("properties"):
            yield from leaves(child, path + (name,))
        else:
            yield path + (name,), child


def look_up(values, path):
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return None, False
        values = values[name]
    return values, True


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def values_table(chart):
    given, lines = defaults(chart), ["| value | default | meaning |", "|---|---|---|"]
    for path, node in leaves(schema(chart)):
        value, there = look_up(given, path)
        text = node["description"]
        words = [w for w in node.get("enum", []) if w]
        if words and not all(f"`{w}`" in text for w in words):
            text = text.rstrip(".") + ": " + ", ".join(f"`{w}`" for w in words) + "."
        shown = f"`{json.dumps(value, ensure_ascii=False)}`" if there else ""
        if path[0] != "global" and not text.startswith(UNUSED):
            lines.append(f"| `{'.'.join(path)}` | {cell(shown)} | {cell(text)} |")
    return lines


def walk(node, path=()):
    for name, child in node.get("properties", {}).items():
        yield path + (name,), child
        yield from walk(child, path + (name,))


def envoy_table(chart):
    lines = ["| value there | here |", "|---|---|"]
    for path, node in walk(schema(chart)):
        if "x-envoy" in node:
            lines.append(f"| `{'.'.join(path)}` | {cell(node['x-envoy'])} |")
    return lines


def rights_table(chart):
    """Of the rendered roles: the comment before each rule is its reason."""
    text = charts.template(chart, "body-based-router").stdout
    lines, where = ["| where | resources | verbs | what for |", "|---|---|---|---|"], None
    for document in text.split("\n---"):
        kind = re.search(r"^kind: (ClusterRole|Role)$", document, re.M)
        if not kind:
            continue
        where = "all namespaces" if kind[1] == "ClusterRole" else "its own namespace"
        rules = document.split("\nrules:\n")[1]
        for reason, rule in re.findall(r"^  # (.*)\n((?:  [- ].*\n?)+)", rules, re.M):
            r = yaml.safe_load(rule)[0]
            names = "".join(f" `{n}`" for n in r.get("resourceNames", []))
            group = r["apiGroups"][0]
            what = ", ".join(f"{x}.{group}" if group else x for x in r["resources"])
            scope = "the cluster" if what.startswith(("gatewayclasses", "namespaces")) else where
            lines.append(f"| {scope} | {what}{names} | {', '.join(r['verbs'])} | {reason} |")
    return lines


PARTS = {"values": values_table, "rights": rights_table, "envoy": envoy_table}


def made(chart):
    """(its README as it is, as it should be)"""
    path = os.path.join(charts.CHARTS, chart, "README.md")
    with open(path, encoding="utf-8") as f:
        now = f.read()

    def replace(match):
        return f"<!-- {match[1]} -->\n" + "\n".join(PARTS[match[1]](chart)) + "\n<!-- end -->"
    return now, re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", replace, now, flags=re.S)


def main():
    old = 0
    for chart in (charts.GATEWAY, charts.POOL):
        now, wanted = made(chart)
        if now == wanted:
            continue
        if sys.argv[1:] == ["--check"]:
            print(f"charts/{chart}/README.md {STALE}")
            old = 1
        else:
            with open(os.path.join(charts.CHARTS, chart, "README.md"), "w", encoding="utf-8") as f:
                f.write(wanted)
    return old


if __name__ == "__main__":
    sys.exit(main())
