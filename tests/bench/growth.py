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
from systems import free_port, until


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
    for x, agent, _ in points:
        report.keep(f"growth_{name.replace(' ', '_')}", f"cpu_us_at_{x}", figures[x], alone=first,
                    ratio=figures[x].over(first))
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


def one_after_the_other(programs, agent):
    """A body of 900 KB on each of 1,000 connections. A machine that is too busy for the rate lets
    half bodies pile up until the agent refuses them (limits.partial): then slower."""
    for rate in (250, 100, 40):
        try:
            load(programs.path("load"), connect=agent.address, pid=agent.pid,
                 feedback=agent.feedback, connections=1000, rate=rate, size=900 * 1024,
                 model="nobody", duration=1000 / rate + 0.1, warmup=0)
            return
        except RuntimeError as e:
            print(f"1,000 bodies at {rate} a second: {e}")
    raise RuntimeError("no rate was slow enough")


def memory(report, programs, o):
    with tempfile.TemporaryDirectory(prefix="bench-") as d:
        with Agent(programs, d, "small", conf=configuration()) as a:
            time.sleep(1)
            start = a.memory_kb() / 1024
        with Agent(programs, d, "large", conf=configuration(models=10000, endpoints=1000)) as a:
            time.sleep(1)
            fresh = a.memory_kb() / 1024
            one_after_the_other(programs, a)
            peak = memory_kb(a.pid, "VmHWM") / 1024
            time.sleep(5)
            after = a.memory_kb() / 1024
    report.title("resident memory, MB")
    report.table(["", "MB"], [["4 endpoints, 1 model, at start", f"{start:.1f}"],
                              ["1,000 endpoints, 10,000 models, at start", f"{fresh:.1f}"],
                              ["at its highest, 1,000 connections, 900 KB on each", f"{peak:.1f}"],
                              ["five seconds later", f"{after:.1f}"]])
    report.keep("memory", "peak_mb", round(peak, 1))
    report.budget("resident memory at start", start, 10, unit=" MB")
    report.budget("resident memory after 1,000 connections with 900 KB", after, 40, unit=" MB")


def idle(report, programs, o):
    seconds = 5 if o.quick else 60
    lines = []
    for n in (100,) if o.quick else (100, 1000):
        with tempfile.TemporaryDirectory(prefix="bench-") as d:
            argv = [programs.sim, "--instant", "--parent"]
            ports = [free_port() for _ in range(n)]
            for i, port in enumerate(ports):
                argv += ["--server", f"name=s{i},listen=127.0.0.1:{port}"]
            sim = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   stdin=subprocess.DEVNULL, text=True)
            try:
                if not sim.stdout.readline().startswith("ready"):
                    raise RuntimeError(f"spoa-sim with {n} servers did not start")
                with Agent(programs, d, "idle", conf=configuration(scrape=ports)) as a:
                    until(lambda: '"scrape_dead"' not in a.page("/state").body.decode(), 20)
                    time.sleep(3)
                    scrapes = scraped(a)
                    before, begun = cpu_ns([a.pid]), time.monotonic()
                    time.sleep(seconds)
                    share = (cpu_ns([a.pid]) - before) / 1e9 / (time.monotonic() - begun)
                    scrapes = (scraped(a) - scrapes) / seconds
                    lines.append([n, f"{100 * share:.2f}", f"{scrapes:,.0f}",
                                  f"{a.memory_kb() / 1024:.1f}"])
                    report.keep("idle", f"core_percent_{n}_endpoints", round(100 * share, 3))
                    report.keep("idle", f"memory_kb_{n}_endpoints", a.memory_kb())
                    if n == 100:
                        report.budget("idle with 100 endpoints", 100 * share, 1.0, unit=" %")
                        report.budget("its scrapes per second", scrapes, 80, at_least=True)
            finally:
                sim.terminate()
                sim.wait()
                sim.stdout.close()
    report.title(f"idle for {seconds} s, every endpoint scraped each second")
    report.table(["endpoints", "% of a core", "scrapes/s", "MB"], lines)


def scraped(agent):
    return sum(float(line.rsplit(" ", 1)[1]) for line in agent.page("/metrics").body.decode()
               .splitlines() if line.startswith("spoa_inference_endpoint_scrapes_total"))
