"""The benchmark's verdicts: what was not measured is not met."""
import json
import os
import shutil
import stat
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(HERE, "..", "bench")
sys.path.insert(0, BENCH)

import rows  # noqa: E402
from measure import Figure  # noqa: E402
from report import Report  # noqa: E402

US = 1000  # nanoseconds


def sample(requests=1000, us=50, agent_us=5, told=None, connections=20, bad=0):
    s = rows.Sample()
    for _ in range(3):
        s.add({"requests": requests, "seconds": 1.0, "p50_us": 900, "p99_us": 2000, "status": bad,
               "broken": 0}, (0, 0), ((us - agent_us) * US * requests, agent_us * US * requests),
              told, (20000, 8000), connections)
    return s


def judged(tmp_path, kb=1, connections=20, version="3.2", **samples):
    """(exit status, {budget: verdict}, JSON lines) of a row in which everything is as it should be, but
    for @samples."""
    report = Report(str(tmp_path / "out.json"))
    all_of = {name: sample(connections=connections) for name in
              ("alone", "query", "contract", "inference")}
    all_of["bare"] = sample(us=60, agent_us=20, connections=connections)
    all_of |= samples
    rows.judge(report, all_of, version, kb, connections)
    status = report.verdicts(1)
    lines = [json.loads(line) for line in (tmp_path / "out.json").read_text().splitlines()]
    return status, {line["metric"].split(",")[0]: line["verdict"] for line in lines}, lines


def test_all_met(tmp_path):
    status, verdicts, lines = judged(tmp_path)
    assert status == 0 and set(verdicts.values()) == {"met"}
    assert {(x["haproxy"], x["body"], x["connections"]) for x in lines} == {("3.2", 1024, 20)}
    assert all(x["limit"] is not None and x["at_least"] is False for x in lines)


# Whose figures a budget is made of.
NEEDS = {
    "no request refused or routed without the agent": {"inference"},
    "CPU over the contract floor": {"inference", "contract"},
    "the contract floor over the bare floor": {"contract", "bare"},
    "HAProxy's own CPU over that with the contract floor": {"inference", "contract"},
    "CPU over the bare floor that sends the whole body": {"inference", "bare"},
    "the agent's share over that floor's": {"inference", "bare"},
    "CPU over the bare floor": {"inference", "bare"},
    "CPU over json_query": {"inference", "query"},
}


@pytest.mark.parametrize("version,kb", [("3.2", 1), ("3.2", 8), ("3.2", 220), ("3.2", 900), ("2.6", 220)])
@pytest.mark.parametrize("name", ["query", "bare", "contract", "inference"])
@pytest.mark.parametrize("requests", [0, 19])
def test_who_answers_nothing_meets_nothing(tmp_path, name, requests, version, kb):
    _, verdicts, _ = judged(tmp_path, kb=kb, version=version, **{name: sample(requests)})
    assert verdicts == {what: "not measured" if name in NEEDS[what] else "met" for what in verdicts}


def test_a_dead_gateway_is_not_one_that_refuses_nothing(tmp_path):
    status, verdicts, _ = judged(tmp_path, connections=1000, inference=sample(0, connections=1000))
    assert status == 2
    assert verdicts == {"no request refused or routed without the agent": "not measured"}


def test_missed(tmp_path):
    status, verdicts, _ = judged(tmp_path, inference=sample(us=60))
    assert status == 1 and verdicts["CPU over the contract floor"] == "missed"


@pytest.mark.parametrize("with_ticket,without,astray", [
    (1000, 0, 0), (1020, 0, 0),  # those under way at the end
    (1000, 20, 0), (995, 25, 5),
    (400, 600, 600), (1000, 600, 580), (0, 1000, 1000)])
def test_requests_that_passed_the_agent_by(with_ticket, without, astray):
    assert rows.astray(1000, with_ticket, without, 20) == astray


def test_those_are_judged(tmp_path):
    status, verdicts, _ = judged(tmp_path, inference=sample(told=(400, 600)))
    assert status == 1 and verdicts["no request refused or routed without the agent"] == "missed"


def test_refused(tmp_path):
    for name in ("bare", "contract", "inference"):
        status, _, _ = judged(tmp_path, **{name: sample(bad=1)})
        assert status == 1


def test_a_budget_without_a_value_is_not_met(tmp_path):
    report = Report(None)
    report.budget("a", Figure([]), 1)
    report.budget("b", Figure([None]), 1, at_least=True)
    assert len(report.unmeasured) == 2 and not report.budgets
    assert report.verdicts(0) == 2


def test_a_part_that_fails_is_a_failure():
    report = Report(None)
    report.budget("a", 1, 1)
    report.failed = True
    assert report.verdicts(0) == 1


def test_nothing_judged(capsys):
    assert Report(None).verdicts(0) == 0
    assert "none was judged" in capsys.readouterr().out


# ---- callgrind.sh ----

CASES = {"chat-1k": 7000, "chat-8k": 12000}


@pytest.fixture
def counting(tmp_path):
    """callgrind.sh over a valgrind and a build that say what they are told."""
    bench = tmp_path / "tests" / "bench"
    bench.mkdir(parents=True)
    shutil.copy(os.path.join(BENCH, "callgrind.sh"), bench)
    build, programs = tmp_path / "build", tmp_path / "bin"
    (build / "tests" / "bench").mkdir(parents=True)
    programs.mkdir()
    (build / "CMakeCache.txt").write_text("CMAKE_C_COMPILER:FILEPATH=gcc\nCMAKE_BUILD_TYPE:STRING=X\n")

    def script(path, text):
        path.write_text("#!/bin/bash\n" + text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    script(programs / "cmake", "exit 0\n")
    script(programs / "gcc", "case $1 in --version) echo gcc 12 ;; *) echo 12 ;; esac\n")

    def run(*argv, cases=CASES, broken=()):
        script(build / "tests" / "bench" / "bench-path", "printf '%s\\n' " + " ".join(cases) + "\n")
        script(programs / "valgrind", "".join(
            f'[ "${{@: -2:1}}" = {name} ] && echo "Collected : $(({n} * ${{@: -1}} + 99))" >&2\n'
            for name, n in cases.items() if name not in broken) + "exit 0\n")
        done = subprocess.run([str(bench / "callgrind.sh"), *argv], capture_output=True, text=True,
                              env={"PATH": f"{programs}:{os.environ['PATH']}",
                                   "SPOA_BUILD": str(build)}, timeout=60)
        return done.returncode, done.stdout + done.stderr

    assert run("--update")[0] == 0
    return run


def test_counts_as_kept(counting):
    status, text = counting()
    assert status == 0 and "+0.0 %" in text


@pytest.mark.parametrize("by,status", [(1.02, 0), (1.04, 1), (0.96, 1)])
def test_counts_that_changed(counting, by, status):
    assert counting(cases={**CASES, "chat-1k": int(7000 * by)})[0] == status


def test_counts_that_are_missing(counting):
    status, text = counting(cases={"chat-1k": 7000})
    assert status == 1 and "chat-8k" in text and "not counted" in text


def test_counts_that_are_new(counting):
    status, text = counting(cases={**CASES, "new": 1})
    assert status == 1 and "not in counts.txt" in text


@pytest.mark.parametrize("broken", [("chat-1k", "chat-8k"), ("chat-8k",)])
def test_a_valgrind_that_counts_nothing(counting, broken):
    status, text = counting(broken=broken)
    assert status == 1 and "counted nothing for" in text
