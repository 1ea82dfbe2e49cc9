"""haproxy/ingress in haproxytech's own ingress controller, run outside the cluster.

INGRESS_CONTROLLER names its program (`go build` in a checkout of haproxytech/kubernetes-ingress), its
resource definitions lie beside it or in INGRESS_CONTROLLER_CRDS (crs/definition of the checkout). Its
snippets, the auxiliary file, the Ingress and its annotation are the recipe's, the agent reads the API
with rbac.yaml's rights alone.
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

CONTROLLER = os.environ.get("INGRESS_CONTROLLER")
HERE = os.path.join(ROOT, "haproxy", "ingress")
HOST = "llm.example.com"
HTTP, ADMIN = 28080, 9015
MS_BIND = 4096

pytestmark = pytest.mark.skipif(
    not CONTROLLER, reason="haproxytech's ingress controller: INGRESS_CONTROLLER names no program")


class Ask(flood.Ask):
    def bytes(self):
        return super().bytes().replace(b"host: t\r\n", b"host: " + HOST.encode() + b"\r\n", 1)


def definitions():
    for folder in (os.environ.get("INGRESS_CONTROLLER_CRDS"),
                   os.path.join(os.path.dirname(CONTROLLER), "crs", "definition")):
        if folder and os.path.isdir(folder):
            return folder
    pytest.skip("haproxytech's ingress controller: INGRESS_CONTROLLER_CRDS names no folder")


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
        for name in ("run", "cfg", "etc", "haproxy"):
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
        p.kubectl("apply", "--server-side", "-f", definitions())
        p.kubectl("create", "namespace", "ingress")
        p.kubectl("create", "serviceaccount", "ingress", "-n", "ingress")
        p.kubectl("apply", "-f", os.path.join(HERE, "rbac.yaml"))
        self.start_agent()
        with open(os.path.join(ROOT, "haproxy", "spoe-inference.conf"), encoding="utf-8") as f:
            self.write("etc/spoe-inference.conf", f.read())
        self.write("cfg/haproxy-aux.cfg", self.moved(recipe("haproxytech", "sections.cfg")))
        p.apply({"apiVersion": "v1", "kind": "ConfigMap",
                 "metadata": {"name": "controller", "namespace": "ingress"},
                 "data": {"global-config-snippet": recipe("global.cfg"), "log-format": "%b %s %ST",
                          "frontend-config-snippet": recipe("haproxytech", "frontend.cfg")}})
        p.apply({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                 "metadata": {"name": "haproxy"},
                 "spec": {"controller": "haproxy.org/ingress-controller/haproxy"}})
        p.kubectl("apply", "-n", "default", "-f", os.path.join(HERE, "ingress.yaml"))
        p.kubectl("annotate", "-n", "default", "ingress", "inference",
                  "haproxy.org/backend-config-snippet=" + self.moved(recipe("backend.cfg")))
        program = self.write("haproxy-here", f"#!/bin/sh\nexec chroot {self.root or '/'} "
                             '/usr/sbin/haproxy "$@"\n')
        os.chmod(program, 0o755)
        self.spawn("controller", [
            CONTROLLER, "-e", "--kubeconfig=" + p.admin, "--program=" + program,
            f"--config-dir={self.folder}/cfg", f"--runtime-dir={self.folder}/haproxy",
            f"--http-bind-port={HTTP}", "--https-bind-port=28443", "--configmap=ingress/controller",
            "--ingress.class=haproxy", "--sync-period=1s"],
            {"POD_NAME": "controller", "POD_NAMESPACE": "ingress"})
        return self

    def stop(self):
        for name in ("controller", "agent"):
            self.end(name)
        # its HAProxy is of a session of its own
        pidfile = self.folder + "/haproxy/haproxy.pid"
        with contextlib.suppress(OSError, ValueError):
            with open(pidfile) as f:
                os.kill(int(f.read().split()[0]), signal.SIGTERM)
        if self.root:
            network.libc.umount2((self.root + self.folder).encode(), 2)
            os.rmdir(self.root + self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

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


@pytest.fixture(scope="module")
def beside(plane):
    b = Beside(plane)
    try:
        objects = [simulators("default", "ing-a", MODEL_A, adapters=["food-review-1"]),
                   simulators("default", "ing-b", MODEL_B), pool("default", "ing-a"),
                   pool("default", "ing-b")]
        plane.apply(*objects)
        b.start()
        until(lambda: b.served_by(MODEL_A, "ing-a") and b.served_by(MODEL_B, "ing-b"), 90,
              "both models are served through the controller")
        yield b
    finally:
        b.stop()
        plane.kubectl("delete", "deployment,inferencepool,ingress,service", "-n", "default",
                      "ing-a", "ing-b", "inference", "--ignore-not-found", ok=False)
        plane.kubectl("delete", "namespace", "ingress", "--wait=false", ok=False)


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
    assert not [str(o) for o in f.outcomes if o.wrong]


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
