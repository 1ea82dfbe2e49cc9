"""spop/ copied out of this repository, as its README says: it builds, links and installs alone."""
import os
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CPLUSPLUS = """
extern "C" {
#include "spop/spop.h"
}

int main()
{
	unsigned char buf[64];
	struct spop_ack ack;

	spop_ack_begin(&ack, buf, sizeof(buf), 1, 2);
	spop_ack_set_var(&ack, SPOP_SCOPE_TXN, SPOP_VIEW_LIT("x"), spop_value_bool(true));
	return spop_ack_end(&ack) > 0 ? 0 : 1;
}
"""


def run(*argv, cwd):
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(os.path.join(ROOT, "spop"), tmp_path / "spop")
    return tmp_path


def sources(copy):
    return sorted(str(p) for p in (copy / "spop").glob("*.c"))


def test_without_a_build(copy):
    """Strict C11, nothing but what libc and POSIX have: no GNU names, no warning."""
    run("cc", "-std=c11", "-pedantic-errors", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror",
        "-Ispop/include", "-o", "agent", "spop/example/agent.c", *sources(copy), cwd=copy)
    for header in (copy / "spop/include/spop").glob("*.h"):
        (copy / f"{header.stem}.c").write_text(f'#include "spop/{header.name}"\n')
    run("cc", "-std=c11", "-pedantic-errors", "-Wall", "-Werror", "-fsyntax-only", "-Ispop/include",
        *sorted(str(p) for p in copy.glob("*.c")), cwd=copy)


def test_with_cmake_and_from_cplusplus(copy):
    said = run("cmake", "-S", "spop", "-B", "build", cwd=copy)
    assert "Warning" not in said, said
    run("cmake", "--build", "build", cwd=copy)
    run("cmake", "--install", "build", "--prefix", str(copy / "there"), cwd=copy)
    library = next((copy / "there").rglob("libspop.a"))
    shutil.rmtree(copy / "spop")
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler")
    (copy / "one.cc").write_text(CPLUSPLUS)
    run(compiler, "-std=c++17", "-Wall", "-I", str(copy / "there/include"), "-o", "one", "one.cc",
        str(library), cwd=copy)
    run(str(copy / "one"), cwd=copy)
