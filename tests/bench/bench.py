#!/usr/bin/env python3
"""The benchmark: README.md says what each row means, run.sh installs, builds and calls this."""
import argparse
import os
import signal
import sys
import time
import traceback

import contract
import growth
import library
import rows
import settings
from report import Report
from systems import WANTED, Programs, add_haproxy, full_version, installed

PARTS = ("rows", "latency", "contract", "settings", "library", "scanner", "growth", "memory", "idle")
# Those that answer other questions than the budgets ask.
LONG = ("latency", "contract", "settings")
WITH_HAPROXY = {"rows", "latency", "contract", "settings"}


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
    p.add_argument("--build", default=os.environ.get("SPOA_BUILD"), help=argparse.SUPPRESS)
    o = p.parse_args()

    def numbers(text, quick, full):
        return [int(n) for n in text.split(",")] if text else (quick if o.quick else full)

    o.only_connections = bool(o.connections)
    o.bodies = numbers(o.bodies, [1, 220], [1, 8, 32, 220, 900])
    o.connections = numbers(o.connections, [100], [20, 100, 1000])
    o.plots = o.plots or os.path.join(o.build or ".", "bench-plots")
    o.rounds = o.rounds or (3 if o.quick else 5)
    o.seconds = o.seconds or 1
    return o


def choose_versions(o, report):
    """Which HAProxies; what was asked for and is not here is an error, what is known and not here is
    said."""
    if o.haproxy:
        return [add_haproxy(o.haproxy)]
    order = sorted(installed(), key=lambda v: [int(n) for n in v.split(".")])
    if o.versions:
        missing = [v for v in o.versions.split(",") if v not in order]
        if missing:
            raise ValueError(f"no HAProxy {', '.join(missing)} is here, only {', '.join(order)}")
        return [v for v in order if v in o.versions.split(",")]
    if o.quick:
        return [order[0], order[-1]] if len(order) > 2 else order
    for v in WANTED:
        if v not in order:
            report.not_measured(f"HAProxy {v}", "it is not here: see tests/README.md")
    return order


def attempt(report, fn, *args):
    """What cannot be measured fails, and the rest goes on."""
    try:
        fn(report, *args)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        report.failed = True
        print(f"{fn.__module__}.{fn.__name__}: not measured", flush=True)


def end(number, _frame):
    """As Ctrl-C: everything that was started is stopped, and that once."""
    for n in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(n, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main():
    o = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    programs = Programs(o.build)
    report = Report(o.json)
    parts = o.part or [p for p in PARTS if not (o.quick and p in LONG)]
    begun = time.monotonic()
    try:
        versions = choose_versions(o, report) if WITH_HAPROXY & set(parts) else []
    except ValueError as e:
        print(f"bench.py: {e}", file=sys.stderr)
        return 1
    report.head(o, {v: full_version(v) for v in versions})
    try:
        for version in versions if {"rows", "latency"} & set(parts) else ():
            attempt(report, rows.measure, programs, version, o, parts)
        for name, fn in (("contract", contract.measure), ("settings", settings.measure)):
            for version in versions if name in parts else ():
                attempt(report, fn, programs, version, o)
        for name, fn in (("library", library.generator), ("scanner", library.scanner),
                         ("growth", growth.curves), ("memory", growth.memory),
                         ("idle", growth.idle)):
            if name in parts:
                attempt(report, fn, programs, o)
    except BaseException:
        report.failed = True
        print("\nstopped before the end")
        raise
    finally:
        status = report.verdicts(time.monotonic() - begun)
    return status


if __name__ == "__main__":
    sys.exit(main())
