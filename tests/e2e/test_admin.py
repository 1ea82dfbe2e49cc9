"""The administration port, the command line, and life as a service. No HAProxy is needed."""
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from haproxy import free_port
from prom import Page
from spop_client import SpopClient
from stack import ADAPTER, AGENT, LLAMA, LLAMAS, PHI, SERVERS, Agent, Sims, ask, end, until


@pytest.fixture(scope="module")
def sims(tmp_path_factory):
    s = Sims(SERVERS, str(tmp_path_factory.mktemp("s")), ("--speed", "10"))
    yield s
    s.stop()


def configuration(sims, directory, **more):
    return {
        "listen": {"spop": f"unix@{directory}/spop", "admin": f"127.0.0.1:{free_port()}",
                   "feedback": f"127.0.0.1:{free_port()}"},
        "scrape": {"interval": "100ms", "models_interval": "1s"},
        "drain": "1s",
        "pools": {
            "llama": {"endpoints": [{"address": sims.addresses[n], "server": n} for n in LLAMAS],
                      "aliases": {"gpt-4o": LLAMA}},
            "phi4": {"endpoints": [{"address": sims.addresses["phi1"], "server": "phi1"}]},
        },
        **more,
    }


@pytest.fixture
def agent(sims, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("a"))
    a = Agent(configuration(sims, directory), directory)
    yield a
    a.stop()


@pytest.fixture
def running(agent):
    agent.start()
    until(lambda: {LLAMA, PHI, ADAPTER} <= set(agent.models()))
    return agent


def run(*arguments, body=b""):
    return subprocess.run([AGENT, *arguments], input=body, capture_output=True, timeout=30)


# ---- pages ---------------------------------------------------------------------------------------
def test_metrics(running):
    with SpopClient(running.conf["listen"]["spop"]) as c:
        for body in (b'{"model":"%s"}' % LLAMA.encode(), b"{", b'{"model":"evil\\"x\\\\\\u00e9"}'):
            c.ask(body=body)
    page = until(lambda: (lambda p: p if p.sum("spoa_inference_requests_total") == 3 else None)(
        running.metrics()))
    assert page.get_one("spoa_inference_requests_total", verdict="routed") == 1
    assert page.get_one("spoa_inference_requests_total", verdict="bad_request") == 1
    assert page.get_one("spoa_inference_requests_total", verdict="model_not_found") == 1
    assert page.sum("spoa_inference_model_requests_total", model=LLAMA, verdict="routed") == 1
    # A name that a client made up gets no series of its own.
    assert not [k for k in page["spoa_inference_model_requests_total"] if "evil" in str(k)]
    assert page.get_one("spoa_inference_tickets") == 1
    assert page.get_one("spoa_inference_decision_seconds_count") == 3
    assert page.sum("spoa_inference_endpoint_picks_total", pool="llama") == 1
    until(lambda: running.metrics().sum("spoa_inference_endpoint_scrapes_total", endpoint="llama1") > 2)
    for family, kind in page.types.items():
        assert family.startswith("spoa_inference_") and page.helps[family], family
        assert kind != "untyped"


def test_metrics_are_served_as_prometheus_asks(running):
    answer = running.page("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    Page(answer.body.decode())


def test_health_and_readiness(running):
    assert running.page("/healthz").status == 200
    assert running.page("/readyz").status == 200
    # Somebody to drain for: without a HAProxy it ends at once.
    with SpopClient(running.conf["listen"]["spop"]):
        running.process.terminate()
        until(lambda: running.page("/readyz").status == 503)
        assert running.page("/healthz").status == 200
        assert running.process.wait(10) == 0


def test_not_ready_before_it_knows(sims, tmp_path):
    """A runtime socket that is not there yet."""
    conf = configuration(sims, tmp_path, haproxy={"socket": str(tmp_path / "none.sock")},
                         pools={"llama": {}})
    a = Agent(conf, str(tmp_path)).start(ready=False)
    try:
        until(lambda: a.page("/healthz").status == 200)
        assert a.page("/readyz").status == 503
    finally:
        a.stop()


def test_models_page(running):
    said = running.page("/v1/models").json()
    assert said["object"] == "list"
    by_id = {m["id"]: m for m in said["data"]}
    assert set(by_id) == {LLAMA, PHI, ADAPTER, "gpt-4o"}
    assert by_id[ADAPTER]["parent"] == LLAMA
    assert "127.0.0.1" not in json.dumps(said)


def test_state_page(running):
    state = running.state()
    assert {"version", "snapshot", "pools", "models", "tickets", "feedback"} <= set(state)
    assert [p["name"] for p in state["pools"]] == ["llama", "phi4"]
    endpoint = state["pools"][0]["endpoints"][0]
    assert {"name", "server", "address", "load", "open", "foreign", "flags", "picks"} <= set(endpoint)
    assert endpoint["models"] and state["tickets"]["open"] == 0


@pytest.mark.parametrize("method,path,status", [
    ("GET", "/", (200, 404)), ("GET", "/nothing", (404,)), ("POST", "/metrics", (405, 501)),
    ("DELETE", "/state", (405, 501)), ("GET", "/metrics/", (404,)), ("GET", "/../state", (400, 404)),
    ("GET", "/metrics?x=1", (200, 404)),
])
def test_other_requests(running, method, path, status):
    assert ask(running.admin_port, method, path).status in status


def test_head(running):
    answer = ask(running.admin_port, "HEAD", "/metrics")
    assert answer.status == 200 and answer.body == b""


def test_admin_port_is_bounded(running):
    """More connections than admin_connections (64) that say nothing: it answers all the same, once
    they are past their time or at once."""
    idle = [socket.create_connection(("127.0.0.1", running.admin_port)) for _ in range(100)]
    try:
        with SpopClient(running.conf["listen"]["spop"]) as c:
            assert c.ask(body=b'{"model":"%s"}' % PHI.encode())["verdict"].value == "routed"
    finally:
        for s in idle:
            s.close()
    until(lambda: running.page("/healthz").status == 200)


# ---- the command line ----------------------------------------------------------------------------
def test_help_and_version():
    done = run("--help")
    assert done.returncode == 0 and b"-f FILE" in done.stdout and not done.stderr
    done = run("--version")
    assert done.returncode == 0 and done.stdout.startswith(b"spoa-inference ")
    done = run("--help-config")
    assert done.returncode == 0
    for key in (b"socket", b"pools", b"interval", b"least-loaded"):
        assert key in done.stdout


@pytest.mark.parametrize("arguments", [[], ["-x"], ["-f"], ["-f", "a", "b"], ["-f", "a", "-f", "b"],
                                       ["explain"]])
def test_usage_errors(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr and not done.stdout


def test_check(sims, tmp_path):
    good = tmp_path / "good.yaml"
    good.write_text("haproxy:\n  socket: /run/haproxy/admin.sock\npools:\n  llama: {}\n  phi4: {}\n")
    assert run("-f", str(good), "-t").returncode == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text("haproxy:\n  sokcet: /run/x\npools:\n  llama: {policy: least-loadde}\nworkers: 0\n")
    done = run("-f", str(bad), "-t")
    said = done.stderr.decode()
    assert done.returncode == 1
    # All at once, each with its place and what would be right.
    for place, right in ((":2:", "socket"), (":4:", "least-loaded"), (":5:", "workers")):
        line = [x for x in said.splitlines() if f"bad.yaml{place}" in x]
        assert line and right in line[0], said
    done = run("-f", str(tmp_path / "missing.yaml"))
    assert done.returncode == 1 and b"missing.yaml" in done.stderr
    done = run("-f", "-", "-t", body=b"pools:\n  a:\n    endpoints: [127.0.0.1:8000]\n")
    assert done.returncode == 0
    assert not done.stderr
    # A file that is not there may come: it is told, and no mistake.
    done = run("-f", "-", "-t", body=b"scrape: {api_key_file: /none/key}\npools:\n  a:\n"
               b"    endpoints: [127.0.0.1:8000]\n  b: {endpoints: [127.0.0.1:8001], scrape:"
               b" {api_key_file: /dev/null, tls_ca_file: /none/ca}}\n")
    assert done.returncode == 0
    assert [line.split(" cannot")[0] for line in done.stderr.decode().splitlines()] == [
        "-: scrape.api_key_file: /none/key", "-: pools.b.scrape.tls_ca_file: /none/ca"]


def test_port_in_use_is_said(sims, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        conf = configuration(sims, tmp_path)
        conf["listen"]["admin"] = f"127.0.0.1:{taken.getsockname()[1]}"
        a = Agent(conf, str(tmp_path)).start(ready=False)
        assert a.process.wait(10) == 1
        (told,) = a.events("listen_failed")
        assert told["address"] == conf["listen"]["admin"] and "another process" in told["remedy"]


@pytest.mark.parametrize("listen,event,words", [
    ({"spop": "unix@@/none/spop"}, "listen_failed", ("No such file", "folder")),
    ({"spop": "unix@@/a.file"}, "listen_failed", ("non-socket", "left alone")),
    ({"spop_group": "no-such-group"}, "listen_failed", ("spop_group", "no such group")),
    ({"admin": "192.0.2.1:0", "admin_open": True}, "listen_failed", ("assign", "no interface")),
    ({"feedback": "192.0.2.1:0"}, "listen_failed", ("assign", "no interface")),
    ({"admin": "127.0.0.1:0", "admin_cert": "@/none", "admin_key": "@/none"}, "certificate_refused",
     ("No such file", "PEM")),
    ({"admin": "127.0.0.1:0", "admin_token_file": "@/none"}, "token_unreadable", ("no such token file",)),
], ids=lambda x: next(iter(x)) if isinstance(x, dict) else None)
def test_what_keeps_it_from_starting_is_said(sims, tmp_path, listen, event, words):
    (tmp_path / "a.file").write_text("somebody's")
    conf = configuration(sims, tmp_path)
    conf["listen"].update({k: v.replace("@/", f"{tmp_path}/") if isinstance(v, str) else v
                           for k, v in listen.items()})
    a = Agent(conf, str(tmp_path)).start(ready=False)
    try:
        assert a.process.wait(20) == 1
    finally:
        a.stop()
    (told,) = a.events(event)
    for word in words:
        assert word in " ".join(told.values()), told
    assert a.events("start_failed")[0]["error"] == "see the line above"
    assert (tmp_path / "a.file").read_text() == "somebody's"


def test_explain(agent):
    done = agent.explain(json.dumps({"model": LLAMA, "messages": []}))
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    for word in (LLAMA, "llama", *LLAMAS, "routed"):
        assert word in said, said
    done = agent.explain(json.dumps({"model": "gpt-4o"}))
    assert done.returncode == 0 and LLAMA in done.stdout.decode()
    done = agent.explain(json.dumps({"model": "nobody"}))
    assert done.returncode == 1 and "model_not_found" in done.stdout.decode()
    done = agent.explain("{")
    assert done.returncode == 1 and "bad_request" in done.stdout.decode()


def test_explain_without_haproxy(tmp_path):
    """What hangs on a HAProxy that does not answer is said so, not guessed."""
    socket_path = str(tmp_path / "gone.sock")
    a = Agent(json.dumps({"haproxy": {"socket": socket_path, "timeout": "200ms"},
                          "pools": {"llama": {}, "listed": {"endpoints": ["127.0.0.1:9"],
                                                            "models": ["listed"]}}}), str(tmp_path))
    for body in ({"model": LLAMA}, {"model": "nobody"}):
        done = a.explain(json.dumps(body))
        said = done.stdout.decode()
        assert done.returncode == 1
        assert f"could not be reached: {socket_path}" in said and "verdict   not known" in said, said
        assert "no_model" not in said and "model_not_found" not in said
    # What does not hang on it is answered, and it is still said.
    done = a.explain("{")
    assert done.returncode == 1 and "bad_request" in done.stdout.decode()
    said = a.explain(json.dumps({"model": "listed"})).stdout.decode()
    assert "could not be reached" in said and "verdict   routed" in said


def test_explain_takes_a_route_s_place(agent):
    done = agent.explain(json.dumps({"model": LLAMA}), "--host", "a.example.com", "--method", "PUT",
                         "--path", "/v1/x?y", "--header", "X-Tier: gold", "--header", "a:b")
    said = done.stdout.decode()
    assert done.returncode == 0, said
    for word in ("a.example.com", "PUT", "/v1/x?y", "X-Tier: gold", "a:b"):
        assert word in said
    assert agent.explain("{}", "--header", "no colon").returncode == 2


@pytest.mark.parametrize("header, verdict", [
    ("Content-Encoding: gzip", "unsupported_encoding"), ("content-encoding:\tidentity", "routed"),
    ("Content-Type: text/csv", "no_model"), ("CONTENT-TYPE: Application/JSON; charset=utf-8", "routed"),
    ("Content-Type: multipart/form-data; boundary=b", "bad_request")])
def test_explain_heeds_the_headers_that_haproxy_sends(agent, header, verdict):
    said = agent.explain(json.dumps({"model": LLAMA}), "--header", header).stdout.decode()
    assert f"verdict   {verdict}" in said, said


def test_explain_beside_the_service(running, sims):
    """It takes no port and no socket of the service away."""
    try:
        sims.load("llama1", running=30)
        sims.load("llama2", running=20)
        done = running.explain(json.dumps({"model": LLAMA}))
        said = done.stdout.decode()
        assert done.returncode == 0, done.stderr
        lines = {n: next(x for x in said.splitlines() if n in x and "30" in x or n in x) for n in LLAMAS}
        assert "30" in lines["llama1"] and "20" in lines["llama2"], said
    finally:
        sims.settle()
    assert running.page("/healthz").status == 200
    with SpopClient(running.conf["listen"]["spop"]) as c:
        assert c.ask(body=b'{"model":"%s"}' % PHI.encode())["verdict"].value == "routed"


# ---- as a service --------------------------------------------------------------------------------
class Notify:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(15)

    def next(self, word):
        while True:
            text = self.socket.recv(4096).decode()
            if word in text.splitlines():
                return text


def test_readiness_is_told_to_systemd(sims, tmp_path):
    notify = Notify(tmp_path / "notify")
    a = Agent(configuration(sims, tmp_path), str(tmp_path), env={"NOTIFY_SOCKET": notify.path})
    a.start(ready=False)
    try:
        notify.next("READY=1")
        # Told when it can be used: HAProxy, started after it, finds it.
        with SpopClient(a.conf["listen"]["spop"]) as c:
            c.ask(body=b"{}")
        a.process.send_signal(signal.SIGHUP)
        notify.next("RELOADING=1")
        notify.next("READY=1")
        a.process.terminate()
        notify.next("STOPPING=1")
        assert a.process.wait(10) == 0
    finally:
        a.stop()


def test_reload_keeps_the_old_when_the_new_is_wrong(running):
    was = running.conf
    assert running.reload({**was, "polls": {}}) == "failed"
    assert "polls" in running.log()
    assert LLAMA in running.models()
    less = {**was, "pools": {"phi4": was["pools"]["phi4"]}}
    assert running.reload(less) == "ok"
    until(lambda: running.models() == [PHI])
    with SpopClient(was["listen"]["spop"]) as c:
        until(lambda: c.ask(body=b'{"model":"%s"}' % LLAMA.encode())["verdict"].value ==
              "model_not_found", 5)
    assert running.reload(was) == "ok"
    until(lambda: LLAMA in running.models())


def test_reload_names_what_needs_a_restart(running):
    was = running.conf
    other = {**was, "workers": 2, "listen": {**was["listen"], "backlog": 17}}
    assert running.reload(other) == "ok"
    log = running.log()
    assert "workers" in log and "backlog" in log
    running.configure(was)


def test_several_workers(sims, tmp_path):
    a = Agent(configuration(sims, tmp_path, workers=4), str(tmp_path)).start()
    try:
        until(lambda: PHI in a.models())
        clients = [SpopClient(a.conf["listen"]["spop"]) for _ in range(16)]
        for _ in range(5):
            for c in clients:
                assert c.ask(body=b'{"model":"%s"}' % PHI.encode())["verdict"].value == "routed"
        assert a.tickets() == 80
        for c in clients:
            c.close()
    finally:
        assert end(a.process, wait=15, twice=True) == 0


def test_second_sigterm_ends_the_drain(sims, tmp_path):
    a = Agent(configuration(sims, tmp_path, drain="600s"), str(tmp_path)).start()
    with SpopClient(a.conf["listen"]["spop"]):
        a.process.terminate()
        until(lambda: a.page("/readyz").status == 503)
        time.sleep(0.2)
        assert a.process.poll() is None
        a.process.terminate()
        assert a.process.wait(10) == 0


def test_stale_socket_of_a_crash_is_taken_over(sims, tmp_path):
    a = Agent(configuration(sims, tmp_path), str(tmp_path)).start()
    a.kill()
    assert os.path.exists(tmp_path / "spop")
    a.start()
    try:
        with SpopClient(a.conf["listen"]["spop"]) as c:
            c.ask(body=b"{}")
    finally:
        a.stop()
    assert not os.path.exists(tmp_path / "spop")


def test_live_socket_is_not_taken_over(sims, tmp_path):
    a = Agent(configuration(sims, tmp_path), str(tmp_path)).start()
    try:
        conf = configuration(sims, tmp_path)
        b = Agent(conf, str(tmp_path), name="second").start(ready=False)
        until(lambda: b.process.poll() is not None, what="the second one gives up")
        assert b.process.returncode == 1 and "spop" in b.log()
        with SpopClient(a.conf["listen"]["spop"]) as c:
            c.ask(body=b"{}")
    finally:
        a.stop()
