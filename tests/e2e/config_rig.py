"""HAProxy under the shipped files with a scripted agent and model servers that tell what they got."""
import http.client
import json
import os
import queue
import re
import socket
import subprocess
import threading
import time

import pytest

from constant_agent import ConstantAgent
from echo_server import EchoServer
from haproxy import HAProxy, versions

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
