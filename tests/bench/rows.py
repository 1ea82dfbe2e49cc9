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
from systems import LLAMA, NAMES, SHIPPED_TIMEOUT, ModelServers, System

# Held at worst: a buffer or two per connection in HAProxy, and as much in the model servers.
MB_PER_CONNECTION = 5


class Sample:
    """One system in one row, round by round."""

    def __init__(self):
        self.total, self.haproxy, self.agent, self.rate = [], [], [], []
        self.p50, self.p99, self.memory, self.bad, self.astray = [], [], [], 0, 0
        self.short = None  # why this is no measurement

    def add(self, run, before, after, told, memory, connections):
        """@run: wrk's summary; @before, @after: CPU time of HAProxy and agent; @told: the lines with
        and without a ticket that HAProxy wrote meanwhile, None where nobody counts them; @memory
        of both, KB."""
        n = run["requests"]
        if n < connections:
            # Who answers less than one request of each client shows nothing but that.
            self.short = f"{n} requests of {connections} clients answered in {run['seconds']:.0f} s"
            n = max(n, 1)
        haproxy, agent = ((b - a) / 1e3 / n for a, b in zip(before, after))
        self.haproxy.append(haproxy)
        self.agent.append(agent)
        self.total.append(haproxy + agent)
        self.rate.append(run["requests"] / run["seconds"])
        self.p50.append(run["p50_us"] / 1e3)
        self.p99.append(run["p99_us"] / 1e3)
        self.memory.append(memory)
        self.bad += run["status"] + run["broken"]
        self.astray += astray(run["requests"], *told, connections) if told else 0

    def figure(self, name):
        return Figure(getattr(self, name))

    def memory_mb(self):
        """Of HAProxy and of the agent, the most after any round."""
        return [max(of) / 1024 for of in zip(*self.memory)]


def astray(requests, with_ticket, without, connections):
    """How many requests HAProxy answered without having heard of the agent in time: their line has no
    ticket. Lines are also written of up to @connections requests that wrk left under way at its
    end, with a ticket or without. So it is at least what has no line with a ticket, and what
    has one without beyond those."""
    return max(0, requests - with_ticket, without - connections)


def round_of(systems, samples, turn, body, connections, seconds, pause=0):
    order = systems[turn % len(systems):] + systems[:turn % len(systems)]
    for s in order:
        told, before = s.told(), s.cpu()
        run = wrk(s.h.port, body, connections, seconds, pause)
        after, memory = s.cpu(), s.memory()
        if told:
            told = [b - a for a, b in zip(told, s.told_all())]
        samples[s.name].add(run, before, after, told, memory, connections)


def row(report, systems, version, kb, connections, body, o):
    samples = {s.name: Sample() for s in systems}
    # A thousand clients need a while to connect and to be served once each.
    seconds = o.seconds * (1 if connections < 1000 else 3 if kb <= 32 else 8)
    for turn in range(o.rounds):
        round_of(systems, samples, turn, body, connections, seconds)
    alone = samples["alone"]
    lines = []
    for name, x in samples.items():
        over_alone = x.figure("total").over(alone.figure("total"))
        floor = samples.get({"inference": "contract", "contract": "bare"}.get(name))
        over_floor = x.figure("total").over(floor.figure("total")) if floor else None
        added = {p: x.figure(p).less(alone.figure(p)) for p in ("p50", "p99")}
        memory = x.memory_mb()
        lines.append([
            name, f"{x.figure('rate').median:,.0f}", f"{x.figure('total'):.1f}",
            f"{x.figure('haproxy').median:.1f} + {x.figure('agent').median:.1f}",
            f"{over_alone:.2f}", f"{over_floor:.2f}" if floor else "",
            f"{added['p50'].median:+.2f}", f"{added['p99'].median:+.2f}",
            f"{memory[0]:.0f} + {memory[1]:.0f}",
            x.short or (f"{x.bad} {x.astray}" if x.bad or x.astray else "0")])
        where = {"haproxy": version, "body": kb * 1024, "connections": connections}
        if x.short:
            where["short"] = x.short
        report.keep(name, "cpu_us_per_request", x.figure("total"), **where,
                    alone=alone.figure("total"), floor=floor and floor.figure("total"),
                    ratio=over_floor)
        for metric, part in (("haproxy_cpu_us", "haproxy"), ("agent_cpu_us", "agent"),
                             ("requests_per_s", "rate"), ("p50_ms", "p50"), ("p99_ms", "p99")):
            report.keep(name, metric, x.figure(part), **where, alone=alone.figure(part),
                        floor=floor and floor.figure(part),
                        ratio=floor and x.figure(part).over(floor.figure(part)))
        report.keep(name, "memory_kb", round(sum(memory) * 1024), **where,
                    alone=round(sum(alone.memory_mb()) * 1024),
                    floor=floor and round(sum(floor.memory_mb()) * 1024))
        report.keep(name, "not_2xx", x.bad, **where)
        report.keep(name, "without_the_agent", x.astray, **where)
    report.title(f"HAProxy {version}, body {kb} KB, {connections} connections")
    report.table(["system", "requests/s", "CPU us/request", "HAProxy + agent", "/ alone",
                  "/ its floor", "p50 +ms", "p99 +ms", "MB", "bad"], lines)
    judge(report, samples, version, kb, connections)


def judge(report, samples, version, kb, connections):
    """The budgets of a row. A system that was not measured leaves those that need it open."""
    where = {"haproxy": version, "body": kb * 1024, "connections": connections}
    place = f"HAProxy {version}, {kb} KB, {connections} connections"
    new = tuple(map(int, version.split("."))) >= (2, 9)

    def budget(what, limit, of, to, part="total"):
        short = [f"{n}: {samples[n].short}" for n in (of, to) if samples[n].short]
        if short:
            report.not_measured(f"{what}, {place}", "; ".join(short), **where)
        else:
            ratio = samples[of].figure(part).over(samples[to].figure(part))
            report.budget(f"{what}, {place}", ratio, limit, **where)

    lost = f"no request refused or routed without the agent, {place}"
    if samples["inference"].short:
        report.not_measured(lost, samples["inference"].short, **where)
    else:
        report.budget(lost, sum(x.bad + x.astray for x in samples.values()), 0, **where)
    if connections > 100:
        return
    if kb in (1, 8):
        budget("CPU over the contract floor", 1.15, "inference", "contract")
        budget("the contract floor over the bare floor", 1.25 if new else 1.15, "contract", "bare")
    budget("HAProxy's own CPU over that with the contract floor", 1.05, "inference", "contract",
           "haproxy")
    if kb >= 220 and new:
        budget("CPU over the bare floor that sends the whole body",
               1.1 if connections <= 20 else 1.0, "inference", "bare")
        budget("the agent's share over that floor's", 0.6, "inference", "bare", "agent")
    elif kb == 220:
        budget("CPU over the bare floor", 1.2, "inference", "bare")
        budget("CPU over json_query", 1.0, "inference", "query")


def make_bodies(programs, sizes, directory):
    for kb in sizes:
        path = os.path.join(directory, f"{kb}.json")
        with open(path, "wb") as f:
            subprocess.run([programs.path("body"), "long", str(kb * 1024), LLAMA], stdout=f,
                           check=True)
        yield kb, path


def latency(report, programs, servers, version, bodies, o):
    """Far below saturation: 100 connections, each pausing about 100 ms between answers. HAProxy
    waits for the agent as long as the shipped SPOE file says, and who passes it by is counted."""
    systems = []
    try:
        for name in NAMES:
            systems.append(System(name, version, servers, programs, environment=SHIPPED_TIMEOUT))
        for kb, body in bodies:
            samples = {s.name: Sample() for s in systems}
            for turn in range(o.rounds):
                round_of(systems, samples, turn, body, 100, max(2, o.seconds), pause=100)
            alone = samples["alone"]
            lines = []
            where = {"haproxy": version, "body": kb * 1024, "connections": 100}
            for name, x in samples.items():
                lines.append([name, f"{x.figure('rate').median:,.0f}"] + [
                    f"{x.figure(p).median:.2f}  {x.figure(p).less(alone.figure(p)):+.2f}"
                    for p in ("p50", "p99")] + [f"{x.bad} {x.astray}"])
                for p in ("p50", "p99"):
                    report.keep(name, f"quiet_{p}_ms", x.figure(p), **where, alone=alone.figure(p))
                report.keep(name, "quiet_without_the_agent", x.astray, **where)
            report.title(f"HAProxy {version}, body {kb} KB, about 1,000 requests/s")
            report.table(["system", "requests/s", "p50 ms, added", "p99 ms, added",
                          "bad, without the agent"], lines)
    finally:
        for s in systems:
            s.stop()


def measure(report, programs, version, o, parts):
    directory = tempfile.mkdtemp(prefix="bench-bodies-")
    servers, systems = None, []
    try:
        bodies = list(make_bodies(programs, o.bodies, directory))
        servers = ModelServers()
        if "latency" in parts:
            latency(report, programs, servers, version, [b for b in bodies if b[0] in (1, 220)], o)
        if "rows" not in parts:
            return
        for name in NAMES:
            systems.append(System(name, version, servers, programs))
        for kb, body in bodies:
            for connections in o.connections:
                need = connections * MB_PER_CONNECTION if kb > 32 else 0
                if need + 1024 > available_mb():
                    report.not_measured(f"HAProxy {version}, {kb} KB, {connections} connections",
                                        f"that needs {need + 1024} MB", haproxy=version,
                                        body=kb * 1024, connections=connections)
                    continue
                row(report, systems, version, kb, connections, body, o)
    finally:
        for s in systems:
            s.stop()
        if servers:
            servers.stop()
        shutil.rmtree(directory, ignore_errors=True)
