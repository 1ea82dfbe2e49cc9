"""What the attacks share: an agent of one's own, a bystander who must not feel them, and measures."""
import os
import shutil
import tempfile
import threading
import time

from haproxy import free_port
from spop_client import SpopClient
from stack import AGENT, Agent, end, until

MODEL = "served"
BODY = b'{"model":"served","messages":[]}'


def _sanitized():
    try:
        with open(AGENT, "rb") as f:
            program = f.read()
    except OSError:
        return False
    return b"__asan_init" in program or b"__tsan_init" in program


SANITIZED = _sanitized()


def resident(agent):
    """Bytes; 0 under a sanitizer, whose own memory hides the agent's."""
    if SANITIZED:
        return 0
    with open(f"/proc/{agent.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(agent):
    return len(os.listdir(f"/proc/{agent.process.pid}/fd"))


class Bystander:
    """Asks all the time on one connection; every question must be answered, and soon."""

    def __init__(self, address, patience=40 if SANITIZED else 10):
        self.address, self.patience = address, patience
        self.answered, self.slowest, self.error = 0, 0.0, None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            with SpopClient(self.address, timeout=self.patience) as c:
                while not self._stop.is_set():
                    began = time.monotonic()
                    if c.ask(body=BODY)["verdict"].value != "routed":
                        raise AssertionError("not routed")
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.answered += 1
                    self._stop.wait(0.002)
        except BaseException as e:  # told to the test's own thread
            self.error = e

    def more(self, n=20):
        """@n more questions are answered from here on."""
        goal = self.answered + n
        until(lambda: self.error or self.answered >= goal, 30, "the bystander is served")
        if self.error:
            raise AssertionError("the bystander felt it") from self.error

    def __enter__(self):
        self._thread.start()
        self.more(5)
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.more(5)
        self._stop.set()
        self._thread.join(self.patience + 5)


class Lone:
    """An agent with listed endpoints, without HAProxy and model servers; @over goes over its
    configuration, section by section."""

    def __init__(self, env=None, **over):
        self.directory = tempfile.mkdtemp(prefix="spoa-attack-")
        self.address = f"unix@{self.directory}/spop"
        self.feedback = free_port()
        conf = {
            "listen": {"spop": self.address, "admin": f"127.0.0.1:{free_port()}",
                       "feedback": f"127.0.0.1:{self.feedback}"},
            "scrape": {"engine": "none", "models_interval": "1h"},
            "pools": {"p": {"models": [MODEL], "endpoints": [
                {"address": "127.0.0.1:9", "server": "s1"}, {"address": "127.0.0.1:10", "server": "s2"}]}},
            "drain": "100ms",
        }
        for section, value in over.items():
            if isinstance(value, dict) and section in conf and section != "pools":
                value = {**conf[section], **value}
            conf[section] = value
        self.agent = Agent(conf, self.directory, env=env)

    def start(self):
        self.agent.start(ready=False)
        until(lambda: self.agent.page("/healthz").status == 200, 20, "the agent is up")
        return self

    def closed(self, reason):
        return self.agent.metrics().get_one("spoa_inference_spop_closed_total", reason=reason)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            if kind is not None:
                print(self.agent.log()[-6000:])
            # Once: whoever is asked again while it takes itself down is ended by that signal.
            status = end(self.agent.process, wait=60)
            if kind is None:
                assert status == 0, f"the agent ended with {status}\n{self.agent.log()[-6000:]}"
        finally:
            if self.agent.process and self.agent.process.poll() is None:
                self.agent.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
