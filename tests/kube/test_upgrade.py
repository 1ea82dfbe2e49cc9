"""helm upgrade and rollback, new pods, killed parts: under load, and without a lost request."""
import json
import os
import subprocess
import time

import pytest

import flood
import images
from gateway import MODEL_A, MODEL_B, pool, route
from plane import until

LONG = bool(os.environ.get("SPOA_KUBE_LONG"))


def all_well(f):
    wrong = [str(o) for o in f.outcomes if o.wrong]
    assert f.outcomes and not wrong, f"{len(wrong)} of {len(f.outcomes)}: {wrong[:5]}"


def generation(gate):
    return {p["metadata"]["name"] for p in gate.pods() if not p["metadata"].get("deletionTimestamp")}


def test_upgrade_and_rollback(gate):
    before = generation(gate)
    with gate.flood([MODEL_A, MODEL_B], max_tokens=60) as f:
        gate.helm("upgrade", haproxy__maxconn=3000)
        after = generation(gate)
        assert not before & after
        until(lambda: len(gate.pods()) == 2, 60)
        gate.plane.helm("rollback", "gate", "-n", "gate")
        gate.wait()
        until(lambda: len(gate.pods()) == 2 and not generation(gate) & after, 60)
        f.wait(50)
    all_well(f)
    rows = json.loads(gate.plane.helm("history", "gate", "-n", "gate", "-o", "json"))
    assert [r["status"] for r in rows[-3:]][-2:] == ["superseded", "deployed"]


def test_an_upgrade_that_cannot_be(gate):
    """A wrong value is refused before anything is changed; a wrong configuration never gets ready,
    and the pods of before go on."""
    before = generation(gate)
    done = gate.helm("upgrade", wait=False, ok=False, bbr__replicas="many")
    assert done.returncode != 0 and "replicas" in done.stderr
    assert generation(gate) == before
    with gate.flood([MODEL_A]) as f:
        gate.helm("upgrade", wait=False, agent__config__no__such="x")
        time.sleep(8)
        f.wait(20)
        there = {p["metadata"]["name"]: p for p in gate.pods()}
        assert before <= set(there)
        gate.plane.helm("rollback", "gate", "-n", "gate")
        until(lambda: {p["metadata"]["name"] for p in gate.pods()} == before, 60)
    all_well(f)


@pytest.mark.parametrize("container", ["agent", "haproxy"])
def test_a_container_killed(gate, container):
    """It comes back by itself and knows everything at once."""
    pod = gate.pods()[0]
    where = "initContainerStatuses" if container == "agent" else "containerStatuses"

    def status():
        there = [p for p in gate.pods() if p["metadata"]["uid"] == pod["metadata"]["uid"]][0]
        return [c for c in there["status"][where] if c["name"] == container][0]
    count = status()["restartCount"]
    pid = int(status()["containerID"].removeprefix("process://"))
    subprocess.run(["kill", "-9", str(pid)], check=True)
    until(lambda: status()["restartCount"] == count + 1 and status()["ready"], 60)
    # Through this pod alone, not through the Service.
    address = (pod["status"]["podIP"], 8080)
    outcomes = flood.burst(address, [flood.Ask(m) for m in (MODEL_A, MODEL_B)] * 5)
    assert not [str(o) for o in outcomes if o.wrong]


VERSIONS = [v for v in ("2.6", "3.0", "3.4") if v in images.haproxies()]


@pytest.mark.parametrize("version", VERSIONS if LONG else [v for v in VERSIONS if v != "3.0"])
def test_haproxy_follows(gate, version):
    """Another version of HAProxy: streams last while pools come, change and go."""
    gate.helm("upgrade", haproxy__image__tag=version)
    try:
        until(lambda: len(gate.pods()) == 2, 60)
        until(lambda: all(len(m) == 2 for n in "ab" for m in gate.members(f"gate/{n}")), 30)
        with gate.flood([MODEL_A, MODEL_B], n=4) as f, gate.flood([MODEL_A], n=3, max_tokens=800) as s:
            for i in range(3):
                name = f"new-{i}"
                gate.plane.apply(pool("gate", name, "b"), route("gate", name, MODEL_B, [name],
                                                                header="X-Gateway-Base-Model-Name"))
                begin = time.monotonic()
                until(lambda: all(f"gate/{name}" in {p["name"] for p in x["pools"]}
                                  for x in gate.states()), 20)
                until(lambda: gate.one(MODEL_B).headers.get("x-inference-pool") in (name, "b"), 20)
                assert time.monotonic() - begin < 10
            gate.plane.kubectl("-n", "gate", "scale", "deployment/b", "--replicas=3")
            until(lambda: all(len(m) == 3 for m in gate.members("gate/b")), 30)
            for i in range(3):
                gate.plane.kubectl("-n", "gate", "delete", "httproute,inferencepool", f"new-{i}")
            gate.plane.kubectl("-n", "gate", "scale", "deployment/b", "--replicas=2")
            until(lambda: all(len(m) == 2 for m in gate.members("gate/b")), 30)
            s.wait(3)
        all_well(f)
        all_well(s)
    finally:
        gate.plane.kubectl("-n", "gate", "delete", "--ignore-not-found", "httproute,inferencepool",
                           "new-0", "new-1", "new-2")
        gate.helm("upgrade")
        until(lambda: len(gate.pods()) == 2, 60)
