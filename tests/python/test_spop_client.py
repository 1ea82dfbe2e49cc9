"""The tests' own SPOP client, against the scripted agent: two codecs written apart agree."""
import ipaddress
import random

import pytest

from constant_agent import ConstantAgent, get_varint, put_varint
from spop_client import Ack, Frame, Reader, SpopClient, Value, Wrong, string, typed, varint

EDGES = [0, 1, 239, 240, 241, 2287, 2288, 2289, 264431, 264432, 2**31, 2**32, 2**63, 2**64 - 1]


def test_varints_agree():
    chance = random.Random(7)
    for n in EDGES + [chance.getrandbits(chance.randrange(1, 64)) for _ in range(2000)]:
        assert varint(n) == put_varint(n)
        assert Reader(varint(n)).varint() == n == get_varint(varint(n), 0)[0]


def test_endless_varint():
    with pytest.raises(Wrong):
        Reader(b"\xff" * 20).varint()


def test_conversation(tmp_path):
    said = {
        "verdict": "routed", "status": 0, "low": -5, "yes": True, "none": None, "b": b"\0\xff",
        "v4": ipaddress.ip_address("192.0.2.7"), "v6": ipaddress.ip_address("2001:db8::7"),
    }
    address = f"unix@{tmp_path}/agent"
    with ConstantAgent(address, said) as agent, SpopClient(address) as client:
        for size in (0, 1, 239, 240, 2288, 70_000):
            ack = client.ask("route", body=b"x" * size, content_type="a/b", n=size, none=None)
            assert ack.plain() == said
            assert ack["b"].type == "bin" and ack["v4"].type == "ipv4" and ack["low"].type == "int64"
            assert agent.notifies[-1].args == {
                "body": b"x" * size, "content_type": "a/b", "n": size, "none": None}


def test_what_an_ack_may_not_be():
    def ack(payload):
        return Ack(Frame(103, 1, 1, 1, payload))

    good = b"\x01\x03\x02" + string("verdict") + typed("routed")
    assert ack(good) == {"verdict": Value("str", "routed")}
    for bad in (good + good, good[:-1], b"\x02\x02\x02" + string("verdict"),
                b"\x01\x03\x00" + string("verdict") + typed(1), b"\x01\x03\x02" + string("v") + b"\x2b"):
        with pytest.raises(Wrong):
            ack(bad)
