"""haproxy/'s files against real HAProxies: the contract as HAProxy keeps it.

The agent's part is played by a scripted one, so every verdict, every failure and every variable
can be had; what the real agent answers is the other tests' matter.
"""
import http.client
import json
import os
import re
import socket

import pytest

from constant_agent import ConstantAgent
from config_rig import CHAT, ERRORS, MESSAGES, ROUTED, Rig, at_least
from haproxy import HAProxy, versions
from config_rig import rig, shared  # noqa: F401, fixtures

pytestmark = pytest.mark.skipif(not versions(), reason="no HAProxy is installed")


# ---- loading -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("length", [2, 40_000])
def test_of_two_content_types_none_is_sent(rig, length):
    """Starlette, Go and Node go by the first, others by the last: the same multipart body may name
    another model to them."""
    rig.request(body=b"x" * length, content_type="multipart/form-data; boundary=a",
                Content_Type="multipart/form-data; boundary=b")
    assert rig.agent.notifies == []


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


def test_an_agent_that_knows_nothing_yet(rig):
    """A model that is not in the map either is no mistake of the client's: not 400, but later."""
    rig.answer = {"verdict": "no_model", "status": 0, "model": "not/in-the-map", "error": 255}
    for path, kind in ((CHAT, "server_error"), (MESSAGES, "overloaded_error")):
        for body in (b'{"model":"not/in-the-map"}', b'{"model":"not/in-the-map","x":"%s"}' % (b"x" * 100_000)):
            status, headers, told = rig.request(path=path, body=body)
            assert (status, json.loads(told)["error"]["type"]) == (503, kind)
            assert int(headers["retry-after"]) > 0


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
    assert rig.told("GET", "/v1/models/a/b-1.5", None)["server"] == "admin"
    for path in ("/metrics", "/state", "/v1/models/../../state", "/healthz"):
        status, _, _ = rig.request("GET", path, None)
        assert status == 404
    assert {r[0] for r in rig.admin.requests} == {"/v1/models", "/v1/models/a/b-1.5"}


def test_unknown_url(rig):
    status, headers, body = rig.request("GET", "/v1/nothing", None)
    assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_url")


def test_health(rig):
    assert rig.request("GET", "/health", None)[0] == 200
    rig.set_servers("maint", "llama1", "llama2", "llama3")
    assert rig.request("GET", "/health", None)[0] == 200
    rig.set_servers("maint")
    assert rig.request("GET", "/health", None)[0] == 503
