"""Many pods, pools and routes, coming and going: what is served in the end is what is there, the
memory is bounded, and a change is served within a second."""
import concurrent.futures
import os
import random
import statistics
import subprocess
import time

from api import Refused
from gateway import MODEL_A, MODEL_B, POOLS, pool
from plane import until

LONG = bool(os.environ.get("SPOA_KUBE_LONG"))
PODS = 10_000 if LONG else 400
ALIVE = 500 if LONG else 100


def make_pod(api, space, name, app, ready=True):
    """A pod that no kubelet runs: placed on a node nobody serves, its status written here."""
    path = f"/api/v1/namespaces/{space}/pods"
    number = next(numbers)
    api.create(path, {"apiVersion": "v1", "kind": "Pod",
                      "metadata": {"name": name, "labels": {"app": app}},
                      "spec": {"nodeName": "ghost", "automountServiceAccountToken": False,
                               "containers": [{"name": "c", "image": "i"}]}})
    address = f"10.99.{number >> 8 & 255}.{number & 255}"
    set_ready(api, space, name, ready, address)


def set_ready(api, space, name, ready, address=None):
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    if address:
        status.update(podIP=address, podIPs=[{"ip": address}])
    api.strategic(f"/api/v1/namespaces/{space}/pods/{name}/status", {"status": status})


def remove(api, space, name):
    try:
        api.delete(f"/api/v1/namespaces/{space}/pods/{name}", {"gracePeriodSeconds": 0})
    except Refused as e:
        if e.status != 404:
            raise


numbers = iter(range(1, 1 << 30))


def resident(gate, pods=None):
    """MB of each agent."""
    found = []
    for pod in pods or gate.pods():
        agent = [c for c in pod["status"]["initContainerStatuses"] if c["name"] == "agent"][0]
        with open(f"/proc/{agent['containerID'].removeprefix('process://')}/status") as f:
            found.append(int([line.split()[1] for line in f if line.startswith("VmRSS")][0]) / 1024)
    return found


def test_pods_churn(gate, space):
    api = gate.plane.api
    gate.plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost"}},
                     *[pool(space, f"churn-{i}", f"app-{i}") for i in range(5)])
    rng = random.Random(7)
    there, begun = {}, 0
    try:
        with gate.flood([MODEL_A, MODEL_B], n=3) as f, \
                concurrent.futures.ThreadPoolExecutor(6) as workers:
            while begun < PODS:
                batch = []
                for _ in range(min(40, PODS - begun)):
                    name, app = f"p{begun}", f"app-{rng.randrange(5)}"
                    begun += 1
                    ready = rng.random() < 0.9
                    there[name] = (app, ready)
                    batch.append(workers.submit(make_pod, api, space, name, app, ready))
                concurrent.futures.wait(batch)
                [b.result() for b in batch]
                leaving = rng.sample(sorted(there), max(0, len(there) - ALIVE) + min(10, len(there)))
                for name in leaving:
                    del there[name]
                flips = rng.sample(sorted(there), min(5, len(there)))
                jobs = [workers.submit(remove, api, space, n) for n in leaving]
                for n in flips:
                    there[n] = (there[n][0], not there[n][1])
                    jobs.append(workers.submit(set_ready, api, space, n, there[n][1]))
                concurrent.futures.wait(jobs)
                [j.result() for j in jobs]
            for i in range(5):
                wanted = {n for n, (app, ready) in there.items() if app == f"app-{i}" and ready}
                until(lambda: all(m == wanted for m in gate.members(f"{space}/churn-{i}")), 30,
                      f"churn-{i} has {len(wanted)} members")
        wrong = [str(o) for o in f.outcomes if o.wrong]
        assert f.outcomes and not wrong, wrong[:5]
        assert max(resident(gate)) < 60, resident(gate)
    finally:
        gate.plane.kubectl("-n", space, "delete", "inferencepool", "--all", "--wait=false")
        gate.plane.kubectl("-n", space, "delete", "pods", "--all", "--force", "--grace-period=0",
                           "--wait=false")
        gate.plane.kubectl("delete", "node", "ghost")


def test_within_a_second(gate, space):
    """From a pod's readiness, and from its deletion, to the agent's own view: the median of ten."""
    api = gate.plane.api
    gate.plane.apply(pool(space, "quick", "quick"))
    full = f"{space}/quick"
    until(lambda: all(full in {p["name"] for p in s["pools"]} for s in gate.states()), 20)
    came, went = [], []
    for i in range(10):
        make_pod(api, space, f"q{i}", "quick", ready=False)
        set_ready(api, space, f"q{i}", True)
        begin = time.monotonic()
        until(lambda: all(f"q{i}" in m for m in gate.members(full)), 10, every=0.01)
        came.append(time.monotonic() - begin)
        remove(api, space, f"q{i}")
        begin = time.monotonic()
        until(lambda: all(f"q{i}" not in m for m in gate.members(full)), 10, every=0.01)
        went.append(time.monotonic() - begin)
    gate.plane.kubectl("-n", space, "delete", "inferencepool", "quick")
    print(f"ready to served: {came}; deleted to left: {went}")
    assert statistics.median(came) < 1 and statistics.median(went) < 1, (came, went)


def test_a_thousand_pods_and_two_hundred_pools(gate, space):
    """In 40 MB (long form; fewer otherwise). They are there before the agent starts, in pages."""
    pods, pools = (1000, 200) if LONG else (200, 40)
    api = gate.plane.api
    gate.plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost"}})
    with concurrent.futures.ThreadPoolExecutor(6) as workers:
        list(workers.map(lambda i: make_pod(api, space, f"m{i}", f"many-{i % pools}"), range(pods)))
        list(workers.map(lambda i: api.create(f"{POOLS}/namespaces/{space}/inferencepools",
                                              pool(space, f"many-{i}")), range(pools)))
    try:
        until(lambda: all(sum(len(p["endpoints"]) for p in s["pools"]
                              if p["name"].startswith(space + "/")) == pods
                          for s in gate.states()), 60)
        assert max(resident(gate)) < 60, resident(gate)  # with what the churn has left
        pod = gate.pods()[0]
        agent = [c for c in pod["status"]["initContainerStatuses"] if c["name"] == "agent"][0]
        subprocess.run(["kill", "-9", agent["containerID"].removeprefix("process://")], check=True)
        until(lambda: all(sum(len(p["endpoints"]) for p in s["pools"]
                              if p["name"].startswith(space + "/")) == pods
                          for s in gate.states()), 60)
        again = [p for p in gate.pods() if p["metadata"]["name"] == pod["metadata"]["name"]]
        assert max(resident(gate, again)) < 40, resident(gate)
        assert gate.served_by(MODEL_A, "a")
    finally:
        gate.plane.kubectl("-n", space, "delete", "inferencepool", "--all", "--wait=false")
        gate.plane.kubectl("-n", space, "delete", "pods", "--all", "--force", "--grace-period=0",
                           "--wait=false")
        gate.plane.kubectl("delete", "node", "ghost")
