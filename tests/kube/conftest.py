"""One control plane for the whole run, in namespaces of this process's own."""
import os
import re
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import gateway as gateway_module
import network
import parts
import plane as plane_module

REASON = plane_module.missing()
FOLDER = None


def pytest_configure(config):
    """Before any thread: threads would stay outside."""
    global REASON, FOLDER
    if REASON is None:
        try:
            network.enter()
            network.libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: who loses its parent is ours
            FOLDER = tempfile.mkdtemp(prefix="spoa-kube-")
            network.mount("tmpfs", FOLDER, "tmpfs", 0, "mode=0755,size=4g")
        except network.Impossible as e:
            REASON = str(e)


def pytest_unconfigure(config):
    if FOLDER:
        parts.sweep(0)  # a container whose kubelet is gone has nobody else to end it
        network.libc.umount2(FOLDER.encode(), 2)  # MNT_DETACH
        shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def plane(request):
    if REASON:
        pytest.skip(REASON)
    with plane_module.Plane(FOLDER) as p:
        request.config.plane = p
        yield p


@pytest.fixture
def space(plane, request):
    """A namespace of the test's own, gone with it."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:40].strip("-")
    plane.kubectl("create", "namespace", name)
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")


ORDER = ("test_plane", "test_manifests", "test_guide")  # then what shares the gateway


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.module.__name__
        return ORDER.index(name) if name in ORDER else len(ORDER)
    items.sort(key=place)


@pytest.fixture(scope="session")
def _gate(plane):
    """Two models, two pools, two routes, two replicas of the gateway."""
    with gateway_module.installed(plane, "gate") as g:
        g.equip()
        yield g


@pytest.fixture
def gate(_gate):
    """The shared gateway: working, and to be left working."""
    _gate.settle()
    yield _gate
    if _gate.plane.faulty.middle or _gate.plane.faulty.refusing:
        _gate.plane.faulty.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    p = getattr(item.config, "plane", None)
    if report.failed and p and call.when in ("setup", "call"):
        logs = os.path.join(FOLDER, "logs")
        for name in sorted(os.listdir(logs)):
            if name.startswith(("kubelet", "services", "lone")) or "body-based" in name:
                with open(os.path.join(logs, name), errors="replace") as f:
                    text = f.read()
                if text.strip():
                    if name.endswith("_haproxy.log"):  # what went wrong is not at the end
                        bad = re.findall(r"(?m)^.* [45]\d\d \d+ - - .*$", text)
                        text = "\n".join(bad[-20:]) + "\n...\n" + text[-2000:]
                    report.sections.append((name, text[-4000:]))
        there = p.kubectl("get", "pods,services,inferencepools,httproutes,gateways", "-A", ok=False)
        report.sections.append(("objects", there.stdout + there.stderr))
        there = p.kubectl("get", "gateways,services", "-A", "-o", "yaml", ok=False)
        report.sections.append(("gateways and services", there.stdout[-6000:]))
        with open(os.path.join(logs, "audit.log"), errors="replace") as f:
            written = [line for line in f if '"verb":"patch"' in line]
        report.sections.append(("last writes", "".join(line[:900] + "\n" for line in written[-6:])))
    return report
