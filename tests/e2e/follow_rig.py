"""What the tests of the follower share: one HAProxy of a version that is followed, three model servers."""
import threading

import pytest

from conftest import RUNNING
from echo_server import EchoServer
from follower import Following
from stack import until

MODEL = "m"


def grows(version):
    """Backends can be added while it runs."""
    return version == "3.4"


@pytest.fixture(scope="module")
def servers():
    with EchoServer("a") as a, EchoServer("b") as b, EchoServer("c") as c:
        yield {"a": a, "b": b, "c": c}


@pytest.fixture
def at(servers):
    return {n: s.address for n, s in servers.items()}


@pytest.fixture(scope="module")
def followed(version, request):
    with Following(version) as f:
        request.config.stash[RUNNING].append(f)
        yield f
        request.config.stash[RUNNING].remove(f)


@pytest.fixture
def f(followed):
    """With no pools and a follower that has come to rest."""
    followed.more = {}
    followed.agent.notifies.clear()
    followed.want({})
    followed.wait_current(leaving=0)
    return followed


def until_served(f, where, server, wait=15):
    until(lambda: f.served_by(where) == server, wait, f"{where} is served by {server}")


def under_way(f, where, server, do="stream"):
    """A request that @server has and that does not end by itself; its thread, and where its answer will be."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(f.post(where, x_do=do)))
    thread.start()
    until(lambda: server.requests and server.requests[-1][1].get("x-do") == do, what=f"the {do} has begun")
    return thread, answer
