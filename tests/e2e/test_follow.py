"""Our own HAProxy follows a plan: pools and pods come, go, move and drain under streams, on every version."""
import json
import random
import time

from echo_server import EchoServer
from follow_rig import MODEL, grows, under_way, until_served
from follower import ENV, Following, Stream
from haproxy import HAProxy
from stack import OPTIONS, Sims, until
from follow_rig import at, f, followed, servers  # noqa: F401, fixtures


# ---- pools and pods ------------------------------------------------------------------------------


def test_first_plan(version, at):
    with Following(version) as f:
        assert f.post("llama/a")[0] == 503
        f.want({"llama": {"a": at["a"], "b": at["b"]}})
        f.wait_current()
        assert f.served_by("llama/a") == "a" and f.served_by("llama/b") == "b"
        # HAProxy was started with empty files: they had to be loaded.
        assert f.follower.state["reloads"] == 1
        assert all(s["checking"] for s in f.servers().values())


def test_agent_is_there_first(version, at):
    """The files are there when HAProxy starts: nothing has to be told to it, or loaded again."""
    with Following(version) as f:
        f.h.process.terminate()
        f.h.process.wait(10)
        f.follower.stop()
        f.follow()
        f.want({"llama": {"a": at["a"], "gone": {"at": at["b"], "draining": True}}}, hdrs=True)
        def written():
            with open(f.h.outside(ENV)) as file:  # the one that is written last
                return "INFERENCE_HDRS" in file.read()
        until(written, what="the files are written")
        f.h.start()
        f.wait_current()
        assert f.follower.state["reloads"] == f.follower.state["commands"] == 0
        f.h.wait_agent("UP")
        assert f.served_by("llama/a") == "a"
        # Nothing of it could have a stream here.
        assert set(f.servers()) == {("llama", "a")}


def test_new_pools_within_two_seconds(f, version, at):
    took = []
    before = f.follower.state["reloads"]
    pools = {}
    for i in range(4):
        pools[f"pool{i}"] = {"a": at["a"]}
        begin = time.monotonic()
        changes = f.follower.state["changes"]
        f.want(pools)
        until_served(f, f"pool{i}/a", "a")
        # Whoever waits for the backend is told.
        f.wait(lambda s: s["changes"] > changes and s["has"] == i + 1, "the change is told")
        took.append(time.monotonic() - begin)
    f.wait_current()
    # Of several, for the machine may be doing something else just now.
    assert min(took) < 2, took
    assert f.follower.state["reloads"] - before == (0 if grows(version) else 4)


def test_the_choice_of_the_agent(f, at):
    """In a backend that was added and in one that was loaded: each server, in order."""
    f.want({"llama": {"a": at["a"], "b": at["b"], "c": at["c"]}})
    f.wait_current()
    for once_more in (False, True):
        for n in "abcabc":
            assert f.served_by(f"llama/{n}") == n
        f.h.runtime("disable health llama/a; set server llama/a health down")
        assert f.served_by("llama/a,c,b") == "c"
        f.h.runtime("set server llama/a health up")
        assert f.served_by("llama/nobody") in ("a", "b", "c")
        # The client does not choose.
        for _ in range(3):
            assert f.served_by("llama/b", cookie="x-inference-server=a") == "b"
            assert f.served_by("llama/b", cookie="k=v; x-inference-server=a; l=w") == "b"
        # Nor is anybody told how it was chosen, also where the choice was down.
        f.h.runtime("disable health llama/a; set server llama/a health down")
        for where in ("llama/b,c,a", "llama/a", "llama/nobody", "llama/"):
            status, headers, body = f.post(where, cookie="k=v; l=w")
            assert status == 200 and "set-cookie" not in headers
            assert json.loads(body)["headers"]["cookie"] == "k=v; l=w"
            assert "cookie" not in json.loads(f.post(where)[2])["headers"]
        f.wait_current()
        if not once_more:
            f.h.reload()
            f.wait_current()


def test_pods_come_and_go(f, at):
    f.want({"llama": {"a": at["a"]}})
    f.wait_current()
    reloads = f.follower.state["reloads"]
    f.want({"llama": {"a": at["a"], "b": at["b"]}})
    until_served(f, "llama/b", "b")
    f.want({"llama": {"b": at["b"]}})
    f.wait_current(leaving=0)
    assert set(f.servers()) == {("llama", "b")}
    assert f.served_by("llama/a") == "b"
    # Another pod with the address of one that is gone, beside one that has it still.
    f.want({"llama": {"b": at["b"], "again": at["b"], "late": at["a"]}})
    f.wait_current()
    assert f.served_by("llama/again") == "again" and f.served_by("llama/late") == "late"
    f.want({"llama": {}})
    f.wait_current(leaving=0)
    assert f.post("llama/b")[0] == 503
    assert f.follower.state["reloads"] == reloads


def test_ipv6(f, version):
    with EchoServer("six") as four:
        f.want({"llama": {"six": f"[::1]:{four.port}", "long": "[2001:db8::1:0:0:9]:8000"}})
        f.wait_current()
        assert f.servers()[("llama", "long")]["at"] == "[2001:db8::1:0:0:9]:8000"
        f.h.reload()
        f.wait_current()


def test_pod_comes_back_elsewhere(f, servers, at):
    """As a StatefulSet's pods do: the stream to where it was goes on, requests go where it is."""
    f.want({"llama": {"pod-0": at["a"]}})
    f.wait_current()
    assert json.loads(f.post("llama/pod-0")[2])["server"] == "a"
    stream, answer = under_way(f, "llama/pod-0", servers["a"])
    servers["a"].step(b"one")
    f.want({"llama": {"pod-0": at["b"]}})
    until(lambda: json.loads(f.post("llama/pod-0")[2])["server"] == "b", what="it is at its new address")
    f.wait_current()
    # And once while the old one is still on its way out.
    f.want({"llama": {}})
    f.wait(lambda s: s["leaving"] == 1, "the old one is leaving")
    f.want({"llama": {"pod-0": at["c"]}})
    until(lambda: json.loads(f.post("llama/pod-0")[2])["server"] == "c", what="it is back")
    servers["a"].step(b"two")
    servers["a"].end()
    stream.join(20)
    assert answer[0][0] == 200 and answer[0][2] == b"onetwo"


def test_draining(f, servers, at):
    """A pod that is being deleted keeps its stream and gets nothing new, and goes when it is empty."""
    f.want({"llama": {"a": at["a"], "b": at["b"]}})
    f.wait_current()
    stream, answer = under_way(f, "llama/a", servers["a"])
    servers["a"].step(b"one")
    f.want({"llama": {"a": {"at": at["a"], "draining": True}, "b": at["b"]}})
    until(lambda: f.servers()[("llama", "a")]["admin"] == 8, what="it drains")
    f.wait_current()
    assert {f.served_by("llama/") for _ in range(6)} == {"b"}
    servers["a"].step(b"two")
    f.want({"llama": {"b": at["b"]}})
    f.wait(lambda s: s["state"] == "current" and s["leaving"] == 1, "it is leaving")
    assert f.servers()[("llama", "a")]["admin"] & 1
    assert f.served_by("llama/a") == "b"
    servers["a"].step(b"three")
    servers["a"].end()
    stream.join(20)
    assert answer[0][0] == 200 and answer[0][2] == b"onetwothree"
    f.wait_current(leaving=0)
    assert set(f.servers()) == {("llama", "b")}
    # Not ready for a while, and ready again.
    f.want({"llama": {"b": {"at": at["b"], "draining": True}}})
    until(lambda: f.servers()[("llama", "b")]["admin"] == 8, what="it drains")
    f.want({"llama": {"b": at["b"]}})
    f.wait_current()
    assert f.served_by("llama/b") == "b"


def test_idle_connections_keep_nothing(f, servers, at):
    """A server that was down, and one whose last stream ends in maintenance, keep connections that
    nobody uses: deleted all the same."""
    f.want({"llama": {"a": at["a"], "b": at["b"]}})
    f.wait_current()
    assert f.served_by("llama/a") == "a"
    f.h.runtime("disable health llama/a; set server llama/a health down")
    request, answer = under_way(f, "llama/b", servers["b"], "wait")
    f.want({"llama": {}})
    f.wait(lambda s: s["state"] == "current" and s["leaving"] == 1, "one is gone, one is leaving")
    servers["b"].end()
    request.join(20)
    assert answer[0][0] == 200
    f.wait_current(leaving=0)
    assert not f.servers("llama")


def test_pool_is_deleted(f, version, servers, at):
    f.want({"llama": {"a": at["a"]}, "phi4": {"b": at["b"]}})
    f.wait_current()
    stream, answer = under_way(f, "llama/a", servers["a"])
    f.want({"phi4": {"b": at["b"]}})
    f.wait(lambda s: s["state"] == "current" and s["leaving"] == 1, "its server is leaving")
    servers["a"].step(b"one")
    servers["a"].end()
    stream.join(20)
    assert answer[0][0] == 200 and answer[0][2] == b"one"
    f.wait_current(leaving=0)
    assert f.post("llama/a")[0] == 503 and f.served_by("phi4/b") == "b"
    if grows(version):
        until(lambda: "llama" not in f.backends(), what="the backend is gone")
    assert f.servers("phi4") and ("llama", "a") not in f.servers()
    # What is not ours stays.
    assert "inference-answers" in f.h.runtime("show backend")
    f.want({"llama": {"a": at["a"]}, "phi4": {"b": at["b"]}})
    f.wait_current()
    assert f.served_by("llama/a") == "a"


# ---- streams -------------------------------------------------------------------------------------


def test_no_stream_is_cut(version):
    """Streams all the time, while pods and pools come, go, move and drain, rules change, HAProxy is
    reloaded by others and the follower dies: every stream ends as it should."""
    names = [f"s{i}" for i in range(6)]
    dice = random.Random(version)
    with Following(version, reload_ms=500) as f:
        sims = Sims({n: [f"model={MODEL}"] for n in names}, f.short, OPTIONS)
        try:
            at = sims.addresses
            f.want({"keep": {"s0": at["s0"]}, "llama": {n: at[n] for n in names}})
            f.wait_current()
            streams, begin, step = [], time.monotonic(), 0
            while time.monotonic() - begin < 8:
                step += 1
                here = dice.sample(names, dice.randint(1, 6))
                for n in here[:2]:
                    streams.append(Stream(f.h.port, f"llama/{n}", MODEL, dice.choice([50, 300, 600])))
                streams.append(Stream(f.h.port, "keep/s0", MODEL, 300))
                for s in streams[-3:]:
                    s.began.wait(20)
                pools = {"keep": {"s0": at["s0"]}, "llama": {
                    n: {"at": at[n], "draining": True} if dice.random() < 0.3 else at[n] for n in here}}
                pools["llama"].setdefault(here[0], at[here[0]])
                if dice.random() < 0.4:
                    pools[f"more{step % 3}"] = {"x": at[dice.choice(names)]}
                f.want(pools, hdrs=dice.random() < 0.2)
                if step % 7 == 0:
                    f.h.reload()
                if step % 11 == 0:
                    f.follower.stop(kill=True)
                    f.follow()
                    f.want(pools)
                time.sleep(dice.random() * 0.2)
                assert len(streams) < 500
            f.want({"keep": {"s0": at["s0"]}, "llama": {}})
            for s in streams:
                s.join(60)
            assert len(streams) > 20
            cut = [s for s in streams if not s.whole()]
            # A stream that never was, for its pool had no server just then, was answered whole too.
            bad = [(s.where, s.got[:300], s.got[-100:]) for s in cut if b" 503 " not in s.got[:20]]
            assert not bad, (len(bad), len(streams), bad[:3], f.logs())
            assert len(cut) < len(streams) / 4
            f.wait_current(leaving=0)
        finally:
            sims.stop()


# ---- rules and settings --------------------------------------------------------------------------

VALUES = [
    "plain", "two  spaces and more   ", "100%", "%[src] %{+Q}o %%", "it's \"quoted\"", "back\\slash\\\\", "'", "\"",
    "$HOME ${PATH} \"${X-y}\"", "a,b)c(d]e[f}", "# no comment", "caf\u00e9 \U0001f600", "\\n\\t\\x41", "a\tb", "x" * 4000,
    "'\\''\"\\\"\\\\", "if { always_false }",
]


def test_headers_of_routes(f, at):
    """Whatever a value is made of, and for the requests of its route alone."""
    route = "default/llm-route"
    rules = [{"route": route, "set": f"x-v{i}", "value": v} for i, v in enumerate(VALUES)]
    rules += [
        {"route": route, "set": "x-over", "value": "written"},
        {"route": route, "add": "x-more", "value": "second"},
        {"route": route, "del": "X-Away"},
        {"route": route, "set": "x!#$%&'*+-.^_`|~9", "value": "token"},
        {"route": "default/other", "set": "x-other", "value": "1"},
    ]
    f.want({"llama": {"a": at["a"]}}, rules)
    f.wait_current()
    f.more = {"route": route}
    for _ in range(2):
        status, _, body = f.post("llama/a", x_over="client", x_more="first", x_away="1")
        assert status == 200
        got = json.loads(body)["headers"]
        for i, v in enumerate(VALUES):
            # White space around a value is not part of it.
            want = v.encode().decode("latin-1").strip(" \t")
            assert got[f"x-v{i}"].strip(" \t") == want, (i, v)
        assert got["x-over"] == "written" and got["x!#$%&'*+-.^_`|~9"] == "token"
        assert "x-away" not in got and "x-other" not in got
        f.h.reload()
        f.wait_current()
    f.more = {"route": "default/other"}
    got = json.loads(f.post("llama/a", x_away="1")[2])["headers"]
    assert got["x-other"] == "1" and got["x-away"] == "1" and "x-v0" not in got
    f.more = {}
    got = json.loads(f.post("llama/a", x_away="1")[2])["headers"]
    assert "x-other" not in got and "x-v0" not in got
    # A pool that comes later has the rules too.
    f.want({"llama": {"a": at["a"]}, "late": {"b": at["b"]}}, rules)
    f.wait_current()
    f.more = {"route": "default/other"}
    assert json.loads(f.post("late/b")[2])["headers"]["x-other"] == "1"
    # What would be another header, or another body, is left out, and the rest is there.
    f.want({"llama": {"a": at["a"]}}, [
        {"route": route, "set": "x-evil", "value": "1\r\nx-smuggled: 1"},
        {"route": route, "set": "bad name", "value": "1"},
        {"route": route, "set": "Transfer-Encoding", "value": "chunked"},
        {"route": route, "set": "content-length", "value": "0"},
        {"route": route, "set": "x-good", "value": "1"},
    ])
    f.wait_current()
    f.more = {"route": route}
    got = json.loads(f.post("llama/a")[2])["headers"]
    assert got["x-good"] == "1" and "x-evil" not in got and "x-smuggled" not in got
    assert "event=haproxy_left_out" in f.follower.events()


def test_timeout_of_a_route(f, at):
    f.want({"llama": {"a": at["a"]}})
    f.wait_current()
    f.more = {"timeout": 300}
    begin = time.monotonic()
    status, _, body = f.post("llama/a", x_do="silent")
    assert status == 504 and json.loads(body)["error"]["code"] == "gateway_timeout"
    assert time.monotonic() - begin < 10


def test_what_the_agent_is_sent(f, at):
    """Host, path and method always, every method; all headers only where a route looks at them."""
    f.want({"llama": {"a": at["a"]}})
    f.wait_current()
    for hdrs in (False, True, False):
        f.want({"llama": {"a": at["a"]}}, hdrs=hdrs)
        f.wait_current()
        f.h.wait_agent("UP")
        for method, message in (("POST", "route"), ("GET", "other"), ("DELETE", "other")):
            f.agent.notifies.clear()
            f.post("llama/a", method, "/v1/things?q=1", host="api.example", x_mine="mine")
            n = f.agent.notifies[-1]
            assert (n.message, n.args["host"], n.args["path"], n.args["method"]) == (
                message, "api.example", "/v1/things", method)
            assert ("hdrs" in n.args) == hdrs
            if hdrs:
                assert b"x-mine" in n.args["hdrs"]


def test_h2c(f, version, at):
    """A pool whose pods speak HTTP/2 without TLS."""
    config = ('defaults d\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n'
              'global\n    stats socket "${INFERENCE_STATS_SOCKET}" level admin\n'
              'frontend f from d\n    bind "${INFERENCE_BIND}" proto h2\n'
              '    http-request return status 200 hdr x-h2 yes\n')
    with HAProxy(version, config="h2.cfg", files={"h2.cfg": config}) as h2:
        pods = {"pod": f"127.0.0.1:{h2.port}"}
        f.want({"llama": {"a": at["a"]}, "two": pods}, h2c=["two"])
        f.wait_current()
        until(lambda: f.post("two/pod")[1].get("x-h2") == "yes", what="it is spoken to in HTTP/2")
        assert f.served_by("llama/a") == "a"
        f.want({"llama": {"a": at["a"]}, "two": {"pod": pods["pod"], "late": pods["pod"]}}, h2c=["two"])
        f.wait_current()
        assert f.post("two/late")[1].get("x-h2") == "yes"


def test_names_that_are_taken(f, at):
    """A pool called as a section of haproxy.cfg cannot be had, and harms no other."""
    f.want({"inference-agent": {"a": at["a"]}, "model-servers": {"a": at["a"]}, "llama": {"a": at["a"]},
            "with space": {"a": at["a"]}, "Fine_1.2:3": {"ok": at["a"], "not ok": at["a"], "no-port": "127.0.0.1"}})
    f.wait(lambda s: s["state"] == "current" and s["pools"] == 2, "the two that can be had are there")
    assert f.served_by("llama/a") == "a" and f.served_by("Fine_1.2:3/ok") == "ok"


def test_health_of_the_gateway(f, at):
    f.want({})
    f.wait_current()
    assert f.post("", "GET", "/health")[0] == 200
