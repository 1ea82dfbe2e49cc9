"""Our own HAProxy with a follower beside it, and a scripted agent that sends each request where its
body says: {"user": "BACKEND/SERVER"}.

    with Following("3.2") as f:
        f.want(pools={"llama": {"pod-a": "127.0.0.1:8001"}})
        f.wait_current()
        f.post("llama/pod-a")

The follower is the program tests/follow, the agent's own code with plans from stdin. HAProxy starts
with empty generated files, as in a pod whose containers start all at once.
"""
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading

from constant_agent import ConstantAgent
from haproxy import HAProxy
from stack import BUILD, until

FOLLOW = os.path.join(BUILD, "tests", "follow", "spoa-follow")
ENV, POOLS = "00-inference-env.cfg", "90-inference-pools.cfg"


class Follower:
    def __init__(self, directory, runtime, master, poll_ms=200, reload_ms=1000, *more):
        self.argv = [FOLLOW, directory, runtime, master, str(poll_ms), str(reload_ms), *more]
        self.log = tempfile.NamedTemporaryFile("w+", prefix="spoa-follow-", suffix=".log")
        self.start()

    def start(self):
        self.states, self.plan, self.plans = [], None, 0
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, out):
        for line in out:
            self.states.append(json.loads(line))

    @property
    def state(self):
        """What it said last of the last plan; nothing where it has not."""
        last = self.states[-1] if self.states else {}
        return last if last.get("plans") == self.plans else {"state": "none"}

    def want(self, plan):
        self.plan = plan
        self.plans += 1
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()

    def events(self):
        with open(self.log.name, errors="replace") as f:
            return f.read()

    def stop(self, kill=False):
        if self.process.poll() is None:
            if kill:
                self.process.kill()
            self.process.stdin.close()
            status = self.process.wait(10)
            # Under a sanitizer this is also where leaks show.
            assert kill or status == 0, self.events()[-3000:]
        self._reader.join(5)
        self.process.stdout.close()


class Following:
    def __init__(self, version, files=None, reload_ms=1000, keywords=(), **env):
        self.version = version
        self.h = HAProxy(version, config=ENV, more=["haproxy.cfg", POOLS],
                         files={ENV: "", POOLS: "", **(files or {})},
                         **{"INFERENCE_POOLS": 1, "INFERENCE_KUBERNETES": 1, **env})
        os.chmod(self.h.dir_outside, 0o777)
        self.agent = ConstantAgent(self.h.agent_address, self.decide)
        self.more = {}  # variables for every answer
        # Long folder names would not fit into sun_path.
        self.short = tempfile.mkdtemp(prefix="fo-")
        os.symlink(self.h.dir_outside, os.path.join(self.short, "h"))
        self.follower = None
        self.reload_ms, self.keywords = reload_ms, keywords

    def path(self, name):
        return os.path.join(self.short, "h", name)

    def __enter__(self):
        try:
            self.agent.start()
            self.h.start()
            self.h.wait_agent("UP")
            self.follow()
        except BaseException:
            self.__exit__()
            raise
        return self

    def follow(self):
        self.follower = Follower(self.h.dir_outside, self.path("admin.sock"), self.path("master.sock"),
                                 200, self.reload_ms, *self.keywords)

    def __exit__(self, *_):
        if self.follower:
            self.follower.stop()
        self.h.stop()
        self.agent.stop()
        shutil.rmtree(self.short, ignore_errors=True)

    def logs(self):
        told = self.follower.events() if self.follower else ""
        return (f"---- follower\n{told[-8000:]}\n---- states\n"
                f"{self.follower.states[-5:] if self.follower else ''}\n---- haproxy\n{self.h.log()[-6000:]}")

    # ---- the agent
    def decide(self, notify):
        body = notify.args.get("body") or notify.args.get("head") or b"{}"
        try:
            where = json.loads(body).get("user", "")
        except ValueError:
            where = ""
        backend, _, server = where.partition("/")
        if not backend:
            return {"verdict": "no_model", "status": 0}
        told = {"verdict": "routed", "status": 0, "backend": backend, **self.more}
        for name, one in zip(("server", "server2", "server3"), server.split(",")):
            if one:
                told[name] = one
        return told

    # ---- plans
    def want(self, pools, headers=(), hdrs=False, h2c=()):
        self.follower.want({
            "pools": {n: {"servers": s, "h2c": n in h2c} for n, s in pools.items()},
            "headers": list(headers), "hdrs": hdrs,
        })

    def wait(self, condition, what, wait=15):
        """Until condition(state), which does not see a state of an earlier plan."""
        return until(lambda: condition(self.follower.state), wait, what)

    def wait_current(self, wait=15, leaving=None):
        """HAProxy has what the last plan says."""
        plan = self.follower.plan["pools"]
        wanted = {(p, n): s if isinstance(s, str) else s["at"] for p, pool in plan.items()
                  for n, s in pool["servers"].items() if isinstance(s, str)}

        def there():
            state = self.follower.state
            assert self.follower.process.poll() is None
            if state["state"] != "current" or state["pools"] != len(plan) or state["has"] != len(plan):
                return False
            if leaving is not None and state["leaving"] != leaving:
                return False
            servers = self.servers()
            return all(servers.get(k, {}).get("at") == v and servers[k]["admin"] == 0
                       for k, v in wanted.items())
        until(there, wait, "HAProxy has all that is wanted")

    # ---- HAProxy
    def servers(self, backend=""):
        """{(backend, server): {"at", "admin", "checking"}} of every backend but ours."""
        lines = self.h.runtime(f"show servers state {backend}").splitlines()
        if len(lines) < 2 or not lines[1].startswith("# "):
            return {}
        names = lines[1][2:].split()
        rows = [dict(zip(names, line.split())) for line in lines[2:] if line]
        return {
            (r["be_name"], r["srv_name"]): {
                "at": (f"[{r['srv_addr']}]" if ":" in r["srv_addr"] else r["srv_addr"]) + ":" + r["srv_port"],
                "admin": int(r["srv_admin_state"]),
                "checking": bool(int(r["srv_check_state"]) & 4),
            }
            for r in rows if not r["be_name"].startswith("inference-")
        }

    def backends(self):
        return [b for b in self.h.runtime("show backend").split()[2:] if not b.startswith("inference-")]

    # ---- requests
    def post(self, where, method="POST", path="/v1/chat/completions", timeout=30, **headers):
        """(status, headers, body)"""
        c = http.client.HTTPConnection("127.0.0.1", self.h.port, timeout=timeout)
        try:
            body = json.dumps({"user": where, "model": "m", "messages": []}) if method == "POST" else None
            c.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        finally:
            c.close()

    def served_by(self, where, **more):
        """The server that HAProxy says it was, None where the answer is no 200."""
        status, headers, _ = self.post(where, **more)
        return headers.get("x-inference-server") if status == 200 else None


class Stream(threading.Thread):
    """One chat stream of a simulated server, read to its end."""

    def __init__(self, port, where, model, tokens):
        super().__init__(daemon=True)
        body = json.dumps({"user": where, "model": model, "max_tokens": tokens, "stream": True,
                           "ignore_eos": True,
                           "messages": [{"role": "user", "content": "count"}]}).encode()
        self.where, self.got, self.began = where, b"", threading.Event()
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nconnection: close\r\n"
                            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                            % (len(body), body))
        self.start()

    def run(self):
        try:
            while part := self.socket.recv(65536):
                self.got += part
                if b"data: " in self.got:
                    self.began.set()
        except OSError as e:
            self.got += f"\n{e!r}".encode()
        self.began.set()
        self.socket.close()

    def whole(self):
        return b" 200 " in self.got[:20] and b"data: [DONE]" in self.got and self.got.endswith(b"0\r\n\r\n")
