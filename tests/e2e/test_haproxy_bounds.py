"""What a client cannot do to the way to the agent: make a question too large to be sent, so that HAProxy goes
on without it; or send what HAProxy, the agent and the model server read differently."""
import pytest

from config_rig import CHAT, MESSAGES, Rig
from fence import raw

# Who goes by the map is served: then the agent's refusal was passed by.
MAP = {"models.map": "m llama\n"}
REFUSED = {"verdict": "model_not_found", "status": 404, "model": "m"}
SMALL = b'{"model":"m"}'


def refuse(notify):
    return {"verdict": "need_body", "status": 0} if notify.message == "slices" else REFUSED


def padded(size):
    return b'{"model":"m","x":"%s"}' % (b"y" * (size - 20))


def lines(n, each=60_000):
    """Header lines of @n bytes of values together."""
    cut = [min(each, n - at) for at in range(0, n, each)]
    return b"".join(b"x-h%d: %s\r\n" % (i, b"a" * size) for i, size in enumerate(cut))


def post(rig, head=b"host: a\r\n", body=SMALL, chunked=False, path=CHAT, method=b"POST", wait=10.0):
    """(status, all that came back, the messages of what the agent was asked)."""
    rig.agent.notifies.clear()
    data = b"%s %s HTTP/1.1\r\nconnection: close\r\n%s" % (method, path.encode(), head)
    if chunked:
        data += b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        data += b"content-length: %d\r\n\r\n%s" % (len(body), body)
    said = raw(rig.h.port, data, wait)
    return int(said[9:12] or 0), said, [n.message for n in rig.agent.notifies]


# ---- the size of a question ----------------------------------------------------------------------


@pytest.fixture(scope="module", params=["plain", "kubernetes", "headers"])
def asked(version, request):
    env = {"plain": {}, "kubernetes": {"INFERENCE_KUBERNETES": "1"},
           "headers": {"INFERENCE_KUBERNETES": "1", "INFERENCE_HDRS": "1"}}[request.param]
    with Rig(version, files=MAP, **env) as rig:
        rig.answer, rig.kind = refuse, request.param
        yield rig


def name(case):
    return case[0]


LARGE = [
    ("a host of 600 KB", {"head": b"host: %s\r\n" % (b"a" * 600_000)}),
    ("a content type of 1 MB", {"head": b"host: a\r\ncontent-type: %s\r\n" % (b"a" * 1_000_000)}),
    ("headers of 1 MB", {"head": b"host: a\r\n" + lines(1_000_000)}),
    ("a path of 1 MB", {"path": "/v1/" + "a" * 1_000_000}),
    ("a path and a host of 500 KB", {"path": "/v1/" + "a" * 500_000, "head": b"host: %s\r\n" % (b"a" * 500_000)}),
    ("a method of 1 MB", {"method": b"A" * 1_000_000}),
    *((f"a content type of {n} and {size} bytes{', chunked' if chunked else ''}",
       {"head": b"host: a\r\ncontent-type: %s\r\n" % (b"a" * n), "body": padded(size), "chunked": chunked})
      for n in (10_000, 60_000, 100_000) for size in (1_000_000, 1_048_576) for chunked in (False, True)),
    *((f"headers of {n} and {size} bytes", {"head": b"host: a\r\n" + lines(n), "body": padded(size)})
      for n in (10_000, 60_000, 100_000) for size in (1_000_000, 1_048_576)),
    *((f"{size} bytes without a length", {"head": b"host: a\r\ncontent-type: application/json\r\n" + lines(10_000),
                                          "body": padded(size), "chunked": True})
      for size in (1_048_577, 1_090_000, 1_112_000, 1_113_000)),
]


@pytest.mark.parametrize("case", LARGE, ids=map(name, LARGE))
def test_no_question_is_too_large(asked, case):
    """Refused by HAProxy or by the agent, never passed by it; and nobody else's request is."""
    _, how = case
    status, said, messages = post(asked, **how)
    if how.get("method") and asked.kind == "plain":
        assert status == 404 and not messages  # no POST: nobody is asked
    else:
        assert status in (404, 413, 431), (said[:300], messages)
        # 404 is the agent's word here
        assert status != 404 or messages, said
    assert b"x-inference-pool" not in said.lower()
    assert post(asked)[::2] == (404, ["route"])


def test_the_largest_question_that_is_allowed(asked):
    """At all bounds at once, in an order in which most of it is sent twice: it is asked, whole."""
    if asked.kind != "headers":
        pytest.skip("nothing is sent twice")
    head = b"content-type: %s\r\ncontent-encoding: %s\r\nhost: %s\r\n" % (b"a" * 7_000, b"a" * 7_000, b"a" * 6_350)
    path = "/v1/" + "a" * (16_384 - 4)
    for chunked in (False, True):
        status, said, messages = post(asked, head, padded(1_048_576), chunked, path)
        assert (status, messages[-1]) == (404, "whole"), (said[:300], messages)
        hdrs = asked.agent.notifies[-1].args["hdrs"]
        assert 20_380 < len(hdrs) <= 20_480
        assert len(asked.agent.notifies[-1].args["body"]) == 1_048_576
    status, said, messages = post(asked, head, path=path + "a")
    assert (status, messages) == (431, []), said[:300]
    status, said, messages = post(asked, head + b"x: %s\r\n" % (b"a" * 200))
    assert (status, messages) == (431, []), said[:300]
    assert b'"code":"headers_too_large"' in said and b'"type":"error",' not in said
    assert b'{"type":"error","error":{"message"' in post(asked, head + b"x: %s\r\n" % (b"a" * 200), path=MESSAGES)[1]


# ---- what is read differently --------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(version):
    with Rig(version, files=MAP) as rig:
        yield rig


JSON, FORM = b"content-type: application/json\r\n", b'Content-Type: multipart/form-data; boundary="a,b"\r\n'
TWICE = {
    "two content types": JSON + FORM,
    "the same twice": JSON + JSON,
    "an empty one before": b"content-type:\r\n" + JSON,
    "between others": JSON + b"x: y\r\n" * 20 + FORM,
    "a list": b"content-type: application/json, multipart/form-data; boundary=b\r\n",
    "an open quote, then another": b'content-type: application/json; x="\r\n' + FORM,
    "two encodings": JSON + b"content-encoding: gzip\r\ncontent-encoding: identity\r\n",
    "the same encoding twice": JSON + b"content-encoding: identity\r\nContent-Encoding: identity\r\n",
}


def served(rig):
    return sum(len(s.requests) for s in rig.servers.values())


@pytest.mark.parametrize("how", TWICE)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_content_type_and_encoding_are_one(gateway, how, path):
    """Who reads the first of two and who reads the last need not agree (RFC 9110, 8.3)."""
    gateway.settle()
    before = served(gateway)
    status, said, messages = post(gateway, b"host: a\r\n" + TWICE[how], path=path)
    assert (status, messages, served(gateway)) == (400, [], before), said[:300]
    assert b"invalid_request_error" in said and (path == MESSAGES) == (b'"type":"error",' in said)


@pytest.mark.parametrize("head", [
    b"", JSON, FORM, b"content-type: multipart/form-data; boundary=b\r\n", JSON + b"content-encoding: identity\r\n",
    b'content-type: application/json; charset=utf-8; x="a, b"\r\n', JSON + b"accept: a, b\r\nAccept: c\r\n",
    JSON + b"content-encoding: gzip, identity\r\n"])  # a list of encodings is the agent's to judge
def test_one_content_type_passes(gateway, head):
    gateway.settle()
    assert post(gateway, b"host: a\r\n" + head)[::2] == (200, ["route"])


@pytest.mark.parametrize("length", [b"4294967297", b"4294967396", b"6442450944", b"9223372036854775807",
                                    b"9223372036854775808", b"18446744073709551615", b"18446744073709551616",
                                    b"340282366920938463463374607431768211457", b"8388609"])
@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_lengths_beyond_32_and_64_bits(gateway, method, length):
    """Too large is too large: HAProxy's own rule to the bit, and what 2.6 and 3.0 take for no length at all."""
    gateway.settle()
    before = served(gateway)
    gateway.agent.notifies.clear()
    said = raw(gateway.h.port, b"%s %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %s\r\n\r\n%s"
               % (method, b"/v1/models" if method == b"GET" else CHAT.encode(), length, SMALL), 1.0)
    assert not gateway.agent.notifies and served(gateway) == before
    assert int(said[9:12] or 0) in ((400, 413) if method == b"POST" else (0, 400, 502, 503)), said[:300]
    if method == b"GET" and int(length) >= 1 << 64:
        assert said.startswith(b"HTTP/1.1 400"), said[:300]
        assert not any(h.get("Content-Length") or h.get("content-length") for _, h, _ in gateway.admin.requests)


def test_leading_zeros_are_a_length(gateway):
    gateway.settle()
    said = raw(gateway.h.port, b"POST %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 000000000000013\r\n\r\n%s"
               % (CHAT.encode(), SMALL), 5.0)
    assert said.startswith(b"HTTP/1.1 200"), said[:300]
