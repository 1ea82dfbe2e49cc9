"""What the contract costs, piece by piece: the contract floor under haproxy.cfg with one thing
taken out, beside the whole and beside the bare floor.

A piece that is taken out may break what the contract promises; what is measured is its price. Lines
are found by their text, so a piece that haproxy.cfg no longer has is said to be missing.
"""
import os
import re
import tempfile

import rows
from systems import ModelServers, System

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "haproxy")


def read(name):
    with open(os.path.join(FILES, name)) as f:
        return f.read()


def without(*patterns):
    """Takes lines out of haproxy.cfg."""
    def edit(cfg, spoe):
        for pattern in patterns:
            cfg, n = re.subn(r"(?m)^\s*" + pattern + r".*\n", "", cfg)
            if not n:
                raise LookupError(pattern)
        return cfg, spoe
    return edit


def arguments(text):
    def edit(cfg, spoe):
        spoe, n = re.subn(r"(?m)^(\s*args )((?:id=txn\.id32 )?)body=req\.body .*$",
                          lambda m: m.group(1) + text.replace("ID ", m.group(2)), spoe)
        if not n:
            raise LookupError("args")
        return cfg, spoe
    return edit


def both(*edits):
    def edit(cfg, spoe):
        for e in edits:
            cfg, spoe = e(cfg, spoe)
        return cfg, spoe
    return edit


def replaced(pattern, text):
    def edit(cfg, spoe):
        cfg, n = re.subn(pattern, text, cfg)
        if not n:
            raise LookupError(pattern)
        return cfg, spoe
    return edit


LOG_RING = r"log ring@inference-feedback"
# Without its own, the frontend would take the target of its defaults.
LOG_USER = replaced(r"(?m)^(\s*)log global\s*\n(?=\s*log ring)", r"\1no log\n")
PIECES = {
    "the line to the agent": without(LOG_RING),
    "the user's own line": LOG_USER,
    "both lines": both(LOG_USER, without(LOG_RING, "log-format-sd")),
    "del-header of clients' copies": without("http-request del-header X-Gateway"),
    "X-Gateway headers to the server": without("http-request (add|set)-header X-Gateway"),
    "x-inference headers to the client": without("http-response set-header x-inference"),
    "txn.anthropic": without(r"http-request set-var\(txn.anthropic\)"),
    "the two fail-open rules": without(r"http-request set-var\(txn.inference.(model|backend)\)"),
    "announced too large": without("http-request deny deny_status 413 if METH_POST"),
    "use-server rules": without("use-server"),
    "use_backend but for the pool": without("use_backend inference-(answers|admin)"),
    "all arguments but the body": arguments("body=req.body"),
    "content_encoding": arguments("ID body=req.body content_type=req.fhdr(content-type,1)"),
    "rules for large bodies": without(
        r"http-request set-var\(txn.inference_tail\)",
        "http-request send-spoe-group inference (slices|whole|named)"),
}

VARIABLES = ("status", "base_model", "server2 server3")


def pieces():
    cfg, spoe = read("haproxy.cfg"), read("spoe-inference.conf")
    for name, edit in PIECES.items():
        try:
            new_cfg, new_spoe = edit(cfg, spoe)
        except LookupError as e:
            print(f"haproxy.cfg has no line {e}: left out")
            continue
        yield name, {"haproxy.cfg": new_cfg, "spoe-inference.conf": new_spoe}


def measure(report, programs, version, o):
    servers, systems = ModelServers(), []
    directory = tempfile.mkdtemp(prefix="bench-bodies-")
    try:
        (kb, body), = rows.make_bodies(programs, [1], directory)
        systems.append(System("bare", version, servers, programs))
        systems.append(System("contract", version, servers, programs))
        variants = [(name, {"files": files}) for name, files in pieces()]
        variants += [("variable " + names, {"without": " " + names.replace(" ", "  ") + " "}) for names in VARIABLES]
        for name, options in variants:
            s = System("contract", version, servers, programs, **options)
            s.name = name
            systems.append(s)
        samples = {s.name: rows.Sample() for s in systems}
        for turn in range(o.rounds * 2):
            rows.round_of(systems, samples, turn, body, 100, o.seconds)
    finally:
        for s in systems:
            s.stop()
        servers.stop()
    whole = samples["contract"].figure("total")
    lines = []
    for name, x in samples.items():
        saved = whole.less(x.figure("total"))
        lines.append([name, f"{x.figure('total'):.1f}", f"{saved.median:+.1f}",
                      f"{x.figure('total').over(whole):.3f}", x.short or x.bad])
        report.keep("contract_without", name, x.figure("total"), haproxy=version, body=kb * 1024,
                    connections=100, floor=whole, ratio=x.figure("total").over(whole))
    report.title(f"HAProxy {version}: the contract floor without ..., 1 KB, 100 connections")
    report.table(["without", "CPU us/request", "saves us", "/ the whole contract", "bad"], lines)
    os.remove(body)
    os.rmdir(directory)


