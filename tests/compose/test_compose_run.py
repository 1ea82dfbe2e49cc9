"""The compose demo with a real engine: built, brought up, asked, scaled, hurt, taken down.

The tests are one story in the order of this file. HAProxy is the official image where a registry can
be reached, otherwise Debian's package in an image made here; Prometheus and Grafana are not run,
their questions are held against the real pages.
"""
import collections
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import time

import pytest

import demo
import engine

PROJECT = "spoa-test-%d" % os.getpid()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# Where the tests have an engine of their own, which forgets everything: the images that it built.
IMAGES = os.path.join(demo.ROOT, ".cache", "compose")


def kept_images():
    """The file that holds what was built of exactly these sources, if it was."""
    seen = hashlib.sha256()
    for top in (".dockerignore", "CMakeLists.txt", "LICENSE", "agent", "haproxy/models.map", "spop",
                "tests/sim", "tests/compose/test_compose_run.py", "tests/compose/engine.py"):
        top = os.path.join(demo.ROOT, top)
        files = [top] if os.path.isfile(top) else [
            os.path.join(at, f) for at, _, names in os.walk(top) for f in names
            if "__pycache__" not in at and not f.endswith(".md")]
        for path in sorted(files):
            with open(path, "rb") as f:
                content = f.read()
            seen.update(b"%s %d\n" % (os.path.relpath(path, demo.ROOT).encode(), len(content)))
            seen.update(content)
    return os.path.join(IMAGES, seen.hexdigest()[:32] + ".tar")


class Demo:
    def __init__(self, docker, folder):
        self.docker = docker
        self.port, self.stats = free_port(), free_port()
        self.env = dict(docker.env, PORT=str(self.port), STATS_PORT=str(self.stats),
                        AGENT_IMAGE=PROJECT + "-agent", SIM_IMAGE=PROJECT + "-sim")
        # A version that was asked for is not what was kept.
        self.kept = kept_images() if docker.own and "HAPROXY_VERSION" not in docker.env else ""
        self.loaded = os.path.exists(self.kept)
        base = self.load() if self.loaded else self.prepare()
        args = {"args": {"DEBIAN": base, "JOBS": os.environ.get("JOBS", "2")}}
        override = folder / "override.yaml"
        override.write_text(json.dumps({"services": {"agent": {"build": args},
                                                     "llama": {"build": args}}}))
        commands = engine.compose_commands()
        if not commands:
            raise engine.Missing("neither docker compose nor docker-compose is installed")
        # 1.29 has no --wait, and takes longer to return than HAProxy to listen.
        self.wait = ["--wait"] if commands[0][-1] == "compose" else []
        self.compose = commands[0] + ["-p", PROJECT, "-f", demo.COMPOSE, "-f", str(override)]

    def load(self):
        self.docker("load", "-i", self.kept)
        for name in ("agent", "sim", "haproxy"):
            self.docker("tag", "spoa-test-" + name, PROJECT + "-" + name)
        self.env.update(HAPROXY_IMAGE=PROJECT + "-haproxy", HAPROXY_VERSION="latest")
        return "scratch"  # nothing is built

    def prepare(self):
        """HAProxy's image, and the name of what the others are built on."""
        base = self.docker.debian()
        if not self.docker.has("haproxy:" + self.env.get("HAPROXY_VERSION", "3.2")):
            self.docker("build", "-t", PROJECT + "-haproxy:debian", "-", seconds=900,
                        input="FROM %s\nRUN apt-get update && apt-get install -y "
                        "--no-install-recommends haproxy\nWORKDIR /var/lib/haproxy\n" % base)
            self.env.update(HAPROXY_IMAGE=PROJECT + "-haproxy", HAPROXY_VERSION="debian")
        return base

    def build(self):
        if self.loaded:
            return
        self("build", seconds=1500)
        if self.kept and self.env.get("HAPROXY_VERSION") == "debian":
            self.keep()

    def keep(self):
        made = {"agent": self.env["AGENT_IMAGE"], "sim": self.env["SIM_IMAGE"],
                "haproxy": PROJECT + "-haproxy:debian"}
        for name, image in made.items():
            self.docker("tag", image, "spoa-test-" + name)
        shutil.rmtree(IMAGES, ignore_errors=True)
        os.makedirs(IMAGES)
        self.docker("save", "-o", self.kept + ".new", *("spoa-test-" + name for name in made))
        os.rename(self.kept + ".new", self.kept)

    def __call__(self, *arguments, **more):
        return engine.run(*self.compose, *arguments, env=self.env, **more)

    def get(self, path, port=None, method="GET", body=None):
        c = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=15)
        try:
            c.request(method, path, body, {"content-type": "application/json"} if body else {})
            answer = c.getresponse()
            return answer, answer.read().decode()
        finally:
            c.close()

    def ask(self, model, tokens=3):
        return self.get("/v1/chat/completions", method="POST", body=json.dumps(
            {"model": model, "max_tokens": tokens,
             "messages": [{"role": "user", "content": "Say something."}]}))

    def containers(self, service):
        return self("ps", "-q", service).split()

    def inspect(self, what, template):
        return self.docker("inspect", "-f", template, what).strip()

    def agent_page(self, path):
        """The administration port is not published: from inside the network, by HAProxy's image."""
        address = self.inspect(self.containers("agent")[0],
                               "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        script = ("exec 3<>/dev/tcp/%s/9015 && printf 'GET %s HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' "
                  ">&3 && cat <&3" % (address, path))
        return self.docker("exec", self.containers("haproxy")[0], "bash", "-c", script)

    def metric(self, name):
        return sum(float(x) for x in re.findall(r"^spoa_inference_%s(?:\{[^}]*\})? (\S+)$" % name,
                                                self.agent_page("/metrics"), re.M))

    def endpoints(self, model, wanted, seconds=15):
        """Who answers, asked until there are @wanted of them."""
        seen, until = collections.Counter(), time.monotonic() + seconds
        while len(seen) < wanted and time.monotonic() < until:
            answer, _ = self.ask(model)
            assert answer.status == 200
            seen[answer.getheader("x-inference-endpoint")] += 1
        return seen


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    try:
        with engine.Engine() as docker:
            d = Demo(docker, tmp_path_factory.mktemp("compose"))
            try:
                d.build()
                d("up", "-d", *d.wait, seconds=180)
                yield d
            finally:
                d("down", "-v", "-t", "2", check=False)
                if docker.own is None:
                    docker("rmi", "-f", PROJECT + "-agent", PROJECT + "-sim", check=False)
    except engine.Missing as why:
        pytest.skip(str(why))


def test_first_request_after_up(up):
    """`up -d --wait` has returned: the very next request is answered, by the right model."""
    for model in (demo.LLAMA, demo.PHI4, "food-review-1"):
        answer, body = up.ask(model)
        assert answer.status == 200, body + up("logs", "--tail", "50")
        assert answer.getheader("x-inference-model") == model
        assert answer.getheader("x-inference-pool") == ("phi4" if model == demo.PHI4 else "llama")
        assert json.loads(body)["model"] == model
    answer, body = up.ask("nobody/serves-this")
    assert (answer.status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


def test_lists_and_health(up):
    models = {m["id"] for m in json.loads(up.get("/v1/models")[1])["data"]}
    assert models == {demo.LLAMA, "food-review-1", demo.PHI4}
    assert up.get("/health")[0].status == 200
    assert up.get("/healthz", up.stats)[0].status == 200


@pytest.mark.parametrize("service", ["agent", "haproxy"])
def test_is_healthy(up, service):
    for _ in range(60):
        state = up.inspect(up.containers(service)[0], "{{.State.Health.Status}}")
        if state != "starting":
            break
        time.sleep(0.5)
    assert state == "healthy", up.inspect(up.containers(service)[0], "{{json .State.Health}}")


def test_image_holds_nothing_else(up, tmp_path):
    at = tmp_path / "agent.tar"
    up.docker("export", "-o", str(at), up.containers("agent")[0])
    names = engine.run("tar", "-tf", str(at)).split("\n")
    programs = [n for n in names if re.match(r"(usr/)?s?bin/.", n) and not n.endswith("/")]
    assert programs == ["usr/sbin/spoa-inference"]
    assert "etc/ssl/certs/ca-certificates.crt" in names
    image = up.env["AGENT_IMAGE"]
    assert int(up.inspect(image, "{{.Size}}")) < 60e6
    assert up.inspect(image, "{{.Config.User}}") == "65532:65532"


def test_health_command_in_the_image(up):
    agent = up.containers("agent")[0]
    for arguments in (["-f", "/etc/spoa-inference.yaml"], ["--ready", "-f",
                      "/etc/spoa-inference.yaml"],
                      ["--url", "unix@/run/spoa-inference/admin.sock"]):
        assert " 200" in up.docker("exec", agent, "/usr/sbin/spoa-inference", "health", *arguments)
    with pytest.raises(AssertionError, match="status 1"):
        up.docker("exec", agent, "/usr/sbin/spoa-inference", "health", "--url",
                  "http://127.0.0.1:1")


def test_scaled_up(up):
    assert len(up.endpoints(demo.LLAMA, 2, 2)) == 1
    up("up", "-d", "--no-build", "--scale", "llama=3")
    seen = up.endpoints(demo.LLAMA, 3)
    assert len(seen) == 3, seen
    # by the agent's choice, not by HAProxy's own list
    assert up.ask(demo.LLAMA)[0].getheader("x-inference-server") == "endpoint"
    assert len(up.endpoints(demo.PHI4, 2, 2)) == 1


def test_every_end_is_told(up):
    for _ in range(20):
        assert up.ask(demo.PHI4)[0].status == 200
    until = time.monotonic() + 10
    while up.metric("tickets") and time.monotonic() < until:
        time.sleep(0.2)
    assert up.metric("tickets") == 0
    assert up.metric("tickets_expired_total") == 0
    assert up.metric("endpoint_ended_total") >= 20


def test_dashboard_reads_what_is_there(up):
    pages = up.agent_page("/metrics") + up.get("/metrics", up.stats)[1]
    sim = up.inspect(up.containers("llama")[0],
                     "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
    pages += up.docker("exec", up.containers("haproxy")[0], "bash", "-c",
                       "exec 3<>/dev/tcp/%s/8000 && printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n"
                       "Connection: close\\r\\n\\r\\n' >&3 && cat <&3" % sim)
    there = set(re.findall(r"^# TYPE (\S+)", pages, re.M))
    there |= set(re.findall(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)[{ ]", pages, re.M))
    for title, expression in demo.expressions():
        missing = demo.metric_names(expression) - there
        assert not missing, "%s: nobody tells %s" % (title, missing)


def test_without_the_agent(up):
    """Fail-open: the map names the backend, HAProxy's own list has the servers."""
    up("stop", "agent")
    agent = up("ps", "-a", "-q", "agent", check=False).split() or up.containers("agent")
    assert up.inspect(agent[0], "{{.State.ExitCode}}") == "0", "SIGTERM drains and ends"
    for model in (demo.LLAMA, demo.PHI4) * 3:
        answer, body = up.ask(model)
        assert answer.status == 200, body
        assert answer.getheader("x-inference-server") != "endpoint"
        assert json.loads(body)["model"] == model


def test_an_agent_made_anew(up):
    """Another container, perhaps another address: it decides again, and hears of every end."""
    up("up", "-d", "--no-build", "--scale", "llama=3", "--force-recreate", "--no-deps", "agent")
    until, server = time.monotonic() + 20, None
    while server != "endpoint" and time.monotonic() < until:
        answer, body = up.ask(demo.LLAMA)
        assert answer.status == 200, body
        server = answer.getheader("x-inference-server")
    assert server == "endpoint"
    # lines that are under way to the old one are lost; until they find the new one it may take some
    # seconds
    until = time.monotonic() + 20
    while not up.metric("endpoint_ended_total") and time.monotonic() < until:
        assert up.ask(demo.LLAMA)[0].status == 200
        time.sleep(0.2)
    time.sleep(1)
    before = up.metric("endpoint_ended_total")
    for _ in range(10):
        assert up.ask(demo.LLAMA)[0].status == 200
    until = time.monotonic() + 10
    while up.metric("endpoint_ended_total") < before + 10 and time.monotonic() < until:
        time.sleep(0.2)
    assert up.metric("endpoint_ended_total") >= before + 10


def test_scaled_down(up):
    """The two that are gone are not answered from: nobody sees an error."""
    up("up", "-d", "--no-build", "--scale", "llama=1")
    for _ in range(40):
        answer, body = up.ask(demo.LLAMA, 1)
        assert answer.status == 200, body
    time.sleep(3)
    assert len(up.endpoints(demo.LLAMA, 2, 3)) == 1


def test_down_leaves_nothing(up):
    up("down", "-v", "-t", "10")
    mark = "label=com.docker.compose.project=" + PROJECT
    assert up.docker("ps", "-aq", "--filter", mark).strip() == ""
    assert up.docker("volume", "ls", "-q", "--filter", mark).strip() == ""
    assert up.docker("network", "ls", "-q", "--filter", mark).strip() == ""
