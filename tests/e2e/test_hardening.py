"""What the compiler and the linker were asked to put into the program is there; and the agent works
under the sandbox of its systemd unit: its system calls are filtered by the same words, and it can do
what the tests here ask of it."""
import re
import shutil
import subprocess

import pytest

import stack
from attack import SANITIZED, Bystander, Lone
from sandbox import FILTER, UNIT, filter_of_unit, launcher, missing, system_calls

plain = pytest.mark.skipif(SANITIZED, reason="a sanitizer's build is not hardened")


def readelf(*options):
    if not shutil.which("readelf"):
        pytest.skip("readelf is not installed")
    return subprocess.run(["readelf", "-W", *options, stack.AGENT], capture_output=True, text=True, check=True).stdout


@plain
def test_position_independent():
    assert re.search(r"Type:\s+DYN", readelf("-h"))


@plain
def test_relocations_are_read_only():
    assert "GNU_RELRO" in readelf("-l")
    assert re.search(r"FLAGS.*BIND_NOW|FLAGS_1.*NOW", readelf("-d"))


@plain
def test_no_memory_is_written_and_run():
    segments = readelf("-l")
    assert re.search(r"GNU_STACK .* RW ", segments)
    assert not re.search(r"LOAD .* RWE ", segments)


@plain
def test_stack_is_guarded():
    assert "__stack_chk_fail" in readelf("--dyn-syms")


@plain
def test_copies_are_checked():
    """_FORTIFY_SOURCE: several of the checked forms are used."""
    checked = set(re.findall(r"(__\w+_chk)@", readelf("--dyn-syms"))) - {"__stack_chk_fail"}
    assert len(checked) >= 2, checked


def test_no_search_path_and_no_text_relocations():
    dynamic = readelf("-d")
    assert not re.search(r"RPATH|RUNPATH|TEXTREL", dynamic)


# ---- the unit's sandbox ----------------------------------------------------------------------------
def test_unit_says_what_is_tested():
    """The filter below is the one of the file that is shipped."""
    assert filter_of_unit() == FILTER, f"{UNIT} changed: change sandbox.py with it"


def test_unit_is_rated_well():
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=25", UNIT],
                          capture_output=True, text=True)
    assert "unrecognized" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stdout[-800:]


def test_the_filter_bites():
    """What the unit forbids is refused: a filter that is none would let this test be."""
    if why := missing():
        pytest.skip(why)
    calls = system_calls()
    for call, allowed in (("mount", False), ("reboot", False), ("ptrace", False), ("setuid", False), ("mlock", False),
                          ("keyctl", False), ("getpid", True), ("epoll_wait", True), ("openat", True)):
        assert (call in calls) == allowed, call
    done = subprocess.run([*launcher(), "python3", "-c",
                           "import ctypes, os; l = ctypes.CDLL(None, use_errno=True)\n"
                           "print(l.mlock(ctypes.create_string_buffer(9), 9), ctypes.get_errno())"],
                          capture_output=True, text=True)
    assert done.stdout.split() == ["-1", "1"], done


@plain  # LeakSanitizer stops threads by ptrace, which the filter forbids
@pytest.mark.parametrize("workers", [1, 3])
def test_serves_under_the_filter(workers):
    """Questions, pages, lines, reloads, scraping, a drain."""
    argv = launcher()
    a = Lone(workers=workers, scrape={"engine": "auto", "interval": "100ms"},
             dns={"servers": ["127.0.0.1:9"], "timeout": "200ms"},
             pools={"p": {"models": ["served"], "scrape": {"engine": "none"}, "endpoints": ["127.0.0.1:9"]},
                    "q": {"endpoints": ["127.0.0.1:10"]}, "r": {"models": ["x"], "dns": "a.example:80"}})

    def start(ready=True, wait=20):
        with open(a.agent.log_file, "ab") as log:
            a.agent.process = subprocess.Popen([*argv, stack.AGENT, "-f", a.agent.file], stdout=log, stderr=log,
                                               stdin=subprocess.DEVNULL)
        return a.agent
    a.agent.start = start
    with a:
        with open(f"/proc/{a.agent.process.pid}/status") as f:
            assert re.search(r"Seccomp:\s+2", f.read()), "there is no filter"
        with Bystander(a.address) as b:
            b.more(50)
            assert a.agent.reload() == "ok"
            for path in ("/metrics", "/state", "/v1/models", "/readyz"):
                a.agent.page(path)
            b.more(50)
        assert not [r for r in a.agent.events() if "not permitted" in r.get("error", "")]
