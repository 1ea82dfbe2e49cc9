"""Streams pass as they are made, and a client that goes away takes its request with it."""
import json
import re
import socket
import threading

import pytest

from stack import CHAT, LLAMA, LLAMAS, MESSAGES, PHI, until


def events(raw):
    """The data of server-sent events in a chunked body."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    body = b"\n\n"
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        n = int(size, 16)
        body, rest = body + rest[:n], rest[n + 2 :]
        if n == 0:
            break
    return head, re.findall(r"^data: (.*)$", body.decode(), re.M)


def test_pieces_come_while_the_server_is_still_at_work(stack):
    """Each event is seen here while the model server stands still after having made it: nothing
    in between waits for more."""
    before = {n: stack.sims.stats(n)["output_tokens"] for n in LLAMAS}
    s, got = stack.open_stream(LLAMA, 100000)
    with s:
        name = [n for n in LLAMAS if stack.sims.stats(n)["in_flight"] == 1]
        assert len(name) == 1
        name = name[0]
        stack.sims.fault(name, "stall")
        made = stack.sims.stats(name)["output_tokens"] - before[name]
        s.settimeout(20)

        def seen():
            return got.count(b'"content":"') - got.count(b'"content":""')
        while seen() < made:
            got += s.recv(65536)
        assert stack.sims.stats(name)["output_tokens"] - before[name] == made == seen()
        stack.sims.fault(name, "none")
        while seen() <= made:
            got += s.recv(65536)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", MESSAGES])
def test_events_are_untouched(stack, path):
    """The same bytes as from the server itself, but for ids and times."""
    ask = {"model": PHI, "stream": True, "max_tokens": 20, "seed": 5}
    ask |= {"/v1/completions": {"prompt": "a"}, "/v1/responses": {"input": "a", "max_output_tokens": 20}}.get(
        path, {"messages": [{"role": "user", "content": "a"}]})
    body = json.dumps(ask).encode()

    def fetch(port):
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            s.sendall(b"POST %s HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/"
                      b"json\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body))
            return s.makefile("rb").read()

    through = events(fetch(stack.port))
    assert b"text/event-stream" in through[0].lower()
    name = re.search(rb"x-sim-name: (\S+)", through[0], re.I).group(1).decode()
    direct = events(fetch(stack.sims.port(name)))

    def plain(data):
        return [re.sub(r'"(id|item_id)":"[^"]*"|"created(_at)?":[0-9.]+', "", d) for d in data]
    assert len(plain(through[1])) >= 20 and len(plain(through[1])) == len(plain(direct[1]))
    shapes = [[re.sub(r'"(delta|content|text)":"[^"]*"', "", d) for d in plain(x[1])] for x in (through, direct)]
    assert shapes[0] == shapes[1]


def test_client_that_leaves_frees_its_ticket_and_its_seat(stack):
    before = stack.agent.endpoints()
    cancelled = {n: stack.sims.stats(n)["cancelled"] for n in LLAMAS}
    streams = [stack.open_stream(LLAMA, 100000)[0] for _ in range(9)]
    assert stack.agent.tickets() == 9
    assert {n: stack.agent.endpoints()[n]["open"] for n in LLAMAS} == {n: 3 for n in LLAMAS}
    for s in streams:
        s.close()
    until(lambda: stack.agent.tickets() == 0, what="the tickets are back")
    until(lambda: sum(stack.sims.stats(n)["cancelled"] - cancelled[n] for n in LLAMAS) == 9,
          what="the servers stopped computing")
    now = stack.agent.endpoints()
    assert sum(now[n]["aborted"] - before[n]["aborted"] for n in LLAMAS) == 9


def test_client_that_leaves_before_the_answer_begins(stack):
    """The server is silent: abortonclose ends the request there too."""
    for n in LLAMAS:
        stack.sims.fault(n, "stall")
    body = json.dumps({"model": LLAMA, "messages": [], "max_tokens": 5}).encode()
    with socket.create_connection(("127.0.0.1", stack.port), 20) as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json"
                  b"\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        until(lambda: sum(stack.sims.stats(n)["in_flight"] for n in LLAMAS) == 1)
        assert stack.agent.tickets() == 1
    until(lambda: stack.agent.tickets() == 0, what="the ticket is back")
    until(lambda: sum(stack.sims.stats(n)["in_flight"] for n in LLAMAS) == 0)


def test_client_that_leaves_while_its_body_comes(stack):
    with socket.create_connection(("127.0.0.1", stack.port), 20) as s:
        s.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{"mod')
    assert stack.chat(LLAMA).status == 200
    until(lambda: stack.agent.tickets() == 0)


def test_server_that_breaks_a_stream(stack):
    for n in LLAMAS:
        stack.sims.fault(n, "cut", after=4)
    s, got = stack.open_stream(LLAMA, 1000)
    with s:
        while more := s.recv(65536):
            got += more
    assert not got.endswith(b"0\r\n\r\n") and got.count(b'"content":"') >= 4
    until(lambda: stack.agent.tickets() == 0)
    assert stack.chat(PHI).status == 200


def test_a_slow_reader_holds_up_nobody(stack):
    slow, _ = stack.open_stream(PHI, 3000)
    with slow:
        done = []
        threads = [threading.Thread(target=lambda: done.append(stack.chat(PHI).status)) for _ in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)
        assert done == [200] * 12
