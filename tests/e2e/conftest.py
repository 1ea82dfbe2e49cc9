"""Versions, shared stacks, and the logs of what failed.

Tests that run HAProxy take `version` (or a fixture with versions as parameters); they are marked
`haproxy` and run once for each version that HAPROXY_VERSIONS names (2.6,3.2; default: all that
are here). A version that is wanted and missing is skipped aloud.
"""
import os
import shutil

import pytest

import haproxy
import stack as stack_module

WANTED = [v for v in os.environ.get("HAPROXY_VERSIONS", "").split(",") if v] or list(haproxy.WANTED)
RUNNING = pytest.StashKey()


def pytest_configure(config):
    config.addinivalue_line("markers", "haproxy: needs a HAProxy of some version")
    config.stash[RUNNING] = []


def pytest_generate_tests(metafunc):
    if "version" in metafunc.fixturenames and not any(
            "version" in str(m.args[:1]) for m in metafunc.definition.iter_markers("parametrize")):
        metafunc.parametrize("version", WANTED, scope="session", indirect=True)


def pytest_collection_modifyitems(config, items):
    kept, left = [], []
    for item in items:
        params = getattr(item, "callspec", None)
        named = [p for p in (params.params.values() if params else ()) if p in haproxy.WANTED]
        if named:
            item.add_marker(pytest.mark.haproxy)
        (kept if all(v in WANTED for v in named) else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.fixture(scope="session")
def version(request):
    if request.param not in haproxy.installed():
        pytest.skip(f"HAProxy {request.param} is not installed")
    for program in (stack_module.AGENT, stack_module.SIM):
        if not os.path.exists(program):
            pytest.fail(f"{program} is not built")
    return request.param


@pytest.fixture(scope="session")
def _shared(version, request):
    with stack_module.Stack(version) as s:
        request.config.stash[RUNNING].append(s)
        yield s
        request.config.stash[RUNNING].remove(s)


@pytest.fixture
def stack(_shared):
    """The stack that tests share: as after its start, and to be left working."""
    _shared.settle()
    return _shared


@pytest.fixture
def make_stack(version, request):
    """A stack of one's own: make_stack(conf={...}, servers={...}) is started and stopped."""
    made = []

    def make(start=True, **how):
        s = stack_module.Stack(version, **how)
        made.append(s)
        request.config.stash[RUNNING].append(s)
        return s.start() if start else s

    yield make
    for s in made:
        request.config.stash[RUNNING].remove(s)
        s.stop()


@pytest.fixture
def curl():
    program = shutil.which("curl")
    if not program:
        pytest.skip("curl is not installed")
    return program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and call.when in ("setup", "call"):
        for s in item.config.stash[RUNNING]:
            report.sections.append((f"logs of the stack ({s.version})", s.logs()))
    return report
