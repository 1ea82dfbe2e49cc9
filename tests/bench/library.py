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
        threads(report, programs, rounds)
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


def share(reports):
    """Of a core, that the generator took: near 1 it is what bounds decisions/s here."""
    return f"{figure(reports, 'own_share').median:.2f}"


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
                          f"{figure(got[s.name], 'rate'):,.0f}", share(got[s.name]),
                          f"{ours.over(cpu):.2f}"])
            report.keep(f"generator_{s.name}", "cpu_us_per_decision", cpu, body=size, connections=4,
                        floor=figure(got["contract"], "cpu_us"),
                        ratio=cpu.over(figure(got["contract"], "cpu_us")),
                        decisions_per_s=figure(got[s.name], "rate"),
                        generator_share=figure(got[s.name], "own_share"))
        if size == 1024:
            for s in (contract, bare):
                report.budget(f"decisions/s of a core at 1 KB over the {s.name} floor's",
                              figure(got[s.name], "cpu_us").over(ours), 0.6, at_least=True,
                              body=size, connections=4)
        refused = sum(r["refused"] for r in got["agent"])
        report.budget(f"decisions other than routed, {size // 1024} KB", refused, 0, body=size)
    report.table(["body", "agent", "CPU us/decision", "decisions/s of one core", "decisions/s here",
                  "generator's share", "ours / its"], lines)


def scaling(report, programs, one, two, seconds, rounds):
    """Two workers: what a decision costs must stay, whatever the machine leaves them of cores."""
    got = interleaved(programs, [one, two], rounds, seconds, connections=8, depth=20, size=1024)
    a, b = figure(got["agent"], "cpu_us"), figure(got["agent2"], "cpu_us")
    report.title("workers, 8 connections, 1 KB")
    report.table(["workers", "CPU us/decision", "decisions/s here", "cores used", "generator's share"],
                 [[n, f"{c:.3f}", f"{figure(got[k], 'rate'):,.0f}",
                   f"{figure(got[k], 'agent_share').median:.2f}", share(got[k])]
                  for n, k, c in ((1, "agent", a), (2, "agent2", b))])
    report.keep("generator_workers", "cpu_ratio_2_over_1", b.over(a), body=1024, connections=8,
                ratio=b.over(a))
    report.budget("CPU per decision of two workers over one", b.over(a), 1.2, body=1024,
                  connections=8)


def raced(programs, threads, processes):
    """Requests per second of all together: @processes of bench-path with @threads each."""
    running = [subprocess.Popen([programs.path("path"), "chat-1k", "1000000", str(threads)],
                                stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    rates = [float(p.communicate()[0]) for p in running]
    if any(p.returncode for p in running):
        raise RuntimeError("bench-path failed")
    return sum(rates)


def threads(report, programs, rounds):
    """The workers' path without sockets, on as many threads as there are cores, over as many
    processes of one thread, which share nothing: a lock, or lines of memory that go to and fro,
    would show. The generator alone could not fill two workers."""
    cores = min(len(os.sched_getaffinity(0)), 16)
    what = "requests/s of threads over as many processes"
    if cores < 2:
        report.not_measured(what, "there is one core")
        return
    one, together, apart = [], [], []
    for _ in range(rounds):
        one.append(raced(programs, 1, 1))
        together.append(raced(programs, cores, 1))
        apart.append(raced(programs, 1, cores))
    ratio = Figure(together).over(Figure(apart))
    report.title(f"the request path on {cores} threads, without sockets, 1 KB")
    report.table(["", "requests/s"], [["1 thread", f"{Figure(one):,.0f}"],
                                      [f"{cores} threads", f"{Figure(together):,.0f}"],
                                      [f"{cores} processes", f"{Figure(apart):,.0f}"]])
    report.keep("path_threads", f"requests_per_s_{cores}", Figure(together), body=1024,
                alone=Figure(one), floor=Figure(apart), ratio=ratio)
    report.budget(what, ratio, 0.8, at_least=True, body=1024)


def latency(report, programs, systems, seconds, o):
    report.title("latency at fixed rates, open loop, 1 KB, 4 connections; us from the intended time")
    lines = []
    for rate in (2000, 10000, 30000):
        got = interleaved(programs, list(systems), 1 if o.quick else 3, seconds, connections=4,
                          size=1024, rate=rate)
        for s in systems:
            q = {k: figure(got[s.name], k + "_us") for k in ("p50", "p99", "p999", "max")}
            reached = figure(got[s.name], "rate")
            # Behind its rate it is saturated, by the machine's neighbours maybe: no latency of its own.
            behind = reached.low < 0.99 * rate
            lines.append([f"{rate:,}", s.name] + [f"{f:.0f}" for f in q.values()] +
                         [f"{reached.low:,.0f}: saturated" if behind else f"{reached.median:,.0f}"])
            for k, f in q.items():
                report.keep(f"open_loop_{s.name}", f"{k}_us", f, body=1024, connections=4,
                            floor=figure(got[systems[1].name], k + "_us"), rate=rate,
                            reached=reached, saturated=behind)
    report.table(["per second", "agent", "p50", "p99", "p99.9", "max", "reached"], lines)


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
                        ratio=round(ours / got[r]["gb_per_s"], 3), low=got[r]["low"],
                        high=got[r]["high"])
    report.title("scanner, GB/s")
    report.table(["body", "size", *readers], lines)
    for shape in ("long", "plain"):
        got = table[shape, 220 * 1024]
        ours = got["request"]["gb_per_s"]
        what = "with line breaks" if shape == "long" else "on one line"
        for other, limit in (("memchr", 0.3), ("cJSON", 15)):
            report.budget(f"scanner over {other}, one prompt of 220 KB {what}",
                          ours / got[other]["gb_per_s"], limit, at_least=True, body=220 * 1024)
    if "yyjson" in readers:
        worst, where = min((got["request"]["gb_per_s"] / got["yyjson"]["gb_per_s"], k)
                           for k, got in table.items())
        report.budget(f"scanner over yyjson, the worst body ({where[0]}, {where[1] // 1024} KB)",
                      worst, 1.0, at_least=True, body=where[1])
    else:
        report.not_measured("scanner over yyjson", "yyjson is not here: libyyjson-dev (Debian 13) "
                            "or -DSPOA_YYJSON=DIR")
