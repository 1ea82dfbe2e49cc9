"""A gateway that lets its clients have some models and hides others: what the tests of security knock at."""
import json
import socket
import subprocess

import pytest

from echo_server import EchoServer
from stack import CHAT, PHI, Stack, ask

HIDDEN = "internal/red-team-model"
SECRET = "secret/model-of-others"
ALLOWED = {PHI, HIDDEN}


def j(value):
    return json.dumps(value).encode()


P, S = j(PHI), j(SECRET)
GOOD = b'{"model":%s}' % P


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    at = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", at / "k",
                    "-out", at / "c", "-days", "1", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)
    return (at / "c").read_text() + (at / "k").read_text()


def fenced(version, certificate, body, **env):
    """A stack whose model servers tell everything that they got."""
    echo = EchoServer("phi1")
    with echo:
        pools = {"phi4": {"models": [PHI, {"name": HIDDEN, "hidden": True}]}}
        s = Stack(version, servers={"phi1": [f"model={PHI}"]}, files={"cert.pem": certificate},
                  conf={"pools": pools, "body": body,
                        "scrape": {"interval": "200ms", "models_interval": "1s", "engine": "none"}},
                  LLAMA1=echo.address, LLAMA2=echo.address, LLAMA3=echo.address,
                  PHI1=echo.address, PHI2=echo.address, PHI3=echo.address, **env)
        s.h.env["INFERENCE_CRT"] = s.h.inside("cert.pem")
        s.echo = echo
        with s:
            yield s


@pytest.fixture(scope="module")
def fence(version, certificate):
    yield from fenced(version, certificate, "whole")


@pytest.fixture(scope="module")
def slices(version, certificate):
    yield from fenced(version, certificate, "slices")


def readings(body):
    """The models that parsers find who take the first of two keys, or the last."""
    pairs = json.loads(body, object_pairs_hook=lambda p: p)
    named = [v for k, v in pairs if k == "model"]
    return {str(named[0]), str(named[-1])} if named else set()


def attempt(s, body, headers=None, path=CHAT, method="POST", **more):
    """The answer, and the requests that a model server got for it."""
    before = len(s.echo.requests)
    answer = ask(s.port, method, path, body, {"content-type": "application/json", **(headers or {})},
                 **more)
    return answer, s.echo.requests[before:]


def held(s, body, status=None, **more):
    """It was refused, or what was served is allowed; says which."""
    answer, got = attempt(s, body, **more)
    for _, _, arrived in got:
        assert readings(arrived) and readings(arrived) <= ALLOWED, (body[:300], arrived[:300])
    if status is not None:
        assert answer.status == status, (answer, body[:300])
    assert bool(got) == (answer.status == 200), answer
    return answer


def raw(port, data, wait=5.0, tls=None):
    """Everything that is answered until the end, or until nothing more comes."""
    with socket.create_connection(("127.0.0.1", port), wait) as s:
        if tls:
            s = tls.wrap_socket(s, server_hostname="localhost")
        got = b""
        s.settimeout(wait)
        try:
            s.sendall(data)
        except OSError:
            pass  # refused while it was sent: the answer may be there
        try:
            while more := s.recv(65536):
                got += more
        except OSError:
            pass
        return got


def framed(*headers, body=GOOD):
    return (b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body)
