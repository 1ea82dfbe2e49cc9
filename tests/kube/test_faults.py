"""The API server gone, back with another past, cut, slow, wrong: requests go on, and what changed
meanwhile is served when it can be known."""
import json
import os
import time

import pytest

from faulty import Rule
from gateway import MODEL_A, MODEL_B, ROUTES, pool, says
from plane import until

LONG = bool(os.environ.get("SPOA_KUBE_LONG"))
WATCH, LIST = r"^GET .*[?&]watch=(1|true)", r"^GET (?!.*[?&]watch=(1|true))/api"


def answer(status, body=b"", **headers):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    return head.encode() + b"Connection: close\r\n\r\n" + body


def status_of(code, reason):
    return json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                       "code": code, "message": reason}).encode()


GONE = answer(410, status_of(410, "Expired"))
turn = iter(range(1, 100000))


def change(gate):
    """A change of a route; answers what is true as soon as the agent has seen it and said so."""
    path = f"{ROUTES}/namespaces/{gate.space}/httproutes/route-a"
    spec = gate.plane.api.get(path)["spec"]
    spec["rules"][0]["timeouts"]["request"] = f"{300 + next(turn)}s"
    gate.plane.api.merge(path, {"spec": spec})
    return lambda: says(gate.plane, path, "Accepted") and says(gate.plane, path, "ResolvedRefs")


def all_well(f):
    wrong = [str(o) for o in f.outcomes if o.wrong]
    assert f.outcomes and not wrong, f"{len(wrong)} of {len(f.outcomes)}: {wrong[:5]}"


def restarts(gate):
    return sum(c["restartCount"] for p in gate.pods() for c in
               p["status"]["containerStatuses"] + p["status"].get("initContainerStatuses", []))


@pytest.fixture(autouse=True)
def nobody_dies(gate):
    before = restarts(gate)
    yield
    assert restarts(gate) == before, "a container of the gateway was restarted"


def test_api_server_gone(gate):
    with gate.flood([MODEL_A, MODEL_B]) as f:
        gate.plane.stop_apiserver()
        time.sleep(60 if LONG else 8)
        assert len(f.outcomes) > 20
        gate.plane.restart_apiserver()
        until(change(gate), 45)
    all_well(f)


def test_the_past_comes_back(gate):
    """An older state of etcd: the server's versions are lower than those we have seen."""
    gate.plane.save_etcd()
    names = lambda: [{p["name"] for p in s["pools"]} for s in gate.states()]
    with gate.flood([MODEL_A, MODEL_B]) as f:
        gate.plane.apply(pool(gate.space, "future", "a"))
        until(lambda: all(f"{gate.space}/future" in n for n in names()), 20)
        for _ in range(20):
            change(gate)
        gate.plane.restore_etcd()
        until(lambda: not any(f"{gate.space}/future" in n for n in names()), 60)
        until(change(gate), 45)
    all_well(f)


def test_compacted(gate):
    """Versions that we ask to go on from are no longer known: 410 Gone."""
    with gate.flood([MODEL_A, MODEL_B]) as f:
        gate.plane.stop_apiserver()
        gate.plane.start_apiserver()
        gate.plane.wait_apiserver()
        for _ in range(5):
            change(gate)
        gate.plane.compact_etcd()
        gate.plane.restart_apiserver()
        until(change(gate), 45)
    all_well(f)


PLACES = list(range(0, 4000, 61)) if LONG else [0, 15, 239, 241, 300, 700, 2600]


@pytest.mark.parametrize("how", ["cut", "end"])
def test_watch_cut(gate, how):
    """At every kind of place: in the head, in a chunk's length, in an object, between two."""
    with gate.flood([MODEL_A, MODEL_B], n=3) as f:
        for place in PLACES:
            rule = Rule(WATCH, how, bytes=place, times=16)
            gate.plane.faulty.between(rule)
            until(change(gate), 45, f"a change after watches were cut at byte {place}")
            assert rule.hits
    all_well(f)


def test_list_cut(gate):
    for place in (0, 9, 200, 400, 1000, 3000):
        rules = Rule(WATCH, "status", answer=GONE, times=10), Rule(LIST, "cut", bytes=place, times=6)
        gate.plane.faulty.between(*rules)
        until(change(gate), 45, f"a change after lists were cut at byte {place}")
        # The change may have come by a list that was under way.
        until(lambda: rules[0].hits and rules[1].hits, 45, "watches were gone and lists cut")


def test_bytes_come_one_by_one(gate):
    for size in (1, 7):
        gate.plane.faulty.between(Rule(WATCH, "status", answer=GONE, times=10),
                                  Rule(r"^GET", "pieces", bytes=size))
        until(change(gate), 60, f"a change in pieces of {size}")


def test_expired_in_the_stream(gate):
    """410 as an event, which is how a running watch learns it."""
    event = json.dumps({"type": "ERROR", "object": json.loads(status_of(410, "Expired"))}).encode()
    gate.plane.faulty.between(Rule(WATCH, "status", answer=answer(200, event + b"\n"), times=10))
    until(change(gate), 45)


def test_throttled(gate):
    """429 says when to come again, and is believed."""
    slow = Rule(r"^GET", "status", answer=answer(429, Retry_After="2"))
    gate.plane.faulty.between(slow)
    time.sleep(8)
    kinds, replicas = 9, 2
    assert 0 < slow.hits <= (8 / 2 + 2) * kinds * replicas, slow.hits
    gate.plane.faulty.clear()
    until(change(gate), 45)


@pytest.mark.parametrize("code", [401, 403, 404, 500, 503, 504] if LONG else [401, 404, 503])
def test_refused(gate, code):
    """Whatever it says, what was known goes on being served."""
    with gate.flood([MODEL_A, MODEL_B], n=3) as f:
        gate.plane.faulty.between(Rule(r"^GET", "status", answer=answer(code, status_of(code, "No"))))
        time.sleep(2)
        assert gate.plane.faulty.rules[0].hits
        gate.plane.faulty.clear()
        until(change(gate), 45)
    all_well(f)


NONSENSE = {
    "empty": b"", "text": b"<html>login</html>", "cut": b'{"kind":"PodList","items":[{"metadata":',
    "null": b"null", "array": b"[]", "no items": b'{"kind":"PodList","metadata":{"resourceVersion":"1"}}',
    "items": b'{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":{"a":1}}',
    "types": b'{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[1,null,"x",{"metadata":7},'
             b'{"metadata":{"name":5,"namespace":[],"uid":{},"labels":[1]},"spec":"s","status":1e999}]}',
    "version": b'{"kind":"PodList","metadata":{"resourceVersion":7},"items":[]}',
    "deep": b"[" * 100000, "utf-8": b'{"kind":"\xff\xfe\xc0","items":[]}',
}


def test_nonsense(gate):
    """Lists and watches that are none. What is no list of this kind takes nothing away."""
    for name, text in NONSENSE.items():
        with gate.flood([MODEL_A, MODEL_B], n=3) as f:
            gate.plane.faulty.between(Rule(r"^GET", "status", answer=answer(200, text)))
            until(lambda: gate.plane.faulty.rules[0].hits >= 10, 20, name)
            f.wait(10)
            gate.plane.faulty.clear()
            until(change(gate), 60, f"a change after {name}")
        all_well(f)


def test_stalled(gate):
    """Connections that are open and say nothing are given up, and asked anew."""
    rule = Rule(LIST, "stall", bytes=0, times=10)
    gate.plane.faulty.between(Rule(WATCH, "status", answer=GONE, times=10), rule)
    until(change(gate), 60)
    assert rule.hits


def test_status_conflicts(gate):
    """Somebody else writes the object between our reading and our writing: 409, and again."""
    path = f"{ROUTES}/namespaces/{gate.space}/httproutes/route-a"
    meddled = []

    def meddle(line):
        meddled.append(line)
        gate.plane.api.merge(path, {"metadata": {"annotations": {"n": str(next(turn))}}})
    gate.plane.faulty.between(Rule(r"^PATCH .*/route-a/status", "before", times=4, change=meddle))
    until(change(gate), 45)
    assert meddled

    def quiet():
        seen = len(gate.plane.faulty.requests)
        time.sleep(2)
        return not [r for r in gate.plane.faulty.requests[seen:] if r.startswith("PATCH")]
    until(quiet, 15)  # the last of its tries may still have been on its way
    gate.plane.api.merge(path, {"metadata": {"annotations": None}})


def test_status_refused(gate):
    """A status that cannot be written now is tried again, not without end."""
    for code in (429, 500, 503):
        rule = Rule(r"^PATCH", "status", times=30, answer=answer(code, status_of(code, "No")))
        gate.plane.faulty.between(rule)
        seen = change(gate)
        time.sleep(3)
        assert 0 < rule.hits <= 20, rule.hits
        gate.plane.faulty.clear()
        until(seen, 60, f"the status after {code}")
