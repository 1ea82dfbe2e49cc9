"""Runs the parts that tests/run.sh names, counts what they tell, prints the table.

Counts are of single cases, not of programs: cmocka's and unittest's lines inside ctest's JUnit
file, pytest's JUnit file, one per fuzz target and per check of lint. A program that ends badly
without having named a failed case is one failed case. A part runs in a session of its own; what it
leaves behind is ended and counted as a failure.
"""
import ctypes
import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
LOGS = os.path.join(ROOT, ".cache", "logs")
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "30"))
QUICK = bool(os.environ.get("SPOA_QUICK"))  # nothing else runs
PR_SET_CHILD_SUBREAPER = 36
COMPUTE_SECONDS = 3600  # what only computes gives way to everything else
# Most parts wait for timers and sockets most of the time: so many of them at a time, these first,
# since they take longest.
WAITING = 4
LONGEST = ("kube", "chaos", "compose")
# Parts that only compute: they run beside these, at the lowest priority.
COMPUTING = ("lint", "unit-asan", "fuzz", "counts")


@dataclasses.dataclass
class Result:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list = dataclasses.field(default_factory=list)  # of skips
    failures: list = dataclasses.field(default_factory=list)  # names
    why: dict = dataclasses.field(default_factory=dict)  # of failures that told
    seconds: float = 0
    cpu: float = 0  # seconds of every process whose end was seen

    def fail(self, name):
        self.failed += 1
        self.failures.append(name)

    def skip(self, reason, n=1):
        self.skipped += n
        if reason not in self.reasons:
            self.reasons.append(reason)


class Missing(Exception):
    """A part cannot run here, and why."""


# ---- children ----------------------------------------------------------------------------------
def descendants():
    """Every process that came from this one, by /proc; orphans come back to a subreaper."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry)] = int(fields[1])
    found, grew = {os.getpid()}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found - {os.getpid()}


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().replace("\0", " ").strip()[:100] or f"pid {pid}"
    except OSError:
        return f"pid {pid}"


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def sweep(grace=15.0):
    """Ends what is left; returns its names."""
    end = time.monotonic() + grace
    while (left := descendants()) and time.monotonic() < end:
        reap()
        time.sleep(0.05)
    names = [name_of(pid) for pid in left]
    for how in (signal.SIGTERM, signal.SIGKILL):
        for pid in descendants():
            try:
                os.kill(pid, how)
            except OSError:
                pass
        end = time.monotonic() + 2
        while descendants() and time.monotonic() < end:
            reap()
            time.sleep(0.05)
    reap()
    return names


class Command:
    """A program whose output goes to a log file."""

    def __init__(self, part, argv, env=None, timeout=900, cwd=ROOT):
        self.log = os.path.join(LOGS, part + ".log")
        self.end = time.monotonic() + timeout
        self.out = open(self.log, "wb")
        self.process = subprocess.Popen(
            argv, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=self.out, stderr=subprocess.STDOUT, start_new_session=True,
        )

    def over(self):
        return self.process.poll() is not None or time.monotonic() > self.end

    def wait(self):
        """The exit status; None when the time was up."""
        while not self.over():
            time.sleep(0.02)
        status = self.process.returncode
        if status is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.out.close()
        return status

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


def show(part, text, lines=120):
    """The end of a failed part's output, where CI's reader looks."""
    print(f"---- {part}")
    print("\n".join(text.splitlines()[-lines:]))
    print("----", flush=True)


# ---- counting ----------------------------------------------------------------------------------
def count_cases(r, name, output, ok):
    """One program under ctest: cmocka's lines, unittest's summary, or itself alone."""
    run = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
    unittest = re.search(r"^Ran (\d+) tests? in", output, re.M)
    if run:
        good = re.findall(r"^\[       OK \] (\S+)", output, re.M)
        skipped = re.findall(r"^\[  SKIPPED \] (\S+)", output, re.M)
        skipped = skipped[: len(run) - len(good)]
        r.passed += len(good)
        for case in skipped:
            r.skip(f"{name}: {case}")
        bad = list(run)
        for case in good + skipped:
            bad.remove(case)
        for case in bad:
            r.fail(f"{name}: {case}")
        if not ok and not bad:
            r.fail(name)
    elif unittest:
        last = output[unittest.end():]
        bad = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", last))
        skipped = sum(int(n) for n in re.findall(r"skipped=(\d+)", last))
        bad = max(bad, 0 if ok else 1)
        r.passed += int(unittest.group(1)) - bad - skipped
        reasons = re.findall(r"\.\.\. skipped ['\"](.*)['\"]$", output, re.M)
        for i in range(skipped):
            r.skip(f"{name}: {reasons[i] if i < len(reasons) else 'said so itself'}")
        for _ in range(bad):
            r.fail(name)
    elif ok:
        r.passed += 1
    else:
        r.fail(name)


def ctest(part, build, env=None, only=None, but=None):
    need_build(build)
    directory = os.path.join(ROOT, build)
    junit = os.path.join(LOGS, part + ".xml")
    if os.path.exists(junit):
        os.unlink(junit)
    # Most of these wait for timers; what runs beside them wants the processors too.
    jobs = (os.cpu_count() or 1) * (2 if QUICK else 1)
    argv = ["ctest", "--test-dir", directory, "-j", str(jobs), "--output-on-failure",
            "--timeout", "900", "--no-tests=error", "--output-junit", junit,
            "--test-output-size-passed", "10000000", "--test-output-size-failed", "10000000"]
    argv += ["-R", only] if only else []
    argv += ["-E", but] if but else []
    run = Command(part, argv, env, COMPUTE_SECONDS)
    status = run.wait()
    r = Result()
    if os.path.exists(junit):
        for case in ET.parse(junit).getroot().iter("testcase"):
            output = case.findtext("system-out") or ""
            if case.get("status") in ("notrun", "disabled"):
                # Not built, or a fixture of it failed.
                r.fail(case.get("name") + ": not run")
            else:
                count_cases(r, case.get("name"), output, case.get("status") == "run")
    if status != 0 and not r.failed:
        r.fail("ctest ended with " + str(status))
    if r.failed:
        show(part, run.text())
    return r


def pytest(part, arguments, env=None, timeout=900):
    junit = os.path.join(LOGS, part + ".xml")
    if os.path.exists(junit):
        os.unlink(junit)
    argv = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
            "--durations=10", "--junitxml", junit]
    run = Command(part, argv + arguments, {"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}, timeout)
    status = run.wait()
    r = Result()
    if os.path.exists(junit):
        for case in ET.parse(junit).getroot().iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            bad = case.find("failure")
            bad = case.find("error") if bad is None else bad
            if bad is not None:
                r.fail(name)
                r.why[name] = (bad.get("message") or "").strip()[:500]
            elif (skip := case.find("skipped")) is not None:
                r.skip(skip.get("message") or "no reason given")
            else:
                r.passed += 1
    if status == 5 and not (r.passed or r.failed or r.skipped):
        raise Missing("no such tests")
    if status != 0 and not r.failed:
        r.fail("pytest: time was up" if status is None else f"pytest ended with {status}")
    tried = run.text() if r.failed else ""
    if (part.startswith("e2e-") or part == "kube") and 0 < r.failed <= SECOND_TRIES:
        second_try(part, r, argv[:-2], env)
    if r.failed:
        show(part, tried, 150)
    return r


# A machine that stalls for a second makes a test of real processes under load fail now and then. So
# few of them are tried once more, alone, and those that pass then are named as what they are:
# skipped, not passed. What fails twice has failed.
SECOND_TRIES = 3


def second_try(part, r, argv, env):
    for name in list(r.failures):
        module, _, case = name.partition("::")
        if not case:
            continue
        run = Command(part + "-again", argv + [module.replace(".", "/") + ".py::" + case],
                      {"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}, 300)
        if run.wait() == 0:
            r.failures.remove(name)
            r.failed -= 1
            r.skip(f"failed first and passed alone: {name}")


def need_build(directory):
    preset = directory.removeprefix("build").removeprefix("-") or "release"
    if preset in os.environ.get("SPOA_FAILED_BUILDS", "").split():
        raise RuntimeError(f"the {preset} build failed")
    if not os.path.exists(os.path.join(ROOT, directory, "build.ninja")):
        raise RuntimeError(f"the {preset} build is missing")


# ---- the parts ---------------------------------------------------------------------------------
SANITIZE = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}
SIM = "^test_sim_"
ROUNDS = {"SPOA_TEST_ROUNDS": "4000"}  # of random bodies, where each kind is to be seen
# Under sanitizers, so many percent of the places to cut a body at; .ci/run takes all.
PLACES = {"SPOA_TEST_PLACES": os.environ.get("SPOA_TEST_PLACES", "40")}


def lint(part, quick):
    """tests/lint.sh and its "lint: NAME: ok|FAILED|skipped, WHY"; quickly: the includes alone."""
    r = Result()
    if quick:
        script = os.path.join(TESTS, "check_includes.py")
        for argv in ([script], [script, "--selftest"]):
            run = Command(part, [sys.executable, *argv])
            if run.wait() == 0:
                r.passed += 1
            else:
                r.fail(" ".join(os.path.basename(a) for a in argv))
                show(part, run.text())
        return r
    for preset in ("release", "clang"):  # two compilers without a warning
        try:
            need_build("build" if preset == "release" else "build-" + preset)
            r.passed += 1
        except RuntimeError as e:
            r.fail(str(e))
    run = Command(part, [os.path.join(TESTS, "lint.sh"), "build-clang"], timeout=COMPUTE_SECONDS)
    status = run.wait()
    text = run.text()
    for name, word, why in re.findall(r"^lint: (.+): (ok|FAILED|skipped)(?:, (.*))?$", text, re.M):
        if word == "ok":
            r.passed += 1
        elif word == "FAILED":
            r.fail(name)
        else:
            r.skip(f"{name}: {why}")
    if status != 0:
        if not r.failed:
            r.fail("lint.sh")
        show(part, text)
    return r


def fuzz_targets():
    sources = os.listdir(os.path.join(TESTS, "fuzz"))
    return sorted(s[:-2] for s in sources if s.startswith("fuzz_") and s.endswith(".c"))


def fuzz(part, replay):
    """Each target with its corpus: every input once, or half a minute of new ones too."""
    need_build("build-fuzz")
    r, waiting, running = Result(), fuzz_targets(), []
    found_dir = os.path.join(ROOT, ".cache", "fuzz")
    started = set()
    while waiting or running:
        while waiting and len(running) < min(2, os.cpu_count() or 1):
            name = waiting.pop(0)
            binary = os.path.join(ROOT, "build-fuzz", "tests", name)
            corpus = os.path.join(TESTS, "fuzz", "corpus", name.removeprefix("fuzz_"))
            grown = os.path.join(found_dir, name)
            os.makedirs(grown, exist_ok=True)
            if not os.path.exists(binary):
                r.fail(name + ": not built")
                continue
            argv = [binary, f"-artifact_prefix={found_dir}/{name}-", "-rss_limit_mb=2048",
                    "-timeout=25", "-print_final_stats=1"]
            argv += ["-runs=0"] if replay else [f"-max_total_time={FUZZ_SECONDS}"]
            argv += [grown] + ([corpus] if os.path.isdir(corpus) else [])
            started.add(name)
            running.append((name, Command(f"{part}-{name}", argv, SANITIZE, FUZZ_SECONDS + 120)))
        for name, run in [x for x in running if x[1].over()]:
            running.remove((name, run))
            if run.wait() == 0:
                r.passed += 1
            else:
                r.fail(name)
                show(name, run.text())
        time.sleep(0.05)
    if not started and not r.failed:
        raise Missing("there are no fuzz targets")
    return r


def python(part):
    r = pytest(part, [os.path.join(TESTS, "python")], timeout=300)
    return r


def e2e(part, version):
    need_build("build")
    env = {"SPOA_BUILD": os.path.join(ROOT, "build")}
    attacks = "test_attack or test_hardening"
    if version == "agent":
        return pytest(part, [os.path.join(TESTS, "e2e"), "-m", "not haproxy", "-k", f"not ({attacks})"], env)
    if version == "attack":
        return pytest(part, [os.path.join(TESTS, "e2e"), "-m", "not haproxy", "-k", attacks], env, 1800)
    sys.path.insert(0, os.path.join(TESTS, "e2e"))
    import haproxy

    if version not in haproxy.versions():
        raise Missing(os.environ.get("SPOA_SKIP_" + version.replace(".", "_")) or
                      f"HAProxy {version} is not here (tests/README.md says how it gets here)")
    env["HAPROXY_VERSIONS"] = version
    return pytest(part, [os.path.join(TESTS, "e2e"), "-m", "haproxy"], env)


def kube_made():
    """Whether tests/run.sh has built the control plane, or found that it cannot."""
    made = os.environ.get("SPOA_KUBE_MADE")
    return not made or os.path.exists(made)


def why_not(name):
    try:
        with open(os.path.join(ROOT, ".cache", name + "-reason")) as f:
            return f.read()
    except FileNotFoundError:
        return ""


def kube(part):
    """Where the chart's own HAProxy is not here, the newest one that is."""
    need_build("build")
    end = time.monotonic() + 1200
    while not kube_made():
        if time.monotonic() > end:
            raise Missing("the control plane was not built within 20 minutes")
        time.sleep(0.5)
    sys.path.insert(0, os.path.join(TESTS, "e2e"))
    import haproxy

    env = {"SPOA_BUILD": os.path.join(ROOT, "build"), "SPOA_SKIP_KUBE": why_not("kube"),
           "SPOA_SKIP_CONFORMANCE": why_not("conformance")}
    if "3.2" not in haproxy.versions():
        env["SPOA_KUBE_HAPROXY"] = max(haproxy.versions())
    return pytest(part, [os.path.join(TESTS, "kube")], env, timeout=1200)


def script(part, argv, timeout=900):
    """A program that is one case: 0 passed, 77 skipped for what it says last, else failed."""
    run = Command(part, argv, {"SPOA_BUILD": os.path.join(ROOT, "build")}, timeout)
    status = run.wait()
    r = Result()
    if status == 0:
        r.passed += 1
    elif status == 77:
        raise Missing((run.text().strip().splitlines() or ["no reason given"])[-1])
    else:
        r.fail(os.path.basename(argv[0]))
        show(part, run.text())
    return r


def counts(part):
    need_build("build")
    return script(part, [os.path.join(TESTS, "bench", "callgrind.sh")])


def unit_asan(part):
    return ctest(part, "build-asan", {**ROUNDS, **PLACES, **SANITIZE}, but=SIM)


def folder(part, timeout=1200):
    """Tests that are a folder of their own."""
    need_build("build")
    env = {"SPOA_BUILD": os.path.join(ROOT, "build")}
    return pytest(part, [os.path.join(TESTS, part)], env, timeout)


PARTS = {
    "lint": lambda part: lint(part, False),
    "lint-quick": lambda part: lint(part, True),
    "unit": lambda part: ctest(part, "build", ROUNDS if QUICK else None, but=SIM),
    "unit-asan": unit_asan,
    "counts": counts,
    "python": python,
    "fuzz": lambda part: fuzz(part, False),
    "corpus": lambda part: fuzz(part, True),
    "sim": lambda part: ctest(part, "build", only=SIM),
    "charts": folder,
    "kube": kube,
    "compose": folder,
    "systemd": folder,
}


def chaos(part):
    """Faults every few seconds and the ledger, three minutes for all versions that are here."""
    need_build("build")
    sys.path.insert(0, os.path.join(TESTS, "e2e"))
    import haproxy

    if not haproxy.versions():
        raise Missing("no HAProxy is here")
    script = os.path.join(TESTS, "e2e", "chaos.py")
    run = Command(part, [sys.executable, script, "--minutes", "3"], {"PYTHONDONTWRITEBYTECODE": "1"}, 1200)
    status = run.wait()
    r = Result()
    unbalanced = []
    for version, text in re.findall(r"^HAProxy (\S+), .*\n((?:  .*\n)*)", run.text(), re.M):
        if "NOT BALANCED" in text or "requests:" not in text:
            unbalanced.append(version)
        else:
            r.passed += 1
    if status != 0 and not unbalanced:
        r.fail(f"chaos.py ended with {status}")
    for version in unbalanced:
        again = Command(part + "-again", [sys.executable, script, "--minutes", "1", "--versions", version],
                        {"PYTHONDONTWRITEBYTECODE": "1"}, 600)
        if len(unbalanced) == 1 and again.wait() == 0:
            r.skip(f"the ledger of HAProxy {version} did not balance at first, and did alone")
        else:
            r.fail(f"chaos with HAProxy {version}")
    if unbalanced or r.failed:
        show(part, run.text())
    return r


def run_part(part):
    if part == "chaos":
        return chaos(part)
    if part.startswith("e2e-"):
        return e2e(part, part.removeprefix("e2e-"))
    return PARTS[part](part)


# ---- the table ---------------------------------------------------------------------------------
def table(results):
    width = max(len(p) for p in results) + 2
    print(f"\n{'part':{width}}{'passed':>8}{'failed':>8}{'skipped':>9}{'minutes':>9}{'of CPU':>9}")
    for name in ("install", "build"):
        seconds = float(os.environ.get("SPOA_SECONDS_" + name.upper(), 0))
        print(f"{name:{width}}{'':>25}{seconds / 60:>9.1f}")
    for part, r in results.items():
        print(f"{part:{width}}{r.passed:>8}{r.failed:>8}{r.skipped:>9}{r.seconds / 60:>9.1f}{r.cpu / 60:>9.1f}")
    skips = [(part, reason) for part, r in results.items() for reason in r.reasons]
    if skips:
        print("\nskipped:")
        for part, reason in skips:
            print(f"  {part}: {reason}")
    failures = [(part, name) for part, r in results.items() for name in r.failures]
    if failures:
        print("\nfailed:")
        for part, name in failures:
            print(f"  {part}: {name}")
            for line in results[part].why.get(name, "").splitlines()[:6]:
                print(f"      {line}")
        print(f"the whole output of each part is in {os.path.relpath(LOGS, ROOT)}/")
    total = [sum(getattr(r, k) for r in results.values()) for k in ("passed", "failed", "skipped")]
    print("\n{} passed, {} failed, {} skipped".format(*total), flush=True)
    return total[1]


def interrupted(signum, _):
    signal.signal(signum, signal.SIG_IGN)
    sweep(0)
    os._exit(128 + signum)


def run_alone(part, told):
    """This part; @told gets its Result as JSON."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, interrupted)
    print(f"== {part}", flush=True)
    begun = time.monotonic()
    try:
        r = run_part(part)
    except Missing as e:
        r = Result()
        r.skip(str(e))
    except RuntimeError as e:
        r = Result()
        r.fail(str(e))
    for name in sweep():
        r.fail("left behind: " + name)
    r.seconds = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    r.cpu = used.ru_utime + used.ru_stime
    with open(told, "w") as f:
        json.dump(dataclasses.asdict(r), f)
    print(f"   {part}: {r.passed} passed, {r.failed} failed, {r.skipped} skipped", flush=True)


def main(parts):
    os.makedirs(LOGS, exist_ok=True)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    waiting = [p for p in parts if p not in COMPUTING]
    waiting.sort(key=lambda p: LONGEST.index(p) if p in LONGEST else len(LONGEST))
    computing = [p for p in parts if p in COMPUTING]
    results, running = {}, {}  # part → (its process, where it tells)

    def begin(part, nice):
        told = os.path.join(LOGS, f"{part}.json")
        if os.path.exists(told):
            os.unlink(told)
        argv = ["nice", "-n", "19"] if nice else []
        argv += [sys.executable, os.path.abspath(__file__), "--part", told, part]
        (computing if part in COMPUTING else waiting).remove(part)
        running[part] = subprocess.Popen(argv), told

    def stop(signum, _):
        for process, _ in running.values():
            os.kill(process.pid, signum)
        end = time.monotonic() + 10  # poll() says nothing where the signal came inside of one
        while time.monotonic() < end and any(p.poll() is None for p, _ in running.values()):
            time.sleep(0.05)
        sweep(0)
        os._exit(128 + signum)

    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, stop)
    while waiting or computing or running:
        while waiting and sum(p not in COMPUTING for p in running) < WAITING:
            late = [p for p in waiting if p == "kube" and not kube_made()]
            begin(next((p for p in waiting if p not in late), waiting[0]), False)
        if computing and not any(p in COMPUTING for p in running):
            begin(computing[0], bool(waiting or running))
        for part, (process, told) in list(running.items()):
            status = process.poll()
            if status is None:
                continue
            del running[part]
            if os.path.exists(told):
                with open(told) as f:
                    results[part] = Result(**json.load(f))
            if status != 0 or part not in results:
                results.setdefault(part, Result()).fail(f"the runner ended with {status}")
        time.sleep(0.1)
    results = {part: results[part] for part in parts}
    for name in sweep():
        results[parts[-1]].fail("left behind: " + name)
    builds = os.environ.get("SPOA_FAILED_BUILDS", "").split()
    if builds and not any(r.failed for r in results.values()):
        results["build"] = Result()
        for preset in builds:
            results["build"].fail(f"the {preset} build failed")
    return 1 if table(results) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        sys.exit(run_alone(sys.argv[3], sys.argv[2]))
    sys.exit(main(sys.argv[1:]))
