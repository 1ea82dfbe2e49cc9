"""The official clients, unchanged but for base_url: they must not notice that there is a gateway."""
import json
import os
import shutil
import subprocess

import pytest

from stack import ADAPTER, LLAMA, LLAMAS, PHI, PHIS, ROOT

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

NODE = os.path.join(os.path.dirname(__file__), "client.mjs")
NODE_MODULES = os.environ.get("NODE_PATH", os.path.join(ROOT, ".cache", "node", "node_modules"))
SAY = [{"role": "user", "content": "Tell me a story of five words."}]


@pytest.fixture
def client(stack):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{stack.port}/v1", api_key="none",
                       max_retries=0, timeout=60) as c:
        yield c


@pytest.fixture
def claude(stack):
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{stack.port}", api_key="none",
                             max_retries=0, timeout=60) as c:
        yield c


@pytest.mark.parametrize("model,servers", [(LLAMA, LLAMAS), (PHI, PHIS), (ADAPTER, LLAMAS)])
class TestOpenAI:
    def test_chat(self, client, model, servers):
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=SAY, max_tokens=5)
        assert raw.headers["x-sim-name"] in servers
        said = raw.parse()
        assert said.model == model and said.usage.completion_tokens == 5
        assert said.choices[0].message.content

    def test_chat_stream(self, client, model, servers):
        with client.chat.completions.with_streaming_response.create(
                model=model, messages=SAY, max_tokens=7, stream=True,
                stream_options={"include_usage": True}) as raw:
            assert raw.headers["x-sim-name"] in servers
            chunks = list(raw.parse())
        text = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
        assert len(text) == 7 and chunks[-1].usage.completion_tokens == 7
        assert {c.model for c in chunks} == {model}

    def test_completions(self, client, model, servers):
        said = client.completions.create(model=model, prompt="2+2 is ", max_tokens=4)
        assert said.choices[0].text and said.usage.completion_tokens == 4
        stream = client.completions.create(model=model, prompt="2+2 is ", max_tokens=4, stream=True)
        assert len([c for c in stream if c.choices[0].text]) == 4

    def test_responses(self, client, model, servers):
        said = client.responses.create(model=model, input="a", max_output_tokens=3)
        assert said.output_text and said.model == model
        kinds = [e.type for e in client.responses.create(
            model=model, input="a", max_output_tokens=3, stream=True)]
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
        assert kinds.count("response.output_text.delta") == 3

    def test_embeddings(self, client, model, servers):
        said = client.embeddings.create(model=model, input=["a", "b"])
        assert len(said.data) == 2 and len(said.data[0].embedding) > 0

    def test_audio(self, client, model, servers):
        said = client.audio.transcriptions.create(model=model, file=("a.wav", b"RIFF" * 5000))
        assert said.text


def test_openai_lists_models(client):
    assert {m.id for m in client.models.list()} == {LLAMA, PHI, ADAPTER}
    for name in (LLAMA, PHI, ADAPTER):
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError) as e:
        client.models.retrieve("nobody")
    assert e.value.code == "model_not_found"


def test_openai_large_prompt(client):
    said = client.chat.completions.create(
        model=PHI, messages=[{"role": "user", "content": "wörd " * 150_000}], max_tokens=2)
    assert said.model == PHI


def test_openai_errors(client):
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="nobody", messages=SAY)
    assert e.value.code == "model_not_found" and e.value.param == "model"
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="", messages=SAY)
    assert e.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", body={"messages": SAY}, cast_to=object)


@pytest.mark.parametrize("model,servers", [(LLAMA, LLAMAS), (PHI, PHIS)])
class TestAnthropic:
    def test_messages(self, claude, model, servers):
        raw = claude.messages.with_raw_response.create(model=model, messages=SAY, max_tokens=5)
        assert raw.headers["x-sim-name"] in servers
        said = raw.parse()
        assert said.content[0].text and said.usage.output_tokens == 5

    def test_stream(self, claude, model, servers):
        with claude.messages.stream(model=model, messages=SAY, max_tokens=6) as stream:
            pieces = list(stream.text_stream)
            said = stream.get_final_message()
        assert len(pieces) == 6 and said.content[0].text == "".join(pieces)


def test_anthropic_errors(claude):
    with pytest.raises(anthropic.NotFoundError) as e:
        claude.messages.create(model="nobody", messages=SAY, max_tokens=5)
    assert e.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as e:
        claude.messages.create(model="", messages=SAY, max_tokens=5)
    assert e.value.body["type"] == "error"


@pytest.mark.parametrize("model,servers", [(LLAMA, LLAMAS), (PHI, PHIS)])
def test_node(stack, model, servers):
    node = shutil.which("node")
    if not node or not os.path.exists(os.path.join(NODE_MODULES, "openai")):
        pytest.skip("node or its openai package is not installed")
    done = subprocess.run([node, NODE, f"http://127.0.0.1:{stack.port}/v1", model, NODE_MODULES],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["whole"]["server"] in servers and said["whole"]["model"] == model
    assert said["whole"]["tokens"] == 5
    assert said["stream"]["server"] in servers and said["stream"]["pieces"] == 5
    assert said["error"] == {"status": 404, "code": "model_not_found"}
    assert sorted(said["models"]) == sorted([LLAMA, PHI, ADAPTER])
