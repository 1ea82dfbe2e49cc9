"""Many requests at once, each accounted for.

A raw client on asyncio, since libraries retry, reuse and smooth over what is to be seen here. Every
request is one connection and ends as one Outcome: what was asked, what came, and in words what was
wrong with it, if anything.

    outcomes = burst(port, [ask(LLAMA, stream=True)] * 1000)
    with Flood(port, 20) as flood:     # 20 at a time, again and again
        ...
    flood.outcomes
"""
import asyncio
import dataclasses
import json
import threading
import time


@dataclasses.dataclass
class Ask:
    model: str
    stream: bool = False
    max_tokens: int = 20
    path: str = "/v1/chat/completions"
    text: str = "hello"

    def bytes(self):
        body = json.dumps({"model": self.model, "stream": self.stream, "max_tokens": self.max_tokens,
                           "messages": [{"role": "user", "content": self.text}]}).encode()
        return (f"POST {self.path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body


@dataclasses.dataclass
class Outcome:
    ask: Ask
    began: float
    ended: float = 0
    first: float = 0  # the first byte of the body
    status: int = 0
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = b""
    wrong: str = ""

    @property
    def server(self):
        return self.headers.get("x-sim-name")

    def __str__(self):
        what = "stream" if self.ask.stream else "plain"
        return f"{what} {self.ask.model}: {self.status} from {self.server}: {self.wrong}"


def _judge(o, closed_well):
    if o.status != 200:
        o.wrong = f"status {o.status} {o.body[:200]!r}"
    elif not closed_well:
        o.wrong = "cut off"
    elif o.ask.stream:
        if not o.body.rstrip().endswith(b"data: [DONE]"):
            o.wrong = "a stream without its end"
        elif o.body.count(b'"delta":{"content"') != o.ask.max_tokens:
            o.wrong = f"{o.body.count(b'content')} pieces of {o.ask.max_tokens}"
    elif json.loads(o.body)["model"] != o.ask.model:
        o.wrong = "the answer of another model"


def _at(port):
    """Loopback, or what a pair says."""
    return port if isinstance(port, tuple) else ("127.0.0.1", port)


async def _once(port, ask, timeout, semaphore=None):
    o = Outcome(ask, time.monotonic())
    writer = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(*_at(port), limit=1 << 22)
            writer.write(ask.bytes())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            o.status = int(lines[0].split()[1])
            o.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
            if "chunked" in o.headers.get("transfer-encoding", ""):
                parts, well = [], False
                while line := await reader.readline():
                    size = int(line, 16)
                    o.first = o.first or time.monotonic()
                    piece = await reader.readexactly(size + 2)
                    if size == 0:
                        well = True
                        break
                    parts.append(piece[:-2])
                    o.body = b""
                o.body = b"".join(parts)
            else:
                length = o.headers.get("content-length")
                o.body = await reader.read(-1)
                well = length is None or len(o.body) == int(length)
            _judge(o, well)
    except TimeoutError:
        o.wrong = f"no end within {timeout} s"
    except asyncio.IncompleteReadError as e:
        o.wrong = "cut off" if o.status else f"no answer: closed after {e.partial[:60]!r}"
    except (OSError, ValueError) as e:
        o.wrong = f"{'cut off' if o.status else 'no answer'}: {e!r}"
    finally:
        if writer:
            writer.close()
        if semaphore:
            semaphore.release()
    o.ended = time.monotonic()
    return o


def burst(port, asks, timeout=90):
    """All at once; their outcomes in order."""
    async def run():
        return await asyncio.gather(*[_once(port, a, timeout) for a in asks])
    return asyncio.run(run())


class Flood:
    """@n requests at a time until the end of the block, taken in turn from @asks."""

    def __init__(self, port, asks, n=16, timeout=60):
        self.port, self.asks, self.n, self.timeout = port, asks, n, timeout
        self.outcomes = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self):
        turn = iter(range(1 << 60))

        async def one():
            while not self._stop.is_set():
                ask = self.asks[next(turn) % len(self.asks)]
                self.outcomes.append(await _once(self.port, ask, self.timeout))
        await asyncio.gather(*[one() for _ in range(self.n)])

    def wait(self, n, seconds=30):
        """Until @n more have ended."""
        goal, end = len(self.outcomes) + n, time.monotonic() + seconds
        while len(self.outcomes) < goal:
            if time.monotonic() > end:
                raise AssertionError(f"{goal - len(self.outcomes)} of {n} did not end in {seconds} s")
            time.sleep(0.02)

    @property
    def wrong(self):
        return [o for o in self.outcomes if o.wrong]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(self.timeout + 5)


class Bursts(Flood):
    """@n requests at once, then a rest of @pause seconds, again and again."""

    def __init__(self, port, asks, n=80, pause=3, timeout=60):
        super().__init__(port, asks, n, timeout)
        self.pause = pause

    async def _run(self):
        while not self._stop.is_set():
            self.outcomes += await asyncio.gather(*[
                _once(self.port, self.asks[i % len(self.asks)], self.timeout) for i in range(self.n)])
            await asyncio.sleep(self.pause)
