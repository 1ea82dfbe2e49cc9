"""The parts alone: the agent under the load generator, and the body scanner beside parsers."""
import json
import os
import subprocess
import tempfile

from measure import Figure, load
from agents import Agent, Floor


def generator(report, programs, o):
    """Decisions per second of one core, and latency at rates below saturation."""
    seconds, rounds = (1, 3) if o.quick else (2, 5)
    with tempfile.TemporaryDirectory(prefix="bench-") as d, \
            Agent(programs, d, "agent") as agent, \
            Agent(programs, d, "agent2", workers=2) as agent2, \
            Floor(programs, d, "bare") as bare, \
            Floor(programs, d, "contract", contract=True) as contract:
        throughput(report, programs, (agent, bare, contract), seconds, rounds)
        scaling(report, programs, agent, agent2, seconds, rounds)
        latency(report, programs, (agent, contract), seconds, o)


def interleaved(programs, systems, rounds, seconds, **options):
    """{name: [report of each round]}; options of bench-load that hold for all."""
    got = {s.name: [] for s in systems}
    for turn in range(rounds):
        for s in systems[turn % len(systems):] + systems[:turn % len(systems)]:
            got[s.name].append(load(programs.path("load"), connect=s.address, pid=s.pid,
                                    feedback=s.feedback, bare=s.bare, duration=seconds,
                                    **options))
    return got


def figure(reports, key):
    return Figure([r[key] for r in reports])


def throughput(report, programs, systems, seconds, rounds):
    agent, bare, contract = systems
    report.title("agents alone, closed loop, batches of 20 NOTIFYs on each of 4 connections")
    lines = []
    for size in (1024, 8192, 220 * 1024):
        got = interleaved(programs, list(systems), rounds, seconds, connections=4,
                          depth=20 if size < 100000 else 4, size=size)
        ours = figure(got["agent"], "cpu_us")
        for s in systems:
            cpu = figure(got[s.name], "cpu_us")
            rate = Figure([1e6 / v for v in cpu.values])
            lines.append([f"{size // 1024} KB", s.name, f"{cpu:.3f}", f"{rate:,.0f}",
                          f"{figure(got[s.name], 'rate'):,.0f}", f"{ours.over(cpu):.2f}"])
            report.keep(f"generator_{s.name}", "cpu_us_per_decision", cpu, body=size,
                        floor=figure(got["contract"], "cpu_us"),
                        ratio=cpu.over(figure(got["contract"], "cpu_us")))
        if size == 1024:
            for s in (contract, bare):
                report.budget(f"decisions/s of a core at 1 KB over the {s.name} floor's",
                              figure(got[s.name], "cpu_us").over(ours), 0.6, at_least=True)
        refused = sum(r["refused"] for r in got["agent"])
        report.budget(f"decisions other than routed, {size // 1024} KB", refused, 0)
    report.table(["body", "agent", "CPU us/decision", "decisions/s of one core", "decisions/s here",
                  "ours / its"], lines)


def scaling(report, programs, one, two, seconds, rounds):
    """Two workers: what a decision costs must stay, whatever the machine leaves them of cores."""
    got = interleaved(programs, [one, two], rounds, seconds, connections=8, depth=20, size=1024)
    a, b = figure(got["agent"], "cpu_us"), figure(got["agent2"], "cpu_us")
    report.title("workers, 8 connections, 1 KB")
    report.table(["workers", "CPU us/decision", "decisions/s here", "cores used"],
                 [[n, f"{c:.3f}", f"{figure(got[k], 'rate'):,.0f}",
                   f"{figure(got[k], 'agent_share'):.2f}"]
                  for n, k, c in ((1, "agent", a), (2, "agent2", b))])
    report.keep("generator_workers", "cpu_ratio_2_over_1", b.over(a), ratio=b.over(a))
    report.budget("CPU per decision of two workers over one", b.over(a), 1.2)


def latency(report, programs, systems, seconds, o):
    report.title("latency at fixed rates, open loop, 1 KB, 4 connections; us from the intended time")
    lines = []
    for rate in (2000, 10000, 30000):
        got = interleaved(programs, list(systems), 1 if o.quick else 3, seconds, connections=4,
                          size=1024, rate=rate)
        for s in systems:
            q = {k: figure(got[s.name], k + "_us") for k in ("p50", "p99", "p999", "max")}
            lines.append([f"{rate:,}", s.name] + [f"{f:.0f}" for f in q.values()])
            for k, f in q.items():
                report.keep(f"open_loop_{s.name}", f"{k}_us", f, body=1024, connections=4,
                            floor=figure(got[systems[1].name], k + "_us"))
    report.table(["per second", "agent", "p50", "p99", "p99.9", "max"], lines)


def scanner(report, programs, o):
    argv = [programs.path("scan")] + (["7", "2"] if o.quick else ["15", "5"])
    out = subprocess.run(argv, capture_output=True, text=True, check=True, env={
        **os.environ, "LD_LIBRARY_PATH": os.environ.get("SPOA_YYJSON_LIB", "")}).stdout
    table = {}
    for line in out.splitlines():
        r = json.loads(line)
        table.setdefault((r["shape"], r["size"]), {})[r["reader"]] = r
    readers = list(next(iter(table.values())))
    lines = []
    for (shape, size), got in table.items():
        ours = got["request"]["gb_per_s"]
        lines.append([shape, f"{size // 1024} KB"] + [
            f"{got[r]['gb_per_s']:.2f} ({got[r]['low']:.2f}-{got[r]['high']:.2f})" for r in readers])
        for r in readers:
            report.keep("scanner", f"{shape}_{r}_gb_per_s", got[r]["gb_per_s"], body=size,
                        ratio=round(ours / got[r]["gb_per_s"], 3))
    report.title("scanner, GB/s")
    report.table(["body", "size", *readers], lines)
    for shape in ("long", "plain"):
        got = table[shape, 220 * 1024]
        ours = got["request"]["gb_per_s"]
        what = "with line breaks" if shape == "long" else "on one line"
        for other, limit in (("memchr", 0.3), ("cJSON", 15)):
            report.budget(f"scanner over {other}, one prompt of 220 KB {what}",
                          ours / got[other]["gb_per_s"], limit, at_least=True)
    if "yyjson" in readers:
        worst, where = min((got["request"]["gb_per_s"] / got["yyjson"]["gb_per_s"], k)
                           for k, got in table.items())
        report.budget(f"scanner over yyjson, the worst body ({where[0]}, {where[1] // 1024} KB)",
                      worst, 1.0, at_least=True)
    else:
        print("yyjson is not here: libyyjson-dev (Debian 13) or -DSPOA_YYJSON=DIR")


