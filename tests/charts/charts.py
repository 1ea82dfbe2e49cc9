"""The charts as the tests see them: renderings by helm itself, read as objects.

RENDERS names every set of values that is kept as a golden file; rendered() gives its text, objects()
what is in it. tests/kube applies them to a real API server.
"""
import functools
import os
import subprocess
import tempfile

import yaml

import tools

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CHARTS = os.path.join(ROOT, "charts")
GATEWAY, POOL = "body-based-routing", "inferencepool"
NAMESPACE = "serving"
# name: (chart, release); values are in values/NAME.yaml
RENDERS = {
    "gateway-default": (GATEWAY, "body-based-router"),
    "gateway-everything": (GATEWAY, "gw"),
    "gateway-models": (GATEWAY, "body-based-router"),
    "gateway-envoy-values": (GATEWAY, "body-based-router"),
    "pool-guide": (POOL, "vllm-phi4-mini-instruct"),
    "pool-adapters": (POOL, "vllm-deepseek-r1"),
    "pool-everything": (POOL, "ranks"),
    "pool-envoy-values": (POOL, "vllm-qwen3-32b"),
}


def helm(*arguments, check=True, text=None):
    """helm's end; what it says about symbolic links is left out."""
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home,
               "HELM_DATA_HOME": home, "KUBECONFIG": os.path.join(home, "none")}
        done = subprocess.run([tools.helm(), *arguments], capture_output=True, text=True,
                              input=text, env=env, timeout=120)
    done.stderr = "\n".join(x for x in done.stderr.splitlines() if "symbolic link" not in x)
    assert not check or done.returncode == 0, done.stderr
    return done


def template(chart, release, *arguments, check=True):
    return helm("template", release, os.path.join(CHARTS, chart), "-n", NAMESPACE, *arguments,
                check=check)


def values_file(name):
    return os.path.join(HERE, "values", name + ".yaml")


@functools.lru_cache(None)
def rendered(name):
    chart, release = RENDERS[name]
    return template(chart, release, "-f", values_file(name)).stdout


def parse(text):
    return [x for x in yaml.safe_load_all(text) if x]


@functools.lru_cache(None)
def objects(name):
    return parse(rendered(name))


def one(found, kind, name=None):
    chosen = [x for x in found if x["kind"] == kind and name in (None, x["metadata"]["name"])]
    assert len(chosen) == 1, (kind, name, len(chosen))
    return chosen[0]
