"""Everything that is applied to a cluster, asked of a real API server: kubectl apply --dry-run=server.

The charts' renderings are tests/charts' golden files, which a test there keeps true.
"""
import glob
import os
import re

import pytest

from images import ROOT

GOLDEN = sorted(glob.glob(os.path.join(ROOT, "tests", "charts", "golden", "*.yaml")))
MANIFESTS = sorted(glob.glob(os.path.join(ROOT, "haproxy", "demo", "kube", "*.yaml")))


@pytest.fixture(scope="module")
def spaces(plane):
    names = set()
    for path in GOLDEN + MANIFESTS:
        with open(path) as f:
            names |= set(re.findall(r"(?m)^  namespace: ([\w-]+)$", f.read())) - {"default"}
    for name in names:
        plane.kubectl("create", "namespace", name)
    yield
    plane.kubectl("delete", "namespace", "--wait=false", *names)


@pytest.mark.parametrize("path", GOLDEN + MANIFESTS, ids=os.path.basename)
def test_the_api_server_takes(plane, spaces, path):
    told = plane.kubectl("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors",
                         "-f", path)
    lines = told.strip().splitlines()
    assert lines and all(line.endswith("created (server dry run)") for line in lines), told


def test_it_refuses_what_is_wrong(plane, spaces):
    """The test above can fail: a field that nobody knows, a value that may not be."""
    with open(MANIFESTS[0]) as f:
        text = f.read()
    bad = [text.replace("metadata:", "metadata:\n  nome: x", 1)]
    with open(os.path.join(ROOT, "haproxy", "demo", "kube", "gateway.yaml")) as f:
        bad.append(f.read().replace("protocol: HTTP", "protocol: \"\"", 1))
    for one in bad:
        assert one != text
        done = plane.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=one,
                             ok=False)
        assert done.returncode != 0, one
