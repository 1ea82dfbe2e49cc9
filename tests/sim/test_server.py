#!/usr/bin/env python3
"""spoa-sim from outside: what it takes over the wire, its options, its faults on demand. Runs by pytest
as well."""
import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import unittest

from simulator import BASE, Sim, chat, program, raw, read_all


class Wire(unittest.TestCase):
    def test_bodies(self):
        with Sim("--instant", "--max-body-mb", "8") as sim:
            big = json.dumps(chat("x" * 3000000))
            self.assertEqual(sim.post("/v1/chat/completions", big)[1]["X-Sim-Body-Bytes"],
                             str(len(big)))
            # Chunked, in pieces of every sort.
            for size in (1, 7, 1000, 300000):
                text = json.dumps(chat("y" * size * 3)).encode()
                pieces = [text[i:i + size] for i in range(0, len(text), size)]
                conn = sim.conn()
                conn.request("POST", "/v1/chat/completions", iter(pieces),
                             {"Content-Type": "application/json"}, encode_chunked=True)
                answer = conn.getresponse()
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer.headers["X-Sim-Body-Bytes"], str(len(text)))
                answer.read()
                conn.close()
            self.assertEqual(sim.post("/v1/chat/completions", "x" * 8500000)[0], 413)
            # Byte by byte, and two requests in one piece.
            text = json.dumps(chat()).encode()
            request = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: "
                       b"application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            s = raw(sim, b"")
            for i in range(len(request)):
                s.sendall(request[i:i + 1])
            self.assertIn(b" 200 OK", s.recv(65536))
            s.close()
            stream = json.dumps(chat(stream=True)).encode()
            first = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: "
                     b"application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(stream), stream))
            last = request.replace(b"Host: x", b"Host: x\r\nConnection: close")
            data = read_all(raw(sim, first + request + last))
            self.assertEqual(data.count(b"HTTP/1.1 200 OK"), 3)
            # Expect: 100-continue
            head, _, body = request.replace(b"Host: x", b"Expect: 100-continue").partition(b"\r\n\r\n")
            s = raw(sim, head + b"\r\n\r\n")
            self.assertIn(b" 100 Continue", s.recv(1000))
            s.sendall(body)
            self.assertIn(b" 200 OK", s.recv(65536))
            s.close()
            # HTTP/1.0 has no chunks.
            data = read_all(raw(sim, first.replace(b"HTTP/1.1", b"HTTP/1.0")))
            self.assertTrue(data.endswith(b"data: [DONE]\n\n"))
            self.assertNotIn(b"chunked", data)

    def test_nonsense(self):
        with Sim("--instant") as sim:
            for text, want in ((b"\r\n\r\nGET /health HTTP/1.1\r\nConnection: close\r\n\r\n", b"200"),
                               (b"hello\r\n\r\n", b"400"), (b"GET health HTTP/1.1\r\n\r\n", b"400"),
                               (b"GET / HTTP/2.0\r\n\r\n", b"400"),
                               (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", b"400"),
                               (b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n", b"400"),
                               (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
                               (b"POST / HTTP/1.1\r\nContent-Length: 9999999999999999999999\r\n\r\n",
                                b"400"),
                               (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n"
                                b"Transfer-Encoding: chunked\r\n\r\n", b"400"),
                               (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
                               (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", b"400"),
                               (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                                b"ffffffffffff\r\n", b"413"),
                               (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
                                b"400"),
                               (b"GET / HTTP/1.1\r\nA: " + b"x" * 300000 + b"\r\n\r\n", b"431")):
                with self.subTest(text[:60]):
                    self.assertEqual(read_all(raw(sim, text))[:12], b"HTTP/1.1 " + want)
            self.assertEqual(sim.get("/health")[0], 200)

    def test_tokens_come_one_by_one(self):
        with Sim("--step-ms", "30") as sim:
            conn = sim.conn()
            conn.request("POST", "/v1/chat/completions", json.dumps(chat(max_tokens=4, stream=True)),
                         {"Content-Type": "application/json"})
            answer = conn.getresponse()
            times = []
            while True:
                line = answer.readline()
                if not line:
                    break
                if line.startswith(b"data: {"):
                    times.append(time.monotonic())
            conn.close()
            self.assertEqual(len(times), 5)
            # The role chunk comes with the first token, three steps of 30 ms follow.
            self.assertGreater(times[4] - times[1], 0.06)

    def test_client_that_leaves(self):
        with Sim("--step-ms", "1000") as sim:
            text = json.dumps(chat(stream=True, max_tokens=1000))
            head = ("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n" % len(text))
            streams = [raw(sim, (head + text).encode()) for _ in range(3)]
            plain = raw(sim, (head + text).replace("true", "null").encode())
            sim.until(lambda s: s["in_flight"] == 4)
            streams[0].close()
            plain.close()
            sim.until(lambda s: s["in_flight"] == 2 and s["cancelled"] == 2)
            stats = sim.stats()
            self.assertEqual(stats["running"] + stats["waiting"], 2)
            for s in streams[1:]:
                s.close()
            sim.until(lambda s: s["in_flight"] == 0 and s["kv_used"] == 0)
            self.assertEqual(stats["finished"], 0)

    def test_keep_alive(self):
        with Sim("--keep-alive", "0.2") as sim:
            s = raw(sim, b"GET /health HTTP/1.1\r\n\r\n")
            self.assertIn(b"200 OK", s.recv(1000))
            s.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            self.assertIn(b"200 OK", s.recv(1000))
            self.assertEqual(s.recv(1000), b"")
            s.close()

    def test_many_streams(self):
        async def one(host, port, text):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(("POST /v1/chat/completions HTTP/1.1\r\nConnection: close\r\nContent-Type: "
                          "application/json\r\nContent-Length: %d\r\n\r\n%s" %
                          (len(text), text)).encode())
            data = await reader.read(-1)
            writer.close()
            return data

        async def all_of(sim):
            jobs = []
            for i in range(300):
                host, port = list(sim.at.values())[i % 3].split(":")
                jobs.append(one(host, int(port), json.dumps(
                    chat("prompt %d" % i, stream=True, max_tokens=8))))
            return await asyncio.gather(*jobs)

        with Sim("--speed", "5", "--max-num-seqs", "64", "--server", "name=a", "--server", "name=b",
                 "--server", "name=c") as sim:
            for data in asyncio.run(all_of(sim)):
                self.assertEqual(data.count(b"\ndata: {"), 1 + 8)
                self.assertIn(b"data: [DONE]", data)
            for s in sim.get("/sim/stats?all")[2]:
                self.assertEqual((s["finished"], s["in_flight"], s["kv_used"]), (100, 0, 0))


class Options(unittest.TestCase):
    def test_key(self):
        with Sim("--api-key", "secret", "--instant") as sim:
            self.assertEqual(sim.get("/v1/models")[0], 401)
            self.assertEqual(sim.get("/v1/models", headers={"Authorization": "Bearer x"})[0], 401)
            self.assertEqual(sim.get("/v1/models",
                                     headers={"Authorization": "Bearer secret"})[0], 200)
            self.assertEqual(sim.post("/v1/completions", {"prompt": "x"})[2],
                             {"error": "Unauthorized"})
            for path in ("/health", "/metrics"):
                self.assertEqual(sim.get(path)[0], 200)

    def test_lenient_length_and_eos(self):
        with Sim("--lenient", "--max-model-len", "50", "--eos", "--output", "5", "--speed",
                 "1000") as sim:
            body = {"model": BASE, "prompt": "2+2 is ", "max_tokens": 20}
            status, _, answer = sim.post("/v1/chat/completions", body)
            self.assertEqual(status, 200)
            self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
            self.assertLess(answer["usage"]["completion_tokens"], 20)
            body["ignore_eos"] = True
            self.assertEqual(sim.post("/v1/chat/completions", body)[2]["usage"]["completion_tokens"],
                             20)
            status, _, wrong = sim.post("/v1/chat/completions", chat("x" * 200))
            self.assertEqual(status, 400)
            self.assertIn("maximum context length is 50", wrong["error"]["message"])

    def test_command_line(self):
        def run(*args):
            return subprocess.run([program(), *args], capture_output=True, text=True, timeout=5)
        self.assertEqual(run("--help").returncode, 0)
        self.assertIn("--max-num-seqs", run("--help").stdout)
        for args in (["--nonsense", "1"], ["nonsense"], ["--speed", "0"], ["--speed", "x"],
                     ["--speed"], ["--server", "name=a,bad=1"], ["--server", "name"],
                     ["--listen", "nowhere"], ["--listen", "127.0.0.1:99999"],
                     ["--max-batched-tokens", "8"], ["--fault", "slow"], ["--engine", "x"],
                     ["--server", "name=a", "--server", "name=a"]):
            with self.subTest(args):
                done = run(*args)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("spoa-sim: ", done.stderr)
                self.assertEqual(done.stdout, "")

    def test_servers_inherit(self):
        with Sim("--adapter", "x", "--speed", "50", "--server",
                 "name=a,listen=127.0.0.1:0,listen=[::1]:0", "--server",
                 "name=b,adapter=y,model=other,instant") as sim:
            self.assertEqual([n for n, _ in sim.all], ["a", "a", "b"])
            ids = [[m["id"] for m in sim.get("/v1/models", name=n)[2]["data"]] for n in "ab"]
            self.assertEqual(ids, [[BASE, "x"], ["other", "y"]])

    def test_parent(self):
        child = ("import subprocess, sys; p = subprocess.Popen(sys.argv[1:], "
                 "stdout=subprocess.PIPE, text=True); print(p.pid, p.stdout.readline())")
        out = subprocess.run([sys.executable, "-c", child, program(), "--parent"],
                             capture_output=True, text=True, timeout=10).stdout.split()
        self.assertEqual(out[1], "ready")
        host, port = out[2].split("=")[1].split(":")
        for _ in range(200):
            try:
                socket.create_connection((host, int(port)), 1).close()
                time.sleep(0.01)
            except ConnectionRefusedError:
                return
        self.fail("outlived its parent")


class Faults(unittest.TestCase):
    def test_hang(self):
        with Sim("--instant", "--fault", "hang") as sim:
            for path in ("/health", "/metrics"):
                with self.assertRaises(TimeoutError):
                    sim.get(path, timeout=0.2)
            sim.until(lambda s: s["hung"] == 0)
            sim.fault("kind=none")
            self.assertEqual(sim.get("/health")[0], 200)
            sim.fault("kind=hang&for=100")
            with self.assertRaises(TimeoutError):
                sim.get("/health", timeout=0.02)
            time.sleep(0.15)
            self.assertEqual(sim.get("/health")[0], 200)

    def test_refuse(self):
        with Sim("--instant", "--server", "name=a", "--server", "name=b") as sim:
            kept = sim.conn("a")
            kept.request("GET", "/health")
            kept.getresponse().read()
            sim.fault("kind=refuse", name="a")
            with self.assertRaises(ConnectionRefusedError):
                sim.get("/health", name="a")
            with self.assertRaises((ConnectionError, http.client.HTTPException)):
                kept.request("GET", "/health")
                kept.auto_open = 0
                kept.getresponse()
            kept.close()
            sim.fault("kind=none&server=a", name="b")
            self.assertEqual(sim.get("/health", name="a")[0], 200)
            sim.fault("kind=refuse&for=100", name="a")
            time.sleep(0.2)
            self.assertEqual(sim.get("/health", name="a")[0], 200)

    def test_die(self):
        with Sim("--step-ms", "1000") as sim:
            text = json.dumps(chat(stream=True))
            s = raw(sim, ("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                          "Content-Length: %d\r\n\r\n%s" % (len(text), text)).encode())
            sim.until(lambda st: st["in_flight"] == 1)
            sim.fault("kind=die")
            self.assertNotIn(b"0\r\n\r\n", read_all(s))
            sim.ends_with = 1
            self.assertEqual(sim.proc.wait(5), 1)
        with Sim("--server", "name=a", "--server", "name=b") as sim:
            sim.fault("kind=die", name="a")
            time.sleep(0.05)
            with self.assertRaises(ConnectionRefusedError):
                sim.get("/health", name="a")
            self.assertEqual(sim.get("/health", name="b")[0], 200)
            sim.fault("kind=none&server=a", name="b")
            self.assertEqual(sim.get("/health", name="a")[0], 200)
            sim.fault("kind=die&for=100", name="b")
            time.sleep(0.2)
            self.assertEqual(sim.get("/health", name="b")[0], 200)

    def test_errors(self):
        with Sim("--instant") as sim:
            sim.fault("kind=error&n=2&status=503")
            self.assertEqual([sim.post("/v1/chat/completions", chat())[0] for _ in range(3)],
                             [503, 503, 200])
            sim.fault("kind=error&p=0.5")
            got = [sim.post("/v1/chat/completions", chat())[0] for _ in range(60)]
            self.assertTrue(10 < got.count(500) < 50 and got.count(500) + got.count(200) == 60)
            self.assertEqual(sim.get("/health")[0], 200)
            for wrong in ("", "kind=x", "kind=error", "kind=error&p=2", "kind=slow", "kind=cut",
                          "kind=hang&for=x", "kind=none&server=nobody"):
                self.assertEqual(sim.call("POST", "/sim/fault?" + wrong, "")[0], 400, wrong)
            self.assertEqual(sim.get("/sim/fault?kind=die")[0], 400)

    def test_cut(self):
        for more in ([], ["--instant"]):
            with Sim("--speed", "100", "--fault", "cut:after=3", *more) as sim:
                text = json.dumps(chat(stream=True, max_tokens=9))
                s = raw(sim, ("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: "
                              "application/json\r\nContent-Length: %d\r\n\r\n%s" %
                              (len(text), text)).encode())
                data = read_all(s)
                self.assertEqual(data.count(b'"delta":{"content"'), 3)
                self.assertFalse(data.endswith(b"0\r\n\r\n"))
                sim.until(lambda st: st["in_flight"] == 0 and st["cancelled"] == 1)
                self.assertEqual(sim.post("/v1/chat/completions", chat(max_tokens=9))[0], 200)

    def test_slow_and_stall(self):
        with Sim("--speed", "10") as sim:
            sim.fault("kind=stall")
            done = []
            t = threading.Thread(target=lambda: done.append(
                sim.post("/v1/chat/completions", chat())[0]))
            t.start()
            sim.until(lambda s: s["in_flight"] == 1)
            time.sleep(0.1)
            self.assertEqual(done, [])
            sim.fault("kind=none")
            t.join(5)
            self.assertEqual(done, [200])
            sim.fault("kind=slow&factor=50")
            begin = time.monotonic()
            sim.post("/v1/chat/completions", chat())
            self.assertGreater(time.monotonic() - begin, 0.1)


if __name__ == "__main__":
    unittest.main()
