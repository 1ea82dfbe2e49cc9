"""haproxy/ingress in the real ingress controllers, run outside the cluster.

INGRESS_CONTROLLER names haproxytech's program (`go build` in a checkout of
haproxytech/kubernetes-ingress), INGRESS_CONTROLLER_JCMORAISJR that of jcmoraisjr/haproxy-ingress (`go
build ./pkg`). Each lies in its checkout, whose files it needs, or INGRESS_CONTROLLER_FILES and
INGRESS_CONTROLLER_JCMORAISJR_FILES name that. Snippets, sections, the Ingress and its annotation are
the recipe's; the agent reads the API with rbac.yaml's rights alone.
"""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

import images
import network
from gateway import MODEL_A, MODEL_B, pool, simulators
from images import AGENT, ROOT
from plane import die_with_parent, until

import flood  # gateway.py knows where it is

PROGRAMS = {"haproxytech": "INGRESS_CONTROLLER", "jcmoraisjr": "INGRESS_CONTROLLER_JCMORAISJR"}
HERE = os.path.join(ROOT, "haproxy", "ingress")
HOST = "llm.example.com"
HTTP, HTTPS, ADMIN = 28080, 28443, 9015
MS_BIND = 4096


class Ask(flood.Ask):
    def bytes(self):
        return super().bytes().replace(b"host: t\r\n", b"host: " + HOST.encode() + b"\r\n", 1)


def files(name):
    """A folder or file of the controller's checkout."""
    program = os.environ[PROGRAMS[name]]
    return os.environ.get(PROGRAMS[name] + "_FILES") or os.path.dirname(os.path.abspath(program))


def recipe(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as f:
        return f.read()


class Beside:
    """The controller and the agent as two containers of one pod would be: one loopback, two folders."""

    def __init__(self, plane):
        self.plane, self.processes = plane, {}
        version = "3.2" if "3.2" in images.haproxies() else max(images.haproxies())
        self.root = images.haproxies()[version].rstrip("/")
        self.folder = tempfile.mkdtemp(prefix="ingress-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.agent_folder = self.folder + "/run"
        for name in ("run", "etc", "bin"):
            os.mkdir(f"{self.folder}/{name}")
        if self.root:  # the same path for HAProxy, in its Debian folder
            os.makedirs(self.root + self.folder)
            network.mount(self.folder, self.root + self.folder, None, MS_BIND)

    def moved(self, text):
        text = text.replace("/run/spoa-inference", self.agent_folder)
        return text.replace("/etc/haproxy-inference", self.folder + "/etc")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def spawn(self, name, argv, env=None):
        log = open(os.path.join(self.plane.folder, "logs", f"ingress_{name}.log"), "ab")
        self.processes[name] = subprocess.Popen(
            argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
            cwd=self.folder, start_new_session=True, preexec_fn=die_with_parent)
        log.close()

    def end(self, name, how=signal.SIGTERM):
        p = self.processes.pop(name, None)
        if p:
            p.send_signal(how)
            try:
                p.wait(15)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def log(self, name):
        with open(os.path.join(self.plane.folder, "logs", f"ingress_{name}.log"), errors="replace") as f:
            return f.read()

    def start_agent(self):
        token = self.plane.kubectl("create", "token", "ingress", "-n", "ingress").strip()
        kubeconfig = self.plane.kubeconfig("ingress-agent", user={"token": token})
        conf = self.moved(recipe("agent.yaml")).replace(
            "kubernetes:\n", f"kubernetes:\n  kubeconfig: {kubeconfig}\n  namespace: ingress\n")
        assert kubeconfig in conf
        self.spawn("agent", [AGENT, "-f", self.write("etc/agent.yaml", conf + "drain: 0s\n")])

    def start(self):
        p = self.plane
        p.kubectl("create", "namespace", "ingress")
        p.kubectl("create", "serviceaccount", "ingress", "-n", "ingress")
        p.kubectl("apply", "-f", os.path.join(HERE, "rbac.yaml"))
        self.start_agent()
        with open(os.path.join(ROOT, "haproxy", "spoe-inference.conf"), encoding="utf-8") as f:
            self.write("etc/spoe-inference.conf", f.read())
        p.kubectl("apply", "-n", "default", "-f", os.path.join(HERE, "ingress.yaml"))
        p.kubectl("annotate", "-n", "default", "ingress", "inference",
                  f"{self.ANNOTATION}={self.moved(recipe('backend.cfg'))}")
        program = self.write("bin/haproxy", f"#!/bin/sh\nexec chroot {self.root or '/'} "
                             '/usr/sbin/haproxy "$@"\n')
        os.chmod(program, 0o755)
        self.sections = self.moved(recipe(self.name, "sections.cfg"))
        self.start_controller(os.environ[PROGRAMS[self.name]], program)
        return self

    def environment(self):
        """What values.yaml gives the controller's container."""
        text = recipe(self.name, "values.yaml")
        found = dict(re.findall(r"^    - name: ([A-Z_]+)\n      value: (\S+)$", text, re.M))
        assert found
        return found

    def config(self, **data):
        self.plane.apply({"apiVersion": "v1", "kind": "ConfigMap",
                          "metadata": {"name": "controller", "namespace": "ingress"}, "data": data})

    def ingress_class(self, controller):
        self.plane.apply({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                          "metadata": {"name": "haproxy"}, "spec": {"controller": controller}})

    def stop(self):
        for name in ("controller", "agent"):
            self.end(name)
        for pid in self.haproxies():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self.root:
            network.libc.umount2((self.root + self.folder).encode(), 2)
            os.rmdir(self.root + self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def haproxies(self):
        """What the controller started: processes of HAProxy with our folder in their words."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    with open(f"/proc/{entry}/cmdline") as f:
                        words = f.read().split("\0")
                    if "haproxy" in words[0] and any(self.folder in w for w in words):
                        found.append(int(entry))
        return found

    # ---- asking
    def ask(self, method, path, body=None, host=HOST):
        c = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=15)
        try:
            c.request(method, path, body and json.dumps(body),
                      {"host": host, "content-type": "application/json"})
            r = c.getresponse()
            return r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read()
        finally:
            c.close()

    def served_by(self, model, deployment):
        status, headers, _ = self.ask("POST", "/v1/completions",
                                      {"model": model, "prompt": "hi", "max_tokens": 2})
        return status == 200 and headers.get("x-sim-name", "").startswith(deployment + "-")

    def admin(self, path):
        c = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=5)
        try:
            c.request("GET", path)
            return c.getresponse().read().decode()
        finally:
            c.close()

    def flood(self, models, n=6):
        return flood.Flood(("127.0.0.1", HTTP), [Ask(m, stream=True) for m in models], n)


class Haproxytech(Beside):
    name, ANNOTATION = "haproxytech", "haproxy.org/backend-config-snippet"

    def start_controller(self, program, haproxy):
        self.plane.kubectl("apply", "--server-side", "-f",
                           os.path.join(files(self.name), "crs", "definition"))
        for name in ("cfg", "haproxy"):
            os.mkdir(f"{self.folder}/{name}")
        self.write("cfg/haproxy-aux.cfg", self.sections)
        self.config(**{"global-config-snippet": recipe("global.cfg"),
                       "frontend-config-snippet": recipe(self.name, "frontend.cfg")})
        self.ingress_class("haproxy.org/ingress-controller/haproxy")
        self.spawn("controller", [
            program, "-e", "--kubeconfig=" + self.plane.admin, "--program=" + haproxy,
            f"--config-dir={self.folder}/cfg", f"--runtime-dir={self.folder}/haproxy",
            f"--http-bind-port={HTTP}", f"--https-bind-port={HTTPS}",
            "--configmap=ingress/controller", "--ingress.class=haproxy", "--sync-period=1s"],
            {"POD_NAME": "controller", "POD_NAMESPACE": "ingress", **self.environment()})


class Jcmoraisjr(Beside):
    name, ANNOTATION = "jcmoraisjr", "haproxy-ingress.github.io/config-backend"

    def start_controller(self, program, haproxy):
        rootfs = os.path.join(files(self.name), "rootfs")
        os.symlink(rootfs, self.folder + "/rootfs")
        fs = self.folder + "/fs"
        shutil.copytree(rootfs + "/etc/lua", fs + "/etc/haproxy/lua")
        # A package of the image, for the authentication that nobody asks for here.
        if not os.path.exists(fs + "/etc/haproxy/lua/json.lua"):
            self.write("fs/etc/haproxy/lua/json.lua", "return {}\n")
        for name in ("var/lib/haproxy", "var/run/haproxy"):
            os.makedirs(f"{fs}/{name}")
        self.config(**{"config-global": recipe("global.cfg"), "config-sections": self.sections,
                       "config-frontend": recipe(self.name, "frontend.cfg"),
                       "http-port": str(HTTP), "https-port": str(HTTPS), "healthz-port": "28081",
                       "stats-port": "28082", "use-haproxy-user": "false"})
        self.ingress_class("haproxy-ingress.github.io/controller")
        self.spawn("controller", [
            program, "--kubeconfig=" + self.plane.admin, "--local-filesystem-prefix=" + fs,
            "--configmap=ingress/controller", "--ingress-class=haproxy", "--ip-mode=v4",
            "--update-status=false", "--healthz-port=28083", "--reload-strategy=reusesocket",
            "--master-worker"],
            {"POD_NAMESPACE": "ingress",
             "PATH": f"{self.folder}/bin:{os.environ['PATH']}", **self.environment()})


@pytest.fixture(scope="module", params=[Haproxytech, Jcmoraisjr], ids=lambda k: k.name)
def beside(request, plane):
    kind = request.param
    if not os.environ.get(PROGRAMS[kind.name]):
        pytest.skip(f"{kind.name}'s ingress controller: {PROGRAMS[kind.name]} names no program")
    b = kind(plane)
    try:
        objects = [simulators("default", "ing-a", MODEL_A, adapters=["food-review-1"]),
                   simulators("default", "ing-b", MODEL_B), pool("default", "ing-a"),
                   pool("default", "ing-b")]
        plane.apply(*objects)
        b.start()
        try:
            until(lambda: b.served_by(MODEL_A, "ing-a") and b.served_by(MODEL_B, "ing-b"), 90,
                  "both models are served through the controller")
        except AssertionError:
            print(b.log("agent")[-3000:], b.log("controller")[-9000:], sep="\n")
            raise
        yield b
    finally:
        b.stop()
        plane.kubectl("delete", "deployment,inferencepool,ingress,service", "-n", "default",
                      "ing-a", "ing-b", "inference", "--ignore-not-found", ok=False)
        plane.kubectl("delete", "ingressclass", "haproxy", ok=False)
        plane.kubectl("delete", "namespace", "ingress", ok=False)


def test_models_and_adapters(beside):
    for model, deployment in ((MODEL_A, "ing-a"), (MODEL_B, "ing-b"), ("food-review-1", "ing-a")):
        for _ in range(5):
            assert beside.served_by(model, deployment), model
    status, _, body = beside.ask("GET", "/v1/models")
    assert status == 200
    assert {m["id"] for m in json.loads(body)["data"]} == {MODEL_A, MODEL_B, "food-review-1"}


def test_errors_in_openais_shape(beside):
    status, headers, body = beside.ask("POST", "/v1/completions", {"model": "no/such"})
    assert status == 404 and json.loads(body)["error"]["code"] == "model_not_found"
    status, _, body = beside.ask("POST", "/v1/completions", {"prompt": "x"})
    assert status == 400 and "model" in json.loads(body)["error"]["message"]
    status, _, body = beside.ask("POST", "/v1/messages", {"model": "no/such"})
    assert status == 404 and json.loads(body)["error"]["type"] == "not_found_error"
    status, _, body = beside.ask("GET", "/nowhere")
    assert status == 404 and json.loads(body)["error"]["code"] == "unknown_url"
    status, _, _ = beside.ask("POST", "/v1/completions", {"model": MODEL_A, "prompt": "x" * 2000000})
    assert status == 413


def test_large_bodies(beside):
    for size in (31000, 33000, 300000, 900000):
        status, headers, _ = beside.ask("POST", "/v1/completions", {
            "prompt": "x" * size, "max_tokens": 1, "model": MODEL_B})
        assert status == 200 and headers["x-sim-name"].startswith("ing-b-"), size


def test_nobody_else_names_the_model(beside):
    body = json.dumps({"model": MODEL_B, "prompt": "x", "max_tokens": 1})
    c = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=15)
    c.request("POST", "/v1/completions", body, {
        "host": HOST, "content-type": "application/json", "X-Gateway-Model-Name": MODEL_A,
        "X-Gateway-Destination-Endpoint": "127.0.0.1:1"})
    r = c.getresponse()
    r.read()
    assert r.status == 200 and r.getheader("x-sim-name").startswith("ing-b-")
    c.close()


def test_ends_are_told(beside):
    with beside.flood([MODEL_A, MODEL_B]) as f:
        until(lambda: len(f.outcomes) > 60, 30)
    assert not [str(o) for o in f.outcomes if o.wrong]

    def settled():
        page = beside.admin("/metrics")
        return re.search(r"^spoa_inference_tickets 0$", page, re.M)
    until(settled, 10, "no ticket is left open")
    closed = re.search(r'feedback_lines_total\{result="closed"\} (\d+)', beside.admin("/metrics"))
    assert int(closed[1]) >= 60


def test_pods_come_and_go_under_load(beside, plane):
    with beside.flood([MODEL_A, MODEL_B]) as f:
        plane.kubectl("scale", "-n", "default", "deployment/ing-a", "--replicas=4")
        until(lambda: len({o.server for o in f.outcomes if (o.server or "").startswith("ing-a-")}) == 4,
              60, "all four get requests")
        plane.kubectl("scale", "-n", "default", "deployment/ing-a", "--replicas=1")
        until(lambda: len(plane.api.get("/api/v1/namespaces/default/pods",
                                        labelSelector="app=ing-a")["items"]) == 1, 60)
    assert len(f.outcomes) > 20
    wrong = [o for o in f.outcomes if o.wrong]
    told = re.findall(r'^spoa_inference_\w+\{.*verdict="\w+".*$', beside.admin("/metrics"), re.M)
    assert not wrong, (len(wrong), [(str(o), o.ended - o.began) for o in wrong[:5]], told)


def test_others_do_not_need_the_agent(beside, plane):
    plane.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other", "namespace": "default"},
         "spec": {"selector": {"app": "ing-b"}, "ports": [{"port": 80, "targetPort": 8000}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
         "metadata": {"name": "other", "namespace": "default"},
         "spec": {"ingressClassName": "haproxy", "rules": [{"host": "other.example.com", "http": {
             "paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {
                 "name": "other", "port": {"number": 80}}}}]}}]}})
    try:
        until(lambda: beside.ask("GET", "/health", host="other.example.com")[0] == 200, 30)
        beside.end("agent", signal.SIGKILL)
        status, headers, body = beside.ask("POST", "/v1/completions", {"model": MODEL_A})
        assert status == 503 and json.loads(body)["error"]["type"] == "server_error"
        assert headers["retry-after"]
        assert beside.ask("GET", "/health", host="other.example.com")[0] == 200
        beside.start_agent()
        until(lambda: beside.served_by(MODEL_A, "ing-a"), 20, "the agent is back in use")
    finally:
        plane.kubectl("delete", "ingress,service", "other", "-n", "default", ok=False)
