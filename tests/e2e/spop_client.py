"""HAProxy's side of SPOP, byte by byte, for tests that speak to the agent directly.

Written from SPOE.txt and sharing nothing with spop/ or with the scripted agent, so that a mistake
there does not cancel out here. Values keep their type:

    c = SpopClient("unix@/path")           # connects and says HELLO
    ack = c.ask("route", body=b"{…}")      # one NOTIFY, its ACK
    ack["verdict"]                         # Value(type="str", value="routed")
    ack.plain()                            # {"verdict": "routed", …}
"""
import dataclasses
import ipaddress
import socket
import struct

TYPES = ("null", "bool", "int32", "uint32", "int64", "uint64", "ipv4", "ipv6", "str", "bin")
INTEGERS = ("int32", "uint32", "int64", "uint64")
HELLO, DISCONNECT, NOTIFY = 1, 2, 3
AGENT_HELLO, AGENT_DISCONNECT, ACK = 101, 102, 103
SCOPES = ("proc", "sess", "txn", "req", "res")
FIN = 1


class Wrong(Exception):
    """The agent sent what the protocol does not allow."""


@dataclasses.dataclass(frozen=True)
class Value:
    type: str
    value: object


class Typed(Value):
    """An argument whose type on the wire matters: Typed("uint32", 7)."""


def varint(n):
    if n < 0xF0:
        return bytes([n])
    out = bytearray([0xF0 | (n & 0x0F)])
    n = (n - 0xF0) >> 4
    while n >= 0x80:
        out.append(0x80 | (n & 0x7F))
        n = (n - 0x80) >> 7
    return bytes(out) + bytes([n])


def string(b):
    b = b.encode("utf-8", "surrogateescape") if isinstance(b, str) else b
    return varint(len(b)) + b


def typed(v):
    kind = None
    if isinstance(v, Value):
        kind, v = v.type, v.value
    elif v is None:
        kind = "null"
    elif isinstance(v, bool):
        kind = "bool"
    elif isinstance(v, int):
        kind = "int64"  # as HAProxy sends every integer sample
    elif isinstance(v, ipaddress.IPv4Address):
        kind = "ipv4"
    elif isinstance(v, ipaddress.IPv6Address):
        kind = "ipv6"
    else:
        kind = "bin" if isinstance(v, (bytes, bytearray)) else "str"
    head = TYPES.index(kind)
    if kind == "null":
        return bytes([head])
    if kind == "bool":
        return bytes([head | (16 if v else 0)])
    if kind in INTEGERS:
        return bytes([head]) + varint(v & 0xFFFFFFFFFFFFFFFF)
    if kind in ("ipv4", "ipv6"):
        return bytes([head]) + v.packed
    return bytes([head]) + string(v)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        if n > len(self.data) - self.at:
            raise Wrong(f"{n} bytes wanted at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n : self.at]

    def varint(self):
        n = self.bytes(1)[0]
        if n < 0xF0:
            return n
        shift = 4
        while True:
            c = self.bytes(1)[0]
            n += c << shift
            shift += 7
            if c < 0x80:
                return n
            if shift > 63:
                raise Wrong("endless varint")

    def string(self):
        return bytes(self.bytes(self.varint()))

    def value(self):
        head = self.bytes(1)[0]
        if head & 15 >= len(TYPES):
            raise Wrong(f"typed data of type {head & 15}")
        kind = TYPES[head & 15]
        if head & 0xE0 or (head & 0x10 and kind != "bool"):
            raise Wrong(f"flags {head:#x} on a {kind}")
        if kind == "null":
            return Value(kind, None)
        if kind == "bool":
            return Value(kind, bool(head & 16))
        if kind in INTEGERS:
            n = self.varint()
            if kind in ("int32", "int64") and n >> 63:
                n -= 1 << 64
            return Value(kind, n)
        if kind == "ipv4":
            return Value(kind, ipaddress.IPv4Address(bytes(self.bytes(4))))
        if kind == "ipv6":
            return Value(kind, ipaddress.IPv6Address(bytes(self.bytes(16))))
        if kind == "str":
            return Value(kind, self.string().decode("utf-8", "surrogateescape"))
        return Value(kind, self.string())

    def over(self):
        return self.at == len(self.data)


@dataclasses.dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    number: int
    payload: bytes

    def pairs(self):
        r, found = Reader(self.payload), {}
        while not r.over():
            name = r.string().decode()
            if name in found:
                raise Wrong(f"{name} twice")
            found[name] = r.value()
        return found


class Ack(dict):
    """Variable → Value. Anything but set-var of scope txn, or a name twice, is wrong here."""

    def __init__(self, frame):
        super().__init__()
        self.stream, self.number = frame.stream, frame.number
        r = Reader(frame.payload)
        while not r.over():
            action, count, scope = r.bytes(3)
            if (action, count) != (1, 3):
                raise Wrong(f"action {action} with {count} arguments")
            name = r.string().decode()
            if SCOPES[scope] != "txn" or name in self:
                raise Wrong(f"{SCOPES[scope]}.{name}: scope, or twice")
            self[name] = r.value()

    def plain(self):
        return {k: v.value for k, v in self.items()}


def encode(kind, stream, number, payload, flags=FIN):
    body = struct.pack(">BI", kind, flags) + varint(stream) + varint(number) + payload
    return struct.pack(">I", len(body)) + body


def notify(stream, number, *messages):
    """messages: (name, {argument: value})"""
    payload = b"".join(
        string(name) + bytes([len(args)]) + b"".join(string(k) + typed(v) for k, v in args.items())
        for name, args in messages
    )
    return encode(NOTIFY, stream, number, payload)


def connect(address, timeout=10):
    if address.startswith("unix@"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(address[5:])
        return s
    if address.startswith("abns@"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(("\0" + address[5:]).encode().ljust(108, b"\0"))
        return s
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout)


class SpopClient:
    def __init__(self, address, hello=True, frame_size=1114108, timeout=10):
        self.socket = connect(address, timeout)
        self._buffer = b""
        self._stream = 0
        if hello:
            self.hello(frame_size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def frame(self):
        """The next frame, or None when the agent closed the connection."""
        while True:
            if len(self._buffer) >= 4:
                size = struct.unpack(">I", self._buffer[:4])[0]
                if len(self._buffer) >= 4 + size:
                    r = Reader(self._buffer[4 : 4 + size])
                    self._buffer = self._buffer[4 + size :]
                    kind, flags = struct.unpack(">BI", r.bytes(5))
                    return Frame(kind, flags, r.varint(), r.varint(), r.data[r.at :])
            more = self.socket.recv(1 << 20)
            if not more:
                if self._buffer:
                    raise Wrong(f"closed in the middle of a frame: {self._buffer[:80]!r}")
                return None
            self._buffer += more

    def hello(self, frame_size=1114108, capabilities="pipelining", **more):
        pairs = {"supported-versions": "2.0", "max-frame-size": Typed("uint32", frame_size),
                 "capabilities": capabilities}
        pairs.update({k.replace("_", "-"): v for k, v in more.items()})
        self.send(encode(HELLO, 0, 0, b"".join(string(k) + typed(v) for k, v in pairs.items())))
        frame = self.frame()
        if frame is None or frame.kind != AGENT_HELLO:
            raise Wrong(f"no AGENT-HELLO but {frame}")
        if (frame.flags, frame.stream, frame.number) != (FIN, 0, 0):
            raise Wrong(f"AGENT-HELLO with flags or ids: {frame}")
        self.agent = {k: v.value for k, v in frame.pairs().items()}
        return self.agent

    def ack(self):
        frame = self.frame()
        if frame is None or frame.kind != ACK:
            raise Wrong(f"no ACK but {frame and (frame.kind, frame.payload)}")
        if frame.flags != FIN:
            raise Wrong(f"ACK with flags {frame.flags:#x}")
        return Ack(frame)

    def ask(self, message="route", **arguments):
        """One NOTIFY and its ACK; nothing else may arrive in between."""
        self._stream += 1
        self.send(notify(self._stream, 1, (message, arguments)))
        ack = self.ack()
        if (ack.stream, ack.number) != (self._stream, 1):
            raise Wrong(f"ACK of {ack.stream}/{ack.number} for {self._stream}/1")
        return ack

    def disconnect(self, status=0, message="bye"):
        payload = string("status-code") + typed(Typed("uint32", status))
        self.send(encode(DISCONNECT, 0, 0, payload + string("message") + typed(message)))

    def goodbye(self):
        """The AGENT-DISCONNECT that ends the connection, as (status, message); then its end."""
        frame = self.frame()
        if frame is None or frame.kind != AGENT_DISCONNECT:
            raise Wrong(f"no AGENT-DISCONNECT but {frame}")
        pairs = frame.pairs()
        try:
            more = self.frame()
        except ConnectionError:
            more = None
        if more is not None:
            raise Wrong(f"a frame after AGENT-DISCONNECT: {more}")
        return pairs["status-code"].value, pairs["message"].value
