"""Which of HAProxy's settings make SPOE cheap: the whole gateway under haproxy.cfg with one setting
changed, beside the same unchanged. The table of haproxy/README.md.
"""
import os
import tempfile

import rows
from contract import read
from systems import BEFORE, ModelServers, System

MALLOC = {"MALLOC_TRIM_THRESHOLD_": 1 << 30, "MALLOC_MMAP_THRESHOLD_": 1 << 25,
          "MALLOC_TOP_PAD_": 1 << 24}
HOT = "    tune.memory.hot-size 67108864\n"
SERVER = "server agent \"${INFERENCE_AGENT-unix@/spoa-inference/spop.sock}\""
RING = "log ring@inference-feedback format rfc5424 local0"


def changed(name, *pairs):
    text = read(name)
    for old, new in pairs:
        if old not in text:
            raise LookupError(old)
        text = text.replace(old, new)
    return {"files": {name: text}}


def cfg(*pairs):
    return changed("haproxy.cfg", *pairs)


def spoe(*lines):
    head = "spoe-agent inference\n"
    return changed("spoe-inference.conf",
                   (head, head + "".join(f"    {line}\n" for line in lines)))


def settings(version):
    """(what, options of System), of those that this version knows."""
    number = tuple(map(int, version.split(".")))
    yield "TCP to the agent, not a unix socket", lambda: {"spop": "tcp"}
    yield "two threads (nbthread 2)", lambda: {"before": BEFORE.replace("nbthread 1", "nbthread 2")}
    yield "buffers of 64 KB (tune.bufsize 65536)", lambda: cfg(
        ("tune.bufsize 1114112", "tune.bufsize 65536"))
    if number >= (3, 0):
        yield "without tune.memory.hot-size", lambda: cfg((HOT, ""))
    else:
        yield "MALLOC_… in the environment", lambda: {"environment": MALLOC}
    if number < (3, 1):
        yield "no option async", lambda: spoe("no option async")
        yield "no option pipelining", lambda: spoe("no option pipelining")
        yield "max-waiting-frames 100", lambda: spoe("max-waiting-frames 100")
        yield "no maxconnrate, timeout idle 10m", lambda: changed(
            "spoe-inference.conf", ("    maxconnrate 10\n", ""), ("timeout idle 10s", "timeout idle 10m"))
    else:
        yield "pool-low-conn 32, pool-purge-delay 60s", lambda: cfg(
            (SERVER, SERVER + " pool-low-conn 32 pool-purge-delay 60s"))
        yield "pool-max-conn 0: no connection is kept", lambda: cfg(
            (SERVER, SERVER + " pool-max-conn 0"))
        yield "maxconn 4 to the agent", lambda: cfg((SERVER, SERVER + " maxconn 4"))
    yield "the line to the agent by UDP, not by a ring", lambda: cfg(
        (RING, "log \"${INFERENCE_FEEDBACK}\" format rfc5424 local0"))
    yield "INFERENCE_HEADERS=off", lambda: {"environment": {"INFERENCE_HEADERS": "off"},
                                            "unnamed": True}


def measure(report, programs, version, o):
    servers, systems = ModelServers(), []
    directory = tempfile.mkdtemp(prefix="bench-bodies-")
    try:
        (kb, body), = rows.make_bodies(programs, [1], directory)
        systems.append(System("inference", version, servers, programs))
        for what, options in settings(version):
            try:
                s = System("inference", version, servers, programs, **options())
            except LookupError as e:
                print(f"haproxy.cfg has no line {e}: left out")
                continue
            s.name = what
            systems.append(s)
        # By itself a thousand clients show little more; who asks for them gets them.
        for connections in [c for c in o.connections if c <= 100 or o.only_connections]:
            samples = {s.name: rows.Sample() for s in systems}
            for turn in range(o.rounds):
                rows.round_of(systems, samples, turn, body, connections,
                              o.seconds * (3 if connections >= 1000 else 1))
            table(report, samples, version, kb, connections)
    finally:
        for s in systems:
            s.stop()
        servers.stop()
    os.remove(body)
    os.rmdir(directory)


def table(report, samples, version, kb, connections):
    shipped = samples["inference"].figure("total")
    lines = []
    for name, x in samples.items():
        total = x.figure("total")
        lines.append(["as shipped" if name == "inference" else name, f"{total:.1f}",
                      f"{total.over(shipped):.2f}", x.short or f"{x.bad} {x.astray}"])
        report.keep("setting", name, total, haproxy=version, body=kb * 1024,
                    connections=connections, floor=shipped, ratio=total.over(shipped))
    report.title(f"HAProxy {version}: one setting changed, {kb} KB, {connections} connections")
    report.table(["setting", "CPU us/request, HAProxy + agent", "/ as shipped", "bad"], lines)
