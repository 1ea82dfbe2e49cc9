"""haproxy/'s files where the agent is absent, comes and goes, and the choices that a user has."""
import ipaddress
import json
import os
import re
import socket
import threading
import time

import pytest

from constant_agent import CLOSE, SILENT, Late
from config_rig import CHAT, ERRORS, MESSAGES, ROUTED, TICKET, Rig, at_least
from haproxy import versions

pytestmark = pytest.mark.skipif(not versions(), reason="no HAProxy is installed")


# ---- without the agent ---------------------------------------------------------------------------

MAP = "# model backend\nllama llama\nphi phi4\n"


@pytest.fixture(scope="module", params=versions())
def alone(request):
    with Rig(request.param, agent=False, files={"models.map": MAP}) as rig:
        yield rig


def test_fail_open_by_the_map(alone):
    got = alone.told(body=b'{"messages":[],"model":"phi"}', X_Gateway_Model_Name="forged")
    assert got["server"].startswith("phi")
    assert got["headers"]["x-gateway-model-name"] == "phi"
    _, headers, _ = alone.request(body=b'{"model":"llama"}')
    assert headers["x-inference-pool"] == "llama"
    assert headers["x-inference-server"].startswith("llama")
    pad = b"p" * 1_000_000
    assert alone.told(body=b'{"m":"' + pad + b'","model":"phi"}')["length"] == len(pad) + 22


@pytest.mark.parametrize("body", [b'{"model":"alias"}', b"{}", b"no json", b"", b'{"model":7}'])
def test_fail_open_knows_no_404(alone, body):
    """The map holds neither aliases nor what came since: absence proves nothing."""
    status, headers, told = alone.request(body=body)
    assert status == 503 and json.loads(told)["error"]["code"] == "service_unavailable"
    assert int(headers["retry-after"]) > 0
    assert json.loads(alone.request(path=MESSAGES, body=body)[2])["type"] == "error"


def test_fail_open_forwards_no_unchecked_name(alone):
    """json_query decodes escapes: such a name must not become header lines."""
    for n in alone.servers.values():
        n.requests.clear()
    for name in ("llama\\r\\nX-Injected: 1", "x\\u000d\\u000aX-Injected: 1", "llama\\u0000",
                 "\\nllama", "llama\\u007f"):
        body = b'{"model":"' + name.encode() + b'"}'
        status, headers, _ = alone.request(body=body)
        assert status == 503 and "x-injected" not in headers
    assert not [r for s in alone.servers.values() for r in s.requests]


def test_fail_open_gets(alone):
    assert alone.request("GET", "/health", None)[0] == 200


def test_fail_open_follows_the_map_at_run_time(alone):
    path = alone.h.inside("models.map")
    alone.h.runtime(f"add map {path} newcomer phi4")
    assert alone.told(body=b'{"model":"newcomer"}')["server"].startswith("phi")


@pytest.mark.parametrize("version", versions())
def test_fail_closed(version):
    with Rig(version, agent=False, files={"models.map": MAP}, INFERENCE_FAIL="closed") as rig:
        status, headers, body = rig.request(body=b'{"model":"llama"}')
        assert status == 503 and json.loads(body)["error"]["code"] == "service_unavailable"


@pytest.mark.parametrize("version", versions())
def test_agent_that_fails(version):
    """Silent, gone in the middle, gone after need_body, late: each goes on by the map."""
    with Rig(version, files={"models.map": MAP}, INFERENCE_TIMEOUT="300ms") as rig:
        for failing in (SILENT, CLOSE, Late(2, ROUTED)):
            rig.answer = failing
            assert rig.told(body=b'{"model":"phi"}')["server"].startswith("phi"), failing
            rig.h.wait_agent()
        if at_least(version, "2.9"):
            rig.answer = lambda n: {"verdict": "need_body", "status": 0} if n.message == "slices" else SILENT
            body = b'{"model":"phi","x":"' + b"x" * 40000 + b'"}'
            assert rig.told(body=body)["server"].startswith("phi")


@pytest.mark.parametrize("version", versions())
def test_leaving_agent_is_left_alone(version):
    with Rig(version, files={"models.map": MAP}) as rig:
        rig.told()
        rig.agent.draining = True
        rig.h.wait_agent("DOWN")
        seen = len(rig.agent.notifies)
        assert rig.told(body=b'{"model":"phi"}')["server"].startswith("phi")
        assert len(rig.agent.notifies) == seen
        rig.agent.draining = False
        rig.h.wait_agent("UP")
        assert rig.told()["server"] == "llama2"


@pytest.mark.parametrize("version", versions())
def test_agent_comes_and_goes(version):
    with Rig(version, agent=False, files={"models.map": MAP}) as rig:
        assert rig.told(body=b'{"model":"phi"}')["server"].startswith("phi")
        rig.agent.start()
        rig.h.wait_agent("UP")
        assert rig.told(body=b'{"model":"phi"}')["server"] == "llama2"
        rig.agent.stop()
        rig.h.wait_agent("DOWN")
        assert rig.told(body=b'{"model":"phi"}')["server"].startswith("phi")


@pytest.mark.parametrize("version", versions())
def test_reload_leaves_no_old_worker(version):
    with Rig(version) as rig:
        for _ in range(3):
            rig.told()
            rig.h.reload()
        rig.h.wait_agent()
        assert rig.told()["server"] == "llama2"
        end = time.monotonic() + 20
        while len(rig.h.worker_pids()) > 1 and time.monotonic() < end:
            time.sleep(0.05)
        assert rig.h.worker_pids() == [rig.h.worker_pid()]


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", versions())
def test_headers_off_leak_nothing(version):
    with Rig(version, INFERENCE_HEADERS="off") as rig:
        _, headers, _ = rig.request()
        assert not [k for k in headers if "inference" in k or "gateway" in k]
        assert not [v for v in headers.values() if "llama" in v]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_set_dst(version, address):
    ip = ipaddress.ip_address(address)
    listener = "[::1]" if ip.version == 6 else address
    if ip.version == 6:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 here")
    with Rig(version, more=["set-dst.cfg"]) as rig:
        target = HttpOn(listener)
        try:
            rig.answer = {"verdict": "routed", "status": 0, "model": "m", "ticket": 5,
                          "backend": "inference-dst", "dst": ip, "dst_port": target.port}
            assert rig.request()[2] == b"here"
            assert rig.feedback.next(ticket="5")["server"] == "endpoint"
            rig.answer = {"verdict": "routed", "status": 0, "backend": "inference-dst"}
            assert rig.request()[0] == 503
        finally:
            target.close()


class HttpOn:
    """One answer per connection, on any address family."""

    def __init__(self, host):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._s = socket.create_server((host.strip("[]"), 0), family=family)
        self.port = self._s.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                c, _ = self._s.accept()
            except OSError:
                return
            with c:
                c.recv(65536)
                c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhere")

    def close(self):
        self._s.close()


# ---- the lines to copy ---------------------------------------------------------------------------

EXISTING = """
global
    stats socket "${INFERENCE_STATS_SOCKET}" mode 660 level admin
    log "${INFERENCE_LOG}" local0
    tune.bufsize 262144
defaults
    log global
    mode http
    log-format "MINE %[capture.req.uri] %s"
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000
frontend web
    bind "${INFERENCE_BIND}"
@FRONTEND@
    default_backend site
backend site
    http-request return status 200 content-type text/plain string "the site"
backend llama
@BACKEND@
    server llama1 "${LLAMA1}" check
    server llama2 "${LLAMA2}" check
    server llama3 "${LLAMA3}" check
backend phi4
@BACKEND@
    server phi1 "${PHI1}" check
    server phi2 "${PHI2}" check
    server phi3 "${PHI3}" check
"""


# Somebody whose defaults are for TCP, and who has more of everything.
EXISTING_TCP = (EXISTING
                .replace("    tune.bufsize", "    nbthread 2\n    tune.bufsize")
                .replace("defaults\n    log global\n    mode http\n",
                         "defaults\n    log global\n    option httpclose\n    option forwardfor\n"
                         "    unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid\n")
                .replace("frontend web\n", "ring elsewhere\n    format rfc5424\n    maxlen 1200\n    size 32768\n"
                                           "frontend web\n    mode http\n    log ring@elsewhere local3\n")
                .replace("backend site\n", "backend site\n    mode http\n")
                .replace("backend llama\n", "backend llama\n    mode http\n")
                .replace("backend phi4\n", "backend phi4\n    mode http\n"))


@pytest.mark.parametrize("existing", [EXISTING, EXISTING_TCP], ids=["http", "tcp"])
@pytest.mark.parametrize("version", versions())
def test_the_lines_to_copy(version, existing):
    """README.md's lines in somebody's haproxy.cfg, with the sections it names."""
    here = os.path.join(os.path.dirname(__file__), "..", "..", "haproxy")
    with open(os.path.join(here, "README.md"), encoding="utf-8") as f:
        text = f.read().split("## Into your own haproxy.cfg")[1].split("\n## ")[0]
    frontend, backend = re.findall(r"```\n(.*?)```", text, re.S)
    with open(os.path.join(here, "haproxy.cfg"), encoding="utf-8") as f:
        shipped = f.read()
    sections = dict(re.findall(r"^((?:ring|backend) inference-\S+)\n(.*?)(?=^\S|\Z)", shipped, re.S | re.M))
    assert set(sections) == {"ring inference-feedback", "backend inference-agent",
                             "backend inference-admin", "backend inference-answers"}
    frontend = frontend.replace("/etc/haproxy/", "${INFERENCE_DIR}/")
    frontend = re.sub(r"config (\S+)", r'config "\1"', frontend)
    config = existing.replace("@FRONTEND@", frontend).replace("@BACKEND@", backend)
    del sections["backend inference-admin"]
    config += "".join(f"{name}\n{body}" for name, body in sections.items())
    with Rig(version, files={"haproxy.cfg": config}) as rig:
        got = rig.told(X_Gateway_Model_Name="forged", X_GATEWAY_DESTINATION_ENDPOINT="forged")
        assert got["server"] == "llama2"
        assert not [k for k in got["headers"] if k.startswith("x-gateway")]
        assert rig.told(body=b"x" * 200_000)["server"] == "llama2"
        assert rig.feedback.next(ticket=str(TICKET))["server"] == "llama2"
        rig.answer = {"verdict": "model_not_found", "status": 404, "model": "x"}
        status, _, body = rig.request()
        assert status == 404 and json.loads(body)["error"]["code"] == "model_not_found"
        rig.answer = {"verdict": "no_model", "status": 0}
        assert rig.request()[2] == b"the site"
        assert rig.request("GET", "/index.html", None)[2] == b"the site"
        # What is not for models is neither held back nor judged.
        rig.answer, asked = {"verdict": "bad_request", "status": 400}, len(rig.agent.notifies)
        assert rig.request(path="/cart", body=b'{"model":"of a car"}')[2] == b"the site"
        assert len(rig.agent.notifies) == asked
        end = time.monotonic() + 20
        while "MINE /index.html" not in rig.h.log() and time.monotonic() < end:
            time.sleep(0.02)
        mine = [x for x in rig.h.log().splitlines() if "MINE" in x]
        assert len(mine) >= 5 and not [x for x in mine if "ticket" in x]
        # Every error in shape, without a line in the user's own defaults.
        for verdict, status, kind, code, anthropic in ERRORS:
            rig.answer = {"verdict": verdict, "status": status, "retry_after": 17}
            got, headers, body = rig.request()
            error = json.loads(body)["error"]
            assert (got, error["type"], error["code"]) == (status, kind, code)
            assert headers.get("retry-after") == ("17" if status in (429, 503) else None)
            got, headers, body = rig.request(path=MESSAGES)
            assert (got, json.loads(body)["error"]["type"]) == (status, anthropic)
        # A prompt goes nowhere but to model servers: not to the site when nobody could be asked.
        rig.agent.stop()
        rig.h.wait_agent("DOWN")
        for path in (CHAT, MESSAGES):
            status, headers, body = rig.request(path=path)
            assert status == 503 and json.loads(body)["error"]["type"] in ("server_error", "overloaded_error")
            assert int(headers["retry-after"]) > 0
        assert rig.request(path="/cart", body=b"a=b")[2] == b"the site"
