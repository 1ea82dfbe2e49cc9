"""Nothing is lost that HAProxy could have saved: every part killed, restarted and reloaded under a
flood of streaming and plain requests. What cannot be saved is listed in README.md, and nothing
else may be seen here.
"""
import http.client
import json
import os
import signal
import socket
import threading
import time

from flood import Ask, Flood
from stack import ADAPTER, CHAT, LLAMA, LLAMAS, PHI, PHIS, ask, end, until

MIX = [Ask(LLAMA, True, 25), Ask(PHI, False, 10), Ask(ADAPTER, False, 5), Ask(PHI, True, 25)]


def all_right(flood):
    wrong = [str(o) for o in flood.wrong]
    assert flood.outcomes and not wrong, wrong[:20]
    for o in flood.outcomes:
        assert o.server in (PHIS if o.ask.model == PHI else LLAMAS), o


def ends_empty(stack):
    until(lambda: stack.agent.tickets() == 0, 30, "no ticket is left")


# ---- the agent -----------------------------------------------------------------------------------
def test_agent_killed_and_started_again(make_stack):
    s = make_stack(INFERENCE_TIMEOUT="1s")
    until(lambda: s.agent.state()["haproxy"]["map"]["state"] == "current", what="the map is pushed")
    with Flood(s.port, MIX, 12) as flood:
        flood.wait(60)
        s.agent.kill()
        s.h.wait_agent("DOWN")
        flood.wait(60)
        without = [o for o in flood.outcomes if "x-inference-server" in o.headers]
        assert without
        s.agent.start()
        s.h.wait_agent("UP")
        flood.wait(100)
    all_right(flood)
    # A request waits for a dead agent at most `timeout processing`, here a second, and then only
    # until the checks have seen it.
    slowest = max(o.ended - o.began for o in flood.outcomes)
    assert slowest < 8, slowest
    ends_empty(s)


def test_agent_terminated_under_load(make_stack):
    """SIGTERM drains: HAProxy leaves it alone before it goes, so that no request even waits."""
    s = make_stack(INFERENCE_TIMEOUT="20s")
    with Flood(s.port, MIX, 12, timeout=40) as flood:
        flood.wait(60)
        s.agent.process.terminate()
        s.h.wait_agent("DOWN")
        assert s.agent.process.poll() is None, "it ended before HAProxy knew"
        assert s.agent.process.wait(20) == 0
        flood.wait(60)
        s.agent.start()
        s.h.wait_agent("UP")
        flood.wait(40)
    all_right(flood)
    # Nobody waited for `timeout processing`, which is longer than anything else here.
    slowest = max(o.ended - o.began for o in flood.outcomes)
    assert slowest < 15, slowest
    ends_empty(s)


def test_agent_that_ends_while_nothing_is_told(make_stack):
    """Its end of HAProxy's ring closes with nothing under way, and the next one's is used from the
    first line on; a worker that saw it ends after a reload as ever. (A ring whose connection is half
    closed tells nothing more on 3.0, loses lines on 3.2, and keeps its worker.)"""
    s = make_stack()
    for how in (signal.SIGTERM, signal.SIGKILL):
        assert s.chat(LLAMA).status == 200
        ends_empty(s)
        end(s.agent.process, how)
        s.agent.start()
        s.h.wait_agent("UP")
        for _ in range(3):
            assert s.chat(LLAMA).status == 200
        until(lambda: s.agent.metrics().sum("spoa_inference_feedback_lines_total", result="closed") == 3,
              what="all lines came, on a new connection")
        assert s.agent.tickets() == 0
    s.h.reload()
    until(lambda: len(s.h.worker_pids()) == 1, 30, "the old worker has ended")


def test_stopped_agent_costs_its_timeout_and_then_nothing(make_stack):
    """Not dead but silent (SIGSTOP): the first requests wait a second, then it is marked down."""
    s = make_stack(INFERENCE_TIMEOUT="1s")
    until(lambda: s.agent.state()["haproxy"]["map"]["state"] == "current")
    s.agent.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert s.chat(PHI).status == 200
        assert time.monotonic() - began < 6
        s.h.wait_agent("DOWN")
        quick = []
        for _ in range(10):
            began = time.monotonic()
            answer = s.chat(PHI, max_tokens=1)
            quick.append(time.monotonic() - began)
            assert answer.status == 200 and answer.headers["x-sim-name"] in PHIS
        assert sorted(quick)[5] < 0.5, quick
    finally:
        s.agent.process.send_signal(signal.SIGCONT)
    s.h.wait_agent("UP")
    assert s.chat(LLAMA).status == 200


def test_fail_open_by_the_map_and_its_file(make_stack):
    s = make_stack(INFERENCE_TIMEOUT="1s")
    until(lambda: s.agent.state()["haproxy"]["map"]["state"] == "current")
    loaded = s.h.runtime("show map " + s.h.inside("models.map"))
    entries = {line.split()[1]: line.split()[2] for line in loaded.splitlines() if line}
    assert entries == {LLAMA: "llama", ADAPTER: "llama", PHI: "phi4"}
    with open(s.h.outside("models.map")) as f:
        lines = [line.split() for line in f if line.strip() and not line.startswith("#")]
    assert dict(lines) == entries
    s.agent.kill()
    s.h.wait_agent("DOWN")
    for model, servers in ((LLAMA, LLAMAS), (ADAPTER, LLAMAS), (PHI, PHIS)):
        for body in (None, "x" * 100_000):
            answer = s.chat(model, body or "short")
            assert answer.status == 200 and answer.headers["x-sim-name"] in servers
    answer = s.chat("nobody")
    assert answer.status == 503 and "retry-after" in answer.headers
    # HAProxy starts again, and the agent is still away: the file is what it knows.
    s.h.reload()
    for model, servers in ((ADAPTER, LLAMAS), (PHI, PHIS)):
        answer = until(lambda: (lambda a: a if a.status == 200 else None)(s.chat(model)))
        assert answer.headers["x-sim-name"] in servers


def test_fail_closed(make_stack):
    s = make_stack(INFERENCE_TIMEOUT="1s", INFERENCE_FAIL="closed")
    assert s.chat(PHI).status == 200
    s.agent.kill()
    s.h.wait_agent("DOWN")
    answer = s.chat(PHI)
    assert answer.status == 503 and answer.json()["error"]["message"]
    s.agent.start()
    s.h.wait_agent("UP")
    assert s.chat(PHI).status == 200


def test_agent_configuration_reloaded_under_load(stack):
    was = stack.agent.conf
    wrong = {**was, "pools": {"llama": {"polcy": "least-loaded"}}}
    other = {**was, "pools": {**was["pools"], "phi4": {"policy": "round-robin"}}}
    try:
        with Flood(stack.port, MIX, 12) as flood:
            flood.wait(40)
            for conf, result in ((other, "ok"), (wrong, "failed"), (was, "ok"), (other, "ok")):
                assert stack.agent.reload(conf) == result
                flood.wait(40)
        all_right(flood)
        policies = {p["name"]: p["policy"] for p in stack.agent.state()["pools"]}
        assert policies == {"llama": "least-loaded", "phi4": "round-robin"}
    finally:
        assert stack.agent.reload(was) == "ok"
    ends_empty(stack)


def test_tickets_survive_a_reload(stack):
    streams = [stack.open_stream(LLAMA, 100000)[0] for _ in range(6)]
    try:
        assert stack.agent.reload(stack.agent.conf) == "ok"
        assert {n: stack.agent.endpoints()[n]["open"] for n in LLAMAS} == {n: 2 for n in LLAMAS}
    finally:
        for s in streams:
            s.close()
    ends_empty(stack)


# ---- HAProxy -------------------------------------------------------------------------------------
def test_haproxy_reloaded_under_load(make_stack):
    s = make_stack()
    with Flood(s.port, MIX, 12) as flood:
        for _ in range(3):
            flood.wait(50)
            s.h.reload()
        flood.wait(50)
    all_right(flood)
    s.h.wait_agent("UP")
    ends_empty(s)
    # The agent's own connections to runtime socket and SPOP hold no old worker.
    until(lambda: len(s.h.worker_pids()) == 1, 20, "the old workers are gone")
    assert s.agent.state()["haproxy"]["pid"] == s.h.worker_pid()
    assert s.chat(LLAMA).status == 200


def test_old_worker_leaves_no_ticket(make_stack):
    """After a reload the old worker still takes requests on connections it has, and its ring tells
    no end of them: their tickets are given up, not left for an hour."""
    s = make_stack()
    plain = json.dumps({"model": LLAMA, "messages": [{"role": "user", "content": "x"}],
                        "max_tokens": 1})
    stream, _ = s.open_stream(LLAMA, 100000)
    kept = [http.client.HTTPConnection("127.0.0.1", s.port, timeout=20) for _ in range(8)]
    try:
        for c in kept:
            c.connect()
        s.h.reload()
        s.h.wait_agent("UP")
        time.sleep(2.5)  # longer than what is thought of as just before the reload
        for c in kept:
            c.request("POST", CHAT, plain, {"content-type": "application/json"})
            assert c.getresponse().status == 200
        # One is left, the stream's, whose load is the server's own word.
        until(lambda: s.agent.tickets() == 0, 20, "the tickets are given up")
    finally:
        stream.close()
        for c in kept:
            c.close()


def test_old_worker_leaves_no_ticket_in_a_new_agent(make_stack):
    """An agent that began after the reload never saw the old worker in charge: it knows it by its
    parent."""
    s = make_stack()
    plain = json.dumps({"model": LLAMA, "messages": [{"role": "user", "content": "x"}],
                        "max_tokens": 1})
    stream, _ = s.open_stream(LLAMA, 100000)
    kept = [http.client.HTTPConnection("127.0.0.1", s.port, timeout=20) for _ in range(8)]
    try:
        for c in kept:
            c.connect()
        s.h.reload()
        s.h.wait_agent("UP")
        s.agent.kill()
        s.agent.start()
        s.h.wait_agent("UP")
        for c in kept:
            c.request("POST", CHAT, plain, {"content-type": "application/json"})
            assert c.getresponse().status == 200
        until(lambda: s.agent.tickets() == 0, 20, "the tickets are given up")
        given_up = s.agent.metrics().get_one("spoa_inference_tickets_reclaimed_total", why="haproxy_replaced")
        assert given_up == len(kept)
    finally:
        stream.close()
        for c in kept:
            c.close()


def test_streams_go_on_over_a_reload_and_are_counted(make_stack):
    """The old worker serves its streams to the end. Its ring is silent from the reload on, in every
    version, so their ends are not told; the load must be right all the same."""
    s = make_stack()
    streams = [s.open_stream(LLAMA, 100000)[0] for _ in range(6)]
    try:
        s.h.reload()
        s.h.wait_agent("UP")
        until(lambda: s.agent.state()["haproxy"]["pid"] == s.h.worker_pid())
        for stream in streams:
            stream.settimeout(20)
            assert stream.recv(65536)
        seen = []
        for _ in range(100):  # before, while and after what is to be buried is buried
            time.sleep(0.05)
            seen.append({n: s.agent.endpoints()[n]["load"] for n in LLAMAS})
        wrong = [(i, loads) for i, loads in enumerate(seen) if set(loads.values()) != {2}]
        assert not wrong
        streams.pop().close()
        until(lambda: sorted(s.agent.endpoints()[n]["load"] for n in LLAMAS) == [1, 2, 2],
              what="the one that ended is gone")
    finally:
        for stream in streams:
            stream.close()
    ends_empty(s)
    until(lambda: all(e["load"] == 0 for e in s.agent.endpoints().values()))
    until(lambda: len(s.h.worker_pids()) == 1, 20, "the old worker is gone")


def test_haproxy_starts_after_the_agent(make_stack):
    """And is away for a while later: the agent waits, and finds it again by itself."""
    s = make_stack(start=False)
    s.agent.start(ready=False)
    until(lambda: s.agent.page("/healthz").status == 200)
    time.sleep(0.5)
    assert s.agent.page("/readyz").status == 503
    s.h.start()
    s.wait_ready()
    assert s.chat(LLAMA).status == 200
    known = s.agent.endpoints()
    s.h.stop(keep=True)
    until(lambda: not s.agent.state()["haproxy"]["answers"], what="the agent has noticed")
    assert set(s.agent.endpoints()) == set(known), "what was known is kept"
    s.h.start()
    s.wait_ready()
    assert s.chat(PHI).status == 200
    ends_empty(s)


# ---- model servers -------------------------------------------------------------------------------
def test_model_server_dies_and_comes_back(make_stack):
    """Killed with streams and plain requests in flight: those that had reached it are lost (their
    headers are out, or they may have been computed), every later one is served elsewhere."""
    s = make_stack()
    with Flood(s.port, [Ask(LLAMA, True, 40), Ask(LLAMA, False, 40)], 12) as flood:
        flood.wait(40)
        s.sims.fault("llama2", "die")
        died = time.monotonic()
        flood.wait(80)
        until(lambda: s.agent.endpoints()["llama2"]["flags"], what="it is taken out")
        flood.wait(20)
        s.sims.fault("llama2", "none")
        until(lambda: not s.agent.endpoints()["llama2"]["flags"], 30, "it is back")
        seen = len(flood.outcomes)
        flood.wait(80)
    back = {o.server for o in flood.outcomes[seen:]}
    assert "llama2" in back
    for o in flood.wrong:
        assert o.began < died + 0.5, f"began {o.began - died:.2f} s after: {o}"
        if o.status == 200:
            assert o.ask.stream and o.server == "llama2" and o.wrong == "cut off", o
        else:
            assert o.status == 502 and json.loads(o.body)["error"]["code"] == "bad_gateway", o
    assert len(flood.wrong) <= 12
    ends_empty(s)


def breaks_on_a_kept_connection(s):
    """Status of a request whose server dies with it; None: the connection was closed."""
    body = json.dumps({"model": PHI, "messages": [], "max_tokens": 2}).encode()
    client = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)

    def request():
        client.request("POST", CHAT, body, {"content-type": "application/json"})
        answer = client.getresponse()
        answer.read()
        return answer.status

    try:
        for _ in range(6):  # each server has a connection that was used
            assert request() == 200
        for n in PHIS:
            s.sims.fault(n, "hang")
        dying = threading.Thread(target=lambda: (
            until(lambda: sum(s.sims.stats(n)["hung"] for n in PHIS) >= 1),
            [s.sims.fault(n, "die") for n in PHIS]))
        dying.start()
        try:
            return request()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        finally:
            dying.join()
    finally:
        client.close()
        for n in PHIS:
            s.sims.fault(n, "none")


def test_server_that_dies_with_a_kept_connection(make_stack):
    """HAProxy asks the client to send again by closing: no 502 and no line. README.md of haproxy/
    says so, and what makes it a 502. The ticket is given up for HAProxy's own count."""
    s = make_stack()
    got = breaks_on_a_kept_connection(s)
    assert got in (502, None)
    until(lambda: s.agent.tickets() == 0, 30, "no ticket is left")
    given_up = s.agent.metrics().get_one("spoa_inference_tickets_reclaimed_total", why="haproxy_silent")
    assert given_up == (1 if got is None else 0)
    until(lambda: s.chat(PHI).status == 200, 30, "the servers are back")
    ends_empty(s)


def test_server_connections_that_are_not_kept(make_stack):
    s = make_stack(start=False)
    config = s.h.outside("haproxy.cfg")
    with open(config) as f:
        text = f.read()
    with open(config, "w") as f:
        f.write(text.replace("    balance leastconn\n", "    balance leastconn\n    option http-server-close\n", 1))
    s.start()
    got = breaks_on_a_kept_connection(s)
    if s.version == "2.6":
        assert got in (502, None)
    else:
        assert got == 502
        ends_empty(s)


def test_refused_connections_go_elsewhere(make_stack):
    s = make_stack()

    def met():
        """A request has met the refusal: HAProxy moved it, or it failed there."""
        page = s.agent.metrics()
        return page.sum("spoa_inference_moved_total") > 0 or page.sum(
            "spoa_inference_endpoint_ended_total", endpoint="llama1", result="failed") > 0

    refused = []
    with Flood(s.port, [Ask(LLAMA, False, 5)], 8) as flood:
        # A check may be faster than any request.
        for _ in range(5):
            until(lambda: s.agent.endpoints()["llama1"]["candidate"], 30)
            flood.wait(30)
            before = time.monotonic()
            s.sims.fault("llama1", "refuse")
            refused.append((before, time.monotonic()))
            flood.wait(120)
            s.sims.fault("llama1", "none")
            if met():
                break
    # What the kernel had taken before nobody listened is reset: it had reached the server.
    for o in flood.wrong:
        assert any(o.began < after and o.ended > before for before, after in refused) and o.status == 502, str(o)
    assert len(flood.wrong) <= 8 * len(refused)
    assert not {o.server for o in flood.outcomes} - {*LLAMAS, None}
    until(met, what="a request met the refusal")
    ends_empty(s)


def test_every_server_gone_is_503_and_heals(make_stack):
    s = make_stack()
    for n in PHIS:
        s.sims.fault(n, "refuse")
    answer = until(lambda: (lambda a: a if a.status == 503 else None)(s.chat(PHI)), 20, "503")
    assert int(answer.headers["retry-after"]) >= 1 and answer.json()["error"]["message"]
    assert s.chat(LLAMA).status == 200
    for n in PHIS:
        s.sims.fault(n, "none")
    until(lambda: s.chat(PHI).status == 200, 20, "served again")


def test_hanging_server_is_left(make_stack):
    """It takes connections and says nothing, its metrics page neither: failed scrapes take it out,
    one good one brings it back."""
    s = make_stack(conf={"scrape": {"interval": "200ms", "timeout": "300ms", "failures": 2}})
    s.sims.fault("phi2", "hang")
    until(lambda: "scrape_dead" in s.agent.endpoints()["phi2"]["flags"], 20, "scrapes failed")
    with Flood(s.port, [Ask(PHI, True, 5)], 6) as flood:
        flood.wait(60)
    all_right(flood)
    assert {o.server for o in flood.outcomes} <= {"phi1", "phi3"}
    s.sims.fault("phi2", "none")
    until(lambda: not s.agent.endpoints()["phi2"]["flags"], 20, "it is back")


# ---- the agent's own process ---------------------------------------------------------------------
def test_no_descriptor_is_lost(stack):
    """Requests, reloads and broken peers leave the number of descriptors as it was."""
    def descriptors():
        return len(os.listdir(f"/proc/{stack.agent.process.pid}/fd"))

    def work():
        with Flood(stack.port, MIX, 8) as flood:
            flood.wait(60)
        all_right(flood)
        assert stack.agent.reload() == "ok"
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", stack.agent.admin_port)) as c:
                c.sendall(b"GET /state HT")
        ask(stack.agent.admin_port, path="/nowhere")

    work()
    before = descriptors()
    for _ in range(3):
        work()
    until(lambda: descriptors() <= before + 6, 20, f"not more than the {before} from before")
