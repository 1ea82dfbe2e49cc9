"""Hostile model servers, runtime sockets, name servers and senders of log lines: a decision waits
for none of them, memory stays within the limits of the configuration, and the agent says what is
wrong."""
import gzip
import json
import os
import random
import socket
import socketserver
import struct
import threading
import time

import pytest

from attack import BODY, Bystander, Lone, descriptors, resident

from spop_client import SpopClient
from stack import until

MB = 1 << 20
GOOD = (b"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"m\"} 3\n"
        b"# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name=\"m\"} 2\n"
        b"# TYPE vllm:gpu_cache_usage_perc gauge\nvllm:gpu_cache_usage_perc{model_name=\"m\"} 0.25\n")


# What the bystander asks for.
CALM = {"models": ["served"], "scrape": {"engine": "none"},
        "endpoints": [{"address": "127.0.0.1:9", "server": "s"}]}


class Server:
    """Answers each connection by @behave(socket, path)."""

    def __init__(self, behave, host="127.0.0.1"):
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.settimeout(30)
                try:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        more = self.request.recv(65536)
                        if not more:
                            return
                        head += more
                    outer.asked += 1
                    behave(self.request, head.split(b" ")[1].decode())
                except OSError:
                    pass

        class Threads(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self.asked = 0
        self.server = Threads((host, 0), Handler)
        self.address = "127.0.0.1:%d" % self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def answer(body, kind="text/plain", status="200 OK", more="", length=None):
    length = len(body) if length is None else length
    return (f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n"
            f"connection: close\r\n{more}\r\n").encode() + body


def says(body, **how):
    return lambda s, path: s.sendall(answer(body, **how))


def endless(head, piece):
    def behave(s, path):
        s.sendall(head)
        while True:
            s.sendall(piece)
    return behave


def slowly(body, pause):
    def behave(s, path):
        for i in range(len(body)):
            s.sendall(body[i:i + 1])
            time.sleep(pause)
    return behave


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
ROW = b'vllm:num_requests_running{model_name="m"} '
# name → (behaviour, is it still picked?)
PAGES = {
    "100 MB": (says((GOOD * 400_000)[:100 * MB]), False),
    "announces 1 TB": (says(GOOD, length=1 << 40), False),
    "endless": (endless(HEAD, GOOD * 100), False),
    "endless in chunks": (endless(CHUNKED, b"4000\r\n" + b"# " + b"x" * 0x3ffd + b"\n" + b"\r\n"), False),
    "an endless line": (endless(HEAD, b"x" * 16384), False),
    "an endless head": (endless(b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"y" * 1000 + b"\r\n"), False),
    "a byte now and then": (slowly(answer(GOOD), 0.1), False),
    "nothing": (lambda s, path: time.sleep(5), False),
    "closed at once": (lambda s, path: None, False),
    "binary": (says(bytes(range(256)) * 500), None),
    "binary of 3 MB": (says(random.Random(1).randbytes(3 * MB)), None),
    "no HTTP": (lambda s, path: s.sendall(b"\0\xff" * 50_000), False),
    "NaN": (says(GOOD.replace(b" 3\n", b" NaN\n")), False),
    "+Inf": (says(GOOD.replace(b" 3\n", b" +Inf\n")), False),
    "negative": (says(GOOD.replace(b" 3\n", b" -5\n")), False),
    "1e308": (says(GOOD.replace(b" 3\n", b" 1e308\n")), False),
    "gzip without being asked": (says(gzip.compress(GOOD), more="content-encoding: gzip\r\n"), None),
    "a bomb of gzip": (says(gzip.compress(bytes(200 * MB), 9), more="content-encoding: gzip\r\n"), False),
    "text/html": (says(b"<html>login</html>", kind="text/html"), None),
    "401": (says(b"no", status="401 Unauthorized"), None),
    "500": (says(b"no", status="500 Oops"), False),
    "redirect to itself": (lambda s, path: s.sendall(answer(b"", status="302 Found", more=f"location: {path}\r\n")),
                           None),
    "redirect to a file": (says(b"", status="302 Found", more="location: file:///etc/passwd\r\n"), None),
    "100 series of a name": (says(b"".join(ROW.replace(b'"m"', b'"m%d"' % i) + b"1\n" for i in range(100))), True),
    "100,000 series": (says(b"".join(ROW.replace(b'"m"', b'"%d"' % i) + b"1\n" for i in range(60_000))), True),
    "cut within a number": (says(GOOD, length=len(GOOD) + 10), False),
}


@pytest.mark.parametrize("name", PAGES)
def test_metrics_pages(name):
    behave, picked = PAGES[name]
    with Server(behave) as evil, Server(says(GOOD)) as good:
        over = {"scrape": {"interval": "100ms", "timeout": "500ms", "failures": 2, "engine": "vllm",
                           "models_interval": "1h"},
                "pools": {"p": {"models": ["served"], "endpoints": [
                    {"address": good.address, "server": "good"}, {"address": evil.address, "server": "evil"}]}}}
        with Lone(**over) as a:
            with Bystander(a.address) as b:
                until(lambda: a.agent.endpoints()["good"].get("running") == 3, what="the good one is read")
                before = resident(a.agent)
                until(lambda: a.agent.endpoints()["evil"]["scrapes"] >= 5, 30, "it was asked some times")
                b.more(50)
                evil_one = a.agent.endpoints()["evil"]
                if picked is False:
                    until(lambda: "scrape_dead" in a.agent.endpoints()["evil"]["flags"], 20, "it is left")
                elif picked:
                    assert not evil_one["flags"], evil_one
                load = evil_one["load"]
                print(name, evil_one)
                assert 0 <= load < 1e7, load
                # One page of limits.metrics_page, twice while it grows.
                assert resident(a.agent) - before < 2 * 4 * MB + 6 * MB, name
            assert a.agent.process.poll() is None
            a.agent.metrics()  # its own page holds the grammar whatever theirs said


def test_many_endless_pages():
    """Forty at once, asked for figures and for models: each within the limits of one page of each."""
    n = 40
    with Server(endless(HEAD, GOOD * 100), "0.0.0.0") as evil:
        port = evil.address.split(":")[1]
        over = {"scrape": {"interval": "100ms", "timeout": "2s", "engine": "vllm"},
                "limits": {"metrics_page": "256k", "models_page": "256k"},
                "pools": {"p": CALM, "q": {"endpoints": [
                    {"address": f"127.0.0.{i + 1}:{port}", "server": f"s{i}"} for i in range(n)]}}}
        with Lone(**over) as a, Bystander(a.address) as b:
            before = resident(a.agent)
            end, most = time.monotonic() + 4, 0
            while time.monotonic() < end:
                most = max(most, resident(a.agent) - before)
                time.sleep(0.02)
            b.more(50)
            # A page that grows is there twice for a moment.
            assert most < n * 2 * 2 * 256 * 1024 + 10 * MB, most / MB


def test_many_large_pages():
    """Sixty that send nearly all of 4 MB and then nothing: together they stay within limits.pages and the
    first 256 KB of each; who tells the usual beside them is heard."""
    n = 60

    def nearly(s, path):
        s.sendall(HEAD + b"# " + b"x" * (4 * MB - 64 * 1024))
        s.recv(1)

    with Server(nearly, "0.0.0.0") as evil, Server(says(GOOD)) as good:
        port = evil.address.split(":")[1]
        over = {"scrape": {"interval": "100ms", "timeout": "3s", "engine": "vllm", "models_interval": "1h"},
                "limits": {"pages": "8m"},
                "pools": {"p": CALM, "q": {"endpoints": [
                    {"address": good.address, "server": "good"}, *(
                        {"address": f"127.0.0.{i + 1}:{port}", "server": f"s{i}"} for i in range(n))]}}}
        with Lone(**over) as a, Bystander(a.address) as b:
            before = resident(a.agent)
            end, most = time.monotonic() + 5, 0
            while time.monotonic() < end:
                most = max(most, resident(a.agent) - before)
                time.sleep(0.02)
            b.more(50)
            known = a.agent.endpoints()
            assert known["good"]["running"] == 3 and not known["good"]["flags"]
            # Without it: 60 times 4 MB, and models beside them.
            assert most < 8 * MB + 2 * n * 256 * 1024 + 16 * MB, most / MB
            print(f"{most / MB:.1f} MB")


def models(ids, **more):
    return json.dumps({"object": "list", "data": [{"id": i, "object": "model", **more} for i in ids]}).encode()


LISTS = {
    "a million models": models(f"m{i}" for i in range(1_000_000)),
    "100,000 models": models(f"m{i}" for i in range(60_000)),
    "deep": b"[" * 1_000_000,
    "deep in data": b'{"object":"list","data":[' + b'{"id":' * 100_000,
    "no JSON": b"\0\xff" * 1000, "nothing": b"", "null": b"null", "a number": b"1e999", "no list": b'{"data":{}}',
    "ids of other kinds": b'{"object":"list","data":[{"id":1},{"id":null},{"id":[]},{"id":{}},5,null,[],{"id":"ok"}]}',
    "an id of 1 MB": models(["x" * MB]), "ids with control characters": models(["a\nb", "a\0b", "\x1b[2J", "\u2028"]),
    "the same id again and again": models(["same"] * 10_000),
    "an alias of ours": models(["served", "other"]),
    "parents in a circle": b'{"object":"list","data":[{"id":"a","parent":"b"},{"id":"b","parent":"a"}]}',
    "its own parent": b'{"object":"list","data":[{"id":"a","parent":"a","root":"a"}]}',
    "endless": None,
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_models(name):
    body = LISTS[name]
    behave = endless(HEAD, b'{"id":"m"},' * 1000) if body is None else says(body, kind="application/json")
    with Server(lambda s, path: behave(s, path) if "models" in path else s.sendall(answer(GOOD))) as evil:
        over = {"scrape": {"interval": "100ms", "timeout": "1s", "engine": "vllm", "models_interval": "1s"},
                "limits": {"models_page": "4m", "models": 65536},
                "pools": {"p": CALM, "q": {"endpoints": [{"address": evil.address, "server": "evil"}]}}}
        with Lone(**over) as a, Bystander(a.address) as b:
            before = resident(a.agent)
            until(lambda: evil.asked >= 8, 30, "it is asked again and again")
            b.more(50)
            state = a.agent.state()
            assert resident(a.agent) - before < 60 * MB
            for line in a.agent.log().splitlines():
                assert "\x1b" not in line and line.isprintable(), line[:200]
            listed = a.agent.models()
            assert len(listed) <= 65536 and not [m for m in listed if any(ord(c) < 0x20 for c in m)]
            assert all(len(m.encode()) <= 256 for m in listed)
            assert [p for p in state["pools"] if p["name"] == "p"][0]["known"]


def runtime(behave, directory):
    """A runtime socket as @behave(socket, command) likes it."""
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.settimeout(30)
            try:
                behave(self.request, self.request.recv(65536))
            except OSError:
                pass

    class Threads(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass

    server = Threads(directory + "/admin.sock", Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


STATE = (b"1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
         b"srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
         b"srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port "
         b"srv_check_addr srv_agent_addr srv_agent_port\n")
SERVER = b"3 q %d s%d 127.0.0.1 2 0 1 1 5 6 3 7 6 0 0 0 - %d - 0 0 - - 0\n"
RUNTIMES = {
    "hangs": lambda s, c: time.sleep(5),
    "closes": lambda s, c: None,
    "endless": lambda s, c: [s.sendall(STATE + SERVER * 0 + b"x" * 65536) for _ in range(1 << 30)],
    "binary": lambda s, c: s.sendall(bytes(range(256)) * 1000),
    "an error": lambda s, c: s.sendall(b"Permission denied\n\n"),
    "a byte now and then": lambda s, c: [(s.sendall(STATE[i:i + 1]), time.sleep(0.05)) for i in range(len(STATE))],
    "cut": lambda s, c: s.sendall(STATE + b"3 q 1 s1 127.0.0.1 2 0 1"),
    "another version": lambda s, c: s.sendall(STATE.replace(b"1\n", b"99\n", 1)),
    "100,000 servers": lambda s, c: s.sendall(STATE + b"".join(SERVER % (i, i, 1 + i % 65535) for i in range(100_000))),
    "numbers that are none": lambda s, c: s.sendall(STATE + (SERVER % (1, 1, 1)).replace(b" 2 0 ", b" -9 1e99 ")),
    "the same server twice": lambda s, c: s.sendall(STATE + SERVER % (1, 1, 1) + SERVER % (1, 1, 1)),
    "says the map is another": lambda s, c: s.sendall(b"New version created: 99999999999999999999\n"),
}


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtime_sockets(name, tmp_path):
    directory = os.path.join("/tmp", "rt-%d-%d" % (os.getpid(), random.randrange(1 << 30)))
    os.mkdir(directory)
    server = runtime(RUNTIMES[name], directory)
    try:
        over = {"haproxy": {"socket": directory + "/admin.sock", "poll": "200ms", "timeout": "500ms"},
                "limits": {"endpoints": 64},
                "pools": {"p": {"models": ["served"], "endpoints": [{"address": "127.0.0.1:9", "server": "s"}]},
                          "q": {"models": ["found"]}}}
        with Lone(**over) as a, Bystander(a.address) as b:
            before = resident(a.agent)
            asked = "spoa_inference_haproxy_polls_total"
            until(lambda: a.agent.metrics().get_one(asked) >= 4, 30, "it is asked again and again")
            b.more(50)
            assert resident(a.agent) - before < 40 * MB
            assert descriptors(a.agent) < 60
            for line in a.agent.log().splitlines():
                assert line.isprintable(), line[:200]
            # Nobody who is asked for what the socket should have told waits for it either.
            with SpopClient(a.address) as c:
                assert c.ask(body=b'{"model":"found"}')["verdict"].value in ("routed", "no_endpoint")
    finally:
        server.shutdown()
        server.server_close()
        os.unlink(directory + "/admin.sock")
        os.rmdir(directory)


def dns_server(reply):
    """A name server that answers @reply(query) by UDP."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))

    def run():
        while True:
            try:
                query, peer = s.recvfrom(4096)
                for datagram in reply(query):
                    s.sendto(datagram, peer)
            except OSError:
                return
    threading.Thread(target=run, daemon=True).start()
    return s


def dns_answer(query, records, flags=0x8180, ident=None):
    end = query.index(b"\0", 12) + 5
    head = (query[:2] if ident is None else ident) + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    return head + query[12:end] + b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data
                                           for kind, ttl, data in records)


def a_record(i, ttl=1):
    return (1, ttl, socket.inet_aton(f"127.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"))


DNS = {
    "silence": lambda q: [],
    "noise": lambda q: [os.urandom(300)],
    "the beginning of an answer": lambda q: [dns_answer(q, [a_record(1)])[:20]],
    "another's answer": lambda q: [dns_answer(q, [a_record(1)], ident=b"\0\0")],
    "servfail": lambda q: [dns_answer(q, [], 0x8182)],
    "no such name": lambda q: [dns_answer(q, [], 0x8183)],
    "cut, again and again": lambda q: [dns_answer(q, [a_record(1)], 0x8380)],
    "a name in a circle": lambda q: [q[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + q[12:q.index(b"\0", 12) + 5]
                                     + b"\xc0" + bytes([len(q[12:q.index(b"\0", 12) + 5]) + 12]) + b"\0\1\0\1\0\0\0\1\0\4abcd"],
    "4,000 addresses": lambda q: [dns_answer(q, [a_record(i + 2) for i in range(3900)])],
    "no time to live": lambda q: [dns_answer(q, [a_record(2, 0)])],
    "for ever": lambda q: [dns_answer(q, [a_record(2, 0xFFFFFFFF)])],
    "records of a wrong length": lambda q: [dns_answer(q, [(1, 1, b"abc"), (28, 1, b"x" * 15)])],
}


@pytest.mark.parametrize("name", DNS)
def test_name_servers(name):
    s = dns_server(DNS[name])
    over = {"dns": {"servers": ["127.0.0.1:%d" % s.getsockname()[1]], "min_ttl": "100ms", "timeout": "500ms",
                    "max_addresses": 50},
            "limits": {"endpoints": 100},
            "pools": {"p": {"models": ["served"], "endpoints": [{"address": "127.0.0.1:9", "server": "s"}]},
                      "q": {"models": ["named"], "dns": "pods.example:8000"}}}
    try:
        with Lone(**over) as a, Bystander(a.address) as b:
            before = resident(a.agent)
            time.sleep(1.5)
            b.more(50)
            q = [p for p in a.agent.state()["pools"] if p["name"] == "q"][0]
            assert len(q["endpoints"]) <= 50
            assert resident(a.agent) - before < 10 * MB and descriptors(a.agent) < 60
    finally:
        s.close()


# ---- log lines -----------------------------------------------------------------------------------
def line(ticket, more=""):
    return (f'<134>1 2026-01-02T03:04:05.678901+00:00 host haproxy 12 - [inference@32473 ticket="{ticket}" '
            f'backend="p" server="s1" status="200" ts="--" tr="3" ta="12" bytes="345"{more}] x\n').encode()


HOSTILE_LINES = [
    b"", b"\0", b"\n" * 60_000, b"<134>1 " + b"x" * 60_000, os.urandom(60_000), b"[" * 60_000, line("9" * 5000),
    line("-1"), line("18446744073709551616"), line("1" + "\\\"" * 5000), line('1" ticket="2'),
    line(1, ' status="-99999999999"'), line(1, ' ta="' + "9" * 400 + '"'), b"99999999999999999999 x", b"0 ", b"-5 abc",
    line(1, "")[:-60], b"\xff\xfe" * 30_000, line("%n%s%x"), line("\x1b[2J"), line("1]") * 100,
]


def test_hostile_datagrams():
    """By datagram and by stream: counted, said once a minute, and no ticket but the one it names is
    touched."""
    with Lone() as a:
        with Bystander(a.address):
            with SpopClient(a.address) as c:
                tickets = [c.ask(body=BODY)["ticket"].value for _ in range(10)]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                for _ in range(200):
                    for text in HOSTILE_LINES:
                        udp.sendto(text[:65_000], ("127.0.0.1", a.feedback))
            streams = []
            for text in HOSTILE_LINES * 8:
                s = socket.create_connection(("127.0.0.1", a.feedback), 10)
                s.settimeout(2)
                try:
                    s.sendall(text)
                except OSError:
                    pass
                streams.append(s)
            until(lambda: a.agent.metrics().get_one("spoa_inference_feedback_lines_total", result="broken") > 100,
                  what="they are counted")
            assert len(a.agent.events("feedback_broken")) <= 2
            assert descriptors(a.agent) < 120
            for s in streams:
                s.close()
            for text in a.agent.log().splitlines():
                assert text.isprintable(), text[:200]
        # The bystander's tickets are its own.
        for t in tickets:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(line(t), ("127.0.0.1", a.feedback))
        until(lambda: a.agent.metrics().get_one("spoa_inference_feedback_lines_total", result="closed") >= 10,
              what="each is closed by its own line")


def test_flood_of_lines():
    """Datagrams as fast as they go for two seconds: questions are still answered."""
    with Lone() as a, Bystander(a.address) as b:
        before = resident(a.agent)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for _ in range(100):
                    udp.sendto(line(random.randrange(1 << 60)), ("127.0.0.1", a.feedback))
        b.more(50)
        assert a.agent.page("/healthz").status == 200
        assert resident(a.agent) - before < 8 * MB
