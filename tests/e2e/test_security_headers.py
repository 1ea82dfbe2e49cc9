"""What an untrusted client can do with headers around a body that is allowed: more than fits, lengths that no
body has, trailers. (Headers that HAProxy, the agent and a model server read differently: test_haproxy_bounds.py.)"""
import ssl

import pytest

from fence import GOOD, P, fenced, framed, raw
from stack import PHI
from test_security_wire import JSON, USUAL, chunk, h2_frame
from fence import certificate, fence  # noqa: F401, fixtures


@pytest.fixture(scope="module")
def headed(version, certificate):  # noqa: F811
    """All headers go to the agent."""
    yield from fenced(version, certificate, "whole", INFERENCE_HDRS="1")


def asked(s):
    """Requests that the agent has heard of."""
    return s.agent.metrics().sum("spoa_inference_requests_total")


# ---- lengths -------------------------------------------------------------------------------------

@pytest.mark.parametrize("length", [(8 << 20) + 1, (1 << 32) + 1, (1 << 32) + len(GOOD), (1 << 63) - 1])
def test_announced_too_large(fence, length):  # noqa: F811
    """Refused at once, also where it is small in 32 bits; over HTTP/2 as well."""
    said = raw(fence.port, framed(b"content-length: %d" % length))
    assert said.startswith(b"HTTP/1.1 413"), said
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    fields = USUAL + [JSON, (b"content-length", b"%d" % length)]
    block = b"".join(b"\0" + bytes([len(k)]) + k + bytes([len(v)]) + v for k, v in fields)
    said = raw(fence.h.port_tls, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0, b"")
               + h2_frame(1, 4, 1, block), 1.0, context)
    assert b"413" in said and b"request_too_large" in said, said


# ---- more than a frame holds ---------------------------------------------------------------------

def of_size(n):
    return b'{"model":%s,"pad":"%s"}' % (P, b"a" * (n - len(b'{"model":%s,"pad":""}' % P)))


@pytest.mark.parametrize("body", [1 << 10, 600 << 10, (1 << 20) - 64])
@pytest.mark.parametrize("size", [21 << 10, 540 << 10])
@pytest.mark.parametrize("where", ["content-type", "host", "x-a", "path"])
def test_headers_do_not_pass_the_agent_by(headed, where, size, body):
    """A frame that would be too large never goes out: neither is this one request treated as if the agent
    were away, nor does the agent lose the connection."""
    body = of_size(body)
    request = framed(b"content-length: %d" % len(body), b"x-a: b", b"connection: close", body=body)
    long = b"a" * size
    request = request.replace(*{"content-type": (b"application/json", b"application/json; x=" + long),
                                "host": (b"host: a", b"host: " + long), "x-a": (b"x-a: b", b"x-a: " + long),
                                "path": (b"completions", b"completions/" + long)}[where], 1)
    before = len(headed.echo.requests)
    said = raw(headed.port, request)
    # what does not fit into HAProxy's buffer with its headers, or into 1 MiB, it says itself
    assert said[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 413") or not said, said[:300]
    assert not headed.echo.requests[before:]
    count = asked(headed)
    assert headed.post(GOOD).status == 200
    assert asked(headed) == count + 1


@pytest.mark.parametrize("body", [1 << 10, 40 << 10, 600 << 10, (1 << 20) - 64])
@pytest.mark.parametrize("where", ["content-type", "host", "x-a", "path"])
def test_headers_up_to_the_limit(headed, where, body):
    """With these beside the largest body the agent is asked."""
    body = of_size(body)
    request = framed(b"content-length: %d" % len(body), b"x-a: b", b"connection: close", body=body)
    long = b"a" * (15 << 10)
    request = request.replace(*{"content-type": (b"application/json", b"application/json; x=" + long),
                                "host": (b"host: a", b"host: " + long), "x-a": (b"x-a: b", b"x-a: " + long),
                                "path": (b"completions", b"completions/" + long)}[where], 1)
    count = asked(headed)
    said = raw(headed.port, request)
    assert said.startswith(b"HTTP/1.1 200"), said[:300]
    assert asked(headed) > count


def test_chunks_at_the_edge(headed):
    """Without a length, around what a buffer and a frame hold: the agent has heard of each that is served."""
    for kilobytes in (1000, 1023, 1024, 1025, 1040, 1060, 1080, 1086, 1087, 1088):
        body = of_size(kilobytes << 10)
        before, count = len(headed.echo.requests), asked(headed)
        said = raw(headed.port, framed(b"transfer-encoding: chunked", b"connection: close", b"x-a: " + b"a" * 15000,
                                       body=chunk(body) + b"0\r\n\r\n"))
        assert said[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 413"), (kilobytes, said[:300])
        assert (kilobytes > 1024) == said.startswith(b"HTTP/1.1 413"), kilobytes
        assert asked(headed) > count or not headed.echo.requests[before:], kilobytes


# ---- trailers ------------------------------------------------------------------------------------

def test_trailers(fence):  # noqa: F811
    """From 3.2 on they do not reach a model server."""
    before = len(fence.echo.requests)
    said = raw(fence.port, framed(b"transfer-encoding: chunked", b"te: trailers", b"connection: close",
                                  body=chunk(GOOD) + b"0\r\nX-Gateway-Model-Name: forged\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 200"), said
    (_, headers, _), = fence.echo.requests[before:]
    assert headers["x-gateway-model-name"] == PHI and "forged" not in str(headers)
    if tuple(int(n) for n in fence.version.split(".")) >= (3, 2):
        assert fence.echo.trailers[-1] == []
