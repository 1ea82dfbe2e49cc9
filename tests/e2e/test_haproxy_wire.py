"""haproxy/'s files and what passes through them: streams, the line at the end of each request, HTTP/2,
bodies in which the model is replaced."""
import http.client
import json
import os
import shutil
import subprocess
import time

import pytest

from constant_agent import SILENT
from config_rig import CHAT, ROUTED, TICKET, Rig, at_least, certificate
from haproxy import free_port, versions
from config_rig import rig, shared  # noqa: F401, fixtures

pytestmark = pytest.mark.skipif(not versions(), reason="no HAProxy is installed")


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
