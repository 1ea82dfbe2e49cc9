"""One control plane for the whole run, in namespaces of this process's own."""
import os
import shutil
import tempfile

import pytest

import network
import plane as plane_module

REASON = plane_module.missing()
FOLDER = None


def pytest_configure(config):
    """Before any thread: threads would stay outside."""
    global REASON, FOLDER
    if REASON is None:
        try:
            network.enter()
            FOLDER = tempfile.mkdtemp(prefix="spoa-kube-")
            network.mount("tmpfs", FOLDER, "tmpfs", 0, "mode=0755,size=4g")
        except network.Impossible as e:
            REASON = str(e)


def pytest_unconfigure(config):
    if FOLDER:
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    p = getattr(item.config, "plane", None)
    if report.failed and p and call.when in ("setup", "call"):
        logs = os.path.join(FOLDER, "logs")
        for name in sorted(os.listdir(logs)):
            if name.startswith(("kubelet", "services")) or "_" in name:
                with open(os.path.join(logs, name), errors="replace") as f:
                    text = f.read()
                if text.strip():
                    report.sections.append((name, text[-4000:]))
        with open(os.path.join(FOLDER, "failed.txt"), "w") as f:
            pods = p.kubectl("get", "all,inferencepools,httproutes,gateways", "-A", "-o", "wide",
                             ok=False).stdout
            f.write(pods)
        report.sections.append(("objects", pods))
    return report
