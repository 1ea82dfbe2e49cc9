"""spoa-sim as a process of a test, and what is said to it. Standard library only; SPOA_SIM names the
program."""
import http.client
import json
import os
import signal
import socket
import subprocess
import time
import unittest

BASE = "meta-llama/Llama-3.1-8B-Instruct"


def program():
    here = os.path.dirname(os.path.abspath(__file__))
    for path in (os.environ.get("SPOA_SIM"), os.path.join(here, "../../build/tests/sim/spoa-sim")):
        if path and os.access(path, os.X_OK):
            return path
    raise unittest.SkipTest("SPOA_SIM does not name the spoa-sim program")


class Sim:
    """One process; .at[name] is HOST:PORT of each server's last listener."""

    def __init__(self, *args):
        self.ends_with = 0
        self.proc = subprocess.Popen([program(), "--parent", *args], stdout=subprocess.PIPE,
                                     text=True)
        words = self.proc.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise AssertionError("not ready: %r, exit status %s" % (words, self.proc.wait()))
        self.all = [w.rsplit("=", 1) for w in words[1:]]
        self.at = dict(self.all)
        self.addr = self.all[0][1]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.proc.stdout.close()
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        status = self.proc.wait(10)
        if exc[0] is None:
            assert status == self.ends_with, "exit status %s" % status

    def conn(self, name=None, timeout=10):
        return http.client.HTTPConnection(self.at[name] if name else self.addr, timeout=timeout)

    def call(self, method, path, body=None, headers=None, name=None, timeout=10):
        """status, headers, body (decoded when it is JSON)"""
        conn = self.conn(name, timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        head = {"Content-Type": "application/json"} if body is not None else {}
        head.update(headers or {})
        try:
            conn.request(method, path, body, head)
            answer = conn.getresponse()
            data = answer.read()
        finally:
            conn.close()
        if answer.getheader("content-type") == "application/json":
            data = json.loads(data)
        return answer.status, answer.headers, data

    def post(self, path, body, **kw):
        return self.call("POST", path, body, **kw)

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def fault(self, query, **kw):
        status, _, body = self.call("POST", "/sim/fault?" + query, "", **kw)
        assert status == 200, body

    def stats(self, **kw):
        return self.get("/sim/stats", **kw)[2]

    def until(self, want, seconds=5):
        end = time.monotonic() + seconds
        while not want(self.stats()):
            if time.monotonic() > end:
                raise AssertionError("never came: %r" % self.stats())
            time.sleep(0.01)


def chat(text="hello", **kw):
    return dict({"messages": [{"role": "user", "content": text}], "max_tokens": 5}, **kw)


def events(data):
    """[(event or None, data)] of an SSE body"""
    out = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if fields:
            out.append((fields.get("event"), fields["data"]))
    return out


def raw(sim, data, name=None):
    host, port = (sim.at[name] if name else sim.addr).split(":")
    s = socket.create_connection((host, int(port)), timeout=10)
    s.sendall(data)
    return s


def read_all(s):
    data = b""
    while True:
        more = s.recv(65536)
        if not more:
            s.close()
            return data
        data += more
