"""haproxy/ingress without a cluster: its pieces where the two controllers put them.

The frames below are what the controllers write around snippets, as far as it matters: names, defaults
and order. tests/kube/test_ingress.py runs the controllers themselves.
"""
import os
import re
import subprocess

import pytest

import charts
import haproxy
from test_config import AGENT, Files

HAPROXYTECH = """
global
    stats socket /run/spoa-inference/haproxy.sock level admin
{global_}
defaults haproxytech
    log global
    log-format '%ci:%cp [%tr] %ft %b/%s %ST'
    option dontlognull
    timeout http-request 5s
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend http from haproxytech
    mode http
    bind 127.0.0.1:8080
    http-request set-var(txn.path_match) str(inference)
{frontend}
    use_backend %[var(txn.path_match),field(1,.)]
backend inference from haproxytech
    mode http
    balance roundrobin
    option forwardfor
    no option abortonclose
    default-server check
{backend}
    server SRV_1 127.0.0.1:1 disabled
"""
JCMORAISJR = """
global
    stats socket /run/spoa-inference/haproxy.sock level admin
{global_}
defaults
    log global
    maxconn 2000
    option redispatch
    option dontlognull
    timeout client 50s
    timeout connect 5s
    timeout server 50s
{sections}
backend inference
    mode http
    balance roundrobin
    server srv001 127.0.0.1:1 weight 1
{backend}
frontend _front_http
    mode http
    bind 127.0.0.1:8080
{frontend}
    use_backend inference
"""
FRAMES = {"haproxytech": HAPROXYTECH, "jcmoraisjr": JCMORAISJR}
ENOUGH = [v for v in haproxy.versions() if v != "2.6"] or [None]


def piece(*path):
    with open(os.path.join(charts.ROOT, "haproxy", "ingress", *path), encoding="utf-8") as f:
        return f.read()


def check(version, name):
    root, command = haproxy.installed()[version]
    files = Files(root)
    with open(os.path.join(charts.ROOT, "haproxy", "spoe-inference.conf"), encoding="utf-8") as f:
        files.write("/run/spoa-inference/spoe-inference.conf", f.read())
    sections = piece(name, "sections.cfg")
    text = FRAMES[name].format(global_=piece("global.cfg"), frontend=piece(name, "frontend.cfg"),
                               backend=piece("backend.cfg"), sections=sections)
    text = text.replace("/etc/haproxy-inference/", "/run/spoa-inference/")
    files.write("/main.cfg", files.moved(text))
    more = []
    if name == "haproxytech":
        files.write("/haproxy-aux.cfg", files.moved(sections))
        more = ["-f", files.inside + "/haproxy-aux.cfg"]
    done = subprocess.run(command + ["-c", "-f", files.inside + "/main.cfg"] + more,
                          env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    files.remove()
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("version", ENOUGH)
@pytest.mark.parametrize("name", FRAMES)
def test_pieces_fit(name, version):
    if version is None:
        pytest.skip("no HAProxy from 3.0 on is here")
    status, told = check(version, name)
    assert status == 0 and not re.search(r"\[(ALERT|WARNING)\]", told), told


def test_answers_are_those_of_the_gateway():
    """Errors in the same words and shapes as haproxy.cfg's."""
    with open(os.path.join(charts.ROOT, "haproxy", "haproxy.cfg"), encoding="utf-8") as f:
        gateway = {re.sub(r" if [^']*$", "", line.strip()) for line in f}
    ours = [line for line in piece("backend.cfg").splitlines()
            if line.startswith(("http-error", "http-request return", "acl"))]
    assert len(ours) > 25
    for line in ours:
        assert re.sub(r" if [^']*$", "", line) in gateway, line
    for status in ("400", "404", "413", "415", "429", "502", "503", "504"):
        assert any(f"status {status} " in line for line in ours), status


def test_the_end_of_a_request_is_told_in_the_same_words():
    with open(os.path.join(charts.ROOT, "haproxy", "haproxy.cfg"), encoding="utf-8") as f:
        wanted = next(line.strip() for line in f if line.strip().startswith("log-format-sd"))
    for name in FRAMES:
        assert wanted in piece(name, "frontend.cfg").splitlines()


def test_variables_that_are_read_are_asked_for():
    conf = charts.parse(piece("agent.yaml"))[0]
    text = piece("backend.cfg") + piece("haproxytech", "frontend.cfg")
    read = set(re.findall(r"txn\.inference\.(\w+)", text))
    assert read == set(conf["variables"]), read ^ set(conf["variables"])


@pytest.mark.parametrize("name", FRAMES)
def test_values_mount_what_is_read(name):
    values = charts.parse(piece(name, "values.yaml"))[0]["controller"]
    (agent,) = values["initContainers"]
    assert agent["restartPolicy"] == "Always"
    volumes = {v["name"] for v in values["extraVolumes"]}
    mounts = {m["name"]: m["mountPath"] for m in values["extraVolumeMounts"]}
    assert set(mounts) == volumes
    theirs = {m["name"]: m["mountPath"] for m in agent["volumeMounts"]}
    assert mounts.items() <= theirs.items()
    text = piece("backend.cfg") + piece(name, "sections.cfg") + piece("agent.yaml")
    for path in re.findall(r"/(?:run|etc)/[\w-]+", text):
        assert path in mounts.values(), path
    # the two values files differ in how the token gets in, and in nothing else
    with_token = [m for m in agent["volumeMounts"] if m["name"] == "kube-api-access"]
    assert bool(with_token) == (name == "jcmoraisjr")


def test_agent_takes_its_configuration():
    if not os.path.exists(AGENT):
        pytest.skip("the agent is not built")
    path = os.path.join(charts.ROOT, "haproxy", "ingress", "agent.yaml")
    done = subprocess.run([AGENT, "-t", "-f", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_readme_names_files_that_are_there():
    named = set(re.findall(r"haproxy/ingress/[\w./-]+\w", piece("README.md")))
    assert len(named) > 8
    for path in named:
        assert os.path.exists(os.path.join(charts.ROOT, path)), path
