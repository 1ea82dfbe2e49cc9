"""What a client that is not trusted can do: with bodies, headers, paths, framing and names.

The rule of the first half: phi4 serves PHI and a hidden model, and the servers behind it take any
name. Whatever is tried, a request that reaches a server names an allowed model, read as any JSON
parser would read it; everything else ends at the gateway.
"""
import json
import os
import re
import socket
import time

import pytest

from fence import ALLOWED, GOOD, HIDDEN, P, S, SECRET, attempt, framed, held, j, raw, readings
from haproxy import free_port
from spop_client import SpopClient
from stack import CHAT, PHI, Agent, ask, until
from fence import certificate, fence, slices  # noqa: F401, fixtures


# ---- past the allowed models: bodies -------------------------------------------------------------

BODIES = {
    "plain": (b'{"model":%s}' % P, 200),
    "hidden is served to who knows it": (b'{"model":%s}' % j(HIDDEN), 200),
    "other": (b'{"model":%s}' % S, 404),
    "twice": (b'{"model":%s,"model":%s}' % (P, S), 400),
    "twice, the other way": (b'{"model":%s,"model":%s}' % (S, P), 400),
    "twice the same": (b'{"model":%s,"model":%s}' % (P, P), 400),
    "twice, null": (b'{"model":%s,"model":null}' % P, 400),
    "escaped key beside": (b'{"model":%s,"m\\u006fdel":%s}' % (P, S), 400),
    "escaped key before": (b'{"\\u006dodel":%s,"model":%s}' % (S, P), 400),
    "escaped key alone": (b'{"\\u006D\\u006f\\u0064el":%s}' % S, 404),
    "escaped value": (b'{"model":"\\u0073ecret\\/model-of-others"}', 404),
    "nested beside": (b'{"a":{"model":%s},"b":[{"model":%s}],"model":%s}' % (S, S, P), 200),
    "nested alone": (b'{"a":{"model":%s}}' % P, 400),
    "in a text": (b'{"m":"\\",\\"model\\":\\"x","model":%s}' % P, 200),
    "list": (b'[{"model":%s}]' % P, 400),
    "two documents": (b'{"model":%s}{"model":%s}' % (P, S), 400),
    "two lines": (b'{"model":%s}\n{"model":%s}' % (P, S), 400),
    "nul and more": (b'{"model":%s}\0{"model":%s}' % (P, S), 400),
    "mark of byte order": (b'\xef\xbb\xbf{"model":%s}' % P, 400),
    "utf-16": (json.dumps({"model": SECRET}).encode("utf-16"), 400),
    "utf-16 without mark": (json.dumps({"model": SECRET}).encode("utf-16-le"), 400),
    "utf-32": (json.dumps({"model": PHI}).encode("utf-32"), 400),
    "utf-7 like": (b'{"model":%s,"+AG0-odel":1}' % P, 200),
    "comment": (b'{"model":%s/*","model":%s/**/}' % (P, S), 400),
    "line comment": (b'{"model":%s//\n,"model":%s}' % (P, S), 400),
    "single quotes": (b"{'model':%s}" % P, 400),
    "no quotes": (b'{model:%s}' % P, 400),
    "last comma": (b'{"model":%s,}' % P, 400),
    "open": (b'{"model":%s' % P, 400),
    "overlong utf-8 in a key": (b'{"model":%s,"\xc1\xadodel":%s}' % (P, S), 400),
    "lone surrogate": (b'{"model":"%s\\ud800"}' % PHI.encode(), 400),
    "number": (b'{"model":1}', 400), "null": (b'{"model":null}', 400),
    "list of names": (b'{"model":[%s]}' % P, 400), "object": (b'{"model":{"a":%s}}' % P, 400),
    "empty": (b'{"model":""}', 400),
    "longest": (b'{"model":"%s"}' % (b"a" * 256), 404), "too long": (b'{"model":"%s"}' % (b"a" * 257), 400),
    "upper": (b'{"model":%s}' % j(PHI.upper()), 404), "lower": (b'{"model":%s}' % j(PHI.lower()), 404),
    "blank behind": (b'{"model":%s}' % j(PHI + " "), 404),
    "blank before": (b'{"model":%s}' % j(" " + PHI), 404),
    "tab": (b'{"model":"%s\\t"}' % PHI.encode(), 400), "nul": (b'{"model":"%s\\u0000"}' % PHI.encode(), 400),
    "no-break space": (b'{"model":%s}' % j(PHI + "\u00a0"), 404),
    "zero width": (b'{"model":%s}' % j(PHI + "\u200b"), 404),
    "direction": (b'{"model":%s}' % j("\u202e" + PHI), 404),
    "cyrillic": (b'{"model":%s}' % j(PHI.replace("o", "\u043e")), 404),
    "full width": (b'{"model":%s}' % j("".join(chr(ord(c) + 0xfee0) for c in PHI)), 404),
    "dots": (b'{"model":%s}' % j("x/../" + PHI), 404), "percent": (b'{"model":"%s"}' % PHI.replace("/", "%2f").encode(), 404),
    "deep": (b'{"a":' + b"[" * 600 + b"]" * 600 + b',"model":%s}' % P, 400),
    "backend's name": (b'{"model":"phi4"}', 404), "server's name": (b'{"model":"phi1"}', 404),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(fence, name):
    body, status = BODIES[name]
    held(fence, body, status)


@pytest.mark.parametrize("size", [40_000, 200_000, 900_000])
@pytest.mark.parametrize("first,second", [(PHI, SECRET), (SECRET, PHI)])
def test_second_model_in_the_middle(fence, slices, size, first, second):
    """`body: whole` sees every byte. Slices do not look between: on HAProxy from 2.9 on, a second
    model in the middle passes to the server (README: whole is for who needs a boundary), but what
    stands in head and tail is seen."""
    pad = b"x" * (size // 2)
    middle = b'{"model":%s,"a":"%s","model":%s,"b":"%s"}' % (j(first), pad, j(second), pad)
    ends = b'{"model":%s,"a":"%s%s","model":%s}' % (j(first), pad, pad, j(second))
    alone = b'{"a":"%s","model":%s,"b":"%s"}' % (pad, j(SECRET), pad)
    for body in (middle, ends):
        held(fence, body, 400)
        held(fence, body, 400, chunked=True)
    held(fence, alone, 404)
    held(slices, ends, 400)
    held(slices, alone, 404)
    answer, got = attempt(slices, middle)
    assert answer.status == (400 if slices.version == "2.6" else 200 if first == PHI else 404)
    assert bool(got) == (answer.status == 200)


def test_body_larger_than_a_buffer(fence):
    """3.4 holds it in a large buffer but cannot send it whole; where whole is asked for, nothing
    less will do."""
    pad = b"x" * 1_500_000
    behind = b'{"model":%s,"a":"%s","model":%s}' % (P, pad, S)  # the buffer's end lies between
    far = b'{"model":%s,"a":"%s","model":%s}' % (P, pad * 6, S)  # and that of 3.4's large one
    for body in (behind, far):
        before = len(fence.echo.requests)
        try:
            assert ask(fence.port, "POST", CHAT, body, {"content-type": "application/json"},
                       chunked=True).status in (400, 413)
        except OSError:
            pass
        assert len(fence.echo.requests) == before, "cut body routed"
    body = b'{"model":%s,"a":"%s","model":%s,"b":"%s"}' % (P, pad[:700_000], S, pad[700_000:])
    try:
        answer, got = attempt(fence, body)
    except OSError:  # refused by its length while we still wrote
        answer, got = None, []
    assert not got and (answer is None or answer.status in (400, 413)), answer
    try:
        answer, got = attempt(fence, body, chunked=True)
    except OSError:
        return
    for _, _, arrived in got:
        assert readings(arrived) <= ALLOWED, "cut body routed"


KINDS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
         "multipart/form-data; boundary=b", "application/octet-stream", "", "x", "application/json; charset=utf-16",
         "application/json, multipart/form-data; boundary=b", "application/JSON", "image/png"]


@pytest.mark.parametrize("kind", KINDS)
def test_content_types(fence, kind):
    """A kind that hides the model hides the request."""
    for model in (SECRET, PHI):
        body = b'{"model":%s}' % j(model)
        answer = held(fence, body, headers={"content-type": kind})
        assert answer.status == 200 or 400 <= answer.status < 500
        assert model == PHI or answer.status != 200
    twice = (b"POST %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n"
             b"content-type: %s\r\ncontent-length: %d\r\n\r\n%s")
    body = b'{"model":%s}' % S
    before = len(fence.echo.requests)
    assert not raw(fence.port, twice % (CHAT.encode(), kind.encode(), len(body), body)).startswith(b"HTTP/1.1 200")
    assert len(fence.echo.requests) == before


def part(name, value, more=""):
    return f'--b\r\nContent-Disposition: form-data; {name}{more}\r\n\r\n{value}\r\n'


@pytest.mark.parametrize("parts,status", [
    ([part('name="model"', PHI)], 200),
    ([part('name="model"', SECRET)], 404),
    ([part('name="model"', PHI), part('name="model"', SECRET)], 400),
    ([part('name="model"', SECRET), part('name="model"', PHI)], 400),
    ([part('name=model', SECRET), part('name="model"', PHI)], 400),
    ([part('name="x"; filename="name=\\"model\\""', SECRET), part('name="model"', PHI)], 200),
    ([part('name="model"', PHI, '\r\nX: y'), part('name="x"', SECRET)], 200),
    ([part('name="model"', PHI + "\r\n--bb\r\n" + SECRET)], 400),
    ([part('name="model"', PHI + "\r\nX-Injected: 1")], 400),
    ([part('name="model"', PHI + "\0")], 400),
])
def test_multipart(fence, parts, status):
    body = "".join(parts).encode() + b"--b--\r\n"
    answer, got = attempt(fence, body, {"content-type": "multipart/form-data; boundary=b"},
                          "/v1/audio/transcriptions")
    assert answer.status == status and bool(got) == (status == 200), answer


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, gzip", "br", "x", "gzip, identity"])
def test_compressed(fence, encoding):
    import gzip
    body = b'{"model":%s}' % S
    for sent in (gzip.compress(body), body):
        assert held(fence, sent, headers={"content-encoding": encoding}).status in (400, 404, 415)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "post", "POST"])
def test_methods(fence, method):
    answer, got = attempt(fence, b'{"model":%s}' % S, {"x-http-method-override": "POST"}, method=method)
    assert answer.status != 200 and not got
    answer, got = attempt(fence, b'{"model":%s}' % P, {"x-http-method-override": "DELETE"}, method="POST")
    assert answer.status == 200 and len(got) == 1


@pytest.mark.parametrize("path", ["/v1/messages/../chat/completions", "//v1/chat/completions", "/v1%2fmodels",
                                  "/v1/chat/completions?model=" + PHI, "/v1/models", "/v1/models/" + PHI,
                                  "/v1/models?model=x", "/", "/x;/v1/chat", "/v1/chat/completions#"])
def test_paths_choose_nothing(fence, path):
    """The body alone says which model."""
    held(fence, b'{"model":%s}' % S, path=path)
    answer, got = attempt(fence, b"", path=path)
    assert not got and answer.status >= 400


# ---- the gateway's own headers and variables -----------------------------------------------------

FORGED = ["X-Gateway-Model-Name", "x-gateway-model-name", "X-GATEWAY-MODEL-NAME", "X-Gateway-Base-Model-Name",
          "X-Gateway-Destination-Endpoint", "x_gateway_model_name", "X_Gateway-Model_Name",
          "X-Gateway_Base_Model-Name", "x_gateway_destination_endpoint"]


@pytest.mark.parametrize("name", FORGED)
def test_forged_headers(fence, name):
    """In any case, repeated, and in the spelling that CGI-like servers (WSGI, PHP) take for the same."""
    head = b"".join(b"%s: %s\r\n" % (name.encode(), v) for v in (b"forged", b"forged, again", b""))
    for model in (PHI, HIDDEN):
        before = len(fence.echo.requests)
        said = raw(fence.port, framed(b"connection: close", head[:-2],
                                      b"content-length: %d" % len(b'{"model":%s}' % j(model)),
                                      body=b'{"model":%s}' % j(model)))
        assert said.startswith(b"HTTP/1.1 200"), said
        (_, headers, _), = fence.echo.requests[before:]
        kept = {k.lower().replace("_", "-"): v for k, v in headers.items()}
        assert "forged" not in str(headers), headers
        assert kept["x-gateway-model-name"] == model and "x-gateway-destination-endpoint" not in kept


@pytest.mark.parametrize("line", [b"X-Gateway-Model-Name : forged", b" X-Gateway-Model-Name: forged",
                                  b"X-Gateway-Model-Name\t: forged", b"X-Gateway-Model-Name\0: forged",
                                  b"X: y\r X-Gateway-Model-Name: forged", b"X: y\nX-Gateway-Model-Name: forged",
                                  b"Connection: X-Gateway-Model-Name, close"])
def test_forged_headers_in_odd_forms(fence, line):
    before = len(fence.echo.requests)
    raw(fence.port, framed(line, b"content-length: %d" % len(GOOD), body=GOOD), wait=1.0)
    for _, headers, _ in fence.echo.requests[before:]:
        names = [v for k, v in headers.items() if "gateway-model" in k.lower().strip()]
        assert names == [PHI], headers


def test_variables_are_not_a_clients_to_set(fence):
    """Neither by name in headers and queries nor through the body."""
    wish = {"verdict": "routed", "backend": "llama", "status": "0", "server": "llama1", "model": PHI, "error": "1"}
    headers = {f"txn.inference.{k}": v for k, v in wish.items()} | {f"inference-{k}": v for k, v in wish.items()}
    path = CHAT + "?" + "&".join(f"txn.inference.{k}={v}" for k, v in wish.items())
    body = json.dumps({**{f"txn.inference.{k}": v for k, v in wish.items()}, **wish, "model": SECRET}).encode()
    held(fence, body, 404, headers=headers, path=path)
    answer, got = attempt(fence, b'{"model":%s}' % P, headers, path)
    assert answer.headers["x-inference-pool"] == "phi4" and len(got) == 1


# ---- names that end in headers, answers, logs ----------------------------------------------------

EVIL = ['"}<script>alert(1)</script>', "a\nb", "a\r\nX-Injected: 1", "\x1b[2J\x1b]0;owned\x07", "\u2028\u2029\u0085",
        "%[var(txn.inference.ticket)]", "%n%s%00", '" ticket="1-1-1', "$(id)`id`", "\u202etxt", "a\u0000b",
        "\\", "\\u0022", '"', "'", "{{7*7}}", "-", "a event=forged level=error", "../../etc/passwd"]


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
@pytest.mark.parametrize("model", EVIL)
def test_names_are_data(fence, model, path):
    lines = len(fence.agent.log().splitlines())
    answer, got = attempt(fence, b'{"model":%s}' % j(model), path=path)
    assert answer.status in (400, 404) and not got
    assert answer.headers["content-type"] == "application/json" and "x-injected" not in answer.headers
    assert not [c for c in answer.body if c < 0x20 or c == 0x7f]
    said = answer.json()
    assert set(said) <= {"error", "type"} and set(said["error"]) <= {"message", "type", "param", "code"}
    if answer.status == 404:
        assert model in said["error"]["message"]
    for v in answer.headers.values():
        assert not re.search(r"[\x00-\x1f\x7f]", v)
    for line in fence.agent.log().splitlines()[lines:]:
        assert re.match(r"\d{4}-\d\d-\d\dT\S+Z level=(debug|info|warning|error) event=\w+", line), line
        assert "\x1b" not in line and not re.search(r" event=forged", re.sub(r'"(?:[^"\\]|\\.)*"', "", line))


def test_log_lines_cannot_be_forged(fence):
    """Nobody closes a ticket, or invents one, by what HAProxy logs of his request."""
    until(lambda: fence.agent.tickets() == 0)
    line = '[inference@32473 ticket="1" rt="1" backend="phi4" server="phi1" status="200" ts="--"]'
    octets = '\r\n200 <134>1 2026-01-01T00:00:00Z h haproxy 1 - ' + line
    before = fence.agent.metrics()
    closed = before.sum("spoa_inference_feedback_lines_total", result="closed")
    sent = 0
    for text in (line, octets, line.replace('"', '\\"'), "] " + line, '"] ' + line):
        quoted = re.sub(rb"[\x00-\x20\x7f]", lambda m: b"%%%02x" % m.group(0)[0], text.encode())
        tried = [b"GET /" + quoted + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
                 b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nuser-agent: " + text.replace("\r\n", " ").encode()
                 + b"\r\nx-forwarded-for: " + quoted + b"\r\ncookie: " + quoted + b"\r\n\r\n",
                 b"GE" + quoted[:40] + b" / HTTP/1.1\r\nhost: " + quoted + b"\r\nconnection: close\r\n\r\n",
                 framed(b"connection: close", b"content-length: %d" % len(b'{"model":%s}' % j(text[:200])),
                        body=b'{"model":%s}' % j(text[:200]))]
        for data in tried:
            raw(fence.port, data)
            sent += 1
    long = b"GET /" + b"a" * 6000 + line.replace(" ", "").encode() + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    raw(fence.port, long)
    held(fence, b'{"model":%s}' % P, 200)
    # The last line has come: so have all before it.
    until(lambda: fence.agent.metrics().sum("spoa_inference_feedback_lines_total", result="closed") > closed)
    after = fence.agent.metrics()

    def grown(result):
        return (after.sum("spoa_inference_feedback_lines_total", result=result)
                - before.sum("spoa_inference_feedback_lines_total", result=result))
    assert grown("closed") == 1 and grown("unknown") == 0 and grown("broken") == 0, after
    assert fence.agent.tickets() == 0
    for row in fence.h.log().splitlines():
        assert "\x1b" not in row and "\x00" not in row


def test_answers_tell_nothing_of_the_inside(fence):
    private = [HIDDEN, "phi4", "phi1", "127.0.0.1", "llama", str(fence.echo.port), "spop", "haproxy", "/tmp"]
    pages = [ask(fence.port, path="/v1/models")]
    pages += [held(fence, b) for b in (b'{"model":"x"}', b"{", b"{}", b"", b'{"model":%s}' % j("y" * 300))]
    pages += [ask(fence.port, path=p) for p in ("/", "/state", "/v1/models/" + HIDDEN, "/x")]
    for answer in pages:
        text = answer.body.decode().lower() + str(answer.headers).lower()
        assert not [word for word in private if word.lower() in text], answer
    assert [m["id"] for m in pages[0].json()["data"]] == [PHI]


# ---- the administration port ---------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "/state", "/metrics", "/healthz", "/readyz", "//state", "/./state", "/v1/models/../../state",
    "/v1/models/..%2f..%2fstate", "/v1/models%2f..%2f..%2fstate", "/v1/models/", "/v1/models/..;/state",
    "/v1/models%00", "/v1/models#/../state", "/v1/models\\..\\state", "/%73tate", "/v1/models%3f", "/V1/MODELS",
    "http://a/state", "http://127.0.0.1:9015/state", "/v1/models HTTP/1.1\r\nX: y", "*", "a:9015"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "CONNECT", "TRACE"])
def test_administration_is_out_of_reach(fence, method, path):
    said = raw(fence.port, f"{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    assert b"pools" not in said and b"spoa_inference_" not in said and b"ready" not in said
    # A blank ends the path: that one is the list of models.
    if said.startswith(b"HTTP/1.1 2"):
        assert path.startswith("/v1/models ") and method in ("GET", "HEAD"), said


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models?x=/state", "http://a/v1/models",
                                  "/v1/models?/../../state"])
def test_list_of_models(fence, path):
    said = raw(fence.port, f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 200") and PHI.encode() in said and HIDDEN.encode() not in said


def test_body_of_a_get_is_no_second_request(fence):
    """HAProxy keeps its connections to servers: an answer too many would be the next client's."""
    inner = b"GET /state HTTP/1.1\r\nhost: a\r\n\r\n"
    tries = [b"content-length: %d\r\n\r\n%s" % (len(inner), inner),
             b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)]
    with socket.create_connection(("127.0.0.1", fence.port), 10) as s:
        f = s.makefile("rb")
        for i in range(12):
            head = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n"
            s.sendall(head + (tries[i // 3 % 2] if i % 3 == 1 else b"\r\n"))
            status, length = f.readline(), 0
            while (line := f.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = f.read(length)
            assert status.startswith(b"HTTP/1.1 200") and b"pools" not in body, (status, body)
            assert json.loads(body)["object"] == "list"


# ---- bounds, at the agent itself -----------------------------------------------------------------


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("lone"))
    many = [f"known-{i}" for i in range(300)]
    conf = {"listen": {"spop": f"unix@{directory}/spop", "admin": f"127.0.0.1:{free_port()}",
                       "feedback": f"127.0.0.1:{free_port()}"},
            "limits": {"model_labels": 100}, "scrape": {"engine": "none"},
            "pools": {"phi4": {"models": [PHI, *many], "endpoints": ["127.0.0.1:9"]}}}
    a = Agent(conf, directory).start(ready=False)
    a.many = many
    until(lambda: a.page("/healthz").status == 200)
    yield a
    a.stop()


def resident(agent):
    with open(f"/proc/{agent.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_names_make_no_series(lone):
    """10,000 made-up names leave the page as long as one did; of 300 known ones 100 have their own."""
    with SpopClient(lone.conf["listen"]["spop"]) as c:
        c.ask(body=b'{"model":"nobody"}')
        before = lone.metrics()
        lines = len(lone.page("/metrics").body.splitlines())
        for i in range(10_000):
            assert c.ask(body=b'{"model":"made-up-%d"}' % i)["verdict"].value == "model_not_found"
        assert len(lone.page("/metrics").body.splitlines()) == lines
        for name in lone.many:
            c.ask(body=b'{"model":"%s"}' % name.encode())
    after = lone.metrics()
    assert (after.get_one("spoa_inference_requests_total", verdict="model_not_found")
            - before.get_one("spoa_inference_requests_total", verdict="model_not_found")) == 10_000
    named = set(re.findall(r'model_requests_total\{model="([^"]*)"', lone.page("/metrics").body.decode()))
    assert len(named) <= 101 and not [n for n in named if n.startswith("made-up")]


def test_memory_after_bad_requests(lone):
    bodies = [b for b, _ in BODIES.values()] + [b"", b"{", b"\xff" * 100, b"[" * 4000, b'{"a":"' + b"x" * 9000,
                                                b'{"model":"%s"}' % (b"z" * 5000)]
    kinds = ["application/json", "multipart/form-data; boundary=b", "multipart/form-data", "x" * 2000, "text/plain"]
    with SpopClient(lone.conf["listen"]["spop"]) as c:
        def bad(n):
            for i in range(n):
                c.ask(body=bodies[i % len(bodies)], content_type=kinds[i // 7 % len(kinds)],
                      content_encoding="gzip" if i % 11 == 0 else "")
        bad(5_000)
        before = resident(lone)
        bad(50_000)
        assert resident(lone) - before < 1_000_000


def test_memory_after_large_bodies(lone):
    body = b'{"messages":"' + b"x" * 900_000 + b'","model":"nobody"}'
    for _ in range(2):
        clients = [SpopClient(lone.conf["listen"]["spop"]) for _ in range(10)]
        for c in clients:
            for _ in range(20):
                assert c.ask(body=body)["verdict"].value == "model_not_found"
        for c in clients:
            c.close()
        time.sleep(0.1)
        assert resident(lone) < 40_000_000
