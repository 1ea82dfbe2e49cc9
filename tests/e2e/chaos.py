#!/usr/bin/env python3
"""The whole gateway under load with a fault every few seconds, and a ledger of every request.

    chaos.py [--minutes 60] [--versions 2.6,3.2] [--seed N]

Plain and streaming requests never stop, and every few seconds a burst comes on top; agent, HAProxy
and model servers are killed, stopped, reloaded and hung at random, lies are told to the agent's
sockets. At the end each request has ended once: as it should, by whom it should, or by one of the
errors that README.md names as unavoidable while the fault that excuses it was there. Then tickets
are zero, HAProxy's old processes are gone, the agent has no more descriptors and memory than
before, and HAProxy not many. Exit status 1 when the ledger does not balance; the seed is printed,
and makes the same faults in the same order again.
"""
import argparse
import collections
import os
import random
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import haproxy  # noqa: E402
from attack import descriptors, resident  # noqa: E402
from flood import Ask, Bursts, Flood  # noqa: E402
from stack import ADAPTER, LLAMA, LLAMAS, PHI, PHIS, Stack, until  # noqa: E402

# A connection or two for each client of the last burst, which may just have ended.
HAPROXY_DESCRIPTORS = 400
MIX = [Ask(LLAMA, True, 25), Ask(PHI, False, 10), Ask(ADAPTER, False, 5), Ask(PHI, True, 40), Ask(LLAMA, False, 20)]
# Whom it concerns, where not everybody
OF = {"a pool is gone": PHI, "an adapter goes and comes": ADAPTER}
# For so long after a fault is over it may still be felt: checks, retries, `timeout processing`.
AFTER = 4.0
SERVER_LOST = {"502", "cut"}
# fault → what a client may see of it, besides waiting
EXCUSES = {
    "kill the agent": set(), "end the agent": set(), "stop the agent": set(), "reload the agent": set(),
    "a broken configuration": set(), "reload HAProxy": set(), "broken peers": set(), "false lines": set(),
    "wrong metrics": set(), "an adapter goes and comes": {"404"}, "a slow server": set(), "drain a server": set(),
    "a server dies": SERVER_LOST, "a server refuses": {"502"}, "a server breaks streams off": {"cut"},
    # It takes a request and never answers it, not even later: that is for `timeout server` to end.
    "a server hangs": SERVER_LOST | {"unanswered"}, "servers stand still": set(),
    "a pool is gone": SERVER_LOST | {"503"},
}


class Chaos:
    def __init__(self, stack, seed):
        self.s, self.random = stack, random.Random(seed)
        self.faults = []  # [name, began, ended or None]

    # ---- one method a fault; each leaves things as they were ----
    def agent_down(self, end, wait):
        end()
        time.sleep(wait)
        self.s.agent.start(ready=False)
        self.s.h.wait_agent("UP", 30)

    def kill_the_agent(self):
        self.agent_down(self.s.agent.kill, self.random.uniform(0, 3))

    def end_the_agent(self):
        def end():
            self.s.agent.process.terminate()
            self.s.agent.process.wait(20)
        self.agent_down(end, self.random.uniform(0, 1))

    def stop_the_agent(self):
        pid = self.s.agent.process.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.1, 3))
        os.kill(pid, signal.SIGCONT)
        self.s.h.wait_agent("UP", 30)

    def reload_the_agent(self):
        for _ in range(self.random.randint(1, 5)):
            self.s.agent.reload()

    def a_broken_configuration(self):
        good = self.s.agent.conf
        with open(self.s.agent.file, "w") as f:
            f.write("pools: [what is this")
        assert self.s.agent.reload() == "failed"
        assert self.s.agent.reload(good) == "ok"

    def reload_haproxy(self):
        self.s.h.reload(40)
        self.s.h.wait_agent("UP", 30)

    def broken_peers(self):
        path = self.s.h.outside("spop.sock")
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as c:
                c.settimeout(1)
                try:
                    c.connect(path)
                    c.sendall(self.random.randbytes(self.random.choice((1, 10, 1000, 50_000))))
                except OSError:
                    pass

    def false_lines(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for _ in range(300):
                line = (f'<134>1 - h haproxy 1 - [inference@32473 ticket="{self.random.getrandbits(60)}" '
                        f'backend="llama" server="llama1" status="200"] x').encode()
                udp.sendto(self.random.choice((line, self.random.randbytes(900))),
                           ("127.0.0.1", self.s.h.feedback_port))

    def with_fault(self, names, seconds, kind, **more):
        for n in names:
            self.s.sims.fault(n, kind, **more)
        time.sleep(seconds)
        for n in names:
            self.s.sims.fault(n, "none")
        until(lambda: all(not self.s.agent.endpoints()[n]["flags"] for n in names), 40, f"{names} are back")

    def one(self):
        return [self.random.choice(LLAMAS + PHIS)]

    def wrong_metrics(self):
        self.with_fault(self.one(), self.random.uniform(0.5, 3), "metrics",
                        mode=self.random.choice(("garbage", "nan", "negative", "huge", "slow", "404", "500")))

    def an_adapter_goes_and_comes(self):
        n = self.random.choice(LLAMAS)
        self.s.sims.adapters(n, remove=ADAPTER)
        time.sleep(self.random.uniform(0.5, 2))
        self.s.sims.adapters(n, add=ADAPTER)
        until(lambda: ADAPTER in self.s.agent.models(), 20, "the adapter is found again")

    def a_slow_server(self):
        self.with_fault(self.one(), self.random.uniform(1, 4), "slow", factor=10)

    def drain_a_server(self):
        n = self.random.choice(LLAMAS + PHIS)
        backend = "llama" if n in LLAMAS else "phi4"
        self.s.h.runtime(f"set server {backend}/{n} state {self.random.choice(('drain', 'maint'))}")
        time.sleep(self.random.uniform(0.5, 3))
        self.s.h.runtime(f"set server {backend}/{n} state ready")
        until(lambda: not self.s.agent.endpoints()[n]["flags"], 20, f"{n} is ready")

    def a_server_dies(self):
        self.with_fault(self.one(), self.random.uniform(0.5, 4), "die")

    def a_server_refuses(self):
        self.with_fault(self.one(), self.random.uniform(0.5, 4), "refuse")

    def a_server_breaks_streams_off(self):
        self.with_fault(self.one(), self.random.uniform(0.5, 2), "cut", after=5)

    def a_server_hangs(self):
        self.with_fault(self.one(), self.random.uniform(0.5, 4), "hang")

    def servers_stand_still(self):
        os.kill(self.s.sims.process.pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.1, 1))
        os.kill(self.s.sims.process.pid, signal.SIGCONT)

    def a_pool_is_gone(self):
        self.with_fault(PHIS, self.random.uniform(1, 3), "refuse")

    def run(self, seconds):
        end = time.monotonic() + seconds
        names = list(EXCUSES)
        while time.monotonic() < end:
            # Each once before any comes again.
            self.random.shuffle(names)
            for name in names:
                if time.monotonic() > end:
                    break
                fault = [name, time.monotonic(), None]
                self.faults.append(fault)
                getattr(self, name.replace(" ", "_").replace("HAProxy", "haproxy"))()
                fault[2] = time.monotonic()
                time.sleep(self.random.uniform(0.5, 3))

    # ---- the ledger ----
    def excused(self, o, kind):
        return any(kind in EXCUSES[name] and OF.get(name, o.ask.model) == o.ask.model and began <= o.ended and o.began <= (ended or o.ended) + AFTER
                   for name, began, ended in self.faults)


def kind_of(o):
    if not o.wrong:
        return "ok"
    if o.status == 200 and (o.wrong == "cut off" or o.wrong.startswith(("cut off", "a stream without"))):
        return "cut"
    if o.status == 0 and o.wrong.startswith("no end within"):
        return "unanswered"
    return str(o.status) if o.status not in (0, 200) else o.wrong


def balance(chaos, outcomes):
    """(counts, what nobody excuses)"""
    counts, wrong = collections.Counter(), []
    for o in outcomes:
        kind = kind_of(o)
        right = o.server in (PHIS if o.ask.model == PHI else LLAMAS)
        if kind == "ok" and right:
            counts["ok"] += 1
        elif kind != "ok" and chaos.excused(o, kind):
            counts[f"{kind}, excused"] += 1
        else:
            counts["not excused"] += 1
            near = [f"{name} ({began - o.began:+.1f} s to {(e or o.ended) - o.began:+.1f} s)"
                    for name, began, e in chaos.faults if began < o.ended and o.began < (e or o.ended) + 10]
            wrong.append(f"{o} after {o.ended - o.began:.2f} s; near it: {near}")
    return counts, wrong


def calm(s, n=150):
    with Flood(s.port, MIX, 10) as flood:
        flood.wait(n, 60)
    assert not flood.wrong, [str(o) for o in flood.wrong][:5]


def one_version(version, seconds, seed):
    print(f"HAProxy {version}, {seconds:.0f} s, seed {seed}", flush=True)
    problems = []
    with Stack(version, INFERENCE_TIMEOUT="1s") as s:
        until(lambda: s.agent.state()["haproxy"]["map"]["state"] == "current", 20, "the map is pushed")
        calm(s)
        chaos = Chaos(s, seed)
        with Flood(s.port, MIX, 12, timeout=40) as flood, Bursts(s.port, MIX, timeout=40) as bursts:
            try:
                chaos.run(seconds)
            except Exception as e:  # what was to come back did not
                problems.append(f"{chaos.faults[-1][0]}: {e!r}")
                print(s.logs())
        for fault in chaos.faults:
            fault[2] = fault[2] or time.monotonic()
        outcomes = flood.outcomes + bursts.outcomes
        counts, wrong = balance(chaos, outcomes)
        problems += wrong
        if not problems:
            problems += at_rest(s)
        if s.agent.process.poll() is not None:
            problems.append(f"the agent ended with {s.agent.process.returncode}")
        bad = [row for row in s.agent.log().splitlines() if "Sanitizer" in row or "assert" in row.lower()]
        problems += bad[:5]
    if len(outcomes) < seconds:
        problems.append(f"only {len(outcomes)} requests ended")
    print(f"  {len(chaos.faults)} faults, {len(outcomes)} requests: "
          + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())), flush=True)
    for p in problems[:20]:
        print("  NOT BALANCED:", p, flush=True)
    if problems:
        first = chaos.faults[0][1]
        print("  faults, in seconds: " + ", ".join(f"{name} {began - first:.1f} to {ended - first:.1f}"
                                                   for name, began, ended in chaos.faults), flush=True)
    return not problems


def tell_old_workers(s):
    """What keeps those that a reload has left behind."""
    now = s.h.worker_pid()
    for pid in s.h.worker_pids():
        if pid != now:
            told = s.h.runtime(f"@!{pid} show sess all", name="master.sock")
            print(f"  old worker {pid}:\n" + "".join(f"    {line}\n" for line in told.splitlines()[:120]),
                  flush=True)


def at_rest(s):
    """What is left when nothing goes on any more."""
    problems = []
    try:
        s.sims.settle()
        until(lambda: s.agent.tickets() == 0, 60, "no ticket is left")
        try:
            until(lambda: len(s.h.worker_pids()) == 1, 60, "the old HAProxies are gone")
        except AssertionError:
            tell_old_workers(s)
            raise
        calm(s)
        until(lambda: s.agent.tickets() == 0, 30, "no ticket is left")
        time.sleep(3)
        before = resident(s.agent), descriptors(s.agent)
        for _ in range(3):
            calm(s)
            s.agent.reload()
        until(lambda: s.agent.tickets() == 0, 30, "no ticket is left")
        time.sleep(3)
        after = resident(s.agent), descriptors(s.agent)
        if after[0] > 40 << 20 and b"__asan_init" not in open(f"/proc/{s.agent.process.pid}/exe", "rb").read():
            problems.append(f"{after[0] >> 20} MB resident")
        held = len(os.listdir(f"/proc/{s.h.worker_pid()}/fd"))
        if held > HAPROXY_DESCRIPTORS:
            problems.append(f"HAProxy holds {held} descriptors")
        if after[0] - before[0] > 2 << 20 or after[1] - before[1] > 12:
            problems.append(f"grown at rest: {before} to {after} bytes and descriptors")
    except AssertionError as e:
        problems.append(str(e))
        print(s.logs())
    return problems


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--minutes", type=float, default=60, help="all versions together")
    p.add_argument("--versions", default="", help="2.6,3.0,… [all that are here]")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    a = p.parse_args()
    versions = [v for v in a.versions.split(",") if v] or haproxy.versions()
    if not versions:
        sys.exit("no HAProxy is here")
    results = [one_version(v, a.minutes * 60 / len(versions), a.seed + i) for i, v in enumerate(versions)]
    print("the ledger balances" if all(results) else "the ledger does not balance")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
