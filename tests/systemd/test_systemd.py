"""Beside Debian's packaged HAProxy under a real systemd: installed by the commands of haproxy/README.md,
word for word; units, sandbox, reloads and restarts under load."""
import json
import os
import shutil
import sys
import time

import pytest

from machine import ROOT, Machine, Missing, commands

sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
from stack import AGENT, LLAMA, PHI, SIM, until  # noqa: E402

# haproxy.cfg's own addresses
SERVERS = [("llama1", 8001, LLAMA), ("llama2", 8002, LLAMA), ("llama3", 8003, LLAMA),
           ("phi1", 8004, PHI), ("phi2", 8005, PHI), ("phi3", 8006, PHI)]
URL = "http://127.0.0.1:8080/v1/chat/completions"
UNIT = "spoa-inference"
SOCKET = "/var/lib/haproxy/spoa-inference/spop.sock"
LOADERS = 4
STREAM = 20000  # tokens: a quarter of a minute


def body(model, **more):
    return json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3,
                       **more, "model": model})


def ask(m, model, **more):
    """(status, headers as a dict, body)"""
    told = m.run("curl", "-sS", "-i", "-m", "30", "-H", "content-type: application/json", "-d",
                 body(model, **more), URL).stdout
    head, _, rest = told.replace("\r\n", "\n").partition("\n\n")
    lines = head.splitlines()
    return int(lines[0].split()[1]), dict(
        line.lower().split(": ", 1) for line in lines[1:] if ": " in line), rest


def metric(m, name):
    page = m.run("curl", "-sS", "-m", "10", "http://127.0.0.1:9015/metrics").stdout
    return sum(float(line.split()[-1]) for line in page.splitlines()
               if line.split("{")[0].split(" ")[0] == "spoa_inference_" + name)


def is_ready(m):
    return m.run("curl", "-s", "-m", "5", "http://127.0.0.1:9015/readyz", check=False).stdout == "ready\n"


def is_asked(m):
    """Whether it is the agent that decides, and not HAProxy by its map."""
    before = metric(m, "requests_total")
    assert ask(m, LLAMA)[0] == 200
    return metric(m, "requests_total") > before


def settle(m):
    """As after the installation: everything up, nothing under way."""
    until(lambda: is_ready(m) and is_asked(m), wait=30, what="the agent decides")
    until(lambda: metric(m, "tickets") == 0, wait=30, what="no ticket is left")


class Load:
    """Requests one after the other on some loops, until it is left; every status is told."""

    def __init__(self, m):
        self.m = m
        self.loops = [m.begin(
            f"until [ -e /run/enough ]; do curl -s -o /dev/null -m 30 -w '%{{http_code}}\\n' -H "
            f"'content-type: application/json' -d '{body(model)}' {URL} || true; done")
            for model in (LLAMA, PHI) for _ in range(LOADERS // 2)]
        self.statuses = []

    def __enter__(self):
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        time.sleep(0.5)
        self.m.shell("touch /run/enough")
        for loop in self.loops:
            self.statuses += loop.communicate(timeout=60)[0].split()
        self.m.shell("rm /run/enough")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A machine with Debian's HAProxy, six model servers, and a checkout that has been built."""
    for program in (AGENT, SIM):
        if not os.path.exists(program):
            pytest.fail(f"{program} is not built")
    files = tmp_path_factory.mktemp("src")
    shutil.copytree(os.path.join(ROOT, "haproxy"), files / "haproxy",
                    ignore=shutil.ignore_patterns("demo", "ingress"))
    os.makedirs(files / "build" / "agent")
    shutil.copy(AGENT, files / "build" / "agent")
    shutil.copy(SIM, files)
    os.chmod(files, 0o755)
    try:
        m = Machine(str(files.parent / "machine.log"), files)
        m.boot()
    except Missing as e:
        pytest.skip(str(e))
    try:
        m.run("systemd-run", "--unit=sims", "--service-type=exec", "/src/spoa-sim", "--speed", "10",
              *(a for name, port, model in SERVERS for a in
                ("--server", f"name={name},listen=127.0.0.1:{port},model={model}")))
        yield m
    finally:
        m.stop()


@pytest.fixture(scope="module")
def installed(bare):
    assert bare.show("haproxy", "ActiveState") == "active"
    bare.shell("cd /src\n" + commands(), timeout=120)
    return bare


@pytest.fixture
def machine(installed):
    settle(installed)
    return installed


def test_every_library_is_there(installed):
    assert "not found" not in installed.run("ldd", "/usr/sbin/spoa-inference").stdout


def test_both_are_up_after_the_last_command(installed):
    """Type=notify: systemctl start has come back, so it answers."""
    for unit in (UNIT, "haproxy"):
        assert installed.show(unit, "ActiveState") == "active"
        assert installed.run("systemctl", "is-enabled", unit).stdout.strip() == "enabled"
    settle(installed)
    for model, pool in ((LLAMA, "llama"), (PHI, "phi4")):
        status, headers, answer = ask(installed, model)
        assert status == 200 and json.loads(answer)["model"] == model
        assert headers["x-inference-pool"] == pool
        assert headers["x-inference-server"].startswith(pool[:3])
    status, _, answer = ask(installed, "nobody/serves-this")
    assert status == 404 and json.loads(answer)["error"]["code"] == "model_not_found"
    listed = json.loads(installed.run("curl", "-sS", "http://127.0.0.1:8080/v1/models").stdout)
    assert {m["id"] for m in listed["data"]} == {LLAMA, PHI}
    # the fall-back map is where HAProxy finds it at its next start
    assert LLAMA in installed.shell("cat /var/lib/haproxy/spoa-inference/models.map")


def test_what_it_may(machine):
    pid = machine.show(UNIT, "MainPID")
    status = dict(line.split(":", 1) for line in
                  machine.shell(f"cat /proc/{pid}/status").splitlines() if ":" in line)
    user = machine.shell("id -u spoa-inference").strip()
    assert status["Uid"].split() == [user] * 4
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    assert all(int(status[k], 16) == 0 for k in ("CapPrm", "CapEff", "CapBnd", "CapAmb"))
    # systemd's own judgement, in tenths: 0 is best, 10.0 nothing at all
    machine.run("systemd-analyze", "security", "--no-pager", "--threshold=20", UNIT)
    owner, mode = machine.shell(f"stat -c '%U:%G %a' {SOCKET}").split()
    assert (owner, mode) == ("spoa-inference:haproxy", "660")
    inside = ["nsenter", "--target", pid, "--mount", "--"]
    for path in ("/etc/probe", "/usr/probe", "/var/lib/haproxy/probe"):
        assert machine.run(*inside, "touch", path, check=False).returncode != 0, path
    machine.run(*inside, "sh", "-c", f"cd {os.path.dirname(SOCKET)} && touch probe && rm probe")


def test_haproxy_reloads_under_streams(machine):
    streams = [machine.begin(
        f"curl -sS -N -m 60 -H 'content-type: application/json' -d "
        f"'{body(model, stream=True, max_tokens=STREAM, ignore_eos=True)}' {URL}")
        for model in (LLAMA, PHI, LLAMA)]
    until(lambda: metric(machine, "tickets") == len(streams), wait=30, what="streams run")
    with Load(machine) as load:
        for _ in range(3):
            machine.run("systemctl", "reload", "haproxy")
            time.sleep(0.5)
    assert all(stream.poll() is None for stream in streams)
    # an old worker cannot tell the end of what it carries: the servers' own pages count it
    until(lambda: metric(machine, "endpoint_load") >= len(streams), wait=30, what="they are counted")
    assert load.statuses.count("200") > 20 and set(load.statuses) == {"200"}
    for stream in streams:
        told = stream.communicate(timeout=90)[0]
        assert stream.returncode == 0 and told.rstrip().endswith("data: [DONE]"), told[-300:]
    until(lambda: metric(machine, "tickets") == 0, wait=30, what="no ticket is left")
    until(lambda: len(machine.shell("pgrep -x haproxy").split()) == 2, wait=30, what="a master, one worker")


def test_agent_restarts_and_dies_under_load(machine):
    with Load(machine) as load:
        machine.run("systemctl", "restart", UNIT)
        until(lambda: is_ready(machine), wait=30)
        before = machine.show(UNIT, "MainPID")
        machine.run("kill", "-9", before)
        until(lambda: machine.show(UNIT, "MainPID") not in ("0", before) and is_ready(machine),
              what="systemd has begun it again")
    assert load.statuses.count("200") > 20 and set(load.statuses) == {"200"}
    assert machine.show(UNIT, "NRestarts") == "1"
    settle(machine)


def test_reload(machine):
    """A wrong file fails the reload, says the place, and what runs goes on; a good one is taken."""
    good = machine.shell("cat /etc/spoa-inference.yaml")
    pid = machine.show(UNIT, "MainPID")
    try:
        machine.shell("printf '\\npoools: {}\\n' >> /etc/spoa-inference.yaml")
        assert machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
        line = good.count("\n") + 2
        assert f"/etc/spoa-inference.yaml:{line}:1: " in machine.journal(UNIT)
        settle(machine)
        other = good.replace("  llama: {}", "  llama: {aliases: {gpt-4o: %s}}" % LLAMA)
        assert other != good
        machine.shell(f"cat > /etc/spoa-inference.yaml <<'END'\n{other}END")
        machine.run("systemctl", "reload", UNIT)
        until(lambda: "gpt-4o" in machine.run("curl", "-sS", "http://127.0.0.1:9015/v1/models").stdout)
        assert machine.show(UNIT, "MainPID") == pid
    finally:
        machine.shell(f"cat > /etc/spoa-inference.yaml <<'END'\n{good}END")
        machine.run("systemctl", "reload", UNIT)


@pytest.mark.parametrize("order", (("haproxy", UNIT), (UNIT, "haproxy")), ids=("haproxy-first", "agent-first"))
def test_order_of_starting(machine, order):
    machine.run("systemctl", "stop", *order)
    assert not machine.shell(f"ls -A {os.path.dirname(SOCKET)} | grep -v models.map || true").strip()
    for unit in order:
        machine.run("systemctl", "start", unit)
    settle(machine)


def test_stop_leaves_streams_alone(machine):
    """A stopped agent has drained; a stream it has placed goes on through HAProxy."""
    stream = machine.begin(
        f"curl -sS -N -m 60 -H 'content-type: application/json' -d "
        f"'{body(PHI, stream=True, max_tokens=STREAM, ignore_eos=True)}' {URL}")
    until(lambda: metric(machine, "tickets") == 1, wait=30, what="a stream runs")
    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "Result") == "success"
    assert ask(machine, LLAMA)[0] == 200  # by the map
    told = stream.communicate(timeout=90)[0]
    assert told.rstrip().endswith("data: [DONE]")
    machine.run("systemctl", "start", UNIT)
    settle(machine)


def test_socket_unit(machine):
    """With the socket held by systemd a restart refuses nobody."""
    machine.shell("install -m 644 /src/haproxy/spoa-inference.socket /etc/systemd/system/\n"
                  f"systemctl daemon-reload\nsystemctl stop {UNIT}\n"
                  "systemctl enable --now spoa-inference.socket")
    try:
        owner, mode = machine.shell(f"stat -c '%U:%G %a' {SOCKET}").split()
        assert (owner, mode) == ("spoa-inference:haproxy", "660")
        machine.run("systemctl", "start", UNIT)
        settle(machine)
        inode = machine.shell(f"stat -c %i {SOCKET}")
        with Load(machine) as load:
            machine.run("systemctl", "restart", UNIT)
            until(lambda: is_ready(machine), wait=30)
        assert load.statuses.count("200") > 20 and set(load.statuses) == {"200"}
        assert machine.shell(f"stat -c %i {SOCKET}") == inode
        settle(machine)
    finally:
        machine.shell("systemctl disable --now spoa-inference.socket\n"
                      "rm /etc/systemd/system/spoa-inference.socket\nsystemctl daemon-reload\n"
                      f"systemctl restart {UNIT}")
    settle(machine)


def test_nothing_was_said_of_our_units(machine):
    """systemd found nothing in them to complain of."""
    told = machine.run("journalctl", "--no-pager", "-o", "cat", "_PID=1").stdout
    assert not [line for line in told.splitlines()
                if "spoa-inference." in line and ("nknown" in line or "gnoring" in line)]
