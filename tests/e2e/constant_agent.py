#!/usr/bin/env python3
"""An SPOP agent that answers what it is told to.

It stands in for spoa-inference where a test is about HAProxy's side of the contract: every verdict
can be had by asking for it. HELLO is one write, NOTIFYs are pipelined, each ACK goes back on the
connection its NOTIFY came from. Python's standard library only.

In a test:

    with ConstantAgent("unix@/path", lambda notify: {"verdict": "routed", "backend": "llama"}) as a:
        ...
        a.notifies[-1].args["body"]

The function sees a Notify (message, args) and returns the variables of scope txn, or SILENT (no
answer), CLOSE (the connection ends without one), or Late(seconds, variables). Integers are sent as
INT64, str as STR, bool as BOOL, None as NULL, ipaddress objects as IPV4 or IPV6, bytes as BIN.

As a program: constant_agent.py ADDRESS RULES.json, where RULES is a list of

    {"message": "route", "contains": "phi", "set": {"verdict": "routed"}, "late": 0.2,
     "do": "silent" | "close"}

of which the first whose conditions hold answers; contains looks into body, head, tail and model.
NOTIFYs are printed as one JSON line each.
"""
import asyncio
import dataclasses
import ipaddress
import json
import os
import socket
import struct
import sys
import threading
import time

HAPROXY_HELLO, HAPROXY_DISCONNECT, NOTIFY = 1, 2, 3
AGENT_HELLO, AGENT_DISCONNECT, ACK = 101, 102, 103
FIN = 1
SILENT, CLOSE = object(), object()


@dataclasses.dataclass
class Late:
    """An answer after so many seconds."""

    seconds: float
    variables: dict


@dataclasses.dataclass
class Notify:
    message: str
    args: dict
    time: float
    connection: int


def put_varint(n):
    if n < 240:
        return bytes([n])
    out = bytearray([(n & 15) | 240])
    n = (n - 240) >> 4
    while n >= 128:
        out.append((n & 127) | 128)
        n = (n - 128) >> 7
    out.append(n)
    return bytes(out)


def get_varint(b, at):
    n = b[at]
    at += 1
    if n < 240:
        return n, at
    shift = 4
    while True:
        c = b[at]
        at += 1
        n += c << shift
        shift += 7
        if c < 128:
            return n, at


def put_bytes(b):
    return put_varint(len(b)) + b


def put_value(v):
    if v is None:
        return b"\x00"
    if isinstance(v, bool):
        return b"\x11" if v else b"\x01"
    if isinstance(v, int):
        return b"\x04" + put_varint(v & 0xFFFFFFFFFFFFFFFF)
    if isinstance(v, ipaddress.IPv4Address):
        return b"\x06" + v.packed
    if isinstance(v, ipaddress.IPv6Address):
        return b"\x07" + v.packed
    if isinstance(v, bytes):
        return b"\x09" + put_bytes(v)
    return b"\x08" + put_bytes(str(v).encode())


def get_value(b, at):
    kind, flag = b[at] & 15, b[at] & 16
    at += 1
    if kind == 0:
        return None, at
    if kind == 1:
        return bool(flag), at
    if kind in (2, 3, 4, 5):
        n, at = get_varint(b, at)
        return n - (1 << 64) if kind in (2, 4) and n >> 63 else n, at
    if kind == 6:
        return ipaddress.IPv4Address(b[at : at + 4]), at + 4
    if kind == 7:
        return ipaddress.IPv6Address(b[at : at + 16]), at + 16
    if kind in (8, 9):
        n, at = get_varint(b, at)
        raw = b[at : at + n]
        if len(raw) != n:
            raise ValueError("string past the end of the frame")
        return (raw.decode("utf-8", "surrogateescape") if kind == 8 else bytes(raw)), at + n
    raise ValueError(f"typed data {kind}")


def get_name(b, at):
    n, at = get_varint(b, at)
    return b[at : at + n].decode(), at + n


def get_pairs(b, at, count=None):
    pairs = {}
    while at < len(b) and count != 0:
        name, at = get_name(b, at)
        pairs[name], at = get_value(b, at)
        count = None if count is None else count - 1
    return pairs, at


def frame(kind, stream, number, payload):
    b = struct.pack(">BI", kind, FIN) + put_varint(stream) + put_varint(number) + payload
    return struct.pack(">I", len(b)) + b


def hello(max_frame_size):
    pairs = {"version": "2.0", "capabilities": "pipelining"}
    payload = b"".join(put_bytes(k.encode()) + put_value(v) for k, v in pairs.items())
    payload += put_bytes(b"max-frame-size") + b"\x03" + put_varint(max_frame_size)
    return frame(AGENT_HELLO, 0, 0, payload)


def disconnect(status, text):
    payload = put_bytes(b"status-code") + b"\x03" + put_varint(status)
    return frame(AGENT_DISCONNECT, 0, 0, payload + put_bytes(b"message") + put_value(text))


def ack(stream, number, variables):
    payload = b"".join(
        b"\x01\x03\x02" + put_bytes(k.encode()) + put_value(v) for k, v in variables.items()
    )
    return frame(ACK, stream, number, payload)


class ConstantAgent:
    def __init__(self, address, answer):
        self.address = address
        self.answer = answer if callable(answer) else lambda notify: answer
        self.notifies = []  # every NOTIFY's messages, in order of arrival
        self.health_checks = 0
        self.connections = 0
        self.draining = False  # health checks are answered with AGENT-DISCONNECT
        self.on_notify = None
        self._writers = set()
        self._loop = None

    # ---- one connection
    async def _serve(self, reader, writer):
        self.connections += 1
        me = self.connections
        self._writers.add(writer)
        try:
            while True:
                size = struct.unpack(">I", await reader.readexactly(4))[0]
                b = await reader.readexactly(size)
                if not self._frame(b, writer, me):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _frame(self, b, writer, me):
        kind = b[0]
        stream, at = get_varint(b, 5)
        number, at = get_varint(b, at)
        if kind == HAPROXY_HELLO:
            pairs, _ = get_pairs(b, at)
            check = pairs.get("healthcheck", False)
            self.health_checks += bool(check)
            if check and self.draining:
                writer.write(disconnect(0, "leaving"))
                return False
            writer.write(hello(pairs["max-frame-size"]))
            return not check
        if kind == NOTIFY:
            while at < len(b):
                name, at = get_name(b, at)
                count = b[at]
                args, at = get_pairs(b, at + 1, count)
                notify = Notify(name, args, time.monotonic(), me)
                self.notifies.append(notify)
                if self.on_notify:
                    self.on_notify(notify)
                said = self.answer(notify)
                if said is CLOSE:
                    return False
                if said is SILENT:
                    continue
                if isinstance(said, Late):
                    late = ack(stream, number, said.variables)
                    asyncio.get_running_loop().call_later(said.seconds, writer.write, late)
                else:
                    writer.write(ack(stream, number, said))
            return True
        if kind == HAPROXY_DISCONNECT:
            writer.write(disconnect(0, "bye"))
        return False

    # ---- life
    def _listen(self):
        if self.address.startswith("unix@"):
            path = self.address[5:]
            if os.path.exists(path):
                os.unlink(path)
            s = socket.socket(socket.AF_UNIX)
            s.bind(path)
            os.chmod(path, 0o666)
        elif self.address.startswith("abns@"):
            s = socket.socket(socket.AF_UNIX)
            # HAProxy pads abstract names with NULs to the whole sun_path.
            s.bind(("\0" + self.address[5:]).encode().ljust(108, b"\0"))
        else:
            host, port = self.address.rsplit(":", 1)
            s = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host.strip("[]"), int(port)))
        s.listen(4096)
        s.setblocking(False)
        return s

    async def _run(self, listener, ready):
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        start = asyncio.start_unix_server if listener.family == socket.AF_UNIX else asyncio.start_server
        server = await start(self._serve, sock=listener, backlog=4096)
        ready.set()
        await self._done.wait()
        server.close()
        for w in list(self._writers):
            w.close()
        await asyncio.sleep(0)

    def start(self):
        listener, ready = self._listen(), threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(listener, ready)), daemon=True
        )
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the agent did not start")
        return self

    def stop(self):
        """Ends every connection; the unix socket's file stays, as it does when a process dies."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._done.set)
            self._thread.join(10)
            self._loop = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def answer_by_rules(rules):
    def text(notify):
        parts = (notify.args.get(k) for k in ("body", "head", "tail", "model"))
        return b"\n".join(p if isinstance(p, bytes) else str(p).encode() for p in parts if p)

    def answer(notify):
        for rule in rules:
            if rule.get("message", notify.message) != notify.message:
                continue
            if "contains" in rule and rule["contains"].encode() not in text(notify):
                continue
            if "do" in rule:
                return {"silent": SILENT, "close": CLOSE}[rule["do"]]
            variables = {
                k: ipaddress.ip_address(v["ip"]) if isinstance(v, dict) else v
                for k, v in rule.get("set", {"verdict": "no_model", "status": 0}).items()
            }
            return Late(rule["late"], variables) if "late" in rule else variables
        return {"verdict": "no_model", "status": 0}

    return answer


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as f:
        agent = ConstantAgent(sys.argv[1], answer_by_rules(json.load(f)))

    def show(notify):
        args = {
            k: v if isinstance(v, (int, str, type(None))) else repr(v[:200]) if isinstance(v, bytes) else str(v)
            for k, v in notify.args.items()
        }
        print(json.dumps({"message": notify.message, "args": args}), flush=True)

    agent.on_notify = show
    with agent:
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
