"""haproxy/demo: what somebody sees first. It says the truth, ends as it should, and leaves nothing."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from haproxy import installed
from stack import BUILD, ROOT, ask, until

pytest.importorskip("openai")
pytest.importorskip("anthropic")
pytestmark = pytest.mark.parametrize("version", ["2.6"])


class Demo:
    """A copy of haproxy/, so that one which is up in this checkout is left alone."""

    def __init__(self, folder, version):
        root, command = installed()[version]
        self.haproxy, self.folder = command[0], folder
        self.started = []
        shutil.copytree(os.path.join(ROOT, "haproxy"), os.path.join(folder, "haproxy"),
                        ignore=shutil.ignore_patterns("run", "__pycache__"))

    def path(self, *names):
        return os.path.join(self.folder, "haproxy", "demo", *names)

    def start(self, *arguments):
        self.out = self.path("..", f"said-{len(self.started)}")
        with open(self.out, "w") as out:
            p = subprocess.Popen(
                [sys.executable, self.path("demo.py"), "--haproxy", self.haproxy, *arguments],
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, "SPOA_BUILD": BUILD}, start_new_session=True)
        p.out = self.out
        self.started.append(p)
        return p

    @staticmethod
    def said(process):
        with open(process.out) as f:
            return f.read()

    def wait_for(self, process, text):
        def there():
            if process.poll() is not None and text not in self.said(process):
                pytest.fail(f"it ended ({process.returncode}):\n{self.said(process)}")
            return text in self.said(process)
        until(there, 90, f"it says {text!r}")

    def left(self):
        """Processes that work in its folder."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/cwd").startswith(self.folder):
                    found.append(pid)
            except OSError:
                continue
        return found


@pytest.fixture
def demo(version, tmp_path):
    if version not in installed():
        pytest.skip(f"HAProxy {version} is not installed")
    d = Demo(str(tmp_path), version)
    yield d
    for p in d.started:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGTERM)
            p.wait(60)


def test_twice_in_a_row_with_its_ports_taken(demo):
    taken = []
    for port in (8080, 8003, 9015):
        s = socket.socket()
        try:
            s.bind(("127.0.0.1", port))
            s.listen()
            taken.append(s)
        except OSError:
            s.close()  # by somebody else: as good
    try:
        for _ in range(2):
            p = demo.start("--once")
            assert p.wait(120) == 0, demo.said(p)
            said = demo.said(p)
            rows = re.findall(r"^\d+ .* (\d{3})$", said, re.M)
            assert len(rows) >= 15 and set(rows[:-1]) == {"200"} and rows[-1] == "404", said
            assert f"{len(rows)} answers came from where they should." in said
            assert "WRONG" not in said and said.endswith("stopped.\n")
            assert not demo.left()
    finally:
        for s in taken:
            s.close()


def test_ctrl_c_while_it_shows(demo):
    p = demo.start()
    demo.wait_for(p, "\n3  ")
    os.killpg(p.pid, signal.SIGINT)
    assert p.wait(60) == 128 + signal.SIGINT
    assert "Traceback" not in demo.said(p) and demo.said(p).endswith("stopped.\n"), demo.said(p)
    assert not demo.left()


def test_a_second_one_beside_the_first(demo):
    first = demo.start()
    demo.wait_for(first, "Stop it with Ctrl-C")
    url = re.search(r"curl (http://[^/]+)/v1/models", demo.said(first)).group(1)
    second = demo.start("--once")
    assert second.wait(60) == 1 and "running already" in demo.said(second), demo.said(second)
    port = int(url.rsplit(":", 1)[1])
    assert ask(port, path="/v1/models").status == 200
    # What it tells to try is there.
    for page in re.findall(r"http://127\.0\.0\.1:\d+/(?:state|metrics)?(?=\s)", demo.said(first)):
        number, path = re.match(r"http://127\.0\.0\.1:(\d+)(/.*)", page).groups()
        assert ask(int(number), path=path).status == 200, page
    assert os.path.exists(demo.path("run", "agent.yaml"))
    os.killpg(first.pid, signal.SIGTERM)
    assert first.wait(60) == 128 + signal.SIGTERM and not demo.left()


def test_a_wrong_answer_is_told_and_is_the_exit_status(demo):
    p = demo.start("--once")
    demo.wait_for(p, "\n2  ")
    port = int(re.search(r"llama1 \(:(\d+)\)", demo.said(p)).group(1))
    for name in ("llama1", "llama2", "llama3"):
        query = f"remove=food-review-1&server={name}"
        assert ask(port, "POST", f"/sim/adapters?{query}").status == 200
    assert p.wait(120) == 1
    said = demo.said(p)
    assert "WRONG: status 404, not 200" in said and "not all of" in said, said
    assert said.count("WRONG") == 1 and "Traceback" not in said, said
    assert not demo.left()
