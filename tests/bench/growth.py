"""What grows with what: the load generator against agents whose configurations differ in one
number; all of them up at once and measured in turn. And memory, and idling.
"""
import os
import subprocess
import tempfile
import time

import plot
from agents import Agent, configuration
from measure import Figure, cpu_ns, load, memory_kb
from systems import HAProxy, free_port, installed, until

HERE = os.path.dirname(os.path.abspath(__file__))


def curve(report, programs, o, name, unit, points, what="CPU us/decision"):
    """@points: [(x, agent or None for the one before, options of bench-load)]. Returns {x: Figure
    of us}."""
    rounds, seconds = (2, 0.3) if o.quick else (5, 1.5)
    got = {x: [] for x, _, _ in points}
    for turn in range(rounds):
        order = points if turn % 2 == 0 else points[::-1]
        for x, agent, options in order:
            got[x].append(load(programs.path("load"), connect=agent.address, pid=agent.pid,
                               feedback=agent.feedback, duration=seconds, **options))
    figures = {x: Figure([r["cpu_us"] for r in runs]) for x, runs in got.items()}
    first = figures[points[0][0]]
    report.title(f"growth with {name}")
    report.table([unit, what, "/ the first", "p50 us", "p99 us", "not routed", "agent MB"], [
        [f"{x:,}", f"{figures[x]:.3f}", f"{figures[x].over(first):.2f}",
         f"{Figure([r['p50_us'] for r in got[x]]).median:.0f}",
         f"{Figure([r['p99_us'] for r in got[x]]).median:.0f}",
         sum(r["refused"] for r in got[x]), f"{agent.memory_kb() / 1024:.1f}"]
        for x, agent, _ in points])
    for x, agent, options in points:
        runs = {k: Figure([r[k] for r in got[x]]) for k in ("p50_us", "p99_us", "rate")}
        report.keep(f"growth_{name.replace(',', '').replace(' ', '_')}", "cpu_us_per_decision",
                    figures[x], body=options.get("size", 1024), connections=options["connections"],
                    ratio=figures[x].over(first), x=x, unit=unit, first=first, **runs,
                    refused=sum(r["refused"] for r in got[x]), memory_kb=agent.memory_kb())
    if o.plots:
        plot.curve(os.path.join(o.plots, name.replace(",", "").replace(" ", "-") + ".svg"),
                   f"Cost of a decision by {name}", unit, "CPU, microseconds",
                   [(x, f.median, f.low, f.high) for x, f in figures.items()])
    return figures


def curves(report, programs, o):
    if o.plots:
        os.makedirs(o.plots, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as d:
        models(report, programs, o, d)
        endpoints(report, programs, o, d)
        pools(report, programs, o, d)
        bodies(report, programs, o, d)
        connections(report, programs, o, d)


def with_agents(programs, directory, confs, fn):
    agents = []
    try:
        for i, conf in enumerate(confs):
            agents.append(Agent(programs, directory, f"a{i}", conf=conf))
        return fn(agents)
    finally:
        for a in agents:
            a.stop()


def models(report, programs, o, d):
    counts = [2, 10, 100, 1000, 10000]
    figures = with_agents(
        programs, d, [configuration(models=n) for n in counts],
        lambda agents: curve(report, programs, o, "models", "models",
                             [(n, a, {"connections": 4, "models": n})
                              for n, a in zip(counts, agents)]))
    report.budget("a decision with 10,000 models over one with 2",
                  figures[10000].over(figures[2]), 1.5)


def endpoints(report, programs, o, d):
    counts = [4, 16, 64, 256, 1000]
    figures = with_agents(
        programs, d, [configuration(endpoints=n) for n in counts],
        lambda agents: curve(report, programs, o, "endpoints in the pool", "endpoints",
                             [(n, a, {"connections": 4}) for n, a in zip(counts, agents)]))
    report.budget("a decision with 1,000 endpoints over one with 4",
                  figures[1000].over(figures[4]), 3.0)


def pools(report, programs, o, d):
    counts = [1, 10, 100, 1000]
    with_agents(programs, d, [configuration(models=max(n, 2), endpoints=4, pools=n) for n in counts],
                lambda agents: curve(report, programs, o, "pools", "pools",
                                     [(n, a, {"connections": 4, "models": max(n, 2)})
                                      for n, a in zip(counts, agents)]))


def bodies(report, programs, o, d):
    """Above 1 MiB HAProxy's buffer does not hold the body: there are its two ends only."""
    whole = [1, 8, 32, 100, 220, 500, 900]
    sliced = [32, 220, 900, 3072]
    with Agent(programs, d, "bodies", conf=configuration()) as a:
        curve(report, programs, o, "body size, whole", "KB",
              [(kb, a, {"connections": 4, "depth": 20 if kb < 100 else 2, "size": kb * 1024})
               for kb in whole])
        curve(report, programs, o, "body size, slices", "KB",
              [(kb, a, {"connections": 4, "size": kb * 1024, "slices": True}) for kb in sliced])


def connections(report, programs, o, d):
    counts = [10, 100, 1000, 5000]
    with Agent(programs, d, "connections", conf=configuration()) as a:
        curve(report, programs, o, "SPOP connections", "connections",
              [(n, a, {"connections": n, "depth": 1, "warmup": 0.5}) for n in counts])


class Crowd:
    """1,000 connections, a body of 900 KB on each, one after the other; they stay open then. A
    machine that is too busy for the rate lets half bodies pile up until the agent refuses them
    (limits.partial): then slower."""

    HOLD = 12

    def __init__(self, programs, agent):
        for rate in (250, 100, 40):
            self.process = subprocess.Popen(
                [programs.path("load"), "--json", "--connect", agent.address, "--feedback",
                 agent.feedback, "--connections", "1000", "--rate", str(rate), "--size",
                 str(900 * 1024), "--model", "nobody", "--duration", str(1000 / rate + 0.1),
                 "--warmup", "0", "--hold", str(self.HOLD)], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True)
            if self.process.stdout.readline():
                return
            print(f"1,000 bodies at {rate} a second: {self.process.communicate()[1].strip()}")
        raise RuntimeError("no rate was slow enough")

    def stop(self):
        self.process.kill()
        self.process.communicate()


def memory(report, programs, o):
    with tempfile.TemporaryDirectory(prefix="bench-") as d:
        with Agent(programs, d, "small", conf=configuration()) as a:
            time.sleep(1)
            start = a.memory_kb() / 1024
        with Agent(programs, d, "large", conf=configuration(models=10000, endpoints=1000)) as a:
            time.sleep(1)
            fresh = a.memory_kb() / 1024
            crowd = Crowd(programs, a)
            try:
                peak = memory_kb(a.pid, "VmHWM") / 1024
                time.sleep(5)
                held = a.page("/state").json()["spop_connections"]
                after = a.memory_kb() / 1024
            finally:
                crowd.stop()
    report.title("resident memory, MB")
    lines = [["4 endpoints, 1 model, at start", start],
             ["1,000 endpoints, 10,000 models, at start", fresh],
             ["at its highest, 1,000 connections, 900 KB on each", peak],
             [f"five seconds later, {held:,} connections open", after]]
    report.table(["", "MB"], [[what, f"{mb:.1f}"] for what, mb in lines])
    for what, mb in lines:
        report.keep("memory", what, round(mb, 1))
    report.budget("resident memory at start", start, 10, unit=" MB")
    what = "resident memory with 1,000 connections after 900 KB on each"
    if held < 1000:
        report.not_measured(what, f"only {held} are open")
    else:
        report.budget(what, after, 40, unit=" MB", connections=1000, body=900 * 1024)


PAGE_SERVERS = """
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
frontend servers
%s
    http-request return status 200 content-type "text/plain; version=0.0.4" file "%s/metrics"
"""


class PageServers:
    """@n servers, each of which answers everything with a metrics page as @engine writes it
    (tests/golden/metrics): one HAProxy."""

    def __init__(self, n, engine):
        with open(os.path.join(HERE, "..", "golden", "metrics", engine + ".prom"), "rb") as f:
            page = f.read()
        self.kilobytes = len(page) / 1024
        version = "2.6" if "2.6" in installed() else next(iter(installed()))
        self.h = HAProxy(version, config="servers.cfg", files={"metrics": page})
        self.ports = [free_port() for _ in range(n)]
        self.h.write("servers.cfg", PAGE_SERVERS % (
            "\n".join(f"    bind 127.0.0.1:{port}" for port in self.ports), self.h.dir))
        try:
            self.h.start()
        except BaseException:
            self.h.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.h.stop()


def idle(report, programs, o):
    """The budget is for the page of one vLLM; four engines behind one port write four times as much."""
    seconds = 5 if o.quick else 60
    lines = []
    for n, engine in ((100, "vllm-0.10"),) if o.quick else (
            (100, "vllm-0.10"), (100, "vllm-0.11-dp4"), (1000, "vllm-0.10")):
        with tempfile.TemporaryDirectory(prefix="bench-") as d, PageServers(n, engine) as servers, \
                Agent(programs, d, "idle", conf=configuration(scrape=servers.ports)) as a:
            until(lambda: '"scrape_dead"' not in a.page("/state").body.decode(), 20)
            time.sleep(3)
            scrapes = scraped(a)
            before, begun = cpu_ns([a.pid]), time.monotonic()
            time.sleep(seconds)
            share = (cpu_ns([a.pid]) - before) / 1e9 / (time.monotonic() - begun)
            scrapes = (scraped(a) - scrapes) / seconds
            megabytes = a.memory_kb() / 1024
        lines.append([n, f"{engine}, {servers.kilobytes:.0f} KB", f"{100 * share:.2f}",
                      f"{scrapes:,.0f}", f"{megabytes:.1f}"])
        about = {"endpoints": n, "page": engine, "page_kb": round(servers.kilobytes, 1),
                 "scrapes_per_s": round(scrapes, 1)}
        report.keep("idle", "core_percent", round(100 * share, 3), **about)
        report.keep("idle", "memory_kb", round(megabytes * 1024), **about)
        if n == 100 and engine == "vllm-0.10":
            report.budget("idle with 100 endpoints", 100 * share, 1.0, unit=" %")
            report.budget("its scrapes per second", scrapes, 80, at_least=True)
    report.title(f"idle for {seconds} s, every endpoint scraped each second")
    report.table(["endpoints", "page", "% of a core", "scrapes/s", "MB"], lines)


def scraped(agent):
    return sum(float(line.rsplit(" ", 1)[1]) for line in agent.page("/metrics").body.decode()
               .splitlines() if line.startswith("spoa_inference_endpoint_scrapes_total"))
