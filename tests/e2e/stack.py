"""The whole gateway for a test: real HAProxy, the real agent, six simulated model servers.

    with Stack("3.2") as s:
        s.chat(LLAMA).headers["x-sim-name"]        # llama1, llama2 or llama3
        s.sims.fault("llama1", kind="slow", factor=10)
        s.agent.state()

Everything listens on free ports of 127.0.0.1 and writes into one folder that goes with it. A test
that fails shows the logs (conftest.py).
"""
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

from haproxy import HAProxy
from prom import Page

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("SPOA_BUILD", os.path.join(ROOT, "build"))
AGENT = os.path.join(BUILD, "agent", "spoa-inference")
# What the agent is started by: sandbox.py, valgrind, …
WORKERS = os.environ.get("SPOA_WORKERS")  # where a test does not say
UNDER = shlex.split(os.environ.get("SPOA_UNDER", ""))
SIM = os.path.join(BUILD, "tests", "sim", "spoa-sim")

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
PHI = "microsoft/Phi-4-mini-instruct"
ADAPTER = "food-review-1"
LLAMAS = ("llama1", "llama2", "llama3")
PHIS = ("phi1", "phi2", "phi3")
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"


def until(condition, wait=15, what=None, every=0.03):
    """Until condition() is true; returns what it said. Exceptions of a peer that is not there yet
    count as false."""
    end, last = time.monotonic() + wait, None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, http.client.HTTPException, KeyError, IndexError, ValueError) as e:
            last = e
        if time.monotonic() > end:
            raise AssertionError(f"not within {wait} s: {what or condition}; last: {last!r}")
        time.sleep(every)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


def ask(port, method="GET", path="/", body=None, headers=None, chunked=False, timeout=30,
        host="127.0.0.1"):
    """One request on one connection of its own."""
    c = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        if chunked:
            pieces = [body[i : i + 10_000] for i in range(0, len(body), 10_000)]
            c.request(method, path, iter(pieces), headers or {}, encode_chunked=True)
        else:
            c.request(method, path, body, headers or {})
        r = c.getresponse()
        return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
    finally:
        c.close()


def end(process, how=signal.SIGTERM, wait=15, twice=False):
    """The exit status; @twice: the second signal is what says "now"."""
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(how)
        if twice:
            time.sleep(0.1)
            process.send_signal(how)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{process.args[0]} did not end {wait} s after signal {how}")
    return process.returncode


class Sims:
    """One spoa-sim process with several model servers. @servers: name → options of --server."""

    def __init__(self, servers, directory, options=()):
        self.names = list(servers)
        self.log = os.path.join(directory, "sims.log")
        argv = [SIM, "--parent", *options]
        for name, more in servers.items():
            argv += ["--server", ",".join([f"name={name}", *more])]
        with open(self.log, "ab") as err:
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=err,
                                            stdin=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.wait()
            with open(self.log, errors="replace") as f:
                raise RuntimeError(f"spoa-sim did not start: {line}{f.read()}")
        self.addresses = {}
        for word in line.split()[1:]:
            name, address = word.split("=", 1)
            self.addresses.setdefault(name, address)

    def port(self, name):
        return int(self.addresses[name].rsplit(":", 1)[1])

    def control(self, name, what, method="POST", **query):
        """An order to @name through whichever server of the process can be reached."""
        query["server"] = name
        path = f"/sim/{what}?" + urllib.parse.urlencode(query)
        for via in [name] + [n for n in self.names if n != name]:
            try:
                answer = ask(self.port(via), method, path)
            except (OSError, http.client.HTTPException):
                continue
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer}")
            return answer.json()
        raise RuntimeError(f"no server takes {path}")

    def fault(self, name, kind, **more):
        if "milliseconds" in more:
            more["for"] = more.pop("milliseconds")
        return self.control(name, "fault", kind=kind, **more)

    def load(self, name, **what):
        return self.control(name, "load", **what)

    def adapters(self, name, **what):
        return self.control(name, "adapters", **what)

    def stats(self, name):
        return self.control(name, "stats", "GET")

    def all_stats(self):
        return {n: self.stats(n) for n in self.names}

    def settle(self):
        for n in self.names:
            self.fault(n, "none")
            self.load(n, running=0, waiting=0, kv=0)

    def stop(self):
        end(self.process)
        self.process.stdout.close()


class Agent:
    """The agent under a configuration that is a dict: JSON is YAML."""

    def __init__(self, conf, directory, name="agent", env=None):
        self.directory = directory
        self.file = os.path.join(directory, name + ".yaml")
        self.log_file = os.path.join(directory, name + ".log")
        self.env = {**os.environ, **(env or {})}
        self.process = None
        self.configure(conf)

    def configure(self, conf):
        if WORKERS and not isinstance(conf, str):
            conf = {"workers": int(WORKERS), **conf}
        self.conf = conf
        with open(self.file, "w") as f:
            f.write(conf if isinstance(conf, str) else json.dumps(conf, indent=2))
        if not isinstance(conf, str):
            admin = conf["listen"]["admin"]
            self.admin_port = int((admin if isinstance(admin, str) else admin[0]).rsplit(":", 1)[1])

    def start(self, ready=True, wait=20):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*UNDER, AGENT, "-f", self.file], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=self.env)
        if ready:
            self.wait_ready(wait)
        return self

    def wait_ready(self, wait=20):
        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the agent ended: {self.process.returncode}\n{self.log()}")
            return self.page("/readyz").status == 200
        until(ready, wait, "the agent is ready")

    def log(self):
        with open(self.log_file, errors="replace") as f:
            return f.read()

    def events(self, name=None):
        """Log lines as dicts, of one event or all."""
        found = []
        for line in self.log().splitlines():
            pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)
            row = {k: v.strip('"') for k, v in pairs}
            if row and (name is None or row.get("event") == name):
                found.append(row)
        return found

    def page(self, path, **more):
        return ask(self.admin_port, path=path, **more)

    def state(self):
        answer = self.page("/state")
        assert answer.status == 200, answer
        return answer.json()

    def metrics(self):
        answer = self.page("/metrics")
        assert answer.status == 200, answer
        return Page(answer.body.decode())

    def models(self):
        return [m["id"] for m in self.page("/v1/models").json()["data"]]

    def tickets(self):
        return int(self.metrics().get_one("spoa_inference_tickets"))

    def endpoints(self):
        """Every endpoint of /state by its server name, or its address where it has none."""
        return {e.get("server") or e["address"]: e
                for pool in self.state()["pools"] for e in pool["endpoints"]}

    def explain(self, body, *more):
        body = body.encode() if isinstance(body, str) else body
        return subprocess.run([AGENT, "explain", "-f", self.file, *more], input=body,
                              capture_output=True, timeout=60, env=self.env)

    def reload(self, conf=None):
        """SIGHUP, and wait until it was counted: "ok" or "failed"."""
        if conf is not None:
            self.configure(conf)
        before = self.metrics()
        self.process.send_signal(signal.SIGHUP)

        def done():
            now = self.metrics()
            for result in ("ok", "failed"):
                name = "spoa_inference_reloads_total"
                if now.sum(name, result=result) > before.sum(name, result=result):
                    return result
            return None
        return until(done, 15, "the reload is counted")

    def kill(self):
        """As a crash."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """At once: it drains for nobody."""
        return end(self.process, wait=30, twice=True)


SERVERS = {
    **{n: [f"model={LLAMA}", f"adapter={ADAPTER}:/adapters/food-review-1"] for n in LLAMAS},
    **{n: [f"model={PHI}"] for n in PHIS},
}


# Prompts cost next to nothing and a token some milliseconds, so that tests are short.
OPTIONS = ("--speed", "4", "--prefill-rate", "1e7", "--lenient")


class Stack:
    """@servers and @options are of the simulators, @conf is put over the agent's configuration
    (a dict of sections), @env goes to HAProxy."""

    def __init__(self, version, servers=None, options=OPTIONS, conf=None,
                 files=None, more=(), haproxy=None, **env):
        self.version = version
        self.directory = tempfile.mkdtemp(prefix="spoa-e2e-")
        self.sims = self.h = self.agent = None
        try:
            self.sims = Sims(servers or SERVERS, self.directory, options)
            known = {n.upper(): a for n, a in self.sims.addresses.items()}
            self.h = HAProxy(version, files=files, more=more, **{**known, **env})
            self.agent = Agent(self.configuration(conf or {}), self.directory)
        except BaseException:
            self.stop()
            raise

    def configuration(self, over):
        h = self.h
        conf = {
            "haproxy": {"socket": h.outside("admin.sock"), "poll": "200ms",
                        "map_file": h.outside("models.map")},
            "listen": {"spop": h.agent_address, "spop_mode": "0666",
                       "admin": f"127.0.0.1:{h.admin_port}",
                       "feedback": f"127.0.0.1:{h.feedback_port}"},
            "scrape": {"interval": "200ms", "models_interval": "1s"},
            "drain": "4s",
            "log": {"level": "debug"},
            "pools": {"llama": {}, "phi4": {}},
        }
        for section, value in over.items():
            if isinstance(value, dict) and section in conf and section != "pools":
                conf[section] = {**conf[section], **value}
            else:
                conf[section] = value
        return conf

    @property
    def port(self):
        return self.h.port

    def start(self):
        self.agent.start(ready=False)
        self.h.start()
        self.wait_ready()
        return self

    def wait_ready(self, names=None):
        """HAProxy sees the agent, and the agent all servers and their models."""
        self.h.wait_agent("UP")
        self.agent.wait_ready()
        names = set(names or self.sims.names)
        until(lambda: names <= {n for n, e in self.agent.endpoints().items() if not e["flags"]},
              what="the agent may pick every server")

    def stop(self):
        for part in (self.h, self.agent, self.sims):
            if part is not None:
                try:
                    part.stop()
                except AssertionError as e:
                    print(e)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            print(self.logs())
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def logs(self):
        def tail(text, lines=60):
            told = [line for line in text.splitlines() if "reason=health_check" not in line]
            return "\n".join(told[-lines:])

        parts = []
        if self.agent and os.path.exists(self.agent.log_file):
            parts.append(f"---- agent\n{tail(self.agent.log())}")
        if self.h and os.path.exists(self.h.outside("log")):
            parts.append(f"---- haproxy {self.version}\n{tail(self.h.log())}")
        return "\n".join(parts)

    def settle(self):
        """As after the start: no faults, no requests in flight, all servers ready."""
        self.sims.settle()
        for name in self.sims.names:
            backend = "llama" if name.startswith("llama") else "phi4"
            self.h.runtime(f"set server {backend}/{name} state ready")
        until(lambda: all(not e["flags"] and e["open"] == 0 and e["foreign"] == 0
                          for n, e in self.agent.endpoints().items() if n in self.sims.names),
              20, "every server free and usable again")

    # ---- requests
    def post(self, body, path=CHAT, headers=None, **more):
        if not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
        return ask(self.port, "POST", path, body,
                   {"content-type": "application/json", **(headers or {})}, **more)

    def chat(self, model, text="hello there", max_tokens=3, **more):
        return self.post({"model": model, "max_tokens": max_tokens,
                          "messages": [{"role": "user", "content": text}]}, **more)

    def open_stream(self, model, max_tokens=1000, port=None):
        """A chat stream whose answer has begun: (socket, what came so far)."""
        body = json.dumps({"model": model, "max_tokens": max_tokens, "stream": True,
                           "messages": [{"role": "user", "content": "count"}]}).encode()
        s = socket.create_connection(("127.0.0.1", port or self.port), 30)
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: "
                  b"application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        got = b""
        while b"data: " not in got:
            more = s.recv(65536)
            if not more:
                raise AssertionError(f"no stream: {got!r}")
            got += more
        return s, got
