"""What is read from /proc and from the load generators, and how figures of several rounds become
one.
"""
import json
import os
import shutil
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")


def cpu_ns(pids):
    """CPU time of every thread of @pids so far, in nanoseconds: the scheduler's own count."""
    total = 0
    for pid in pids:
        for tid in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                    total += int(f.read().split()[0])
            except OSError:
                pass
    return total


def memory_kb(pid, key="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    return 0


def available_mb():
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return 0


def wrk(port, body, connections, seconds, pause_ms=0):
    """One run of wrk on one thread: its summary as a dict."""
    done = subprocess.run(
        [shutil.which("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout",
         "30s", "-s", os.path.join(HERE, "post.lua"), f"http://127.0.0.1:{port}"],
        env={**os.environ, "BODY": body, "PAUSE": str(pause_ms)}, capture_output=True, text=True,
        timeout=seconds + 120)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"wrk: {done.stdout}{done.stderr}")


def load(program, **options):
    """One run of bench-load: its report as a dict."""
    argv = [program, "--json"]
    for key, value in options.items():
        if value is True:
            argv.append("--" + key)
        elif value is not None and value is not False:
            argv += ["--" + key, str(value)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr}")
    return json.loads(done.stdout)


class Figure:
    """Values of one thing, a round each; with its median and spread."""

    def __init__(self, values):
        self.values = [v for v in values if v is not None]

    @property
    def median(self):
        return statistics.median(self.values) if self.values else float("nan")

    @property
    def low(self):
        return min(self.values, default=float("nan"))

    @property
    def high(self):
        return max(self.values, default=float("nan"))

    def over(self, other):
        """Round by round: what was measured side by side is compared."""
        return Figure([a / b for a, b in zip(self.values, other.values) if b])

    def less(self, other):
        return Figure([a - b for a, b in zip(self.values, other.values)])

    def __format__(self, spec):
        spec = spec or ".2f"
        if not self.values:
            return "-"
        return f"{self.median:{spec}} ({self.low:{spec}}-{self.high:{spec}})"
