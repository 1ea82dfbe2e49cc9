"""Our own HAProxy follows a plan whatever goes wrong: it or the follower is killed, reloaded by somebody,
changed by hand, refuses what it is told, or is told too much at once."""
import os
import time

from follow_rig import grows, until_served
from follower import ENV, POOLS, Following
from stack import until
from follow_rig import at, f, followed, servers  # noqa: F401, fixtures


# ---- what goes wrong -----------------------------------------------------------------------------


def test_manual_changes_are_put_right(f, at):
    f.want({"llama": {"a": at["a"], "b": at["b"]}})
    f.wait_current()
    changes = [
        "set server llama/a state maint",
        "set server llama/a state drain",
        "disable health llama/a",
        "set weight llama/a 0",
        "set server llama/a addr 127.0.0.9 port 9",
        "set server llama/a state maint; del server llama/a",
        f"add server llama/stranger {at['c']}; enable server llama/stranger",
    ]
    if f.version == "3.4":
        changes.append("unpublish backend llama")
    wanted = f.servers()
    for change in changes:
        f.h.runtime(change)
        until(lambda: f.servers() == wanted and f.served_by("llama/a") == "a", what=f"undone: {change}")
        f.wait_current()


def test_haproxy_restarts(f, at):
    pools = {"llama": {"a": at["a"], "b": at["b"]}, "phi4": {"c": at["c"]}}
    f.want(pools)
    f.wait_current()
    for signal in ("kill", "terminate"):
        pid = f.h.worker_pid()
        getattr(f.h.process, signal)()
        f.h.process.wait(10)
        if signal == "kill":
            try:
                os.kill(pid, 9)  # it would go on without its master
            except ProcessLookupError:
                pass
        f.h.start()
        # At once: nothing had to be told to it. It knows no agent yet: that is another's business.
        assert set(f.servers()) == {("llama", "a"), ("llama", "b"), ("phi4", "c")}
        f.h.wait_agent("UP")
        assert f.served_by("llama/b") == "b" and f.served_by("phi4/c") == "c"
        f.wait(lambda s: s["pid"] == f.h.worker_pid() and s["state"] == "current", "it is followed")


def test_somebody_reloads(f, at):
    f.want({"llama": {"a": at["a"]}})
    f.wait_current()
    f.want({"llama": {"a": at["a"], "b": at["b"]}})
    f.wait_current()
    before = f.follower.state
    f.h.reload()
    f.wait(lambda s: s["pid"] == f.h.worker_pid() and s["state"] == "current", "it is followed")
    assert f.served_by("llama/b") == "b"
    assert f.follower.state["reloads"] == before["reloads"]
    assert f.follower.state["commands"] == before["commands"]


def test_follower_restarts(f, version, at):
    f.want({"llama": {"a": at["a"]}, "phi4": {"b": at["b"]}})
    f.wait_current()
    f.follower.stop(kill=True)
    f.h.runtime("set server llama/a state maint")
    f.follow()
    f.want({"llama": {"a": at["a"]}, "mistral": {"c": at["c"]}})
    f.wait_current(leaving=0)
    assert f.served_by("llama/a") == "a" and f.served_by("mistral/c") == "c"
    # The pool that went while nobody looked was ours, by the file.
    assert ("phi4", "b") not in f.servers()
    if grows(version):
        until(lambda: "phi4" not in f.backends(), what="the backend is gone")


def test_refused_reload(version, at):
    """A configuration that cannot be loaded: told with HAProxy's words, the old one goes on, and the
    rest follows as soon as it can."""
    with Following(version, reload_ms=300) as f:
        f.want({"llama": {"a": at["a"]}})
        f.wait_current()
        with open(f.h.outside("haproxy.cfg")) as file:
            good = file.read()
        f.h.write("haproxy.cfg", good + "\nbackend broken\n    nonsense here\n")
        f.want({"llama": {"a": at["a"], "b": at["b"]}}, hdrs=True)
        f.wait(lambda s: s["state"] == "failed" and s["reload_failures"] > 0, "the reload failed")
        if version != "2.6":
            assert "nonsense" in f.follower.state["error"]
        # What needs no reload is there all the same.
        assert f.served_by("llama/a") == "a" and f.served_by("llama/b") == "b"
        time.sleep(1)
        told = [e for e in f.follower.events().splitlines() if "event=haproxy_reload_failed" in e]
        assert len(told) == 1, told
        assert f.follower.state["reload_failures"] <= 4
        f.h.write("haproxy.cfg", good)
        f.want({"llama": {"a": at["a"], "b": at["b"]}, "phi4": {"c": at["c"]}}, hdrs=True)
        f.wait_current(30)
        assert f.served_by("phi4/c") == "c"


def test_reload_in_vain(version, at):
    """Somebody starts HAProxy without the generated files: that is told, and not tried for ever."""
    with Following(version, reload_ms=200) as f:
        f.h.configs.remove(ENV)
        f.h.process.terminate()
        f.h.process.wait(10)
        f.h.start()
        f.want({"llama": {"a": at["a"]}})
        f.wait(lambda s: s["state"] == "failed", "it is told")
        time.sleep(1.5)
        assert "event=haproxy_reload_vain" in f.follower.events()
        assert f.follower.events().count("event=haproxy_reload_vain") == 1
        assert f.follower.state["reloads"] <= 4


def test_no_master_socket(version, at):
    with Following(version) as f:
        f.follower.stop()
        f.follower.argv[3] = f.path("nowhere.sock")
        f.follower.start()
        f.want({"llama": {"a": at["a"]}})
        f.wait(lambda s: s["reload_failures"] > 0, "the reload failed")
        assert "event=haproxy_reload_failed" in f.follower.events()
        f.follower.stop()
        f.follower.argv[3] = ""
        f.follower.start()
        f.want({"llama": {"a": at["a"]}})
        f.wait(lambda s: s["state"] == "failed", "it is told")
        assert "event=haproxy_reload_needed" in f.follower.events()
        f.h.reload()
        f.wait_current()
        assert f.served_by("llama/a") == "a"


def test_socket_of_too_low_a_level(version, at):
    with Following(version) as f:
        f.want({"llama": {"a": at["a"]}})
        f.wait_current()
        with open(f.h.outside("haproxy.cfg")) as file:
            text = file.read()
        for level, event in (("operator", "haproxy_command_refused"), ("user", "haproxy_unreadable")):
            f.h.write("haproxy.cfg", text.replace("level admin", f"level {level}"))
            f.h.reload()
            f.want({"llama": {"a": at["a"], level: at["b"]}})
            until(lambda: f"event={event}" in f.follower.events(), what=f"{event} is told")
            f.wait(lambda s: s["state"] == "failed" and "denied" in s["error"].lower(), "it shows")


def test_keywords_that_haproxy_does_not_take(version, at):
    """Neither at run time nor in the file: the old configuration goes on."""
    with Following(version, keywords=["check nonsense"]) as f:
        f.want({"llama": {"a": at["a"]}})
        f.wait(lambda s: s["state"] == "failed" and s["error"], "it is told")
        assert f.post("llama/a")[0] == 503
        assert f.h.process.poll() is None


def test_folder_that_cannot_be_written(version, at):
    with Following(version, reload_ms=200) as f:
        f.want({"llama": {"a": at["a"]}})
        f.wait_current()
        os.rename(f.h.outside(POOLS), f.h.outside("away"))
        os.mkdir(f.h.outside(POOLS))
        reloads = f.follower.state["reloads"]
        f.want({"llama": {"a": at["a"], "b": at["b"]}}, hdrs=True)
        f.wait(lambda s: s["file_error"], "it is told")
        # What goes by the runtime socket goes on.
        until_served(f, "llama/b", "b")
        assert f.follower.state["reloads"] == reloads
        os.rmdir(f.h.outside(POOLS))
        f.want({"llama": {"a": at["a"]}}, hdrs=True)
        f.wait_current()
        assert f.follower.state["file_error"] == ""


# ---- bounds --------------------------------------------------------------------------------------


def test_storm_of_reloads(f, version, at):
    """Changes that need one each, all the time: one a second."""
    before, begin = f.follower.state["reloads"], time.monotonic()
    pools = {}
    for i in range(30):
        pools[f"storm{i}"] = {"a": at["a"]}
        f.want(pools, hdrs=bool(i % 2))
        time.sleep(0.1)
    f.wait_current(30)
    seconds = time.monotonic() - begin
    assert f.follower.state["reloads"] - before <= seconds + 2
    assert f.served_by("storm29/a") == "a"


def test_many_servers(f, at):
    """More commands than fit one line."""
    pools = {f"pool{p}": {f"pod-{p}-{i}-{'x' * 100}": at["a"] for i in range(60)} for p in range(5)}
    f.want({p: {} for p in pools})
    f.wait_current()
    f.want(pools)
    f.wait_current(30)
    assert len(f.servers()) == 300
    name = f"pod-4-59-{'x' * 100}"
    assert f.served_by(f"pool4/{name}") == name
    f.want({p: {} for p in pools})
    f.wait_current(30, leaving=0)
    assert not f.servers()
