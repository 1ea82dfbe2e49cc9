"""What an untrusted client can do with framing: requests within requests, lengths that disagree, HTTP/2
that no library sends."""
import ssl
import struct

import pytest

from fence import ALLOWED, GOOD, S, SECRET, framed, raw, readings
from stack import CHAT
from fence import certificate, fence, slices  # noqa: F401, fixtures


# ---- framing -------------------------------------------------------------------------------------

INNER = (b"POST /smuggled HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d"
         b"\r\n\r\n%s" % (len(b'{"model":%s}' % S), b'{"model":%s}' % S))


def chunk(data, ext=b""):
    return b"%x%s\r\n%s\r\n" % (len(data), ext, data)


FRAMINGS = {
    "length and chunks": framed(b"content-length: %d" % len(GOOD), b"transfer-encoding: chunked",
                                body=chunk(GOOD) + b"0\r\n\r\n" + INNER),
    "length of all and chunks": framed(b"content-length: %d" % (len(INNER) + 5), b"transfer-encoding: chunked",
                                       body=b"0\r\n\r\n" + INNER),
    "two lengths": framed(b"content-length: %d" % len(GOOD), b"content-length: %d" % (len(GOOD + INNER)),
                          body=GOOD + INNER),
    "list of lengths": framed(b"content-length: %d, %d" % (len(GOOD), len(GOOD)), body=GOOD + INNER),
    "signed length": framed(b"content-length: +%d" % len(GOOD), body=GOOD + INNER),
    "hex length": framed(b"content-length: 0x%x" % len(GOOD), body=GOOD + INNER),
    "blank before colon": framed(b"content-length : %d" % len(GOOD), body=GOOD + INNER),
    "unknown coding": framed(b"transfer-encoding: xchunked", body=chunk(GOOD) + b"0\r\n\r\n" + INNER),
    "chunked twice": framed(b"transfer-encoding: chunked, chunked", body=chunk(GOOD) + b"0\r\n\r\n" + INNER),
    "chunked, then identity": framed(b"transfer-encoding: chunked", b"transfer-encoding: identity",
                                     body=chunk(GOOD) + b"0\r\n\r\n" + INNER),
    "folded": framed(b"transfer-encoding:", b" chunked", body=chunk(GOOD) + b"0\r\n\r\n" + INNER),
    "tab": framed(b"transfer-encoding:\tchunked", b"content-length: 4", body=chunk(GOOD) + b"0\r\n\r\n" + INNER),
    "underscore": framed(b"transfer_encoding: chunked", b"content-length: %d" % len(GOOD), body=GOOD + INNER),
    "extension": framed(b"transfer-encoding: chunked", body=chunk(GOOD, b';a="\r\n0\r\n\r\n"') + b"0\r\n\r\n" + INNER),
    "bare line feeds": framed(b"transfer-encoding: chunked", body=chunk(GOOD).replace(b"\r\n", b"\n") + b"0\n\n" + INNER),
    "huge chunk": framed(b"transfer-encoding: chunked", body=b"ffffffffffffffff1\r\n" + GOOD + b"\r\n0\r\n\r\n" + INNER),
    "trailer": framed(b"transfer-encoding: chunked", body=chunk(GOOD) + b"0\r\nX-Gateway-Model-Name: x\r\n\r\n" + INNER),
    "carriage return": framed(b"content-length: %d\rtransfer-encoding: chunked" % len(GOOD), body=GOOD + INNER),
    "nul": framed(b"content-length: %d\0" % len(GOOD), body=GOOD + INNER),
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_smuggling(fence, name):
    """One request, or two that HAProxy both sees: nobody's model is served but an allowed one."""
    before = len(fence.echo.requests)
    said = raw(fence.port, FRAMINGS[name], wait=0.6)
    assert said == b"" or said.startswith(b"HTTP/1.")
    for path, headers, body in fence.echo.requests[before:]:
        assert path == CHAT and readings(body) <= ALLOWED, (path, headers, body)
        assert SECRET not in str(headers)
    assert fence.post(GOOD).status == 200


# ---- HTTP/2 by hand: what no client library sends ------------------------------------------------


def h2_frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2_ask(port, fields, body=b"", wait=2.0):
    """Bytes that came back, or b"" for a refused connection or stream. @fields are sent as they are."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    block = b""
    for k, v in fields:
        assert len(k) < 127 and len(v) < 127
        block += b"\0" + bytes([len(k)]) + k + bytes([len(v)]) + v
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0, b"")
    data += h2_frame(1, 4 | (0 if body else 1), 1, block)
    if body:
        data += h2_frame(0, 1, 1, body)
    return raw(port, data, wait, context)


USUAL = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", CHAT.encode()), (b":authority", b"a")]
JSON = (b"content-type", b"application/json")


@pytest.mark.parametrize("fields", [
    USUAL + [JSON, (b":path", b"/smuggled")],
    USUAL + [JSON, (b":model", SECRET.encode())],
    [JSON] + USUAL,
    USUAL[:3] + [(b":authority", b"a\r\nx-gateway-model-name: x"), JSON],
    USUAL[:2] + [(b":path", b"/x HTTP/1.1\r\nx-gateway-model-name: x\r\n\r\n"), USUAL[3], JSON],
    [(b":method", b"POST /smuggled HTTP/1.1\r\nx: y\r\n\r\nGET")] + USUAL[1:] + [JSON],
    USUAL + [JSON, (b"x-a", b"b\r\nX-Gateway-Model-Name: x")],
    USUAL + [JSON, (b"x-a\r\nx-gateway-model-name", b"x")],
    USUAL + [JSON, (b"X-Gateway-Model-Name", b"x")],
    USUAL + [JSON, (b"x-gateway-model-name", b"x")],
    USUAL + [JSON, (b"x_gateway_model_name", b"x")],
    USUAL + [JSON, (b"transfer-encoding", b"chunked")],
    USUAL + [JSON, (b"connection", b"x-gateway-model-name")],
    USUAL + [JSON, (b"content-length", b"3")],
    USUAL + [JSON, (b"content-length", b"3"), (b"content-length", b"400")],
], ids=range(15))
def test_http2_by_hand(fence, fields):
    before = len(fence.echo.requests)
    h2_ask(fence.h.port_tls, fields, GOOD, 0.4)
    h2_ask(fence.h.port_tls, fields, b'{"model":%s}' % S, 0.4)
    for path, headers, body in fence.echo.requests[before:]:
        assert path == CHAT and readings(body) <= ALLOWED, (path, headers, body)
        names = [v for k, v in headers.items() if "gateway" in k.lower() and "model" in k.lower()]
        assert set(names) <= ALLOWED, headers
