"""Hostile and broken SPOP peers: each is closed with the right status and counter, memory stays
within what the configuration says, and a bystander on a connection of its own feels nothing."""
import random
import select
import socket
import struct
import threading
import time

import pytest

from attack import BODY, SANITIZED, Bystander, Lone, descriptors, resident
from spop_client import (ACK, DISCONNECT, HELLO, NOTIFY, SpopClient, Typed, Wrong, connect, encode,
                         notify, string, typed, varint)
from stack import WORKERS, until

MB = 1 << 20
SLACK = 6 * MB


@pytest.fixture(scope="module")
def lone():
    with Lone(limits={"partial": "8m", "output": "64k", "connections": 12000},
              timeouts={"hello": "2s", "frame": "2s"}) as a:
        # The first of everything costs once.
        with SpopClient(a.address) as c:
            c.ask(body=BODY)
        yield a


@pytest.fixture
def bystander(lone):
    with Bystander(lone.address) as b:
        yield b


def hello_frame(**more):
    pairs = {"supported-versions": "2.0", "max-frame-size": Typed("uint32", 16380),
             "capabilities": "pipelining", **more}
    return encode(HELLO, 0, 0, b"".join(string(k) + typed(v) for k, v in pairs.items()))


def end_of(c):
    """The status of its AGENT-DISCONNECT, None where it was closed without; answers are passed over."""
    while (frame := c.frame()) is not None:
        if frame.kind == 102:
            return frame.pairs()["status-code"].value
    return None


# ---- slow ------------------------------------------------------------------------------------
def test_a_byte_now_and_then_of_a_hello(lone, bystander):
    """The deadline is for the whole of it: a byte does not stretch it."""
    before = lone.closed("hello_timeout")
    peers = [SpopClient(lone.address, hello=False) for _ in range(50)]
    text = hello_frame()
    for i in range(len(text)):
        if lone.closed("hello_timeout") >= before + 50:
            break
        for p in peers:
            try:
                p.send(text[i:i + 1])
            except OSError:
                pass
        time.sleep(0.1)
    assert i < len(text) - 1, "it took the whole HELLO in 50 ms steps"
    until(lambda: lone.closed("hello_timeout") == before + 50, what="all are closed")
    assert {end_of(p) for p in peers} == {2}
    for p in peers:
        p.close()


def test_a_byte_now_and_then_of_a_frame(lone, bystander):
    before = lone.closed("frame_timeout")
    with SpopClient(lone.address) as c:
        text = notify(1, 1, ("route", {"body": b"x" * 1000}))
        for i in range(100):
            try:
                c.send(text[i:i + 1])
            except OSError:
                break
            if select.select([c.socket], [], [], 0.05)[0]:
                break
        assert i < 99 and end_of(c) == 2
    assert lone.closed("frame_timeout") == before + 1


def test_many_who_say_nothing(lone, bystander):
    """10,000 connections cost a struct each, and are gone after timeouts.hello."""
    before, was, fds = resident(lone.agent), lone.closed("hello_timeout"), descriptors(lone.agent)
    n, peers = 10_000, []
    taken = lone.agent.metrics().get_one("spoa_inference_spop_accepted_total")
    for _ in range(n):
        s = socket.socket(socket.AF_UNIX)
        s.connect(lone.address[5:])  # without a timeout it waits for room in the backlog
        peers.append(s)
    until(lambda: lone.agent.metrics().get_one("spoa_inference_spop_accepted_total") >= taken + n,
          what="they are taken")
    grown = resident(lone.agent) - before
    bystander.more()
    until(lambda: lone.closed("hello_timeout") == was + n, 30, "silence has an end")
    for s in peers:
        s.close()
    assert grown < n * 1024 + SLACK, f"{grown / n:.0f} bytes each"
    until(lambda: descriptors(lone.agent) <= fds + 5, what="their descriptors are gone")


def test_more_than_are_allowed():
    with Lone(limits={"connections": 50}, timeouts={"hello": "30s"}) as a, Bystander(a.address) as b:
        peers = [SpopClient(a.address, hello=False) for _ in range(200)]
        b.more()
        # Who was silent for a second makes room for who comes later: on a slow machine some do.
        until(lambda: a.closed("connections") + a.closed("made_room") == 151, what="fifty stay")
        b.more()
        metrics = a.agent.metrics()
        assert metrics.get_one("spoa_inference_spop_refused_total") == a.closed("connections")
        assert metrics.get_one("spoa_inference_spop_connections") == 50
        if not a.closed("made_room"):
            assert [end_of(p) for p in peers[49:]] == [13] * 151  # resources
        for _ in range(12):
            time.sleep(0.1)
            b.more()
        made = a.closed("made_room")
        with SpopClient(a.address) as late:
            assert late.ask(body=BODY)["verdict"].value == "routed"
            b.more()
        assert a.closed("made_room") == made + 1
        for p in peers:
            p.close()


# ---- frames that lie ---------------------------------------------------------------------------
PAYLOADS = {
    "nothing": b"", "zeros": bytes(100), "ones": b"\xff" * 100,
    "a varint that never ends": b"\xff" * 9 + b"\x80" * 4000,
    "a varint past 64 bits": string("route") + b"\x01" + string("body") + b"\x08" + b"\xff" * 10 + b"\x01",
    "a length of 2^64-1": string("route") + b"\x01" + string("body") + b"\x08" + varint(2**64 - 1),
    "a length one too many": string("route") + b"\x01" + string("body") + b"\x08" + varint(2) + b"x",
    "255 arguments of which none is there": string("route") + b"\xff",
    "a name of 1 MB": varint(MB) + b"n" * MB + b"\x00",
    "a value of 1 MB, cut": string("route") + b"\x01" + string("body") + b"\x09" + varint(MB) + b"x" * (MB - 1),
    "an unknown type": string("route") + b"\x01" + string("body") + b"\x0f",
    "flags on a type": string("route") + b"\x01" + string("body") + b"\xf8\x00",
    "messages without end": (string("m") + b"\x00") * 5000 + b"\x01",
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("kind", [HELLO, NOTIFY, DISCONNECT, ACK, 0, 4, 101, 255])
def test_payloads(lone, bystander, name, kind):
    """Into every kind of frame, before and after HELLO: an end with a status, or an answer, never a
    hang; and what is no end is still served afterwards."""
    for greet in (True, False):
        with SpopClient(lone.address, hello=greet, timeout=15) as c:
            try:
                c.send(encode(kind, 1 if kind == NOTIFY else 0, 1 if kind == NOTIFY else 0, PAYLOADS[name]))
                c.send(notify(7, 1, ("route", {"body": BODY})))
            except OSError:
                pass
            try:
                while (frame := c.frame()) is not None:
                    if frame.kind == 103 and frame.stream == 7:
                        break
                    if frame.kind == 102:
                        assert 0 < frame.pairs()["status-code"].value < 100 or kind == DISCONNECT
            except ConnectionError:
                pass  # it closed while bytes of ours were on their way
    bystander.more(3)


@pytest.mark.parametrize("size,status", [(0, 4), (1, 4), (6, 4), (MB * 3, 3), (2**31 - 1, 3), (2**32 - 1, 3)])
def test_sizes_of_frames(lone, size, status):
    for greet in (True, False):
        with SpopClient(lone.address, hello=greet) as c:
            c.send(struct.pack(">I", size) + b"\3\0\0\0\1\0")
            assert end_of(c) == status


def test_hello_again_and_again(lone, bystander):
    with SpopClient(lone.address) as c:
        for _ in range(1000):
            try:
                c.send(hello_frame())
            except OSError:
                break
        assert end_of(c) == 4


def test_wrong_states(lone, bystander):
    frame = notify(1, 1, ("route", {"body": BODY}))
    before = lone.closed("protocol_error")
    for first in (frame, encode(ACK, 1, 1, b""), encode(102, 0, 0, b""), encode(77, 0, 0, b"")):
        with SpopClient(lone.address, hello=False) as c:
            c.send(first + hello_frame())
            assert end_of(c) == 4, first
    assert lone.closed("protocol_error") == before + 4
    with SpopClient(lone.address) as c:
        c.disconnect()
        try:
            c.send(frame * 1000)
        except OSError:
            pass
        try:
            assert end_of(c) == 0
        except ConnectionError:
            pass


# ---- floods --------------------------------------------------------------------------------------
def test_answers_that_are_never_read(lone, bystander):
    """It is no longer read past limits.output, and cut off after timeouts.frame. What waits is that
    much and the answers to what was read last: of 256 KB at most, twice as long as the questions."""
    before, was = resident(lone.agent), lone.closed("output_timeout")
    peers = [SpopClient(lone.address) for _ in range(40)]
    many = b"".join(notify(i + 1, 1, ("route", {"body": BODY})) for i in range(2000))
    sent = [0] * len(peers)
    for p in peers:
        p.socket.setblocking(False)
    end = time.monotonic() + (240 if SANITIZED else 60)
    while lone.closed("output_timeout") < was + 40 and time.monotonic() < end:
        for i, p in enumerate(peers):
            try:
                sent[i] = (sent[i] + p.socket.send(many[sent[i]:])) % len(many)
            except OSError:
                pass
        assert resident(lone.agent) - before < 40 * (64 + 2 * 256 + 16) * 1024 + SLACK
        time.sleep(0.02)
    assert lone.closed("output_timeout") == was + 40
    for p in peers:
        p.close()
    bystander.more()


def test_half_frames_share_one_bound(lone, bystander):
    """Large frames that are begun and not finished: limits.partial, of each worker, holds for all of
    them together."""
    before, was, workers = resident(lone.agent), lone.closed("buffers"), int(WORKERS or 1)
    peers = []
    for _ in range(60):
        c = SpopClient(lone.address, frame_size=MB)
        frame = notify(1, 1, ("route", {"body": b"x" * (MB - 100)}))
        try:
            c.send(frame[:-1])
        except OSError:
            pass  # refused while it was sent
        peers.append(c)
    until(lambda: lone.closed("buffers") >= was + 60 - 8 * workers, what="those past the bound are closed")
    assert resident(lone.agent) - before < 8 * MB * workers + SLACK
    bystander.more()
    for c in peers:
        c.close()
    time.sleep(0.5)
    with SpopClient(lone.address) as c:
        assert c.ask(body=b'{"a":"' + b"x" * 900_000 + b'","model":"served"}')["verdict"].value == "routed"


def test_pipelined_flood(lone, bystander):
    """20,000 questions in one go are answered each, in order."""
    n = 20_000
    with SpopClient(lone.address, timeout=60) as c:
        text = b"".join(notify(i + 1, 1, ("route", {"body": BODY})) for i in range(n))
        sender = threading.Thread(target=c.send, args=(text,))
        sender.start()
        for i in range(n):
            assert c.ack().stream == i + 1
        sender.join()


def test_half_closed(lone, bystander):
    """Who shuts his side has asked his last: he is closed, with what was asked before answered."""
    with SpopClient(lone.address) as c:
        c.send(notify(1, 1, ("route", {"body": BODY})))
        assert c.ack().stream == 1
        c.socket.shutdown(socket.SHUT_WR)
        assert end_of(c) is None
    before = lone.closed("mid_frame")
    with SpopClient(lone.address) as c:
        c.send(notify(1, 1, ("route", {"body": BODY}))[:-3])
        c.socket.shutdown(socket.SHUT_WR)
        assert end_of(c) is None
    until(lambda: lone.closed("mid_frame") == before + 1, what="it is counted")


def test_resets(lone, bystander):
    """Connections that are reset at every moment leave nothing behind."""
    fds = descriptors(lone.agent)
    text = hello_frame() + notify(1, 1, ("route", {"body": BODY})) * 3
    for i in range(0, len(text), 3):
        s = connect(lone.address)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(text[:i])
        s.close()
    until(lambda: descriptors(lone.agent) <= fds, what="every descriptor is closed")


def test_noise(lone, bystander):
    """Frames with bits turned, by a seed that a failure names."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    r = random.Random(seed)
    text = hello_frame() + b"".join(notify(i + 1, 1, ("route", {"body": BODY, "path": "/v1/chat/completions"}))
                                    for i in range(20))
    for _ in range(400):
        noisy = bytearray(text)
        for _ in range(r.choice((1, 1, 2, 10))):
            noisy[r.randrange(len(noisy))] ^= 1 << r.randrange(8)
        with SpopClient(lone.address, hello=False) as c:
            try:
                c.send(bytes(noisy))
                c.socket.shutdown(socket.SHUT_WR)
                while c.frame() is not None:
                    pass
            except (ConnectionError, BrokenPipeError):
                pass
    bystander.more()


def test_nothing_is_left(lone):
    """After all of the above."""
    until(lambda: lone.agent.metrics().get_one("spoa_inference_spop_connections") == 0, what="all went")
    assert descriptors(lone.agent) < 60
    assert not [row for row in lone.agent.events() if row.get("level") == "error"]
