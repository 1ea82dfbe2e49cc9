"""The rendered configuration in the programs that read it: every HAProxy that is here, the agent."""
import os
import re
import shutil
import subprocess
import tempfile

import pytest

import charts
import haproxy

GATEWAYS = [n for n, (chart, _) in charts.RENDERS.items() if chart == charts.GATEWAY]
AGENT = os.path.join(charts.ROOT, os.environ.get("SPOA_BUILD", "build"), "agent", "spoa-inference")
# What the agent writes for a pool, about.
POOLS = """
backend default-pool from inference-pool
    server a 127.0.0.1:8001
"""


def pod(name):
    """(the haproxy container, {ConfigMap's name: data})"""
    found = charts.objects(name)
    spec = charts.one(found, "Deployment")["spec"]["template"]["spec"]
    maps = {o["metadata"]["name"]: o["data"] for o in found if o["kind"] == "ConfigMap"}
    return spec, maps


class Files:
    """A pod's folders under a folder that HAProxy of @root sees as @inside."""

    def __init__(self, root):
        self.outside = tempfile.mkdtemp(prefix="chart-", dir=os.path.join(root, "tmp"))
        self.inside = self.outside if root == "/" else self.outside[len(root):]
        os.chmod(self.outside, 0o755)

    def write(self, path, text):
        at = self.outside + path
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w", encoding="utf-8") as f:
            f.write(text)

    def remove(self):
        shutil.rmtree(self.outside)

    def moved(self, text):
        """@text with the pod's paths where they are here."""
        return re.sub(r"(?<![\w/])/(?=(run/spoa-inference|usr/local/etc/haproxy|etc/haproxy-tls)\b)",
                      self.inside + "/", text)


def certificate(files, name):
    key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
           "-nodes", "-days", "2", "-subj", f"/CN={name}.example.com"]
    at = files.outside + f"/etc/haproxy-tls/{name}.crt"
    os.makedirs(os.path.dirname(at), exist_ok=True)
    subprocess.run(key + ["-out", at, "-keyout", at + ".key"], check=True, capture_output=True)


def check(version, name, env_file="", pools_file=""):
    root, command = haproxy.installed()[version]
    spec, maps = pod(name)
    container = next(c for c in spec["containers"] if c["name"] == "haproxy")
    files = Files(root)
    try:
        release = charts.one(charts.objects(name), "Deployment")["metadata"]["name"]
        for key, text in maps[release + "-haproxy"].items():
            files.write("/usr/local/etc/haproxy/" + key, files.moved(text))
        # as the pod's first container leaves them, or as the agent does
        files.write("/run/spoa-inference/models.map", maps[release + "-haproxy"]["models.map"])
        files.write("/run/spoa-inference/haproxy/00-inference-env.cfg", env_file)
        files.write("/run/spoa-inference/haproxy/90-inference-pools.cfg", pools_file)
        env = {"PATH": os.environ["PATH"]}
        for e in container["env"]:
            env[e["name"]] = files.moved(e["value"])
        for source in next((v["projected"]["sources"] for v in spec["volumes"]
                            if v["name"] == "tls"), []):
            assert [i["path"] for i in source["secret"]["items"]] == [
                source["secret"]["name"] + ".crt", source["secret"]["name"] + ".crt.key"]
            certificate(files, source["secret"]["name"])
        words = [files.moved(w) for w in container["command"]]
        assert words[0] == "haproxy"
        done = subprocess.run(command + ["-c"] + words[1:],
                              env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr
    finally:
        files.remove()


VERSIONS = haproxy.versions() or [None]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", GATEWAYS)
def test_haproxy_takes_it(name, version):
    if version is None:
        pytest.skip("no HAProxy is here")
    status, told = check(version, name)
    assert status == 0 and not re.search(r"\[(ALERT|WARNING)\]", told), told


@pytest.mark.parametrize("version", VERSIONS)
def test_haproxy_takes_it_with_pools(version):
    if version is None:
        pytest.skip("no HAProxy is here")
    status, told = check(version, "gateway-default", "global\n    setenv INFERENCE_HDRS 1\n", POOLS)
    assert status == 0 and not re.search(r"\[(ALERT|WARNING)\]", told), told
    status, told = check(version, "gateway-default", "", POOLS + "    no-such-word\n")
    assert status != 0 and "no-such-word" in told


@pytest.mark.parametrize("name", GATEWAYS)
def test_agent_takes_it(name, tmp_path):
    if not os.path.exists(AGENT):
        pytest.skip("the agent is not built")
    _, maps = pod(name)
    (text,) = [d["spoa-inference.yaml"] for d in maps.values() if "spoa-inference.yaml" in d]
    path = tmp_path / "spoa-inference.yaml"
    path.write_text(text)
    done = subprocess.run([AGENT, "-t", "-f", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_agent_refuses_what_it_does_not_know(tmp_path):
    if not os.path.exists(AGENT):
        pytest.skip("the agent is not built")
    text = charts.template(charts.GATEWAY, "x", "--set", "agent.config.bodys=whole").stdout
    path = tmp_path / "spoa-inference.yaml"
    path.write_text(charts.one(charts.parse(text), "ConfigMap", "body-based-router-agent")["data"][
        "spoa-inference.yaml"])
    done = subprocess.run([AGENT, "-t", "-f", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "bodys" in done.stderr
