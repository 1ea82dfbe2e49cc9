"""Ends told by more than one HAProxy, or by a replaced one: each closes its own tickets."""
import os
import time

import pytest

from haproxy import HAProxy
from stack import LLAMA, LLAMAS, ask, until


@pytest.fixture
def pair(make_stack):
    """A stack, and a second HAProxy in front of the same servers that asks the same agent."""
    s = make_stack()
    shared = {k: v for k, v in s.h.env.items() if k[:-1] in ("LLAMA", "PHI")}
    second = HAProxy(s.version, **shared, INFERENCE_AGENT=s.h.env["INFERENCE_AGENT"],
                     INFERENCE_FEEDBACK=s.h.env["INFERENCE_FEEDBACK"])
    try:
        second.start()
        second.wait_agent("UP")
        yield s, second
    finally:
        second.stop()


def reclaimed(s):
    return s.agent.metrics().sum("spoa_inference_tickets_reclaimed_total")


def counted(s):
    """The tickets by server; they are the streams that the servers have."""
    return ({n: s.agent.endpoints()[n]["open"] for n in LLAMAS}, {n: s.sims.stats(n)["in_flight"] for n in LLAMAS})


def test_requests_of_the_same_numbers(pair):
    """Both have just begun and count from the same number. What one of them answered itself ends no
    stream of the other."""
    s, second = pair
    streams = [s.open_stream(LLAMA, 100000, port=second.port)[0] for _ in range(12)]
    try:
        lines = s.agent.metrics().sum("spoa_inference_feedback_lines_total", result="no_ticket")
        for _ in range(30):
            body = b'{"model":"nobody","messages":[]}'
            assert ask(s.port, "POST", "/v1/chat/completions", body).status == 404
        until(lambda: s.agent.metrics().sum("spoa_inference_feedback_lines_total", result="no_ticket") == lines + 30)
        time.sleep(2.2)  # two ticks
        assert reclaimed(s) == 0
        ours, theirs = counted(s)
        assert ours == theirs == {n: 4 for n in LLAMAS}
    finally:
        for stream in streams:
            stream.close()
    until(lambda: s.agent.tickets() == 0, 20, "every end was told")
    assert reclaimed(s) == 0


@pytest.mark.parametrize("how", ("reload", "kill"))
def test_one_of_two_is_replaced(pair, how):
    s, second = pair
    streams = [s.open_stream(LLAMA, 100000, port=second.port)[0] for _ in range(6)]
    lost = [s.open_stream(LLAMA, 100000)[0] for _ in range(6)]
    try:
        assert s.agent.tickets() == 12
        if how == "reload":
            s.h.reload()
        else:
            for pid in s.h.worker_pids():
                os.kill(pid, 9)
            s.h.process.wait(20)
            s.h.start()
        s.h.wait_agent("UP")
        until(lambda: s.chat(LLAMA).status == 200)
        until(lambda: s.agent.tickets() == 6, 20, "those of the one that is gone are given up")
        time.sleep(2.2)
        assert s.agent.tickets() == 6
    finally:
        for stream in streams + lost:
            stream.close()
    until(lambda: s.agent.tickets() == 0, 20, "every end was told")
    assert reclaimed(s) == 6


def test_datagrams_of_a_replaced_worker(make_stack):
    """A ring falls silent with a reload, datagrams do not: the old worker tells its ends."""
    s = make_stack(start=False)
    config = s.h.outside("haproxy.cfg")
    with open(config) as f:
        text = f.read()
    line = "log ring@inference-feedback format"
    assert text.count(line) == 1
    with open(config, "w") as f:
        f.write(text.replace(line, f'log "{s.h.env["INFERENCE_FEEDBACK"]}" format'))
    s.start()
    assert s.chat(LLAMA).status == 200
    streams = [s.open_stream(LLAMA, 100000)[0] for _ in range(9)]
    try:
        s.h.reload()
        until(lambda: s.agent.state()["haproxy"]["pid"] == s.h.worker_pid())
        time.sleep(3.2)  # longer than what is thought of as just before the reload
        ours, theirs = counted(s)
        assert ours == theirs == {n: 3 for n in LLAMAS}
        for stream in streams[:4]:
            stream.close()
        until(lambda: s.agent.tickets() == 5)
    finally:
        for stream in streams:
            stream.close()
    until(lambda: s.agent.tickets() == 0, 20, "every end was told")
    now = s.agent.metrics()
    assert reclaimed(s) == 0
    assert now.sum("spoa_inference_feedback_lines_total", result="closed") == 10
    # HAProxy's own word on the proxy that stops is no line of a request, and not a wrong one.
    assert now.sum("spoa_inference_feedback_lines_total", result="broken") == 0
