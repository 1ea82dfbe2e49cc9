"""haproxy/'s files against real HAProxies: the contract as HAProxy keeps it.

The agent's part is played by a scripted one, so every verdict, every failure and every variable
can be had; what the real agent answers is the other tests' matter.
"""
import http.client
import ipaddress
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from constant_agent import CLOSE, SILENT, ConstantAgent, Late
from echo_server import EchoServer
from haproxy import HAProxy, free_port, installed, versions

pytestmark = pytest.mark.skipif(not versions(), reason="no HAProxy is installed")

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
TICKET = 4611686018427387905
ROUTED = {
    "verdict": "routed",
    "status": 0,
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "base_model": "meta-llama/Llama-3.1-8B-Instruct",
    "backend": "llama",
    "server": "llama2",
    "server2": "llama3",
    "server3": "llama1",
    "ticket": TICKET,
}


class Feedback:
    """The agent's end of the ring: octet-counted RFC 5424 lines."""

    def __init__(self, port):
        self.lines = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection):
        with connection, connection.makefile("rb") as f:
            while True:
                count = b""
                try:
                    while (c := f.read(1)) not in (b" ", b""):
                        count += c
                except OSError:
                    return
                if not count:
                    return
                self.lines.put(f.read(int(count)).decode(errors="replace"))

    def next(self, **wanted):
        """The next line with these parameters, as a dict; others are passed over."""
        end = time.monotonic() + 20
        seen = []
        while (left := end - time.monotonic()) > 0:
            try:
                line = self.lines.get(timeout=left)
            except queue.Empty:
                break
            seen.append(line)
            found = re.search(r" \[inference@32473 ([^\]]*)\]", line)
            told = dict(re.findall(r'(\w+)="([^"]*)"', found.group(1))) if found else {}
            if all(told.get(k) == v for k, v in wanted.items()):
                return told
        raise AssertionError(f"no line with {wanted} among {seen}")

    def close(self):
        self._listener.close()


class Rig:
    """HAProxy, a scripted agent, six echo servers under the names in haproxy.cfg, the agent's
    administration port, and its feedback listener."""

    NAMES = ("llama1", "llama2", "llama3", "phi1", "phi2", "phi3")

    def __init__(self, version, agent=True, more=(), files=None, **env):
        self.version = version
        self.servers = {n: EchoServer(n) for n in self.NAMES}
        addresses = {n.upper(): s.address for n, s in self.servers.items()}
        self.h = HAProxy(version, files=files, more=more, **{**addresses, **env})
        self.admin = EchoServer("admin", ("127.0.0.1", self.h.admin_port))
        self.feedback = Feedback(self.h.feedback_port)
        self.answer = ROUTED
        self.agent = ConstantAgent(self.h.agent_address, self._answer)
        self.with_agent = agent

    def _answer(self, notify):
        return self.answer(notify) if callable(self.answer) else self.answer

    def __enter__(self):
        try:
            for s in (*self.servers.values(), self.admin):
                s.__enter__()
            if self.with_agent:
                self.agent.start()
            self.h.start()
            self.h.wait_agent("UP" if self.with_agent else "DOWN")
            for n in self.NAMES:
                self.h.wait_agent(server=f"{'llama' if n.startswith('llama') else 'phi4'}/{n}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.h.stop()
        self.agent.stop()
        self.feedback.close()
        for s in (*self.servers.values(), self.admin):
            s.__exit__()

    def request(self, method="POST", path=CHAT, body=b'{"model":"m"}', **headers):
        """(status, headers, body); one connection each."""
        c = http.client.HTTPConnection("127.0.0.1", self.h.port, timeout=30)
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        try:
            chunked = headers.get("transfer-encoding") == "chunked"
            c.request(method, path, iter(body) if chunked else body, headers, encode_chunked=chunked)
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        finally:
            c.close()

    def told(self, *args, **kw):
        """What the model server that was reached got."""
        status, headers, body = self.request(*args, **kw)
        assert status == 200, body
        return json.loads(body)

    def stream(self, extra=b""):
        s = socket.create_connection(("127.0.0.1", self.h.port), timeout=30)
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n" + extra + b"\r\n{}")
        return s

    def set_servers(self, state, *names):
        for n in names or self.NAMES:
            backend = "llama" if n.startswith("llama") else "phi4"
            self.h.runtime(f"set server {backend}/{n} state {state}")

    def settle(self):
        self.answer = ROUTED
        self.agent.notifies.clear()
        self.set_servers("ready")
        for s in self.servers.values():
            s.gone.clear()


@pytest.fixture(scope="module", params=versions())
def shared(request):
    with Rig(request.param) as rig:
        yield rig


@pytest.fixture
def rig(shared):
    shared.settle()
    return shared


def at_least(version, wanted):
    return tuple(map(int, version.split("."))) >= tuple(map(int, wanted.split(".")))


# ---- loading -------------------------------------------------------------------------------------


def certificate(folder):
    path = os.path.join(folder, "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", path + ".key", "-out", path],
        check=True, capture_output=True,
    )
    with open(path, "a") as out, open(path + ".key") as key:
        out.write(key.read())
    with open(path) as f:
        return f.read()


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(
    "env",
    [{}, {"INFERENCE_FAIL": "closed"}, {"INFERENCE_HEADERS": "off"}, {"INFERENCE_REWRITE": "1"}],
    ids=str,
)
def test_loads_without_warnings(version, env):
    h = HAProxy(version, **env)
    try:
        status, output = h.check()
        assert status == 0 and "WARNING" not in output and "ALERT" not in output, output
    finally:
        h.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot takes root")
@pytest.mark.parametrize("version", versions())
def test_default_agent_path_is_inside_the_chroot(version):
    """As installed on Debian: chroot, user haproxy, and the socket by its path in there."""
    h = HAProxy(version)
    jail = h.outside("jail")
    os.makedirs(jail + "/spoa-inference")
    del h.env["INFERENCE_NO_CHROOT"], h.env["INFERENCE_AGENT"]
    h.env.update(INFERENCE_CHROOT=h.inside("jail"), INFERENCE_LOG="127.0.0.1:9")
    answer = {"verdict": "saturated", "status": 429}
    try:
        with ConstantAgent("unix@" + jail + "/spoa-inference/spop.sock", answer):
            h.start()
            h.wait_agent()
            c = http.client.HTTPConnection("127.0.0.1", h.port, timeout=30)
            c.request("POST", CHAT, b"{}")
            assert c.getresponse().status == 429
            with open(f"/proc/{h.worker_pid()}/status") as f:
                assert re.search(r"^Uid:\s+0\s", f.read(), re.M) is None
    finally:
        h.stop()


# ---- routing -------------------------------------------------------------------------------------


def test_routed_to_the_named_server(rig):
    status, headers, body = rig.request()
    told = json.loads(body)
    assert (status, told["server"]) == (200, "llama2")
    assert told["headers"]["x-gateway-model-name"] == ROUTED["model"]
    assert told["headers"]["x-gateway-base-model-name"] == ROUTED["model"]
    assert headers["x-inference-model"] == ROUTED["model"]
    assert headers["x-inference-pool"] == "llama"
    assert headers["x-inference-server"] == "llama2"


def test_other_pool(rig):
    rig.answer = {**ROUTED, "backend": "phi4", "server": "phi3"}
    assert rig.told()["server"] == "phi3"


def test_no_server_named_leaves_it_to_balance(rig):
    rig.answer = {k: v for k, v in ROUTED.items() if not k.startswith("server")}
    assert rig.told()["server"] in ("llama1", "llama2", "llama3")


def test_candidates_in_order(rig):
    rig.set_servers("maint", "llama2")
    assert rig.told()["server"] == "llama3"
    rig.set_servers("maint", "llama2", "llama3")
    assert rig.told()["server"] == "llama1"


def test_client_cannot_forge_the_gateway_headers(rig):
    forged = {
        "X-Gateway-Model-Name": "forged",
        "x-gateway-base-model-name": "forged",
        "X-GATEWAY-DESTINATION-ENDPOINT": "10.0.0.1:80",
    }
    got = rig.told(**forged)["headers"]
    assert got["x-gateway-model-name"] == ROUTED["model"]
    assert got["x-gateway-base-model-name"] == ROUTED["model"]
    assert "x-gateway-destination-endpoint" not in got
    # And none survives when the agent sets nothing.
    rig.answer = {"verdict": "routed", "status": 0, "backend": "llama", "server": "llama1"}
    assert not [k for k in rig.told(**forged)["headers"] if k.startswith("x-gateway")]


def test_backend_that_haproxy_does_not_have(rig):
    rig.answer = {**ROUTED, "backend": "nowhere"}
    status, headers, body = rig.request()
    assert status == 503 and json.loads(body)["error"]["code"] == "service_unavailable"


# ---- what the agent is sent ----------------------------------------------------------------------


def test_arguments_of_a_usual_body(rig):
    body = b'{"model":"x","messages":[]}'
    rig.request(body=body, content_type="application/json", content_encoding="gzip")
    (notify,) = rig.agent.notifies
    assert notify.message == "route"
    assert ("id" in notify.args) == at_least(rig.version, "3.2")
    assert {k: v for k, v in notify.args.items() if k != "id"} == {
        "body": body,
        "content_type": "application/json",
        "content_encoding": "gzip",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS"])
def test_only_posts_are_sent(rig, method):
    rig.request(method, "/v1/responses/resp_1", body=None)
    assert rig.agent.notifies == []


def test_post_without_a_body_is_sent(rig):
    rig.request(body=None)
    (notify,) = rig.agent.notifies
    assert not notify.args["body"]


@pytest.mark.parametrize("length", [32768, 32769, 300000, 1048576])
@pytest.mark.parametrize("chunked", [False, True])
def test_slices_above_32_kib(rig, length, chunked):
    body = os.urandom(length // 2).hex().encode() + b"x" * (length % 2)
    extra = {"transfer_encoding": "chunked"} if chunked else {}
    pieces = [body[i : i + 5000] for i in range(0, length, 5000)] if chunked else body
    assert rig.told(body=pieces, **extra)["length"] == length
    (notify,) = rig.agent.notifies
    lengths = {"body_size": length, "content_length": None if chunked else str(length)}
    if length <= 32768:
        assert notify.message == "route" and notify.args["body"] == body
    elif at_least(rig.version, "2.9"):
        assert notify.message == "slices"
        assert (notify.args["head"], notify.args["tail"]) == (body[:16384], body[-4096:])
        assert notify.args["body_len"] == length
        assert {k: notify.args[k] for k in lengths} == lengths
    else:
        assert notify.message == "whole" and notify.args["body"] == body
        assert {k: notify.args[k] for k in lengths} == lengths


@pytest.mark.parametrize("length", [40000, 1048576])
def test_the_whole_body_when_the_slices_do_not_tell(rig, length):
    if not at_least(rig.version, "2.9"):
        pytest.skip("no slices before 2.9")
    rig.answer = lambda n: {"verdict": "need_body", "status": 0} if n.message == "slices" else ROUTED
    body = b"y" * length
    assert rig.told(body=body)["server"] == "llama2"
    assert [n.message for n in rig.agent.notifies] == ["slices", "whole"]
    assert rig.agent.notifies[1].args["body"] == body


def test_pipelined_requests_of_one_connection(rig):
    """Variables of one request are not seen by the next."""
    answers = [ROUTED, {"verdict": "model_not_found", "status": 404, "model": "a"},
               {"verdict": "no_model", "status": 0}, ROUTED]
    rig.answer = lambda n: answers[len(rig.agent.notifies) - 1]
    c = http.client.HTTPConnection("127.0.0.1", rig.h.port, timeout=30)
    statuses = []
    for _ in answers:
        c.request("POST", CHAT, b"{}")
        r = c.getresponse()
        r.read()
        statuses.append(r.status)
    c.close()
    assert statuses == [200, 404, 400, 200]


# ---- large bodies --------------------------------------------------------------------------------


def announced(rig, length, path=CHAT):
    """A body that is announced but not sent: the refusal must not wait for it."""
    with socket.create_connection(("127.0.0.1", rig.h.port), timeout=30) as s:
        s.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode())
        r = http.client.HTTPResponse(s)
        r.begin()
        return r.status, json.loads(r.read())


def test_announced_too_large(rig):
    limit = 8388608 if at_least(rig.version, "3.4") else 1048576
    status, body = announced(rig, limit + 1)
    assert status == 413
    assert body["error"]["type"] == "invalid_request_error"
    status, body = announced(rig, limit + 1, MESSAGES)
    assert (status, body["type"], body["error"]["type"]) == (413, "error", "request_too_large")
    assert rig.agent.notifies == []


def test_expect_100(rig):
    """A client that asks first is told 100, or at once that its body is too large."""
    limit = 8388608 if at_least(rig.version, "3.4") else 1048576
    for length, wanted in ((5, b"HTTP/1.1 100"), (limit + 1, b"HTTP/1.1 413")):
        with socket.create_connection(("127.0.0.1", rig.h.port), timeout=30) as s:
            s.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                      f"content-length: {length}\r\n\r\n".encode())
            assert s.recv(65536).startswith(wanted)


def test_largest_body(rig):
    body = os.urandom(1024) * 1024
    assert rig.told(body=body, **{f"x-{i}": "y" * 1000 for i in range(50)})["length"] == 1048576


def test_three_megabytes(rig):
    if not at_least(rig.version, "3.4"):
        pytest.skip("large buffers came with 3.4")
    body = b'{"model":"m","x":"' + b"z" * 3000000 + b'"}'
    assert rig.told(body=body)["length"] == len(body)
    (notify,) = rig.agent.notifies
    assert notify.message == "slices"
    assert notify.args["tail"] == body[-4096:] and notify.args["body_len"] == len(body)


def test_three_megabytes_that_the_slices_do_not_tell(rig):
    if not at_least(rig.version, "3.4"):
        pytest.skip("large buffers came with 3.4")
    rig.answer = lambda n: ROUTED if n.args.get("model") else {"verdict": "need_body", "status": 0}
    pad = b"z" * 1500000
    body = b'{"x":"' + pad + b'","model":"hidden","y":"' + pad + b'"}'
    assert rig.told(body=body)["length"] == len(body)
    assert [n.message for n in rig.agent.notifies] == ["slices", "named"]
    assert rig.agent.notifies[1].args["model"] == "hidden"
    status, _, told = rig.request(body=b'{"x":"' + pad + pad + b'"}')
    assert status == 413 and json.loads(told)["error"]["type"] == "invalid_request_error"


def test_cut_body_is_forwarded_whole(rig):
    """Chunked, larger than the buffer, and the agent could tell: all of it reaches the server."""
    size = 20_000_000 if at_least(rig.version, "3.4") else 3_000_000
    pieces = [b"c" * 100_000] * (size // 100_000)
    assert rig.told(body=pieces, transfer_encoding="chunked")["length"] == size
    if not at_least(rig.version, "2.9"):
        (notify,) = rig.agent.notifies
        assert len(notify.args["body"]) < notify.args["body_size"]


# ---- verdicts ------------------------------------------------------------------------------------

ERRORS = [
    # verdict, status, OpenAI's type and code, Anthropic's type
    ("bad_request", 400, "invalid_request_error", None, "invalid_request_error"),
    ("model_not_found", 404, "invalid_request_error", "model_not_found", "not_found_error"),
    ("too_large", 413, "invalid_request_error", "request_too_large", "request_too_large"),
    ("unsupported_encoding", 415, "invalid_request_error", "unsupported_content_encoding",
     "invalid_request_error"),
    ("saturated", 429, "rate_limit_exceeded", "rate_limit_exceeded", "rate_limit_error"),
    ("no_endpoint", 503, "server_error", "service_unavailable", "overloaded_error"),
]


@pytest.mark.parametrize("verdict,status,kind,code,anthropic", ERRORS, ids=[e[0] for e in ERRORS])
def test_verdicts(rig, verdict, status, kind, code, anthropic):
    rig.answer = {"verdict": verdict, "status": status, "retry_after": 17, "backend": "llama"}
    got, headers, body = rig.request()
    error = json.loads(body)["error"]
    assert (got, headers["content-type"]) == (status, "application/json")
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    assert headers.get("retry-after") == ("17" if status in (429, 503) else None)
    for path in (MESSAGES, MESSAGES + "/count_tokens"):
        got, headers, body = rig.request(path=path)
        told = json.loads(body)
        assert (got, told["type"], told["error"]["type"]) == (status, "error", anthropic)
        assert told["error"]["message"]
        assert headers.get("retry-after") == ("17" if status in (429, 503) else None)
    for s in rig.servers.values():
        assert not [r for r in s.requests if r[0] == MESSAGES]


NAMES = [
    "gpt-9",
    'quo"te',
    "back\\slash",
    "</script><b>",
    "line\r\nX-Injected: 1\r\n\r\n",
    "nul\x01\x1f",
    "größe-模型",
    "%[path] %%",
    "n" * 256,
    '","type":"',
]


@pytest.mark.parametrize("name", NAMES)
def test_name_in_a_404_is_data(rig, name):
    rig.answer = {"verdict": "model_not_found", "status": 404, "model": name}
    for path in (CHAT, MESSAGES):
        status, headers, body = rig.request(path=path)
        assert status == 404 and "x-injected" not in headers
        assert name in json.loads(body)["error"]["message"]


def test_no_model(rig):
    rig.answer = {"verdict": "no_model", "status": 0}
    status, _, body = rig.request()
    assert status == 400 and json.loads(body)["error"]["param"] == "model"
    status, _, body = rig.request(path=MESSAGES)
    assert status == 400 and json.loads(body)["error"]["type"] == "invalid_request_error"
    # no_model: reject
    rig.answer = {"verdict": "model_not_found", "status": 404}
    status, _, body = rig.request()
    assert status == 404 and json.loads(body)["error"]["code"] == "model_not_found"


def test_errors_of_haproxy_itself(rig):
    rig.set_servers("maint")
    for path, kind in ((CHAT, "server_error"), (MESSAGES, "overloaded_error")):
        status, headers, body = rig.request(path=path)
        assert (status, json.loads(body)["error"]["type"]) == (503, kind)
        assert headers["content-type"] == "application/json" and int(headers["retry-after"]) > 0
    rig.set_servers("ready")
    for path, kind in ((CHAT, "server_error"), (MESSAGES, "api_error")):
        status, headers, body = rig.request(path=path, x_do="close")
        assert (status, json.loads(body)["error"]["type"]) == (502, kind)
    # A request that reached a model server is not sent to another one.
    assert len([r for s in rig.servers.values() for r in s.requests if "x-do" in r[1]]) == 2


def test_silent_server_is_504():
    version = versions()[-1]
    with Rig(version, INFERENCE_TIMEOUT_SERVER="300ms") as rig:
        for path, kind in ((CHAT, "server_error"), (MESSAGES, "timeout_error")):
            status, headers, body = rig.request(path=path, x_do="silent")
            assert (status, json.loads(body)["error"]["type"]) == (504, kind)


# ---- paths of the gateway itself -----------------------------------------------------------------


def test_list_of_models_comes_from_the_agent(rig):
    assert rig.told("GET", "/v1/models", None)["server"] == "admin"
    for path in ("/metrics", "/state", "/v1/models/../../state", "/healthz"):
        status, _, _ = rig.request("GET", path, None)
        assert status == 404
    assert {r[0] for r in rig.admin.requests} == {"/v1/models"}


def test_unknown_url(rig):
    status, headers, body = rig.request("GET", "/v1/nothing", None)
    assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_url")


def test_health(rig):
    assert rig.request("GET", "/health", None)[0] == 200
    rig.set_servers("maint", "llama1", "llama2", "llama3")
    assert rig.request("GET", "/health", None)[0] == 200
    rig.set_servers("maint")
    assert rig.request("GET", "/health", None)[0] == 503


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


# ---- streams -------------------------------------------------------------------------------------


def read_until(s, wanted):
    got = b""
    while wanted not in got:
        piece = s.recv(65536)
        assert piece, got
        got += piece
    return got


def test_each_event_leaves_before_the_next_comes(rig):
    server = rig.servers["llama2"]
    with rig.stream(b"x-do: stream\r\n") as s:
        began = time.monotonic()
        for i in range(50):
            piece = b"data: token %d\n\n" % i
            server.step(piece)
            read_until(s, piece)
        # HAProxy's corking would cost 200 ms each; half of that is far from either side.
        assert time.monotonic() - began < 50 * 0.1
        server.end()
        read_until(s, b"0\r\n\r\n")


def test_client_that_leaves_a_stream(rig):
    server = rig.servers["llama2"]
    s = rig.stream(b"x-do: stream\r\n")
    server.step(b"data: 1\n\n")
    read_until(s, b"data: 1")
    s.close()
    told = rig.feedback.next(ticket=str(TICKET), ts="CD")
    assert (told["backend"], told["server"], told["status"]) == ("llama", "llama2", "200")
    end = time.monotonic() + 20
    while not server.gone.is_set() and time.monotonic() < end:
        server.step()
        time.sleep(0.01)
    assert server.gone.is_set()


def test_client_that_leaves_a_silent_server(rig):
    s = rig.stream(b"x-do: silent\r\n")
    server = rig.servers["llama2"]
    end = time.monotonic() + 20
    while not any(r[1].get("x-do") == "silent" for r in server.requests) and time.monotonic() < end:
        time.sleep(0.01)
    s.close()
    assert server.gone.wait(20)
    assert rig.feedback.next(ticket=str(TICKET), ts="CH")["server"] == "llama2"
    server.requests.clear()


def test_server_that_cuts_a_stream(rig):
    server = rig.servers["llama2"]
    with rig.stream(b"x-do: stream\r\n") as s:
        server.step(b"data: 1\n\n")
        read_until(s, b"data: 1")
        server.cut()
        while s.recv(65536):
            pass
    assert rig.feedback.next(ticket=str(TICKET), ts="SD")["server"] == "llama2"


# ---- the end of each request ---------------------------------------------------------------------


def test_feedback_of_an_answer(rig):
    rig.request()
    told = rig.feedback.next(ticket=str(TICKET))
    assert (told["backend"], told["server"], told["status"], told["ts"]) == ("llama", "llama2", "200", "--")
    assert int(told["ta"]) >= 0 and int(told["rt"]) >= 0


def test_feedback_names_the_request_as_its_notify_did(rig):
    if not at_least(rig.version, "3.2"):
        pytest.skip("up to 3.0 it is the frame's stream-id")
    rig.answer = {**ROUTED, "ticket": 70}
    rig.request()
    assert int(rig.feedback.next(ticket="70")["rt"]) == rig.agent.notifies[-1].args["id"]


def test_feedback_of_errors(rig):
    rig.answer = {**ROUTED, "ticket": 71}
    rig.set_servers("maint", "llama1", "llama2", "llama3")
    rig.request()
    told = rig.feedback.next(ticket="71")
    assert (told["server"], told["status"]) == ("<NOSRV>", "503")
    rig.set_servers("ready")
    rig.answer = {**ROUTED, "ticket": 72}
    rig.request(x_do="close")
    told = rig.feedback.next(ticket="72")
    assert (told["server"], told["status"], told["ts"]) == ("llama2", "502", "SH")
    rig.answer = {"verdict": "saturated", "status": 429, "ticket": 73}
    rig.request()
    assert rig.feedback.next(ticket="73")["status"] == "429"


def test_the_users_log_line_stays(rig):
    rig.request(path="/v1/chat/completions?log=me")
    end = time.monotonic() + 20
    while "log=me" not in rig.h.log() and time.monotonic() < end:
        time.sleep(0.02)
    (line,) = [x for x in rig.h.log().splitlines() if "log=me" in x]
    assert "inference llama/llama2" in line and "ticket" not in line


@pytest.mark.parametrize("version", versions())
def test_refused_connection_goes_to_another_server(version):
    """The picked server is UP for HAProxy but refuses: another one serves, and the line says so."""
    refusing = f"127.0.0.1:{free_port()}"
    with Rig(version) as rig:
        rig.h.runtime("disable health llama/llama2")
        rig.h.runtime(f"set server llama/llama2 addr 127.0.0.1 port {refusing.split(':')[1]}")
        status, headers, body = rig.request()
        served = json.loads(body)["server"]
        assert status == 200 and served in ("llama1", "llama3")
        assert headers["x-inference-server"] == served
        assert rig.feedback.next(ticket=str(TICKET))["server"] == served


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


@pytest.mark.parametrize("version", versions())
def test_the_lines_to_copy(version):
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
    config = EXISTING.replace("@FRONTEND@", frontend).replace("@BACKEND@", backend)
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


# ---- HTTP/2 over TLS -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=versions())
def tls(request, tmp_path_factory):
    if not shutil.which("openssl") or not shutil.which("curl"):
        pytest.skip("openssl and curl are needed")
    pem = certificate(str(tmp_path_factory.mktemp("tls")))
    rig = Rig(request.param, files={"cert.pem": pem})
    rig.h.env["INFERENCE_CRT"] = rig.h.inside("cert.pem")
    with rig:
        yield rig


def curl(rig, *args, body=b"{}", path=CHAT):
    url = f"https://127.0.0.1:{rig.h.port_tls}{path}"
    done = subprocess.run(
        ["curl", "-sSk", "--http2", "--max-time", "30", *(args or ("--data-binary", "@-")),
         "-H", "content-type: application/json", "-w", "\n%{http_version} %{http_code}", url],
        input=body, capture_output=True,
    )
    head, _, tail = done.stdout.rpartition(b"\n")
    return tail.decode(), head


@pytest.mark.parametrize("length", [2, 100_000, 1_000_000])
def test_http2(tls, length):
    tls.settle()
    body = os.urandom(length // 2).hex().encode()
    tail, told = curl(tls, body=body)
    assert tail == "2 200" and json.loads(told)["length"] == length
    # Without a length, as a client that streams its upload does.
    tail, told = curl(tls, "-T", "-", "-X", "POST", body=body)
    assert tail == "2 200" and json.loads(told)["length"] == length


def test_http2_errors(tls):
    tls.settle()
    tls.answer = {"verdict": "model_not_found", "status": 404, "model": "x"}
    tail, told = curl(tls)
    assert tail == "2 404" and json.loads(told)["error"]["code"] == "model_not_found"
    tls.answer = SILENT


# ---- rewriting -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=versions())
def rewriting(request, tmp_path_factory):
    env, files = {"INFERENCE_REWRITE": "1"}, {}
    if shutil.which("openssl"):
        files["cert.pem"] = certificate(str(tmp_path_factory.mktemp("tls")))
    rig = Rig(request.param, files=files, **env)
    if files:
        rig.h.env["INFERENCE_CRT"] = rig.h.inside("cert.pem")
    with rig:
        yield rig


TARGETS = ["b", "meta-llama/Llama-3.1-8B-Instruct", 'quo"te\\back\n\x01', "größe-模型-🙂", "w" * 256]


def alias_answer(target, alias=b"ALIAS"):
    def answer(notify):
        body = notify.args.get("body")
        if body is None:
            return {"verdict": "need_body", "status": 0}
        return {**ROUTED, "target_model": target, "rewrite_at": body.find(alias), "rewrite_len": len(alias)}

    return answer


def bodies(size):
    pad = "p" * size
    yield '{"model":"ALIAS","x":"%s"}' % pad
    yield '{"x":"%s","model":"ALIAS"}' % pad
    yield '{"x":"%s","model":"ALIAS","y":"%s"}' % (pad[: size // 2], pad[: size // 2])


@pytest.mark.parametrize("size", [0, 50_000, 900_000, 1_048_400])
@pytest.mark.parametrize("chunked", [False, True])
def test_rewrite(rewriting, size, chunked):
    """Several requests on one connection, every third without a rewrite."""
    rig = rewriting
    rig.settle()
    c = http.client.HTTPConnection("127.0.0.1", rig.h.port, timeout=60)
    for i, target in enumerate(TARGETS):
        for body in bodies(size):
            body = body.encode()
            wanted = body.replace(b"ALIAS", json.dumps(target, ensure_ascii=False)[1:-1].encode())
            rig.answer = alias_answer(target)
            if i % 3 == 2:
                rig.answer, wanted = ROUTED, body
            for s in rig.servers.values():
                s.requests.clear()
            if chunked:
                pieces = [body[k : k + 16000] for k in range(0, len(body), 16000)]
                c.request("POST", CHAT, iter(pieces), {"transfer-encoding": "chunked"}, encode_chunked=True)
            else:
                c.request("POST", CHAT, body)
            r = c.getresponse()
            assert r.status == 200, r.read()
            r.read()
            (_, headers, got), = rig.servers["llama2"].requests
            assert got == wanted
            length = {k.lower(): v for k, v in headers.items()}.get("content-length")
            assert length == (None if chunked else str(len(wanted)))
    c.close()


def test_rewrite_in_multipart(rewriting):
    rig = rewriting
    rig.settle()
    target = "whisper/größe"
    rig.answer = alias_answer(target)
    body = (b'--B\r\ncontent-disposition: form-data; name="file"\r\n\r\nRIFF\x00\xff\r\n'
            b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nALIAS\r\n--B--\r\n')
    got = rig.told(body=body, content_type="Multipart/Form-Data; boundary=B")
    assert got["length"] == len(body) + len(target.encode()) - len(b"ALIAS")
    assert rig.servers["llama2"].requests[-1][2] == body.replace(b"ALIAS", target.encode())


def test_rewrite_over_http2(rewriting):
    rig = rewriting
    if "INFERENCE_CRT" not in rig.h.env or not shutil.which("curl"):
        pytest.skip("openssl and curl are needed")
    rig.settle()
    rig.answer = alias_answer("target")
    for body in bodies(900_000):
        wanted = body.replace("ALIAS", "target").encode()
        for extra in ((), ("-T", "-", "-X", "POST")):
            tail, _ = curl(rig, *extra, body=body.encode())
            assert tail == "2 200"
            assert rig.servers["llama2"].requests[-1][2] == wanted


def test_rewrite_of_a_stream_that_moves_to_another_server(rewriting):
    """The first choice refuses: the body that the second gets is rewritten once."""
    rig = rewriting
    rig.settle()
    port = free_port()
    kept = rig.servers["llama2"].port
    rig.h.runtime("disable health llama/llama2")
    rig.h.runtime(f"set server llama/llama2 addr 127.0.0.1 port {port}")
    try:
        rig.answer = alias_answer("target")
        body = b'{"model":"ALIAS"}'
        got = rig.told(body=body)
        assert got["server"] != "llama2" and got["length"] == len(body) + 1
        assert rig.servers[got["server"]].requests[-1][2] == b'{"model":"target"}'
    finally:
        rig.h.runtime(f"set server llama/llama2 addr 127.0.0.1 port {kept}")
        rig.h.runtime("enable health llama/llama2")
