#!/usr/bin/env python3
"""The benchmark: README.md says what each row means, run.sh installs, builds and calls this."""
import argparse
import os
import sys
import time
import traceback

import contract
import growth
import library
import rows
import settings
from report import Report
from systems import Programs, System, installed

PARTS = ("rows", "latency", "contract", "settings", "library", "scanner", "growth", "memory", "idle")
# Those that answer other questions than the budgets ask.
LONG = ("latency", "contract", "settings")


def arguments():
    p = argparse.ArgumentParser(prog="tests/bench/run.sh", description="Measures spoa-inference.")
    p.add_argument("--quick", action="store_true", help="under three minutes: fewer rows and rounds")
    p.add_argument("--json", metavar="FILE", help="one JSON object a line")
    p.add_argument("--plots", metavar="DIR",
                   help="where the plots of the growth go [bench-plots of the build folder]")
    p.add_argument("--haproxy", metavar="BIN", help="this HAProxy instead of those found")
    p.add_argument("--versions", help="only these, as 2.6,3.2")
    p.add_argument("--part", action="append", choices=PARTS, help="only this part; may be repeated")
    p.add_argument("--bodies", help="of the rows, in KB: 1,8,32,220,900")
    p.add_argument("--connections", help="of the rows: 20,100,1000")
    p.add_argument("--rounds", type=int)
    p.add_argument("--seconds", type=int, help="of one measurement of a row")
    p.add_argument("--hot", type=int, default=0, metavar="MB",
                   help="tune.memory.hot-size of every HAProxy from 3.0 on")
    p.add_argument("--build", default=os.environ.get("SPOA_BUILD"), help=argparse.SUPPRESS)
    o = p.parse_args()

    def numbers(text, quick, full):
        return [int(n) for n in text.split(",")] if text else (quick if o.quick else full)

    o.bodies = numbers(o.bodies, [1, 220], [1, 8, 32, 220, 900])
    o.connections = numbers(o.connections, [100], [20, 100, 1000])
    o.plots = o.plots or os.path.join(o.build or ".", "bench-plots")
    o.rounds = o.rounds or (3 if o.quick else 5)
    o.seconds = o.seconds or 1
    return o


def choose_versions(o):
    found = installed()
    if o.haproxy:
        from systems import add_haproxy
        return [add_haproxy(o.haproxy)]
    order = sorted(found, key=lambda v: [int(n) for n in v.split(".")])
    if o.versions:
        return [v for v in order if v in o.versions.split(",")]
    return [order[0], order[-1]] if o.quick and len(order) > 2 else order


def attempt(report, fn, *args):
    """What cannot be measured fails, and the rest goes on."""
    try:
        fn(report, *args)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        report.failed = True
        print(f"{fn.__module__}.{fn.__name__}: not measured", flush=True)


def main():
    o = arguments()
    programs = Programs(o.build)
    report = Report(o.json)
    parts = o.part or [p for p in PARTS if not (o.quick and p in LONG)]
    begun = time.monotonic()
    System.hot_megabytes = o.hot
    report.head(o)
    try:
        for version in choose_versions(o) if {"rows", "latency"} & set(parts) else ():
            attempt(report, rows.measure, programs, version, o, parts)
        for name, fn in (("contract", contract.measure), ("settings", settings.measure)):
            for version in choose_versions(o) if name in parts else ():
                attempt(report, fn, programs, version, o)
        for name, fn in (("library", library.generator), ("scanner", library.scanner),
                         ("growth", growth.curves), ("memory", growth.memory),
                         ("idle", growth.idle)):
            if name in parts:
                attempt(report, fn, programs, o)
    finally:
        report.verdicts(time.monotonic() - begun)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
