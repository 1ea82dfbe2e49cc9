#!/usr/bin/env python3
"""spoa-sim from outside: shapes, streaming, faults, many clients. Standard library only; where
the official clients are installed they are tried too. SPOA_SIM names the program. Runs by pytest
as well."""
import asyncio
import base64
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

BASE = "meta-llama/Llama-3.1-8B-Instruct"


def program():
    here = os.path.dirname(os.path.abspath(__file__))
    for path in (os.environ.get("SPOA_SIM"), os.path.join(here, "../../build/tests/sim/spoa-sim")):
        if path and os.access(path, os.X_OK):
            return path
    raise unittest.SkipTest("SPOA_SIM does not name the spoa-sim program")


class Sim:
    """One process; .at[name] is HOST:PORT of each server's last listener."""

    def __init__(self, *args):
        self.ends_with = 0
        self.proc = subprocess.Popen([program(), "--parent", *args], stdout=subprocess.PIPE,
                                     text=True)
        words = self.proc.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise AssertionError("not ready: %r, exit status %s" % (words, self.proc.wait()))
        self.all = [w.rsplit("=", 1) for w in words[1:]]
        self.at = dict(self.all)
        self.addr = self.all[0][1]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.proc.stdout.close()
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        status = self.proc.wait(10)
        if exc[0] is None:
            assert status == self.ends_with, "exit status %s" % status

    def conn(self, name=None, timeout=10):
        return http.client.HTTPConnection(self.at[name] if name else self.addr, timeout=timeout)

    def call(self, method, path, body=None, headers=None, name=None, timeout=10):
        """status, headers, body (decoded when it is JSON)"""
        conn = self.conn(name, timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        head = {"Content-Type": "application/json"} if body is not None else {}
        head.update(headers or {})
        try:
            conn.request(method, path, body, head)
            answer = conn.getresponse()
            data = answer.read()
        finally:
            conn.close()
        if answer.getheader("content-type") == "application/json":
            data = json.loads(data)
        return answer.status, answer.headers, data

    def post(self, path, body, **kw):
        return self.call("POST", path, body, **kw)

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def fault(self, query, **kw):
        status, _, body = self.call("POST", "/sim/fault?" + query, "", **kw)
        assert status == 200, body

    def stats(self, **kw):
        return self.get("/sim/stats", **kw)[2]

    def until(self, want, seconds=5):
        end = time.monotonic() + seconds
        while not want(self.stats()):
            if time.monotonic() > end:
                raise AssertionError("never came: %r" % self.stats())
            time.sleep(0.01)


def chat(text="hello", **kw):
    return dict({"messages": [{"role": "user", "content": text}], "max_tokens": 5}, **kw)


def events(data):
    """[(event or None, data)] of an SSE body"""
    out = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if fields:
            out.append((fields.get("event"), fields["data"]))
    return out


def raw(sim, data, name=None):
    host, port = (sim.at[name] if name else sim.addr).split(":")
    s = socket.create_connection((host, int(port)), timeout=10)
    s.sendall(data)
    return s


def read_all(s):
    data = b""
    while True:
        more = s.recv(65536)
        if not more:
            s.close()
            return data
        data += more


class Shapes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Sim("--name", "one", "--adapter", "food-review-1:/adapters/food", "--adapter", "b",
                      "--speed", "100", "--dimensions", "8")

    @classmethod
    def tearDownClass(cls):
        cls.sim.__exit__(None, None, None)

    def test_models(self):
        status, _, body = self.sim.get("/v1/models")
        self.assertEqual(status, 200)
        self.assertEqual([(m["id"], m["root"], m["parent"]) for m in body["data"]],
                         [(BASE, BASE, None), ("food-review-1", "/adapters/food", BASE),
                          ("b", "b", BASE)])
        self.assertEqual(body["data"][0]["max_model_len"], 131072)

    def test_plain_paths(self):
        for path in ("/health", "/ping"):
            self.assertEqual(self.sim.get(path)[0::2], (200, b""))
        self.assertIn("version", self.sim.get("/version")[2])
        self.assertEqual(self.sim.get("/nothing")[0], 404)
        self.assertEqual(self.sim.get("/v1/chat/completions")[0], 405)
        self.assertEqual(self.sim.call("HEAD", "/health")[0], 200)

    def test_chat(self):
        status, headers, body = self.sim.post("/v1/chat/completions", chat(model=BASE))
        self.assertEqual(status, 200)
        self.assertEqual(body["object"], "chat.completion")
        choice = body["choices"][0]
        self.assertEqual(len(choice["message"]["content"].split(" ")), 5)
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(body["usage"]["completion_tokens"], 5)
        self.assertEqual(body["usage"]["total_tokens"], body["usage"]["prompt_tokens"] + 5)
        self.assertEqual(headers["X-Sim-Name"], "one")
        self.assertEqual(headers["X-Sim-Model"], BASE)
        self.assertEqual(headers["X-Sim-Body-Model"], BASE)
        # The same prompt has the same answer, another one another.
        again = self.sim.post("/v1/chat/completions", chat(model=BASE))[2]
        self.assertEqual(again["choices"][0]["message"], choice["message"])
        self.assertNotEqual(again["id"], body["id"])
        other = self.sim.post("/v1/chat/completions", chat("other"))[2]
        self.assertNotEqual(other["choices"][0]["message"], choice["message"])
        self.assertEqual(other["model"], BASE)
        own = self.sim.post("/v1/chat/completions", chat(model="food-review-1"))[2]
        self.assertEqual(own["model"], "food-review-1")

    def test_chat_stream(self):
        whole = self.sim.post("/v1/chat/completions", chat())[2]["choices"][0]["message"]["content"]
        status, headers, data = self.sim.post(
            "/v1/chat/completions",
            chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(status, 200)
        self.assertEqual(headers["content-type"], "text/event-stream; charset=utf-8")
        self.assertEqual(headers["transfer-encoding"], "chunked")
        found = events(data)
        self.assertEqual(found[-1][1], "[DONE]")
        chunks = [json.loads(d) for _, d in found[:-1]]
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        text = "".join(c["choices"][0]["delta"]["content"] for c in chunks if c["choices"])
        self.assertEqual(text, whole)
        self.assertEqual([c["choices"][0]["finish_reason"] for c in chunks[:-1]],
                         [None] * 5 + ["length"])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 5)
        self.assertEqual(len({c["id"] for c in chunks}), 1)

    def test_completions(self):
        body = self.sim.post("/v1/completions", {"prompt": "2+2 is ", "max_tokens": 3})[2]
        self.assertEqual(len(body["choices"][0]["text"].split(" ")), 3)
        body = self.sim.post("/v1/completions", {"prompt": [1, 2, 3]})[2]
        self.assertEqual(body["usage"]["prompt_tokens"], 3)
        self.assertEqual(body["usage"]["completion_tokens"], 16)
        data = self.sim.post("/v1/completions", {"prompt": ["x"], "max_tokens": 2,
                                                 "stream": True})[2]
        self.assertEqual([json.loads(d)["choices"][0]["finish_reason"]
                          for _, d in events(data)[:-1]], [None, "length"])

    def test_responses_stream(self):
        data = self.sim.post("/v1/responses", {"input": "hi", "max_output_tokens": 3,
                                               "stream": True})[2]
        found = events(data)
        self.assertEqual([e for e, _ in found],
                         ["response.created", "response.in_progress", "response.output_item.added",
                          "response.content_part.added"] + ["response.output_text.delta"] * 3 +
                         ["response.output_text.done", "response.content_part.done",
                          "response.output_item.done", "response.completed"])
        parsed = [json.loads(d) for _, d in found]
        self.assertEqual([p["type"] for p in parsed], [e for e, _ in found])
        self.assertEqual([p["sequence_number"] for p in parsed], list(range(len(parsed))))
        text = "".join(p["delta"] for p in parsed if "delta" in p)
        self.assertEqual(parsed[-1]["response"]["output"][0]["content"][0]["text"], text)

    def test_messages_stream(self):
        body = {"max_tokens": 3, "system": "be brief",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
        whole = self.sim.post("/v1/messages", body)[2]
        self.assertEqual(whole["stop_reason"], "max_tokens")
        found = events(self.sim.post("/v1/messages", dict(body, stream=True))[2])
        self.assertEqual([e for e, _ in found],
                         ["message_start", "content_block_start", "ping"] +
                         ["content_block_delta"] * 3 +
                         ["content_block_stop", "message_delta", "message_stop"])
        text = "".join(json.loads(d)["delta"]["text"] for e, d in found
                       if e == "content_block_delta")
        self.assertEqual(whole["content"], [{"type": "text", "text": text}])
        status, _, wrong = self.sim.post("/v1/messages", dict(body, model="none"))
        self.assertEqual((status, wrong["type"]), (404, "error"))
        count = self.sim.post("/v1/messages/count_tokens", body)[2]
        self.assertEqual(count["input_tokens"], whole["usage"]["input_tokens"])

    def test_embeddings(self):
        floats = self.sim.post("/v1/embeddings", {"input": ["a", "b"]})[2]["data"]
        coded = self.sim.post("/v1/embeddings", {"input": ["a", "b"],
                                                 "encoding_format": "base64"})[2]["data"]
        for f, c in zip(floats, coded):
            vector = struct.unpack("<8f", base64.b64decode(c["embedding"]))
            for x, y in zip(f["embedding"], vector):
                self.assertAlmostEqual(x, y, places=6)
        self.assertNotEqual(floats[0]["embedding"], floats[1]["embedding"])
        one = self.sim.post("/v1/embeddings", {"input": "a", "dimensions": 3})[2]["data"]
        self.assertEqual(len(one[0]["embedding"]), 3)
        self.assertEqual(len(self.sim.post("/v1/embeddings", {"input": []})[2]["data"]), 0)

    def test_rerank_and_score(self):
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            body = self.sim.post(path, {"query": "q", "documents": ["x", "y", "z"], "top_n": 2})[2]
            scores = [r["relevance_score"] for r in body["results"]]
            self.assertEqual(scores, sorted(scores, reverse=True))
            self.assertEqual(len(scores), 2)
        for path in ("/score", "/v1/score"):
            body = self.sim.post(path, {"text_1": "q", "text_2": ["x", "y"]})[2]
            self.assertEqual([d["index"] for d in body["data"]], [0, 1])
            body = self.sim.post(path, {"text_1": "q", "text_2": "x"})[2]
            self.assertEqual(len(body["data"]), 1)

    def test_audio_and_images(self):
        def form(*fields):
            out = b""
            for name, more, value in fields:
                out += b'--XX\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
                    name, more, value)
            return out + b"--XX--\r\n"
        sound = bytes(range(256)) * 400
        file = (b"file", b'; filename="name=model.wav"\r\nContent-Type: audio/wav', sound)
        model = (b"model", b"", b"food-review-1")
        kind = {"Content-Type": "multipart/form-data; boundary=XX"}
        for fields in ((model, file), (file, model)):
            status, headers, body = self.sim.post("/v1/audio/transcriptions", form(*fields),
                                                  headers=kind)
            self.assertEqual(status, 200)
            self.assertTrue(body["text"])
            self.assertEqual(headers["X-Sim-Body-Model"], "food-review-1")
        self.assertEqual(self.sim.post("/v1/audio/transcriptions", form(model), headers=kind)[0], 400)
        text = self.sim.post("/v1/audio/transcriptions",
                             form(file, (b"response_format", b"", b"text")), headers=kind)
        self.assertEqual(text[1]["content-type"], "text/plain; charset=utf-8")
        empty = self.sim.post("/v1/audio/transcriptions", form((b"file", b"", b"")), headers=kind)
        self.assertEqual(empty[0], 200)
        body = self.sim.post("/v1/images/generations", {"prompt": "grey"})[2]
        self.assertEqual(base64.b64decode(body["data"][0]["b64_json"])[:4], b"\x89PNG")

    def test_errors(self):
        status, headers, body = self.sim.post("/v1/chat/completions", chat(model="x y\x01é"))
        self.assertEqual(status, 404)
        self.assertEqual(body["error"]["type"], "NotFoundError")
        self.assertEqual(body["error"]["code"], 404)
        self.assertEqual(headers["X-Sim-Body-Model"], "x%20y%01%C3%A9")
        cases = [('{"prompt": "as the guide does"}', 400), ("", 400), ("[]", 400), ("{", 400),
                 ('{"messages": []} x', 400), ('{"model": 1, "messages": []}', 400),
                 ('{"messages": "x"}', 400), ('{"messages": [], "max_tokens": 0}', 400),
                 ('{"messages": [], "max_tokens": 1.5}', 400),
                 ('{"messages": [], "max_tokens": "9"}', 400), ('{"messages": [], "n": 2}', 400),
                 ('{"messages": [], "stream": 1}', 400), ('{"messages": null}', 400),
                 ('{"messages": [], "max_tokens": 1, "unknown": {"a": [1]}}', 200),
                 ('{"model": "no", "model": "b", "messages": [], "max_tokens": 1}', 200),
                 ('{"model": "b", "model": "no", "messages": [], "max_tokens": 1}', 404),
                 ('{"model": "", "messages": [], "max_tokens": 1}', 200),
                 ('{"model": null, "messages": [], "max_tokens": 1} \r\n', 200)]
        for text, want in cases:
            with self.subTest(text):
                status, headers, body = self.sim.post("/v1/chat/completions", text)
                self.assertEqual(status, want, body)
                self.assertEqual(headers["X-Sim-Name"], "one")
                if want != 200:
                    self.assertEqual(body["error"]["code"], want)
        self.assertEqual(self.sim.post("/v1/chat/completions", json.dumps(chat()),
                                       headers={"Content-Type": "text/plain"})[0], 400)

    def test_what_was_received(self):
        text = json.dumps(chat())
        _, headers, _ = self.sim.post("/v1/chat/completions", text, headers={
            "X-Gateway-Model-Name": "m", "X-Gateway-Base-Model-Name": "b"})
        self.assertEqual(headers["X-Sim-Got-Gateway-Model"], "m")
        self.assertEqual(headers["X-Sim-Got-Base-Model"], "b")
        self.assertEqual(headers["X-Sim-Body-Bytes"], str(len(text)))
        _, headers, _ = self.sim.post("/v1/chat/completions", text)
        self.assertNotIn("X-Sim-Got-Gateway-Model", headers)

    def test_adapters_at_run_time(self):
        load = {"lora_name": "new", "lora_path": "/adapters/new"}
        status, _, text = self.sim.post("/v1/load_lora_adapter", load)
        self.assertEqual((status, text), (200, b"Success: LoRA adapter 'new' added successfully."))
        self.assertEqual(self.sim.post("/v1/load_lora_adapter", load)[0], 400)
        self.assertEqual(self.sim.post("/v1/load_lora_adapter", {"lora_name": "x"})[0], 400)
        self.assertEqual(self.sim.post("/v1/chat/completions", chat(model="new"))[0], 200)
        self.assertEqual(self.sim.get("/v1/models")[2]["data"][-1]["root"], "/adapters/new")
        self.assertEqual(self.sim.post("/v1/unload_lora_adapter", {"lora_name": "new"})[0], 200)
        self.assertEqual(self.sim.post("/v1/unload_lora_adapter", {"lora_name": "new"})[0], 404)
        self.assertEqual(self.sim.post("/v1/unload_lora_adapter", {"lora_name": BASE})[0], 404)
        self.assertEqual(self.sim.post("/v1/chat/completions", chat(model="new"))[0], 404)
        self.assertEqual(self.sim.call("POST", "/sim/adapters?add=c%20d&root=/r", "")[0], 200)
        self.assertIn("c d", [m["id"] for m in self.sim.get("/v1/models")[2]["data"]])
        self.assertEqual(self.sim.call("POST", "/sim/adapters?remove=c+d", "")[0], 200)


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


NUMBER = r"[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|NaN|Inf)"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{%s(?:,%s)*\})? (%s)$" % (LABEL, LABEL, NUMBER))


def page(sim, **kw):
    """{name{labels}: value} of a metrics page, every line checked"""
    status, headers, data = sim.get("/metrics", **kw)
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    found, typed = {}, set()
    for line in data.decode().splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] not in typed, line
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            m = LINE.match(line)
            assert m, line
            assert re.sub("_(bucket|sum|count)$", "", m.group(1)) in typed or m.group(1) in typed
            assert m.group(1) + (m.group(2) or "") not in found
            found[m.group(1) + (m.group(2) or "")] = float(m.group(3))
    return found


class Metrics(unittest.TestCase):
    def test_vllm(self):
        label = '{engine="0",model_name="%s"}' % BASE
        with Sim("--step-ms", "1000", "--max-num-seqs", "2", "--adapter", "food", "--prefill-rate",
                 "1000000") as sim:
            text = json.dumps(chat("z" * 640, model="food", stream=True, max_tokens=100))
            head = ("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n" % len(text))
            streams = [raw(sim, (head + text).encode()) for _ in range(5)]
            sim.until(lambda s: s["running"] == 2 and s["waiting"] == 3)
            found = page(sim)
            self.assertEqual(found["vllm:num_requests_running" + label], 2)
            self.assertEqual(found["vllm:num_requests_waiting" + label], 3)
            self.assertGreater(found["vllm:kv_cache_usage_perc" + label], 0)
            self.assertGreater(found["vllm:prefix_cache_queries_total" + label], 0)
            lora = [k for k in found if k.startswith("vllm:lora_requests_info")]
            self.assertEqual(lora, ['vllm:lora_requests_info{max_lora="4",'
                                    'running_lora_adapters="food",waiting_lora_adapters="food"}'])
            self.assertTrue(any(k.startswith("vllm:cache_config_info{") for k in found))
            for s in streams:
                s.close()
            sim.until(lambda s: s["in_flight"] == 0)
            found = page(sim)
            self.assertEqual(found["vllm:num_requests_running" + label], 0)
            self.assertEqual(found["vllm:kv_cache_usage_perc" + label], 0)
            self.assertEqual(found['vllm:request_success_total{engine="0",finished_reason="abort",'
                                   'model_name="%s"}' % BASE], 5)

    def test_histogram(self):
        with Sim("--speed", "1000") as sim:
            for _ in range(3):
                sim.post("/v1/chat/completions", chat())
            found = page(sim)
            buckets = [v for k, v in found.items()
                       if k.startswith("vllm:time_to_first_token_seconds_bucket")]
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual(buckets[-1], 3)
            self.assertEqual(found['vllm:time_to_first_token_seconds_count{engine="0",'
                                   'model_name="%s"}' % BASE], 3)

    def test_other_engines(self):
        names = {"sglang": ["sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage"],
                 "trtllm": ["trtllm_num_requests_running", "trtllm_num_requests_waiting",
                            "trtllm_kv_cache_utilization"],
                 "triton": ['nv_trt_llm_request_metrics{request_type="scheduled"',
                            'nv_trt_llm_request_metrics{request_type="waiting"',
                            'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"'],
                 "llamacpp": ["llamacpp:requests_processing", "llamacpp:requests_deferred",
                              "llamacpp:kv_cache_usage_ratio"]}
        args = [a for e in names for a in ("--server", "name=%s,engine=%s" % (e, e))]
        with Sim(*args, "--server", "name=old,old-metrics") as sim:
            for engine, (running, waiting, kv) in names.items():
                sim.call("POST", "/sim/load?running=7&waiting=3&kv=0.5", "", name=engine)
                found = page(sim, name=engine)
                for name, value in ((running, 7), (waiting, 3), (kv, 0.5)):
                    self.assertEqual([v for k, v in found.items()
                                      if k == name or k.startswith(name + "{") or
                                      (name.endswith('"') and k.startswith(name))], [value], name)
            found = page(sim, name="old")
            self.assertTrue(any(k.startswith("vllm:gpu_cache_usage_perc{") for k in found))
            self.assertFalse(any(k.startswith("vllm:kv_cache") for k in found))

    def test_ranks(self):
        with Sim("--dp-ranks", "3") as sim:
            sim.call("POST", "/sim/load?running=7&waiting=4", "")
            found = page(sim)
            series = [v for k, v in found.items() if k.startswith("vllm:num_requests_running{")]
            self.assertEqual((len(series), sum(series)), (3, 7))

    def test_bent_pages(self):
        label = '{engine="0",model_name="%s"}' % BASE
        with Sim() as sim:
            for mode, test in (("nan", lambda v: v != v), ("negative", lambda v: v < 0),
                               ("huge", lambda v: v > 1e200), ("right", lambda v: v == 0)):
                sim.fault("kind=metrics&mode=" + mode)
                self.assertTrue(test(page(sim)["vllm:num_requests_running" + label]), mode)
            for mode in ("404", "500"):
                sim.fault("kind=metrics&mode=" + mode)
                self.assertEqual(sim.get("/metrics")[0], int(mode))
            sim.fault("kind=metrics&mode=garbage")
            self.assertNotIn(b"vllm:num", sim.get("/metrics")[2])
            sim.fault("kind=metrics&mode=slow")
            with self.assertRaises(TimeoutError):
                sim.get("/metrics", timeout=0.2)
            self.assertEqual(sim.get("/health")[0], 200)
            self.assertEqual(sim.call("POST", "/sim/fault?kind=metrics&mode=x", "")[0], 400)


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


def client(name):
    try:
        return __import__(name)
    except ImportError:
        raise unittest.SkipTest("the %s client is not installed" % name) from None


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Sim("--adapter", "food", "--speed", "50", "--api-key", "k")
        cls.url = "http://" + cls.sim.addr

    @classmethod
    def tearDownClass(cls):
        cls.sim.__exit__(None, None, None)

    def test_openai(self):
        openai = client("openai")
        api = openai.OpenAI(base_url=self.url + "/v1", api_key="k", max_retries=0)
        ask = {"model": "food", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        whole = api.chat.completions.create(**ask).choices[0].message.content
        self.assertEqual(len(whole.split()), 4)
        chunks = list(api.chat.completions.create(stream=True,
                                                  stream_options={"include_usage": True}, **ask))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
                         whole)
        self.assertEqual(chunks[-1].usage.completion_tokens, 4)
        self.assertEqual(len(api.completions.create(model=BASE, prompt="x", max_tokens=3)
                             .choices[0].text.split()), 3)
        text = "".join(c.choices[0].text for c in api.completions.create(
            model=BASE, prompt="x", max_tokens=3, stream=True))
        self.assertEqual(len(text.split()), 3)
        answer = api.responses.create(model=BASE, input="hi", max_output_tokens=4)
        found = list(api.responses.create(model=BASE, input="hi", max_output_tokens=4, stream=True))
        self.assertEqual(found[0].type, "response.created")
        self.assertEqual(found[-1].type, "response.completed")
        self.assertEqual(found[-1].response.output_text, answer.output_text)
        self.assertEqual("".join(e.delta for e in found if e.type == "response.output_text.delta"),
                         answer.output_text)
        with api.responses.stream(model=BASE, input="hi", max_output_tokens=4) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().output_text, answer.output_text)
        vectors = api.embeddings.create(model=BASE, input=["a", "b"]).data
        self.assertEqual(len(vectors[1].embedding), 384)
        self.assertEqual([m.id for m in api.models.list()], [BASE, "food"])
        self.assertTrue(api.audio.transcriptions.create(model=BASE, file=("a.wav", b"RIFF")).text)
        self.assertTrue(api.images.generate(model=BASE, prompt="x").data[0].b64_json)
        with self.assertRaises(openai.NotFoundError):
            api.chat.completions.create(**dict(ask, model="none"))
        with self.assertRaises(openai.BadRequestError):
            api.chat.completions.create(**dict(ask, max_tokens=0))
        with self.assertRaises(openai.AuthenticationError):
            openai.OpenAI(base_url=self.url + "/v1", api_key="x").models.list()

    def test_anthropic(self):
        anthropic = client("anthropic")
        api = anthropic.Anthropic(base_url=self.url, auth_token="k", api_key=None, max_retries=0)
        ask = {"model": "food", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        whole = api.messages.create(**ask)
        self.assertEqual(whole.usage.output_tokens, 4)
        with api.messages.stream(**ask) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[0].text)
        self.assertEqual(final.stop_reason, "max_tokens")
        self.assertEqual(final.usage.output_tokens, 4)
        counted = api.messages.count_tokens(model="food", messages=ask["messages"])
        self.assertEqual(counted.input_tokens, whole.usage.input_tokens)
        with self.assertRaises(anthropic.NotFoundError):
            api.messages.create(**dict(ask, model="none"))


if __name__ == "__main__":
    unittest.main()
