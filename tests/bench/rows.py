"""The rows: five systems side by side, by HAProxy version, body and number of connections.

All five are started once for a version and stay up. A row is measured in rounds; a round runs each
of them for a second or so, one after the other, in an order that turns from round to round, so that
what the machine does besides falls on all. Ratios are taken within a round.
"""
import os
import shutil
import subprocess
import tempfile

from measure import Figure, available_mb, wrk
from systems import LLAMA, NAMES, ModelServers, System

# Held at worst: a buffer or two per connection in HAProxy, and as much in the model servers.
MB_PER_CONNECTION = 5


class Sample:
    """One system in one row, round by round."""

    def __init__(self):
        self.total, self.haproxy, self.agent, self.rate = [], [], [], []
        self.p50, self.p99, self.bad, self.astray = [], [], 0, 0

    def add(self, system, run, before, after, routed):
        n = max(run["requests"], 1)
        haproxy, agent = ((b - a) / 1e3 / n for a, b in zip(before, after))
        self.haproxy.append(haproxy)
        self.agent.append(agent)
        self.total.append(haproxy + agent)
        self.rate.append(run["requests"] / run["seconds"])
        self.p50.append(run["p50_us"] / 1e3)
        self.p99.append(run["p99_us"] / 1e3)
        self.bad += run["status"] + run["broken"]
        if routed is not None:
            self.astray += max(0, run["requests"] - routed)

    def figure(self, name):
        return Figure(getattr(self, name))


def round_of(systems, samples, turn, body, connections, seconds, pause=0):
    order = systems[turn % len(systems):] + systems[:turn % len(systems)]
    for s in order:
        routed, before = s.routed(), s.cpu()
        run = wrk(s.h.port, body, connections, seconds, pause)
        after = s.cpu()
        if routed is not None:
            routed = s.routed() - routed
        samples[s.name].add(s, run, before, after, routed)


def row(report, systems, version, kb, connections, body, o):
    samples = {s.name: Sample() for s in systems}
    # A thousand clients need a while to connect and to be served once each.
    seconds = o.seconds * (3 if connections >= 1000 else 1)
    for turn in range(o.rounds):
        round_of(systems, samples, turn, body, connections, seconds)
    alone = samples["alone"]
    lines = []
    for s in systems:
        x = samples[s.name]
        haproxy_kb, agent_kb = s.memory()
        over_alone = x.figure("total").over(alone.figure("total"))
        floor = samples.get("contract") if s.name == "inference" else samples.get("bare")
        over_floor = x.figure("total").over(floor.figure("total")) if floor else None
        added = {p: x.figure(p).less(alone.figure(p)) for p in ("p50", "p99")}
        lines.append([
            s.name, f"{x.figure('rate').median:,.0f}", f"{x.figure('total'):.1f}",
            f"{x.figure('haproxy').median:.1f} + {x.figure('agent').median:.1f}",
            f"{over_alone:.2f}", f"{over_floor:.2f}" if floor and s.name not in ("alone", "query",
                                                                                "bare") else "",
            f"{added['p50'].median:+.2f}", f"{added['p99'].median:+.2f}",
            f"{haproxy_kb / 1024:.0f} + {agent_kb / 1024:.0f}",
            f"{x.bad} {x.astray}" if x.bad or x.astray else "0"])
        where = {"haproxy": version, "body": kb * 1024, "connections": connections}
        report.keep(s.name, "cpu_us_per_request", x.figure("total"), **where,
                    alone=alone.figure("total"), floor=floor and floor.figure("total"),
                    ratio=over_floor)
        for metric, name in (("haproxy_cpu_us", "haproxy"), ("agent_cpu_us", "agent"),
                             ("requests_per_s", "rate"), ("p50_ms", "p50"), ("p99_ms", "p99")):
            report.keep(s.name, metric, x.figure(name), **where, alone=alone.figure(name),
                        floor=floor and floor.figure(name),
                        ratio=floor and x.figure(name).over(floor.figure(name)))
        report.keep(s.name, "memory_kb", haproxy_kb + agent_kb, **where)
        report.keep(s.name, "not_2xx_or_not_routed", x.bad + x.astray, **where)
    report.title(f"HAProxy {version}, body {kb} KB, {connections} connections")
    report.table(["system", "requests/s", "CPU us/request", "HAProxy + agent", "/ alone",
                  "/ its floor", "p50 +ms", "p99 +ms", "MB", "bad"], lines)
    judge(report, samples, version, kb, connections)


def judge(report, samples, version, kb, connections):
    if not {"bare", "contract", "inference"} <= samples.keys():
        return
    where = f"HAProxy {version}, {kb} KB, {connections} connections"
    ours, contract, bare = (samples[n] for n in ("inference", "contract", "bare"))
    new = tuple(map(int, version.split("."))) >= (2, 9)

    def ratio(a, b, part="total"):
        return a.figure(part).over(b.figure(part))

    report.budget(f"no request refused or routed without the agent, {where}",
                  sum(x.bad for x in samples.values()) + ours.astray, 0)
    if connections > 100:
        return
    if kb in (1, 8):
        report.budget(f"CPU over the contract floor, {where}", ratio(ours, contract), 1.15)
        report.budget(f"the contract floor over the bare floor, {where}", ratio(contract, bare),
                      1.25 if new else 1.15)
    report.budget(f"HAProxy's own CPU over that with the contract floor, {where}",
                  ratio(ours, contract, "haproxy"), 1.05)
    if kb >= 220 and new:
        report.budget(f"CPU over the bare floor that sends the whole body, {where}",
                      ratio(ours, bare), 1.1 if connections <= 20 else 1.0)
        report.budget(f"the agent's share over that floor's, {where}",
                      ratio(ours, bare, "agent"), 0.6)
    elif kb == 220:
        report.budget(f"CPU over the bare floor, {where}", ratio(ours, bare), 1.2)
        if "query" in samples:
            report.budget(f"CPU over json_query, {where}", ratio(ours, samples["query"]), 1.0)


def make_bodies(programs, sizes, directory):
    for kb in sizes:
        path = os.path.join(directory, f"{kb}.json")
        with open(path, "wb") as f:
            subprocess.run([programs.path("body"), "long", str(kb * 1024), LLAMA], stdout=f,
                           check=True)
        yield kb, path


def latency(report, systems, version, bodies, o):
    """Far below saturation: 100 connections, each pausing about 100 ms between answers."""
    for kb, body in bodies:
        samples = {s.name: Sample() for s in systems}
        for turn in range(o.rounds):
            round_of(systems, samples, turn, body, 100, max(2, o.seconds), pause=100)
        alone = samples["alone"]
        lines = []
        for s in systems:
            x = samples[s.name]
            lines.append([s.name, f"{x.figure('rate').median:,.0f}"] + [
                f"{x.figure(p).median:.2f}  {x.figure(p).less(alone.figure(p)).median:+.2f}"
                for p in ("p50", "p99")])
            for p in ("p50", "p99"):
                report.keep(s.name, f"quiet_{p}_ms", x.figure(p), haproxy=version, body=kb * 1024,
                            connections=100, alone=alone.figure(p))
        report.title(f"HAProxy {version}, body {kb} KB, about 1,000 requests/s")
        report.table(["system", "requests/s", "p50 ms, added", "p99 ms, added"], lines)


def measure(report, programs, version, o, parts):
    directory = tempfile.mkdtemp(prefix="bench-bodies-")
    servers, systems = None, []
    try:
        bodies = list(make_bodies(programs, o.bodies, directory))
        servers = ModelServers()
        for name in NAMES:
            systems.append(System(name, version, servers, programs))
        if "latency" in parts:
            latency(report, systems, version, [b for b in bodies if b[0] in (1, 220)], o)
        if "rows" not in parts:
            return
        for kb, body in bodies:
            for connections in o.connections:
                need = connections * MB_PER_CONNECTION if kb > 32 else 0
                if need + 1024 > available_mb():
                    print(f"\nleft out: {kb} KB with {connections} connections needs {need} MB")
                    continue
                row(report, systems, version, kb, connections, body, o)
    finally:
        for s in systems:
            s.stop()
        if servers:
            servers.stop()
        shutil.rmtree(directory, ignore_errors=True)
