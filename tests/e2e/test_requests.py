"""Requests of every kind through real HAProxy: each arrives where it should, whole, once."""
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess

import pytest

from stack import ADAPTER, CHAT, LLAMA, LLAMAS, MESSAGES, PHI, PHIS, Stack, ask, until


def served(answer, servers, model):
    """It was answered by one of @servers, which has @model, got the headers and the body, and
    HAProxy says the same."""
    assert answer.status == 200, answer
    h = answer.headers
    assert h["x-sim-name"] in servers and h["x-sim-model"] in (LLAMA, PHI)
    assert h["x-inference-server"] == h["x-sim-name"]
    assert h["x-inference-model"] == model
    assert h["x-inference-pool"] == ("llama" if servers is LLAMAS else "phi4")
    assert h["x-sim-got-gateway-model"] == model
    assert h["x-sim-got-base-model"] == (LLAMA if servers is LLAMAS else PHI)
    return answer


# ---- the guide's own four ------------------------------------------------------------------------
GUIDE = [
    (CHAT, LLAMA, "Linux is said to be an open source kernel because ", 100),
    (CHAT, PHI, "2+2 is ", 20),
    ("/v1/completions", LLAMA, "Linux is said to be an open source kernel because ", 100),
    ("/v1/completions", PHI, "2+2 is ", 20),
]


@pytest.mark.parametrize("path,model,prompt,tokens", GUIDE)
def test_guide(stack, curl, path, model, prompt, tokens):
    """As the guide has them; the two that send `prompt` to chat completions included."""
    body = ('{\n  "model": "%s",\n  "prompt": "%s",\n  "max_tokens": %d,\n  "temperature": 0\n}'
            % (model, prompt, tokens))
    out = subprocess.run(
        [curl, "-sS", "-X", "POST", "-i", f"127.0.0.1:{stack.port}{path}",
         "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, timeout=60, check=True).stdout
    head, _, answer = out.decode().partition("\r\n\r\n")
    headers = dict(re.findall(r"^([^:\r\n]+): ([^\r\n]*)", head.lower(), re.M))
    assert head.startswith("HTTP/1.1 200"), out
    assert headers["x-sim-name"] in (LLAMAS if model == LLAMA else PHIS)
    assert json.loads(answer)["model"] == model


# ---- where the model stands, and how the body comes ----------------------------------------------
def body_with(model, size, place):
    """A chat body of about @size bytes with the model first, last or in the middle."""
    filler = "Ab cd, \\\"model\\\":\\\"x\\\" \\u00e9\\n"  # text that tries to be mistaken
    room = max(size - 120, 0)
    text = (filler * (room // len(filler) + 1))[: room - room % len(filler)]
    name, rest = json.dumps(model), '"messages":[{"role":"user","content":"%s"}],"max_tokens":2'
    if place == "first":
        return ('{"model":%s,' % name + rest % text + "}").encode()
    if place == "last":
        return ("{" + rest % text + ',"model":%s}' % name).encode()
    half = len(text) // 2 // len(filler) * len(filler)
    return ('{"pad":"%s","model":%s,' % (text[:half], name) + rest % text[half:] + "}").encode()


SIZES = {"100B": 100, "20KB": 20_000, "33KB": 33_000, "900KB": 900_000}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("size", SIZES)
def test_bodies(stack, size, place, chunked):
    model, servers = (LLAMA, LLAMAS) if place != "middle" else (PHI, PHIS)
    body = body_with(model, SIZES[size], place)
    json.loads(body)
    answer = served(stack.post(body, chunked=chunked), servers, model)
    assert answer.headers["x-sim-body-bytes"] == str(len(body))
    assert answer.headers["x-sim-body-model"] == model


@pytest.mark.parametrize("place", ["first", "last"])
def test_three_megabytes(stack, place):
    """HAProxy 3.4 holds them; the others refuse them by their length, before they are sent."""
    body = body_with(PHI, 3_000_000, place)
    if stack.version == "3.4":
        answer = served(stack.post(body), PHIS, PHI)
        assert answer.headers["x-sim-body-bytes"] == str(len(body))
        return
    with socket.create_connection(("127.0.0.1", stack.port), 20) as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json"
                  b"\r\ncontent-length: %d\r\n\r\n" % len(body))
        got = s.recv(65536)
    assert got.startswith(b"HTTP/1.1 413 ") and b"request_too_large" in got


def test_three_megabytes_whose_model_nobody_could_read(stack):
    """In the middle, and json_query does not know these escapes: not seen is not missing."""
    if stack.version != "3.4":
        pytest.skip("the others refuse three megabytes by their length")
    pad = b"x" * 1_500_000
    for name in (b"caf\\u00e9", b"\\u65e5\\u672c"):
        body = b'{"a":"' + pad + b'","model":"' + name + b'","b":"' + pad + b'"}'
        answer = stack.post(body)
        assert answer.status == 413, answer
        assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("path", [
    "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/rerank", "/v1/score", MESSAGES])
def test_apis(stack, path):
    extra = {"/v1/completions": {"prompt": "a b c"}, "/v1/embeddings": {"input": ["a", "b"]},
             "/v1/responses": {"input": "a"}, "/v1/rerank": {"query": "a", "documents": ["b", "c"]},
             "/v1/score": {"text_1": "a", "text_2": "b"},
             MESSAGES: {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}}[path]
    served(stack.post({**extra, "model": PHI}, path), PHIS, PHI)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("size", [3_000, 600_000])
def test_audio(stack, size, place):
    """multipart/form-data with the file in front of the model, as clients send it, or behind."""
    boundary = "----6f8a1b"
    file = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
            "Content-Type: audio/wav\r\n\r\n").encode() + os.urandom(size) + b"\r\n"
    model = (f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
             f"{ADAPTER}\r\n").encode()
    body = (file + model if place == "before" else model + file) + f"--{boundary}--\r\n".encode()
    answer = stack.post(body, "/v1/audio/transcriptions",
                        {"content-type": f"multipart/form-data; boundary={boundary}"})
    served(answer, LLAMAS, ADAPTER)
    assert answer.headers["x-sim-body-bytes"] == str(len(body))


def test_adapter_goes_to_its_base_models_servers(stack):
    served(stack.chat(ADAPTER), LLAMAS, ADAPTER)


def test_many_requests_of_one_connection(stack):
    """Keep-alive: each request is routed on its own."""
    with socket.create_connection(("127.0.0.1", stack.port), 20) as s:
        f = s.makefile("rb")
        for model, servers in [(LLAMA, LLAMAS), (PHI, PHIS)] * 5:
            body = json.dumps({"model": model, "messages": [], "max_tokens": 1}).encode()
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/"
                      b"json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            status, headers = f.readline(), {}
            while (line := f.readline()) != b"\r\n":
                k, v = line.decode().strip().lower().split(": ", 1)
                headers[k] = v
            assert b" 200 " in status and headers["x-sim-name"] in servers
            f.read(int(headers["content-length"]))


# ---- HTTP/2 over TLS -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "-", "-out", "-"],
        capture_output=True, text=True)
    if made.returncode:
        pytest.skip("openssl cannot make a certificate")
    path.write_text(made.stdout)
    return path


@pytest.fixture(scope="module")
def tls(version, certificate, request):
    files = {"cert.pem": certificate.read_text()}
    s = Stack(version, files=files)
    s.h.env["INFERENCE_CRT"] = s.h.inside("cert.pem")
    with s:
        yield s


def curl_2(curl, stack, body, *more, path=CHAT):
    out = subprocess.run(
        [curl, "-sSk", "--http2", "-D", "-", "-X", "POST", "-H", "Content-Type: application/json",
         "-H", "Expect:", "--data-binary", "@-", *more,
         f"https://127.0.0.1:{stack.h.port_tls}{path}"],
        input=body, capture_output=True, timeout=60)
    head, _, answer = out.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/2 "), (out.stdout[:500], out.stderr)
    headers = dict(re.findall(r"^([^:\r\n]+): ([^\r\n]*)", head.decode().lower(), re.M))
    return int(head.split()[1]), headers, answer


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["first", "last"])
def test_http2(tls, curl, size, place):
    body = body_with(PHI, SIZES[size], place)
    status, headers, answer = curl_2(curl, tls, body)
    assert status == 200 and headers["x-sim-name"] in PHIS
    assert headers["x-sim-body-bytes"] == str(len(body))
    assert json.loads(answer)["model"] == PHI


def test_http2_without_a_length(tls, curl):
    body = body_with(LLAMA, 200_000, "last")
    status, headers, _ = curl_2(curl, tls, body, "-H", "Transfer-Encoding: chunked")
    assert status == 200 and headers["x-sim-name"] in LLAMAS
    assert headers["x-sim-body-bytes"] == str(len(body))


def test_http2_many_streams_of_one_connection(tls, tmp_path):
    """nghttp: 40 requests at once over one connection, both models."""
    if not shutil.which("nghttp"):
        pytest.skip("nghttp is not installed")
    before = tls.sims.all_stats()
    for model, name in ((LLAMA, "a"), (PHI, "b")):
        (tmp_path / name).write_bytes(body_with(model, 5_000, "last"))
    for name in "ab":
        out = subprocess.run(
            ["nghttp", "-n", "-s", "-m", "20", "-d", str(tmp_path / name),
             "-H", "content-type: application/json", f"https://127.0.0.1:{tls.h.port_tls}{CHAT}"],
            capture_output=True, text=True, timeout=60)
        assert len(re.findall(r" 200 .*" + CHAT, out.stdout)) == 20, out.stdout + out.stderr
    after = tls.sims.all_stats()
    took = {n: after[n]["finished"] - before[n]["finished"] for n in after}
    assert sum(took[n] for n in LLAMAS) == 20 and sum(took[n] for n in PHIS) == 20


def test_http2_errors(tls, curl):
    for body, status in ((b"{", 400), (b'{"model":"nobody"}', 404)):
        got, headers, answer = curl_2(curl, tls, body)
        assert got == status and "error" in json.loads(answer)


# ---- what is answered here -----------------------------------------------------------------------
def shaped(answer, status, anthropic):
    """An error in the shape that the official clients parse."""
    assert answer.status == status, answer
    assert answer.headers["content-type"].startswith("application/json")
    said = answer.json()
    assert isinstance(said["error"]["message"], str) and said["error"]["message"]
    assert isinstance(said["error"]["type"], str)
    if anthropic:
        assert said["type"] == "error"
    else:
        assert {"param", "code"} <= set(said["error"])
    assert "x-inference-server" not in answer.headers
    return said["error"]


BOTH = pytest.mark.parametrize("path,anthropic", [(CHAT, False), (MESSAGES, True)])


@BOTH
def test_400(stack, path, anthropic):
    for body in (b"{", b'{"model":1}', b'{"model":"a","model":"b"}', b"\xef\xbb\xbf{}", b'"x"x'):
        error = shaped(stack.post(body, path), 400, anthropic)
        assert error["type"] == "invalid_request_error"


@BOTH
def test_400_without_a_model(stack, path, anthropic):
    error = shaped(stack.post({"messages": []}, path), 400, anthropic)
    assert "model" in error["message"]


@BOTH
def test_404_names_what_was_asked_and_nothing_else(stack, path, anthropic):
    answer = stack.post({"model": 'no"such\\model <b>'}, path)
    error = shaped(answer, 404, anthropic)
    assert 'no"such\\model <b>' in error["message"]
    if not anthropic:
        assert error["code"] == "model_not_found"
    for private in (LLAMA, PHI, ADAPTER, *LLAMAS, "phi4"):
        assert private not in answer.body.decode()


@BOTH
def test_413(stack, path, anthropic):
    with socket.create_connection(("127.0.0.1", stack.port), 20) as s:
        s.sendall(b"POST %s HTTP/1.1\r\nhost: t\r\ncontent-length: 99000000\r\n\r\n" % path.encode())
        f = s.makefile("rb")
        assert f.readline().startswith(b"HTTP/1.1 413 ")
        while (line := f.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        said = json.loads(f.read(length))
    assert said["error"]["message"] and (said.get("type") == "error") == anthropic


@BOTH
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "GZIP", "gzip, identity", "identity, gzip"])
def test_415(stack, path, anthropic, encoding):
    shaped(stack.post(b"\x1f\x8b\x08\0", path, {"content-encoding": encoding}), 415, anthropic)


def test_identity_is_no_compression(stack):
    served(stack.post({"model": PHI, "messages": []}, headers={"content-encoding": "identity"}),
           PHIS, PHI)


@BOTH
def test_429_and_503(make_stack, path, anthropic):
    s = make_stack(conf={"pools": {"llama": {"max_inflight": 1, "retry_after": 9}, "phi4": {}}})
    stream, _ = s.open_stream(LLAMA, 100000)
    answer = s.post({"model": LLAMA, "messages": [], "max_tokens": 1}, path)
    shaped(answer, 429, anthropic)
    assert answer.headers["retry-after"] == "9"
    assert s.chat(PHI).status == 200
    stream.close()
    until(lambda: s.chat(LLAMA).status == 200, what="room again")
    for n in PHIS:
        s.h.runtime(f"set server phi4/{n} state maint")
    answer = until(lambda: (lambda a: a if a.status != 200 else None)(
        s.post({"model": PHI, "messages": [], "max_tokens": 1}, path)), what="no server is left")
    shaped(answer, 503, anthropic)
    assert answer.headers["retry-after"] == "5"
    assert s.chat(LLAMA).status == 200


def test_get_models_through_haproxy(stack):
    answer = ask(stack.port, path="/v1/models")
    assert answer.status == 200
    data = {m["id"]: m for m in answer.json()["data"]}
    assert set(data) == {LLAMA, PHI, ADAPTER} and answer.json()["object"] == "list"
    assert all(m["object"] == "model" and m["created"] > 0 for m in data.values())
    assert data[ADAPTER]["parent"] == LLAMA
    for name in (ADAPTER, PHI, PHI.replace("/", "%2F"), LLAMA.replace("/", "%2f")):
        answer = ask(stack.port, path="/v1/models/" + name)
        assert answer.status == 200 and answer.json() in data.values(), name
    answer = ask(stack.port, path="/v1/models/nobody")
    assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
    # Nothing else of the administration port is to be had.
    for path in ("/state", "/metrics", "/healthz", "/v1/models/../../state", "//state",
                 "/v1/models/%2e%2e/%2e%2e/state", "/v1/models//../state"):
        answer = ask(stack.port, path=path)
        assert answer.status in (400, 404) and b"pools" not in answer.body


# ---- headers -------------------------------------------------------------------------------------
def test_client_cannot_say_where_it_goes(stack):
    answer = stack.chat(PHI, headers={
        "X-Gateway-Model-Name": LLAMA, "x-gateway-base-model-name": LLAMA,
        "X-GATEWAY-DESTINATION-ENDPOINT": "127.0.0.1:1", "x-inference-server": "llama1"})
    served(answer, PHIS, PHI)
    assert "x-sim-got-destination" not in answer.headers


def test_forged_headers_of_a_request_without_a_model(stack):
    for body in (b"", b"{}", b"{"):
        answer = stack.post(body, headers={"X-Gateway-Model-Name": LLAMA})
        assert answer.status == 400 and "x-sim-name" not in answer.headers


def test_headers_can_be_turned_off(make_stack):
    s = make_stack(INFERENCE_HEADERS="off")
    answer = s.chat(LLAMA)
    assert answer.status == 200 and answer.headers["x-sim-name"] in LLAMAS
    assert not [h for h in answer.headers if h.startswith("x-inference")]


def test_body_is_untouched(make_stack):
    """Byte for byte, by its digest at a server that tells."""
    from echo_server import EchoServer
    with EchoServer("llama1") as echo:
        s = make_stack(start=False, LLAMA1=echo.address, LLAMA2=echo.address, LLAMA3=echo.address,
                       conf={"pools": {"llama": {"models": [LLAMA]}, "phi4": {}},
                             "scrape": {"interval": "200ms", "models_interval": "1s", "engine": "none"}})
        s.agent.start(ready=False)
        s.h.start()
        s.wait_ready(PHIS)
        for size in SIZES.values():
            for chunked in (False, True):
                body = body_with(LLAMA, size, "last")
                answer = s.post(body, chunked=chunked)
                assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()


# ---- aliases -------------------------------------------------------------------------------------
ALIASES = {"llama": {"aliases": {"gpt-4o": LLAMA, 'na"me\u00e9': ADAPTER,
                                 "kept": [{"model": LLAMA, "rewrite": False}],
                                 "split": [{"model": LLAMA, "weight": 1},
                                           {"model": ADAPTER, "weight": 1}]}},
           "phi4": {}}


@pytest.fixture(scope="module")
def rewriting(version):
    with Stack(version, conf={"pools": ALIASES}, INFERENCE_REWRITE="1") as s:
        yield s


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_alias(rewriting, size, chunked):
    body = body_with("gpt-4o", SIZES[size], "last")
    answer = rewriting.post(body, chunked=chunked)
    assert answer.status == 200 and answer.headers["x-sim-body-model"] == LLAMA
    assert answer.headers["x-sim-body-bytes"] == str(len(body) + len(LLAMA) - len("gpt-4o"))
    assert answer.headers["x-inference-model"] == "gpt-4o"
    assert answer.headers["x-sim-got-base-model"] == LLAMA


def test_alias_to_an_adapter(rewriting):
    answer = rewriting.chat('na"me\u00e9')
    assert answer.status == 200 and answer.headers["x-sim-body-model"] == ADAPTER


def test_alias_that_is_kept_reaches_the_server_as_it_is(rewriting):
    answer = rewriting.chat("kept")
    assert answer.status == 404 and answer.headers["x-sim-name"] in LLAMAS


def test_weights(rewriting):
    """1:1 over 60: seven standard deviations."""
    models = [rewriting.chat("split", max_tokens=1).headers["x-sim-body-model"] for _ in range(60)]
    assert set(models) == {LLAMA, ADAPTER} and 3 < models.count(LLAMA) < 57
