"""haproxy/demo/kube/README.md, each command as it stands, and what the README cannot say in lines."""
import collections
import json
import os
import re
import urllib.request

import pytest

import guide
from images import ROOT
from plane import until

README = os.path.join(ROOT, "haproxy", "demo", "kube", "README.md")
# Whose pods (label app) may answer for a model.
SERVERS = {"meta-llama/Llama-3.1-8B-Instruct": "vllm-llama3-8b-instruct",
           "microsoft/Phi-4-mini-instruct": "phi4-mini",
           "Qwen/Qwen3-32B": "vllm-qwen3-32b", "food-review-1": "vllm-qwen3-32b",
           "deepseek/DeepSeek-r1": "vllm-deepseek-r1", "ski-resorts": "vllm-deepseek-r1",
           "movie-critique": "vllm-deepseek-r1"}
OURS = ("httproutes.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io",
        "inferencepools.inference.networking.k8s.io", "gatewayclasses.gateway.networking.k8s.io",
        "deployments.apps", "services", "configmaps", "serviceaccounts", "roles", "clusterroles",
        "rolebindings", "clusterrolebindings", "poddisruptionbudgets")


def everything(plane):
    told = plane.kubectl("get", ",".join(OURS), "-A", "-o", "name")
    return {line for line in told.split() if "system:" not in line}


def served(plane):
    """app → requests that its pods took, as the simulators themselves count them."""
    found = collections.Counter()
    for pod in plane.api.get("/api/v1/namespaces/default/pods")["items"]:
        app = pod["metadata"].get("labels", {}).get("app")
        if app in SERVERS.values() and pod.get("status", {}).get("podIP"):
            try:
                url = f"http://{pod['status']['podIP']}:8000/sim/stats"
                with urllib.request.urlopen(url, timeout=5) as r:
                    found[app] += json.load(r)["started"]
            except OSError:
                continue
    return found


def models_of(command):
    """The models that a block's curls ask for, in order."""
    if loop := re.search(r"for model in (.*);", command):
        return loop.group(1).split()
    return re.findall(r'"model": "([^"\']+)"', command)


def test_the_readers_of_readmes_can_say_no():
    assert guide.missing(["a … c", "x: 1"], "a   bbb c\nnothing\nX:  1") is None
    assert guide.missing(["b", "a"], "a\nb") == "a"
    assert guide.missing(["1/1 … Running"], "p 0/1 Running") == "1/1 … Running"
    assert guide.missing(["a"], "") == "a"
    block = guide.Block(1, "echo yes; false; echo no")
    shell = guide.Shell(dict(os.environ), "/", os.environ.get("TMPDIR", "/tmp"))
    with pytest.raises(AssertionError, match="status 1"):
        shell.run(block)
    shell.stop()


def test_guide(plane, tmp_path):
    before = everything(plane)
    blocks = guide.read(README)
    shell = guide.Shell(plane.environment(), ROOT, str(tmp_path))
    asked = collections.Counter()
    try:
        for block in blocks:
            had = served(plane) if "curl" in block.command else None
            shell.run(block)
            if had is not None:
                wanted = collections.Counter(SERVERS[m] for m in models_of(block.command)
                                             if m in SERVERS)
                assert served(plane) - had == wanted, f"{block!r}: others answered"
                asked += wanted
            conditions_agree(plane)
    finally:
        shell.stop()
    assert set(asked) == set(SERVERS.values()) and sum(asked.values()) >= 10, asked
    until(lambda: everything(plane) <= before, 60, "nothing is left of the guide")


def conditions_agree(plane):
    """What our controller says is of a generation that there is."""
    for kind in ("gateways", "httproutes"):
        for o in plane.api.get(f"/apis/gateway.networking.k8s.io/v1/{kind}")["items"]:
            for parent in o.get("status", {}).get("parents", [o.get("status", {})]):
                for c in parent.get("conditions", []):
                    if c["reason"] != "Pending":  # nobody's yet: the definition's own default
                        assert c["observedGeneration"] <= o["metadata"]["generation"], o
