"""What tests/run.sh counts, it counts rightly: a runner that loses failures is worse than none."""
import os
import subprocess
import sys

import parts
from parts import Result, count_cases

CMOCKA = """[==========] Running 4 test(s).
[ RUN      ] test_a
[       OK ] test_a
[ RUN      ] test_b
[  ERROR   ] --- 1 != 2
[  FAILED  ] test_b
[ RUN      ] test_c
[  SKIPPED ] test_c
[ RUN      ] test_d
[       OK ] test_d
[==========] 4 test(s) run.
[  PASSED  ] 2 test(s).
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] test_b
"""


def counted(output, ok):
    r = Result()
    count_cases(r, "prog", output, ok)
    return r.passed, r.failed, r.skipped


def test_cmocka():
    assert counted(CMOCKA, False) == (2, 1, 1)


def test_cmocka_that_dies_in_a_case():
    assert counted(CMOCKA.split("[  ERROR")[0], False) == (1, 1, 0)


def test_cmocka_that_dies_between_cases():
    assert counted("[ RUN      ] test_a\n[       OK ] test_a\n", False) == (1, 1, 0)


def test_unittest():
    assert counted("..s.\nRan 4 tests in 0.1s\n\nOK (skipped=1)\n", True) == (3, 0, 1)
    assert counted("F.E\nRan 3 tests in 0.1s\n\nFAILED (failures=1, errors=1)\n", False) == (1, 2, 0)
    assert counted("..\nRan 2 tests in 0.1s\n\nOK\n", False) == (1, 1, 0)


def test_plain_program():
    assert counted("", True) == (1, 0, 0)
    assert counted("anything", False) == (0, 1, 0)


def run_pytest(tmp_path, monkeypatch, text):
    monkeypatch.setattr(parts, "LOGS", str(tmp_path))
    (tmp_path / "test_x.py").write_text(text)
    return parts.pytest("x", [str(tmp_path / "test_x.py")], timeout=60)


def test_pytest_part(tmp_path, monkeypatch):
    r = run_pytest(tmp_path, monkeypatch, """
import pytest
def test_a(): pass
def test_b(): assert 0
def test_c(): pytest.skip("why")
@pytest.fixture
def broken(): raise OSError
def test_d(broken): pass
""")
    assert (r.passed, r.failed, r.skipped, r.reasons) == (1, 2, 1, ["why"])


def test_pytest_that_cannot_be_collected(tmp_path, monkeypatch):
    r = run_pytest(tmp_path, monkeypatch, "import nothing_of_this_name\n")
    assert r.failed == 1 and not r.passed


def test_left_processes_are_named_and_ended(tmp_path):
    # In a process of its own: sweep() ends every descendant.
    script = (
        "import ctypes, subprocess, parts; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0);"
        "subprocess.run(['sh', '-c', 'setsid sleep 987 >/dev/null 2>&1 &']);"
        "left = parts.sweep(0.2); assert left == ['sleep 987'], left;"
        "assert not parts.descendants()"
    )
    tests = os.path.dirname(parts.__file__)
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tests, timeout=60)


def test_exit_status_follows_the_count(capsys):
    assert parts.table({"a": Result(passed=2)}) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed, 0 skipped"
    assert parts.table({"a": Result(passed=2, failed=1, failures=["x"], skipped=3)}) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 1 failed, 3 skipped"
