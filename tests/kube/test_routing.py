"""Pools, routes and rights to refer, as they come, go and contradict each other, on a live gateway."""
import json
import time

import pytest

from gateway import CONTROLLER, MODEL_A, MODEL_B, POOLS, ROUTES, conditions, pool, route, says, \
    simulators
from plane import until


def path_of(space, name):
    return f"{ROUTES}/namespaces/{space}/httproutes/{name}"


@pytest.fixture
def more(gate):
    """more(objects...) applies them until the test ends."""
    made = []

    def apply(*objects):
        made.extend(objects)
        gate.plane.apply(*objects)
    yield apply
    if made:
        gate.plane.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": made}))
        names = {o["metadata"]["name"] for o in made if o["kind"] == "InferencePool"}
        until(lambda: not any(p["name"].split("/")[-1] in names
                              for s in gate.states() for p in s["pools"]), 20)


def test_both_replicas_say_the_same_and_do_not_fight(gate):
    """When nothing changes nothing is written; what changes is written once or twice."""
    log = gate.plane.file("logs", "audit.log")

    def writes():
        with open(log) as f:
            rows = [json.loads(line) for line in f]
        return [r for r in rows if r["verb"] in ("patch", "update") and
                "system:serviceaccount:gate:" in r["user"].get("username", "")]
    assert len(gate.pods()) == 2
    time.sleep(2)
    before = len(writes())
    time.sleep(5)
    assert writes()[before:] == []
    path = path_of("gate", "route-a")
    gate.plane.api.merge(path, {"spec": {"hostnames": ["x.example"]}})
    until(lambda: says(gate.plane, path, "Accepted"))
    time.sleep(2)
    made = [w["objectRef"]["name"] for w in writes()[before:]]
    assert 1 <= len(made) <= 2 and set(made) == {"route-a"}, made
    gate.plane.api.merge(path, {"spec": {"hostnames": None}})
    until(lambda: says(gate.plane, path, "Accepted"))


def test_status_of_others_stays(gate):
    """status.parents of another controller, and another controller's objects, are not touched."""
    path = path_of("gate", "route-a")
    other = {"controllerName": "example.com/other", "parentRef": {
        "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"}, "conditions": [
        {"type": "Accepted", "status": "False", "reason": "Mine", "message": "",
         "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    ours = [p for p in gate.plane.api.get(path)["status"]["parents"] if p["controllerName"] == CONTROLLER]
    gate.plane.api.merge(path + "/status", {"status": {"parents": [other, *ours]}})
    gate.plane.api.merge(path, {"spec": {"hostnames": ["x.example"]}})
    until(lambda: says(gate.plane, path, "Accepted"))
    there = gate.plane.api.get(path)["status"]["parents"]
    assert [p for p in there if p["controllerName"] != CONTROLLER] == [other]
    gate.plane.api.merge(path, {"spec": {"hostnames": None}})
    gate.plane.api.merge(path + "/status", {"status": {"parents": [
        p for p in gate.plane.api.get(path)["status"]["parents"]
        if p["controllerName"] == CONTROLLER]}})


def test_a_pod_is_served_when_it_is_ready_and_left_when_it_goes(gate):
    """One replica more and one less, under load: no request is lost."""
    with gate.flood([MODEL_A, MODEL_B]) as f:
        gate.plane.kubectl("-n", "gate", "scale", "deployment/a", "--replicas=3")
        until(lambda: all(len(m) == 3 for m in gate.members("gate/a")), 30)
        f.wait(60)
        assert len({o.server for o in f.outcomes if o.ask.model == MODEL_A}) == 3
        gate.plane.kubectl("-n", "gate", "scale", "deployment/a", "--replicas=1")
        until(lambda: all(len(m) == 1 for m in gate.members("gate/a")), 30)
        f.wait(60)
    wrong = [str(o) for o in f.outcomes if o.wrong]
    assert not wrong, wrong[:5]


def test_a_pool_deleted_under_load(gate, more):
    """Its streams end in peace, its model is refused, the others do not notice."""
    more(simulators("gate", "c", "model-c"), pool("gate", "c"), route("gate", "c", "model-c", ["c"]))
    until(lambda: gate.served_by("model-c", "c"), 40)
    with gate.flood([MODEL_A, MODEL_B]) as f, gate.flood(["model-c"], n=2, max_tokens=300) as streams:
        until(lambda: len(streams.outcomes) >= 2)
        gate.plane.kubectl("-n", "gate", "delete", "inferencepool", "c")
        until(lambda: gate.one("model-c").status == 503, 20)
        path = path_of("gate", "c")
        until(lambda: says(gate.plane, path, "ResolvedRefs", "False", "BackendNotFound"), 20)
        deleted = len(streams.outcomes)
    assert [str(o) for o in f.outcomes if o.wrong] == []
    bad = {o.status for o in streams.outcomes if o.wrong}
    assert bad <= {503}, [str(o) for o in streams.outcomes if o.wrong and o.status != 503][:5]
    assert deleted
    gate.plane.apply(pool("gate", "c"))
    until(lambda: gate.served_by("model-c", "c"), 20)


def test_a_selector_that_selects_nothing(gate, more):
    more(pool("gate", "none", "nobody"), route("gate", "none", "model-none", ["none"]))
    until(lambda: says(gate.plane, path_of("gate", "none"), "ResolvedRefs"), 20)
    o = until(lambda: (o := gate.one("model-none")).status == 503 and o, 20)
    assert int(o.headers["retry-after"]) >= 1
    assert json.loads(o.body)["error"]
    # and one that is put right
    gate.plane.api.merge(f"{POOLS}/namespaces/gate/inferencepools/none",
                         {"spec": {"selector": {"matchLabels": {"app": "b"}}}})
    until(lambda: gate.one("model-none").status != 503, 20)


def test_a_selector_changed_to_nothing_and_back(gate):
    path = f"{POOLS}/namespaces/gate/inferencepools/a"
    gate.plane.api.merge(path, {"spec": {"selector": {"matchLabels": {"app": "nobody"}}}})
    until(lambda: gate.one(MODEL_A).status == 503, 20)
    assert gate.served_by(MODEL_B, "b")
    gate.plane.api.merge(path, {"spec": {"selector": {"matchLabels": {"app": "a"}}}})
    until(lambda: gate.served_by(MODEL_A, "a"), 20)


def test_a_pool_of_another_namespace_needs_a_grant(gate, space, more):
    more(simulators(space, "c", "model-x"), pool(space, "c"),
         route("gate", "x", "model-x", [{"name": "c", "namespace": space}]))
    path = path_of("gate", "x")
    until(lambda: says(gate.plane, path, "ResolvedRefs", "False", "RefNotPermitted"), 20)
    until(lambda: gate.one("model-x").status == 503, 20)  # the status may be told first
    grant = {"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
             "metadata": {"name": "g", "namespace": space}, "spec": {
                 "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute",
                           "namespace": "gate"}],
                 "to": [{"group": "inference.networking.k8s.io", "kind": "InferencePool"}]}}
    more(grant)
    until(lambda: says(gate.plane, path, "ResolvedRefs"), 20)
    until(lambda: gate.served_by("model-x", "c"), 30)
    gate.plane.kubectl("-n", space, "delete", "referencegrant", "g")
    until(lambda: says(gate.plane, path, "ResolvedRefs", "False", "RefNotPermitted"), 20)
    until(lambda: gate.one("model-x").status == 503, 20)


def test_a_route_of_another_namespace_is_let_in_or_not(gate, space, more):
    """allowedRoutes: this Gateway takes routes from everywhere, then from its own namespace only."""
    more(simulators(space, "d", "model-d"), pool(space, "d"),
         route(space, "d", "model-d", ["d"], parent={"name": "gw", "namespace": "gate"}))
    until(lambda: gate.served_by("model-d", "d"), 40)
    at = f"{ROUTES}/namespaces/gate/gateways/gw"
    listeners = gate.plane.api.get(at)["spec"]["listeners"]
    count = lambda: gate.plane.api.get(at)["status"]["listeners"][0]["attachedRoutes"]
    assert count() == 3
    try:
        listeners[0]["allowedRoutes"]["namespaces"]["from"] = "Same"
        gate.plane.api.merge(at, {"spec": {"listeners": listeners}})
        until(lambda: says(gate.plane, path_of(space, "d"), "Accepted", "False",
                           "NotAllowedByListeners"), 20)
        until(lambda: gate.one("model-d").status == 404, 20)
        until(lambda: count() == 2)
        assert gate.served_by(MODEL_A, "a")
    finally:
        listeners[0]["allowedRoutes"]["namespaces"]["from"] = "All"
        gate.plane.api.merge(at, {"spec": {"listeners": listeners}})
    until(lambda: gate.served_by("model-d", "d"), 20)


def test_of_two_routes_that_contradict_the_oldest_wins(gate, more):
    more(simulators("gate", "old", "same", 1), simulators("gate", "new", "same", 1),
         pool("gate", "old"), pool("gate", "new"))
    more(route("gate", "zz-old", "same", ["old"]))
    until(lambda: gate.served_by("same", "old"), 40)
    time.sleep(1.1)  # creation times are whole seconds
    more(route("gate", "aa-new", "same", ["new"]))
    until(lambda: says(gate.plane, path_of("gate", "aa-new"), "Accepted"), 20)
    time.sleep(0.5)
    assert {o.server.split("-")[0] for o in gate.ask("same", 10)} == {"old"}
    gate.plane.kubectl("-n", "gate", "delete", "httproute", "zz-old")
    until(lambda: gate.served_by("same", "new"), 20)


def test_weights(gate, more):
    more(simulators("gate", "w1", "w", 1), simulators("gate", "w2", "w", 1), pool("gate", "w1"),
         pool("gate", "w2"), route("gate", "w", "w", [{"name": "w1", "weight": 90},
                                                      {"name": "w2", "weight": 10}]))
    until(lambda: gate.served_by("w", "w1") or gate.served_by("w", "w2"), 40)
    until(lambda: all(len(m) == 1 for n in ("gate/w1", "gate/w2") for m in gate.members(n)), 30)
    heavy = sum(o.server.startswith("w1-") for o in gate.ask("w", 200))
    assert 155 <= heavy <= 198, heavy  # 180 expected, six standard deviations


def test_what_is_not_supported_is_said(gate, more):
    bad = route("gate", "bad", "model-bad", ["a"])
    bad["spec"]["rules"][0]["filters"] = [{"type": "URLRewrite", "urlRewrite": {"hostname": "x"}}]
    more(bad)
    path = path_of("gate", "bad")
    c = until(lambda: conditions(gate.plane.api.get(path)), 20)
    assert c["Accepted"]["status"] == "False" and c["Accepted"]["reason"] == "UnsupportedValue", c
    assert "URLRewrite" in c["Accepted"]["message"], c
    assert gate.served_by(MODEL_A, "a")


def test_a_port_that_the_service_has_not(gate, more):
    other = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
             "metadata": {"name": "other", "namespace": "gate"},
             "spec": {"gatewayClassName": "inference-haproxy", "listeners": [
                 {"name": "far", "port": 8123, "protocol": "HTTP"}]}}
    more(other)
    at = f"{ROUTES}/namespaces/gate/gateways/other"

    def listener():
        there = gate.plane.api.get(at)["status"]["listeners"][0]
        return {c["type"]: c for c in there["conditions"]}
    c = until(lambda: listener(), 20)
    assert c["Accepted"]["reason"] == "PortUnavailable" or c["Programmed"]["status"] == "False", c


def test_a_bad_change_keeps_what_worked(gate):
    """A route that is good becomes one with an unsupported match: it still serves."""
    path = path_of("gate", "route-a")
    spec = gate.plane.api.get(path)["spec"]
    before = json.loads(json.dumps(spec))
    spec["rules"][0]["matches"][0]["path"] = {"type": "RegularExpression", "value": "/v[0-9]/.*"}
    try:
        gate.plane.api.merge(path, {"spec": spec})
        until(lambda: says(gate.plane, path, "Accepted", "False"), 20)
        time.sleep(0.5)
        assert gate.served_by(MODEL_A, "a") and gate.served_by(MODEL_B, "b")
    finally:
        gate.plane.api.merge(path, {"spec": before})
    until(lambda: says(gate.plane, path, "Accepted"), 20)
