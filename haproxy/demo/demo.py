"""Starts the gateway, sends the requests, prints the table. Called by run.sh; standard library and
the official clients."""
import argparse
import ctypes
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

DEMO = os.path.dirname(os.path.abspath(__file__))
HAPROXY_FILES = os.path.dirname(DEMO)
ROOT = os.path.dirname(HAPROXY_FILES)
RUN = os.path.join(DEMO, "run")
BUILD = os.path.abspath(os.environ.get("SPOA_BUILD", os.path.join(ROOT, "build")))
AGENT = os.path.join(BUILD, "agent", "spoa-inference")
SIM = os.path.join(BUILD, "tests", "sim", "spoa-sim")
NODE_MODULES = os.environ.get("NODE_PATH", os.path.join(ROOT, ".cache", "node", "node_modules"))

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
PHI = "microsoft/Phi-4-mini-instruct"
ADAPTER = "food-review-1"
POOLS = {"llama": ["llama1", "llama2", "llama3"], "phi4": ["phi1", "phi2", "phi3"]}
SERVES = {LLAMA: ("llama", LLAMA), ADAPTER: ("llama", LLAMA), PHI: ("phi4", PHI)}


class Failed(Exception):
    pass


def port(wanted):
    """The usual port, or a free one where it is taken."""
    for number in (wanted, 0):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", number))
                return s.getsockname()[1]
            except OSError:
                continue
    raise Failed("no free port")


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
    # Ctrl-C goes to the whole group: the order of the end is ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Gateway:
    def __init__(self, haproxy):
        self.haproxy = haproxy
        self.processes = {}
        names = [n for pool in POOLS.values() for n in pool]
        self.sim_ports = {n: port(8001 + i) for i, n in enumerate(names)}
        self.port, self.admin = port(8080), port(9015)
        self.feedback, self.stats = port(9014), port(8404)
        self.url = f"http://127.0.0.1:{self.port}"
        # A socket's path has about 100 bytes; a checkout's may have more.
        self.sockets = RUN if len(RUN) < 70 else "/proc/self/cwd"

    def spawn(self, name, argv, env=None):
        with open(os.path.join(RUN, name + ".log"), "wb") as log:
            self.processes[name] = subprocess.Popen(
                argv, cwd=RUN, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=die_with_parent)

    def start(self):
        shutil.rmtree(RUN, ignore_errors=True)
        os.makedirs(RUN)
        for name in ("haproxy.cfg", "spoe-inference.conf", "models.map"):
            shutil.copy(os.path.join(HAPROXY_FILES, name), RUN)
        shutil.copy(os.path.join(DEMO, "stats.cfg"), RUN)
        with open(os.path.join(RUN, "agent.yaml"), "w") as f:
            f.write(f"""\
haproxy:
  socket: {self.sockets}/admin.sock
  map_file: {RUN}/models.map
listen:
  spop: unix@{self.sockets}/spop.sock
  admin: 127.0.0.1:{self.admin}
  feedback: 127.0.0.1:{self.feedback}
pools:
  llama: {{}}
  phi4: {{}}
""")
        self.spawn("model-servers", [SIM, "--lenient"] + [
            word for n, p in self.sim_ports.items() for word in ("--server", ",".join(
                [f"name={n}", f"listen=127.0.0.1:{p}"] +
                ([f"model={LLAMA}", f"adapter={ADAPTER}:/adapters/food-review-1"]
                 if n.startswith("llama") else [f"model={PHI}"])))])
        self.spawn("agent", [AGENT, "-f", "agent.yaml"])
        self.spawn("haproxy", [self.haproxy, "-db", "-f", "haproxy.cfg", "-f", "stats.cfg"], {
            # A laptop may be busy: no answer here hangs on 50 ms.
            "INFERENCE_TIMEOUT": "2s",
            "INFERENCE_NO_CHROOT": "1", "INFERENCE_LOG": "stdout", "INFERENCE_DIR": ".",
            "INFERENCE_MAP": "./models.map", "INFERENCE_STATS_SOCKET": self.sockets + "/admin.sock",
            "INFERENCE_BIND": f"127.0.0.1:{self.port}", "INFERENCE_AGENT": f"unix@{self.sockets}/spop.sock",
            "INFERENCE_FEEDBACK": f"127.0.0.1:{self.feedback}",
            "INFERENCE_ADMIN": f"127.0.0.1:{self.admin}", "INFERENCE_MAXCONN": "2000",
            "DEMO_STATS": f"127.0.0.1:{self.stats}",
            **{n.upper(): f"127.0.0.1:{p}" for n, p in self.sim_ports.items()},
        })
        self.wait("the agent knows all six servers and three models", lambda: (
            len(self.loads()) == 6 and {LLAMA, PHI, ADAPTER} <= set(self.models())))
        self.wait("HAProxy answers and sees the agent", lambda: (
            self.models(self.port) and self.plain_chat_goes_by_the_agent()))

    def wait(self, what, condition, seconds=30):
        end, why = time.monotonic() + seconds, "no"
        while time.monotonic() < end:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise Failed(f"{name} ended with status {process.returncode}:\n{self.log(name)}")
            try:
                if condition():
                    return
            except (OSError, http.client.HTTPException, ValueError, KeyError) as e:
                why = repr(e)
            time.sleep(0.05)
        raise Failed(f"not within {seconds} s: {what} ({why})\n" +
                     "\n".join(self.log(n) for n in ("haproxy", "agent")))

    def log(self, name):
        with open(os.path.join(RUN, name + ".log"), errors="replace") as f:
            return "".join(f.readlines()[-30:])

    def get(self, number, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{number}{path}", timeout=10) as r:
            return json.load(r)

    def models(self, number=None):
        return [m["id"] for m in self.get(number or self.admin, "/v1/models")["data"]]

    def plain_chat_goes_by_the_agent(self):
        body = json.dumps({"model": PHI, "max_tokens": 1, "messages": []}).encode()
        ask = urllib.request.Request(self.url + "/v1/chat/completions", body,
                                     {"Content-Type": "application/json"})
        with urllib.request.urlopen(ask, timeout=10):
            return self.get(self.admin, "/state")["feedback"]["lines"] > 0

    def endpoints(self):
        return {e["server"]: e for p in self.get(self.admin, "/state")["pools"] for e in p["endpoints"]}

    def loads(self):
        return {n: e["load"] for n, e in self.endpoints().items() if e["candidate"]}

    def tell_server(self, name, order):
        ask = urllib.request.Request(f"http://127.0.0.1:{self.sim_ports[name]}/sim/{order}", b"",
                                     method="POST")
        urllib.request.urlopen(ask, timeout=10).close()

    def stop(self):
        # The agent drains when it is told once; a second time means now.
        for name, signals in (("haproxy", 1), ("agent", 2), ("model-servers", 1)):
            process = self.processes.get(name)
            for _ in range(signals):
                if process and process.poll() is None:
                    process.terminate()
                    time.sleep(0.1)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# ---- the requests --------------------------------------------------------------------------------
class Seen:
    """What a client saw of one answer."""

    def __init__(self, status, headers, seconds, model=None):
        self.status, self.seconds, self.model = status, seconds, model
        self.headers = {k.lower(): v for k, v in dict(headers).items()}


def by_curl(url, path, model, prompt, tokens):
    body = ('{ "model": "%s", "prompt": "%s", "max_tokens": %d, "temperature": 0 }'
            % (model, prompt, tokens))
    argv = ["curl", "-sS", "-X", "POST", "-i", url + path, "-H", "Content-Type: application/json",
            "-d", body]
    done = subprocess.run(argv + ["-w", "\n%{time_starttransfer}"], capture_output=True, timeout=60)
    if done.returncode:
        raise Failed(f"curl: {done.stderr.decode()}")
    head, _, rest = done.stdout.decode().partition("\r\n\r\n")
    answer, _, seconds = rest.rpartition("\n")
    lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    status = int(lines[0].split()[1])
    return Seen(status, headers, float(seconds), json.loads(answer).get("model"))


def openai_chat(url, model, stream):
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=60)
    said = [{"role": "user", "content": "Say hello."}]
    began = time.monotonic()
    try:
        with client.chat.completions.with_streaming_response.create(
                model=model, messages=said, max_tokens=20, stream=stream) as raw:
            if not stream:
                named = raw.parse().model
                return Seen(raw.status_code, raw.headers, time.monotonic() - began, named)
            first = named = None
            for chunk in raw.parse():
                if first is None and chunk.choices and chunk.choices[0].delta.content:
                    first = time.monotonic()
                named = chunk.model
            return Seen(raw.status_code, raw.headers, first - began, named)
    except openai.APIStatusError as e:
        return Seen(e.status_code, e.response.headers, time.monotonic() - began)


def openai_embeddings(url, model):
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=60)
    began = time.monotonic()
    raw = client.embeddings.with_raw_response.create(model=model, input=["one", "two"])
    return Seen(200, raw.headers, time.monotonic() - began, raw.parse().model)


def anthropic_messages(url, model, stream):
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=60)
    said = [{"role": "user", "content": "Say hello."}]
    began = time.monotonic()
    with client.messages.with_streaming_response.create(
            model=model, messages=said, max_tokens=20, stream=stream) as raw:
        if not stream:
            named = raw.parse().model
            return Seen(raw.status_code, raw.headers, time.monotonic() - began, named)
        first = named = None
        for event in raw.parse():
            if event.type == "message_start":
                named = event.message.model
            if first is None and event.type == "content_block_delta":
                first = time.monotonic()
        return Seen(raw.status_code, raw.headers, first - began, named)


def by_node(url, model, how):
    done = subprocess.run(["node", os.path.join(DEMO, "client.mjs"), url + "/v1", model, NODE_MODULES, how],
                          capture_output=True, text=True, timeout=90)
    if done.returncode:
        raise Failed(f"node: {done.stderr}")
    told = json.loads(done.stdout)
    return Seen(told["status"], told["headers"], told["seconds"], told["model"])


class Held:
    """A stream that somebody reads slowly: it stays in flight until closed."""

    def __init__(self, gateway, model):
        body = json.dumps({"model": model, "max_tokens": 100000, "stream": True,
                           "messages": [{"role": "user", "content": "Count."}]}).encode()
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), 10)
        self.socket.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: demo\r\nContent-Type: "
                            b"application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.socket.recv(100)

    def close(self):
        self.socket.close()


# ---- the table -----------------------------------------------------------------------------------
ROW = "{:<3} {:<32} {:<21} {:<8} {:<8} {:<14} {:>8}  {}"


class Table:
    def __init__(self, gateway):
        self.g = gateway
        self.held = 0
        self.wrong = []
        self.n = 0

    def head(self, text):
        print(f"\n{text}\n" + ROW.format("", "request", "model", "backend", "server", "load of 1 2 3",
                                         "TTFT", "status"))

    def quiet(self):
        """Until the last request's end has been told and the scrapes are of now."""
        self.g.wait("earlier requests are over",
                    lambda: sum(e["open"] for e in self.g.endpoints().values()) == self.held)

    def row(self, text, model, request, expect=200):
        self.quiet()
        loads = self.g.loads()
        self.n += 1
        began = time.monotonic()
        try:
            seen = request()
            problems = self.judge(seen, model, loads, expect)
        except Exception as e:  # of whatever client: a row like the others, and the rest is tried
            seen = Seen("-", {}, time.monotonic() - began)
            problems = [f"{type(e).__name__}: {e}"]
        backend, server = seen.headers.get("x-inference-pool"), seen.headers.get("x-sim-name")
        # "-": not to be had at that moment
        values = {n: f"{loads[n]:g}" if n in loads else "-" for n in POOLS.get(backend, ())}
        shown = " ".join(f"[{v}]" if n == server else v for n, v in values.items())
        print(ROW.format(self.n, text, model.split("/")[-1][:21], backend or "-", server or "-",
                         shown or "-", f"{seen.seconds * 1000:.0f} ms", seen.status) +
              "".join(f"\n    WRONG: {p}" for p in problems), flush=True)
        self.wrong += problems
        return server

    def judge(self, seen, model, loads, expect):
        h = seen.headers
        if seen.status != expect:
            return [f"status {seen.status}, not {expect}"]
        if expect != 200:
            return ["a model server was asked"] if "x-sim-name" in h else []
        backend, base = SERVES[model]
        server = h.get("x-sim-name")
        told = [
            (server in POOLS[backend], f"{server} answered, which is not in {backend}"),
            (h.get("x-sim-model") == base, f"{server} serves {h.get('x-sim-model')}"),
            (h.get("x-sim-body-model") == model, f"the body named {h.get('x-sim-body-model')}"),
            (h.get("x-sim-got-gateway-model") == model, "X-Gateway-Model-Name is wrong"),
            (h.get("x-sim-got-base-model") == base, "X-Gateway-Base-Model-Name is wrong"),
            (h.get("x-inference-server") == server, "HAProxy names another server"),
            (h.get("x-inference-pool") == backend, "HAProxy names another backend"),
            (seen.model in (None, model), f"the answer is of {seen.model}"),
        ]
        if server in loads and server in POOLS[backend]:
            least = min(loads[n] for n in POOLS[backend] if n in loads)
            told.append((loads[server] <= least, f"{server} had load {loads[server]:g}, another {least:g}"))
        return [text for good, text in told if not good]


def show(g):
    t = Table(g)
    url = g.url
    print(f"""
Running: HAProxy on {url}, the agent beside it, six simulated model servers behind it:
""")
    for pool, names in POOLS.items():
        model = LLAMA if pool == "llama" else PHI
        extra = f", adapter {ADAPTER}" if pool == "llama" else ""
        print(f"  backend {pool:<6} {', '.join(f'{n} (:{g.sim_ports[n]})' for n in names)}\n"
              f"                 {model}{extra}")
    print("""
HAProxy was told the servers, the servers say which models they have; the agent asked both. Each
request below names a model in its body, and nothing else says where it should go.

  load   requests at each of the three servers just before, as the agent counts them: its own that
         are in flight, and what others have running there; [ ] is the one it chose
  TTFT   time to the first token of a stream; to the whole answer where it is not streamed""")

    t.head("1. Four requests with curl, each model by two paths:")
    for path, model, prompt, tokens in (
            ("/v1/chat/completions", LLAMA, "Linux is said to be an open source kernel because ", 100),
            ("/v1/chat/completions", PHI, "2+2 is ", 20),
            ("/v1/completions", LLAMA, "Linux is said to be an open source kernel because ", 100),
            ("/v1/completions", PHI, "2+2 is ", 20)):
        t.row("curl " + path, model, lambda: by_curl(url, path, model, prompt, tokens))

    t.head("2. The official clients, unchanged but for base_url:")
    t.row("openai (Python), chat", LLAMA, lambda: openai_chat(url, LLAMA, False))
    t.row("openai (Python), chat, streamed", PHI, lambda: openai_chat(url, PHI, True))
    t.row("openai (Python), an adapter", ADAPTER, lambda: openai_chat(url, ADAPTER, True))
    t.row("openai (Python), embeddings", PHI, lambda: openai_embeddings(url, PHI))
    t.row("anthropic (Python), messages", LLAMA, lambda: anthropic_messages(url, LLAMA, False))
    t.row("anthropic (Python), streamed", PHI, lambda: anthropic_messages(url, PHI, True))
    if shutil.which("node") and os.path.isdir(os.path.join(NODE_MODULES, "openai")):
        t.row("openai (Node), chat", PHI, lambda: by_node(url, PHI, "plain"))
        t.row("openai (Node), chat, streamed", LLAMA, lambda: by_node(url, LLAMA, "stream"))
    else:
        print("    (no Node, or no openai package for it: its two requests are left out)")

    t.head("3. With five streams in flight, and llama1 busy with six requests from elsewhere,\n"
           "   which its metrics page tells:")
    g.tell_server("llama1", "load?running=6")
    g.wait("the agent has seen it", lambda: g.loads()["llama1"] >= 6)
    held = [Held(g, m) for m in (LLAMA, LLAMA, LLAMA, PHI, PHI)]
    t.held = len(held)
    # A request that ended between two scrapes may be counted as another's until the next one.
    g.wait("the counts are settled", lambda: sum(g.loads().values()) == 6 + len(held))
    for i in range(3):
        t.row("openai (Python), chat, streamed", LLAMA, lambda: openai_chat(url, LLAMA, True))
    t.row("openai (Python), chat, streamed", PHI, lambda: openai_chat(url, PHI, True))
    for h in held:
        h.close()
    t.held = 0
    g.tell_server("llama1", "load?running=0")

    t.head("4. A model that nobody serves, answered by HAProxy itself:")
    t.row("openai (Python), chat", "gpt-99", lambda: openai_chat(url, "gpt-99", False), 404)
    return t


def advice(g):
    run, agent = os.path.relpath(RUN), os.path.relpath(AGENT)
    ask = f"{agent} explain -f {run}/agent.yaml"
    if g.sockets != RUN:
        ask = f"(cd {run} && {AGENT} explain -f agent.yaml)"
    print(f"""
It stays up. Try, in another terminal:

  curl {g.url}/v1/chat/completions -H 'Content-Type: application/json' -i \\
       -d '{{"model": "{ADAPTER}", "messages": [{{"role": "user", "content": "Hi"}}], "stream": true}}'
  curl {g.url}/v1/models                     every model of every pool
  curl -X POST 'http://127.0.0.1:{g.sim_ports['phi1']}/sim/fault?kind=slow&factor=20'   makes phi1 slow; kind=none ends it

Look at:

  http://127.0.0.1:{g.admin}/state      what the agent knows: pools, servers, loads, models
  http://127.0.0.1:{g.admin}/metrics    the same and more for Prometheus
  http://127.0.0.1:{g.stats}/           HAProxy's own statistics
  {run}/*.log        logs; {run}/agent.yaml is the agent's whole configuration

Ask it why:

  echo '{{"model": "{PHI}"}}' | {ask}

Stop it with Ctrl-C.""", flush=True)


def only_one():
    """run/ is made anew by each start: not under the feet of one that is up."""
    folder = os.open(DEMO, os.O_RDONLY)  # kept open: the lock goes with this process
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("demo: it is running already, from this checkout; stop that one first (Ctrl-C)")


def interrupted(signum, _):
    raise SystemExit(128 + signum)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--haproxy")
    options = parser.parse_args()
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    haproxy = options.haproxy or shutil.which("haproxy", path=search)
    if not haproxy or not shutil.which(haproxy, path=search):
        sys.exit(f"demo: no HAProxy: {haproxy or 'install haproxy, or name it with --haproxy'}")
    only_one()
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, interrupted)
    g = None
    try:
        g = Gateway(shutil.which(haproxy, path=search))
        print("== starting HAProxy, the agent and six model servers", flush=True)
        g.start()
        t = show(g)
        right = t.n if not t.wrong else f"not all of {t.n}"
        print(f"\n{right} answers came from where they should.", flush=True)
        if not options.once:
            advice(g)
            while all(p.poll() is None for p in g.processes.values()):
                time.sleep(0.3)
            raise Failed("a process ended by itself: " + ", ".join(
                n for n, p in g.processes.items() if p.poll() is not None))
        return 1 if t.wrong else 0
    except Failed as e:
        print(f"\ndemo: {e}", file=sys.stderr)
        return 1
    finally:
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        if g:
            g.stop()
            print("\nstopped.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
