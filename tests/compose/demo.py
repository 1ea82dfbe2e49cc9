"""What the tests know of the demo: where its files are, and how to read them."""
import json
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEMO = os.path.join(ROOT, "haproxy", "demo")
COMPOSE = os.path.join(DEMO, "compose.yaml")
PARTS = os.path.join(DEMO, "compose")
DASHBOARD = os.path.join(PARTS, "grafana", "dashboards", "inference.json")
LLAMA, PHI4 = "meta-llama/Llama-3.1-8B-Instruct", "microsoft/Phi-4-mini-instruct"


def text(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def load(*path):
    """A YAML file, by this Python's PyYAML or by the distribution's; None: there is neither."""
    try:
        import yaml
        return yaml.safe_load(text(*path))
    except ImportError:
        pass
    try:
        return json.loads(subprocess.run(
            ["/usr/bin/python3", "-c", "import json, sys, yaml\n"
             "print(json.dumps(yaml.safe_load(sys.stdin)))"], input=text(*path), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        return None


def expressions():
    """(panel's title, expression) of the dashboard, its variables included."""
    with open(DASHBOARD, encoding="utf-8") as f:
        board = json.load(f)
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield "variable " + variable["name"], variable["query"]["query"]


def metric_names(expression):
    """The metrics that a PromQL expression of ours reads: words with an underscore that are
    neither labels nor functions."""
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\[[^]]*\]|\b(?:by|without)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*_[a-zA-Z0-9_:]*\b", bare)) - {
        "histogram_quantile", "label_values"}
