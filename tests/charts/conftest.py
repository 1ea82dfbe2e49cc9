import os
import sys

import pytest

TESTS = os.path.join(os.path.dirname(__file__), "..")
sys.path[:0] = [os.path.dirname(__file__), os.path.join(TESTS, "e2e")]
os.environ.setdefault("SPOA_CHROOTS", os.path.join(
    os.environ.get("SPOA_CACHE") or os.path.expanduser("~/.cache/spoa-inference"), "chroots"))


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="write the golden files anew")


@pytest.fixture(scope="session", autouse=True)
def helm():
    import tools

    try:
        return tools.helm()
    except tools.NoTool as e:
        pytest.skip(str(e))
