#!/usr/bin/env python3
"""Fuzzes every target for as long as it takes, a slice at a time, and keeps the books.

A target is done at 10^8 executions or two hours of CPU under ASan + UBSan, whichever comes first;
the one that is furthest from it runs next. What was reached is kept in a state file over
interruptions, so that the figures in tests/README.md can be stated and not guessed. A target that
found something rests until its program is built anew.
"""
import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXECUTIONS, CPU_SECONDS = 10**8, 7200
SANITIZE = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


class Books:
    """What each target has done so far."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path) as f:
                self.rows = json.load(f)
        except FileNotFoundError:
            self.rows = {}

    def row(self, name):
        return self.rows.setdefault(name, {"executions": 0, "cpu": 0.0, "found": [], "built": 0})

    def add(self, name, executions, cpu, found, built):
        row = self.row(name)
        row["executions"] += executions
        row["cpu"] = round(row["cpu"] + cpu, 1)
        row["found"] += found
        row["resting"] = built if found else 0
        with open(self.path + ".new", "w") as f:
            json.dump(self.rows, f, indent=1, sort_keys=True)
        os.replace(self.path + ".new", self.path)

    def progress(self, name):
        row = self.row(name)
        return max(row["executions"] / EXECUTIONS, row["cpu"] / CPU_SECONDS)

    def table(self):
        lines = ["| target | executions | CPU hours | found |", "|---|---|---|---|"]
        for name, row in sorted(self.rows.items()):
            lines.append(f"| {name.removeprefix('fuzz_')} | {row['executions'] / 1e6:.1f} million | "
                         f"{row['cpu'] / 3600:.2f} | {len(row['found'])} |")
        return "\n".join(lines)


class Slice:
    """One run of one target."""

    def __init__(self, name, binary, work, seconds):
        self.name, self.work = name, work
        self.built = os.path.getmtime(binary)
        corpus = os.path.join(ROOT, "tests", "fuzz", "corpus", name.removeprefix("fuzz_"))
        grown = os.path.join(work, name)
        os.makedirs(grown, exist_ok=True)
        self.before = set(os.listdir(work))
        self.log = open(os.path.join(work, name + ".log"), "w+", errors="replace")
        argv = [binary, f"-max_total_time={seconds}", f"-artifact_prefix={work}/{name}-",
                "-rss_limit_mb=2048", "-timeout=25", "-print_final_stats=1", grown]
        argv += [corpus] if os.path.isdir(corpus) else []
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env={**os.environ, **SANITIZE}, preexec_fn=lambda: os.nice(19))

    def interrupt(self):
        """libFuzzer tells its figures on its way out. (Popen's own way would reap it.)"""
        os.kill(self.process.pid, signal.SIGINT)

    def over(self, books):
        """Whether it has ended; then it is in the books."""
        pid, _, used = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = 0
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        stat = re.search(r"number_of_executed_units: (\d+)", text)
        pulse = re.findall(r"^#(\d+)\t", text, re.M)
        executions = int(stat.group(1)) if stat else int(pulse[-1]) if pulse else 0
        found = sorted(f for f in set(os.listdir(self.work)) - self.before
                       if f.startswith(self.name + "-"))
        books.add(self.name, executions, used.ru_utime + used.ru_stime, found, self.built)
        for f in found:
            print(f"{self.name}: {f}", flush=True)
            os.replace(os.path.join(self.work, self.name + ".log"),
                       os.path.join(self.work, f + ".txt"))
        return True


def next_target(build, books, first, running, wanted):
    ready = []
    for name in os.listdir(build):
        if not name.startswith("fuzz_") or name in running or (wanted and name not in wanted):
            continue
        row = books.row(name)
        if not os.access(os.path.join(build, name), os.X_OK) or books.progress(name) >= 1:
            continue
        if row.get("resting") == os.path.getmtime(os.path.join(build, name)):
            continue
        ready.append((books.progress(name), first.index(name) if name in first else 99, name))
    return min(ready)[2] if ready else None


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default=os.path.join(ROOT, "build-fuzz", "tests"),
                   help="folder of the targets")
    p.add_argument("--work", default=os.path.join(ROOT, ".cache", "fuzz-long"),
                   help="grown corpora, findings and the state file")
    p.add_argument("--minutes", type=float, default=1e9, help="stop after that long")
    p.add_argument("--slice", type=int, default=120, help="seconds a target runs at a time")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time")
    p.add_argument("--table", action="store_true", help="print what was reached, and end")
    p.add_argument("target", nargs="*", help="these alone [all]")
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    books = Books(os.path.join(a.work, "state.json"))
    if a.table:
        print(books.table())
        return 0
    wanted = ["fuzz_" + t.removeprefix("fuzz_") for t in a.target]
    stop = []
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda *_: stop.append(1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    end = time.monotonic() + a.minutes * 60
    running = {}
    while True:
        over = stop or time.monotonic() > end
        while not over and len(running) < a.jobs:
            name = next_target(a.build, books, wanted, running, wanted)
            if not name:
                break
            running[name] = Slice(name, os.path.join(a.build, name), a.work, a.slice)
        if not running:
            break
        for name, run in list(running.items()):
            if over:
                run.interrupt()
            if run.over(books):
                del running[name]
        time.sleep(1)
    print(books.table())
    return 1 if any(row["found"] for row in books.rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
