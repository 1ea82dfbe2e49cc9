#!/usr/bin/env python3
"""spoa-sim from outside: the shapes of its answers, whole and streamed; where the official clients
are installed they are tried too. Runs by pytest as well."""
import base64
import json
import struct
import unittest

from simulator import BASE, Sim, chat, events


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
    unittest.main(verbosity=2)  # names what it skips
