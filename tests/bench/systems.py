"""The systems that are compared, each one HAProxy on one thread in front of the same model servers,
which are another HAProxy that answers at once.

    alone      leastconn, no body is looked at
    query      waits for the body, json_query, a map, leastconn: what one would do without an agent
    bare       an agent that does nothing: one argument, one variable, no log line (floor.c)
    contract   haproxy/haproxy.cfg and its SPOE file, unchanged; the agent answers constants
    inference  the same with spoa-inference, its defaults: least-loaded, scraping
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from measure import cpu_ns, memory_kb

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
from haproxy import FILES, WANTED, HAProxy, free_port, installed  # noqa: E402, F401
from stack import ask, until  # noqa: E402

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
PHI = "microsoft/Phi-4-mini-instruct"
SERVERS = ("llama1", "llama2", "llama3", "phi1", "phi2", "phi3")
NAMES = ("alone", "query", "bare", "contract", "inference")

MODEL_SERVERS = """
global
    stats socket "${INFERENCE_STATS_SOCKET}" mode 660 level admin
    maxconn 9000
    nbthread 1
    tune.bufsize 1114112
defaults
    mode http
    timeout client 60s
    timeout http-request 60s
    timeout connect 5s
    timeout server 60s
%s
"""
MODEL_SERVER = """
frontend %(name)s
%(binds)s
    http-request return status 200 content-type text/plain string "ok" if { path /health }
    http-request return status 200 content-type text/plain file "%(dir)s/metrics" if { path /metrics }
    http-request return status 200 content-type application/json file "%(dir)s/%(name)s.models" if { path /v1/models }
    http-request wait-for-body time 60s
    http-request return status 200 content-type application/json file "%(dir)s/answer"
"""
# What vLLM prints about load, among the kind of lines that stand around it.
METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 0.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.01
""" + "".join(
    f'vllm:e2e_request_latency_seconds_bucket{{engine="0",le="{le}",model_name="m"}} 0.0\n'
    for le in range(1, 200))
ANSWER = json.dumps({
    "id": "chatcmpl-0", "object": "chat.completion", "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "Hello there."}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}})

COMMON = """
global
    stats socket "${INFERENCE_STATS_SOCKET}" mode 660 level admin
    maxconn "${INFERENCE_MAXCONN}"
    nbthread 1
    tune.bufsize 1114112
%s
    log stdout local0
defaults
    mode http
    timeout client 10m
    timeout server 10m
    timeout connect 2s
    timeout queue 60s
    timeout http-request 30s
    timeout http-keep-alive 60s
    retries 3
    option redispatch 1
    option abortonclose
    option http-no-delay
frontend bench
    bind "${INFERENCE_BIND}"
%s
backend llama
    balance leastconn
    option httpchk GET /health
    default-server check inter 2s
    server llama1 "${LLAMA1}"
    server llama2 "${LLAMA2}"
    server llama3 "${LLAMA3}"
%s
"""


def hot_size():
    """HAProxy's cache of memory, per thread: where haproxy.cfg has it the others get it too, for it
    is not what the contract costs."""
    with open(os.path.join(FILES, "haproxy.cfg")) as f:
        shipped = re.search(r"^\s*tune\.memory\.hot-size (\d+)", f.read(), re.M)
    if not shipped:
        return ""
    return f"    .if version_atleast(3.0)\n    tune.memory.hot-size {shipped.group(1)}\n    .endif\n"


def shipped_timeout():
    with open(os.path.join(FILES, "spoe-inference.conf")) as f:
        return {"INFERENCE_TIMEOUT": re.search(r"INFERENCE_TIMEOUT-(\w+)", f.read()).group(1)}


# What HAProxy waits for the agent. The rows saturate HAProxy's one thread, where a request waits
# longer than this for its own turn: with it they would measure who is passed by. They have 5 s.
SHIPPED_TIMEOUT = shipped_timeout()

ALONE = "    default_backend llama\n"
QUERY = """    option http-buffer-request
    http-request set-var(txn.model) req.body,json_query('$.model')
    use_backend %[var(txn.model),map_str("${INFERENCE_DIR}/bench.map",none)]
"""
BARE = """    option http-buffer-request
    filter spoe engine bare config "${INFERENCE_DIR}/bare.conf"
    use_backend llama if { var(txn.bare.model) -m found }
"""
BARE_AGENT = """
backend bare-agent
    .if version_atleast(3.1)
    mode spop
    .else
    mode tcp
    .endif
    timeout connect 1s
    timeout server 10m
    server agent "${INFERENCE_AGENT}"
"""
BARE_SPOE = """
[bare]
spoe-agent bare
    messages route
    use-backend bare-agent
    option var-prefix bare
    timeout processing "${INFERENCE_TIMEOUT}"
    .if !version_atleast(3.1)
    timeout hello 1s
    timeout idle 10s
    maxconnrate 10
    .endif
spoe-message route
    args body=req.body
    event on-frontend-http-request
"""
# Before haproxy.cfg, and behind it: the user's own log line is formatted and kept, but goes nowhere;
# what it costs to deliver is not ours.
BEFORE = """
global
    nbthread 1
"""
BEHIND = """
ring bench-log
    format rfc3164
    maxlen 1024
    size 1048576
"""


class Programs:
    """Where the built programs are."""

    def __init__(self, build):
        self.agent = os.path.join(build, "agent", "spoa-inference")
        self.sim = os.path.join(build, "tests", "sim", "spoa-sim")
        self.path = lambda name: os.path.join(build, "tests", "bench", "bench-" + name)


class ModelServers:
    """Six servers of two models in one HAProxy process."""

    def __init__(self):
        self.ports = {name: free_port() for name in SERVERS}
        files = {"metrics": METRICS, "answer": ANSWER}
        parts = []
        version = "2.6" if "2.6" in installed() else next(iter(installed()))
        self.h = HAProxy(version, config="servers.cfg", files=files)
        for pool, model in (("llama", LLAMA), ("phi", PHI)):
            binds = "\n".join(f"    bind 127.0.0.1:{self.ports[n]}" for n in SERVERS
                              if n.startswith(pool))
            parts.append(MODEL_SERVER % {"name": pool, "dir": self.h.dir, "binds": binds})
            self.h.write(pool + ".models", json.dumps(
                {"object": "list", "data": [{"id": model, "object": "model", "root": model,
                                             "parent": None, "owned_by": "vllm"}]}))
        self.h.write("servers.cfg", MODEL_SERVERS % "\n".join(parts))
        self.h.start()
        self.environment = {n.upper(): f"127.0.0.1:{p}" for n, p in self.ports.items()}

    def pids(self):
        return [self.h.worker_pid()]

    def stop(self):
        self.h.stop()


class System:
    """One of NAMES, started; @files and @before are put over its configuration, @without
    are variables that the floor leaves out (ablations), @unnamed: its answers do not say who
    gave them."""

    def __init__(self, name, version, servers, programs, files=None, environment=None,
                 before=BEFORE, spop="unix", agent_conf=None, without="", unnamed=False):
        self.name, self.version, self.programs = name, version, programs
        self.process, self.edited = None, bool(files or without or unnamed)
        self.without = without
        self.directory = tempfile.mkdtemp(prefix="bench-")
        kind = "contract" if name.startswith("contract") else name
        kind = "inference" if name.startswith("inference") else kind
        self.kind = "bare" if name.startswith("bare") else kind
        files = dict(files or {})
        more = []
        env = {**servers.environment, "INFERENCE_MAXCONN": 4000, "INFERENCE_LOG": "ring@bench-log"}
        config = "bench.cfg"
        hot = hot_size()
        if self.kind == "alone":
            files.setdefault("bench.cfg", COMMON % (hot, ALONE, ""))
        elif self.kind == "query":
            files.setdefault("bench.cfg", COMMON % (hot, QUERY, ""))
            files.setdefault("bench.map", f"{LLAMA} llama\n{PHI} phi4\n")
        elif self.kind == "bare":
            files.setdefault("bench.cfg", COMMON % (hot, BARE, BARE_AGENT))
            files.setdefault("bare.conf", BARE_SPOE)
        else:
            config, more = "before.cfg", ["haproxy.cfg", "behind.cfg"]
            files |= {"before.cfg": before, "behind.cfg": BEHIND}
        env.update(environment or {})
        self.h = HAProxy(version, config=config, more=more, files=files, **env)
        if spop == "tcp":
            self.h.agent_address = f"127.0.0.1:{free_port()}"
            self.h.env["INFERENCE_AGENT"] = self.h.agent_address
        try:
            self._start(agent_conf or {})
        except BaseException:
            self.stop()
            raise

    def _start(self, agent_conf):
        if self.kind in ("bare", "contract"):
            path = self.h.agent_address.removeprefix("unix@")
            argv = [self.programs.path("floor"), path]
            if self.kind == "contract":
                argv += ["llama", str(self.h.feedback_port), "llama1", "llama2", "llama3"]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                            env={**os.environ, "FLOOR_WITHOUT": self.without})
            # HAProxy's first check shall find it.
            until(lambda: os.path.exists(path), 5)
        elif self.kind == "inference":
            conf = {
                "haproxy": {"socket": self.h.outside("admin.sock"),
                            "map_file": self.h.outside("models.map")},
                "listen": {"spop": self.h.agent_address,
                           "admin": f"127.0.0.1:{self.h.admin_port}",
                           "feedback": f"127.0.0.1:{self.h.feedback_port}"},
                "pools": {"llama": {}, "phi4": {}},
                **agent_conf,
            }
            file = os.path.join(self.directory, "agent.yaml")
            with open(file, "w") as f:
                json.dump(conf, f)
            with open(os.path.join(self.directory, "agent.log"), "wb") as log:
                self.process = subprocess.Popen([self.programs.agent, "-f", file], stdout=log,
                                                stderr=log, stdin=subprocess.DEVNULL)
        self.h.start()
        if self.kind in ("contract", "inference"):
            self.h.wait_agent("UP")
        if self.kind == "inference":
            until(lambda: LLAMA in [m["id"] for m in self.page("/v1/models").json()["data"]] and
                  self.page("/readyz").status == 200, 30, "the agent knows its models")
        body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "model": LLAMA})
        answer = until(lambda: (lambda a: a if a.status == 200 else None)(
            ask(self.h.port, "POST", "/v1/chat/completions", body.encode(),
                {"content-type": "application/json"})), 20, f"{self.name} answers")
        if self.kind in ("contract", "inference") and not self.edited:
            assert answer.headers.get("x-inference-server") in SERVERS[:3], answer
        self.haproxy_pids = [self.h.worker_pid()]
        self.agent_pids = [self.process.pid] if self.process else []

    def page(self, path):
        return ask(self.h.admin_port, path=path)

    def told(self):
        """Ends of requests that HAProxy has told the agent, (with a ticket, without); None where
        nobody counts them."""
        if self.kind != "inference":
            return None
        f = self.page("/state").json()["feedback"]
        return f["lines"] - f["no_ticket"], f["no_ticket"]

    def told_all(self):
        """The same when no more comes."""
        seen = None
        for _ in range(100):
            now = self.told()
            if now == seen:
                return now
            seen = now
            time.sleep(0.05)
        return seen

    def cpu(self):
        return cpu_ns(self.haproxy_pids), cpu_ns(self.agent_pids)

    def memory(self):
        return (sum(memory_kb(p) for p in self.haproxy_pids),
                sum(memory_kb(p) for p in self.agent_pids))

    def stop(self):
        self.h.stop()
        if self.process and self.process.poll() is None:
            # Twice: it drains for nobody.
            self.process.terminate()
            time.sleep(0.05)
            if self.process.poll() is None:
                self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def full_version(version):
    """As 2.6.12, of what is installed as 2.6."""
    out = subprocess.run([*installed()[version][1], "-v"], capture_output=True, text=True,
                         timeout=20).stdout
    found = re.search(r"version ([\d.]+\S*)", out)
    return found.group(1) if found else version


def add_haproxy(binary):
    """Makes a HAProxy of one's own known by its version; returns that. ValueError: it is none."""
    try:
        out = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired) as e:
        raise ValueError(f"{binary} cannot be run: {e}") from None
    version = re.search(r"HAProxy version (\d+\.\d+)", out)
    if not version:
        raise ValueError(f"{binary} -v does not say which version of HAProxy it is")
    installed()[version.group(1)] = ("/", [os.path.abspath(binary)])
    return version.group(1)
