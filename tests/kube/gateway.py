"""The gateway installed by its chart, with model servers and pools, for tests to be hard on."""
import contextlib
import json
import os
import subprocess
import sys

from images import ROOT
from plane import until

sys.path.append(os.path.join(ROOT, "tests", "e2e"))
import flood  # noqa: E402
from prom import Page  # noqa: E402

CHARTS = os.path.join(ROOT, "charts")
CONTROLLER = "spoa-inference/gateway-controller"
ROUTES = "/apis/gateway.networking.k8s.io/v1"
POOLS = "/apis/inference.networking.k8s.io/v1"


def simulators(space, name, model, replicas=2, adapters=(), grace=20, options=()):
    """A Deployment of model servers, labelled app=NAME."""
    server = "name=$(POD_NAME),model=" + model + "".join(f",adapter={a}" for a in adapters)
    return {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": space},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}}, "spec": {
                    "automountServiceAccountToken": False, "terminationGracePeriodSeconds": grace,
                    "containers": [{
                        "name": "server", "image": "spoa-sim",
                        "args": ["--lenient", "--speed", "4", "--prefill-rate", "1e7", *options,
                                 "--server", server],
                        "env": [{"name": "POD_NAME",
                                 "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                        "ports": [{"containerPort": 8000}],
                        # what is on its way still comes, and streams end
                        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000},
                                           "periodSeconds": 1, "failureThreshold": 1}}]}}}}


def pool(space, name, app=None, port=8000, **more):
    return {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
            "metadata": {"name": name, "namespace": space, **more.pop("metadata", {})},
            "spec": {"selector": {"matchLabels": {"app": app or name}},
                     "targetPorts": [{"number": port}],
                     "endpointPickerRef": {"name": "none", "port": {"number": 9002},
                                           "failureMode": "FailOpen"}, **more}}


def gateway(space, name="gw", gateway_class="inference-haproxy", port=80, listeners=None):
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": name, "namespace": space},
            "spec": {"gatewayClassName": gateway_class, "listeners": listeners or [
                {"name": "http", "port": port, "protocol": "HTTP",
                 "allowedRoutes": {"namespaces": {"from": "All"}}}]}}


def route(space, name, model, pools, parent=None, header="X-Gateway-Model-Name", **rule):
    """A rule for one model. @pools: names, or references."""
    refs = [{"group": "inference.networking.k8s.io", "kind": "InferencePool",
             **({"name": p} if isinstance(p, str) else p)} for p in pools]
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": space},
            "spec": {"parentRefs": [parent or {"name": "gw"}], "rules": [{
                "backendRefs": refs, "timeouts": {"request": "300s"},
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [
                    {"type": "Exact", "name": header, "value": model}]}], **rule}]}}


MODEL_A, MODEL_B = "meta-llama/Llama-3.1-8B-Instruct", "microsoft/Phi-4-mini-instruct"


class Gateway:
    """Chart body-based-routing as release "gate" in @space, with a Gateway "gw" there."""

    VALUES = {"service.type": "LoadBalancer", "preStopSeconds": 2,
              "terminationGracePeriodSeconds": 15, "haproxy.threads": 2,
              "agent.config.drain": "2s", "agent.config.kubernetes.idle": "4s",
              "agent.config.kubernetes.retry": "200ms", "agent.config.kubernetes.retry_max": "1s"}

    def __init__(self, plane, space, **values):
        self.plane, self.space = plane, space
        self.values = {**self.VALUES, **{k.replace("__", "."): v for k, v in values.items()}}

    def helm(self, verb="install", wait=True, ok=True, **values):
        settings = {**self.values, **{k.replace("__", "."): v for k, v in values.items()}}
        words = [w for k, v in settings.items() for w in ("--set", f"{k}={v}")]
        told = self.plane.helm(verb, "gate", os.path.join(CHARTS, "body-based-routing"),
                               "-n", self.space, "--set", "provider.name=haproxy", *words, ok=ok)
        if wait:
            self.wait()
        return told

    def wait(self):
        self.plane.kubectl("-n", self.space, "rollout", "status", "deployment/body-based-router",
                           "--timeout=90s")

    def install(self):
        self.plane.kubectl("create", "namespace", self.space, ok=False)
        self.helm()
        self.plane.apply(gateway(self.space, gateway_class=self.values.get(
            "gatewayClass.name", "inference-haproxy")))
        until(lambda: self.address, 20, "the gateway has an address")
        return self

    def equip(self):
        """Model A by pool and Deployment "a", model B by "b"."""
        self.equipment = [o for name, model in (("a", MODEL_A), ("b", MODEL_B)) for o in (
            simulators(self.space, name, model), pool(self.space, name),
            route(self.space, "route-" + name, model, [name]))]
        self.settle()

    def settle(self):
        """Until everything of equip() is as it was then, and answers."""
        self.plane.apply(*self.equipment)
        for o in self.equipment:  # apply leaves what others have added
            kind = {"HTTPRoute": f"{ROUTES}/%s/httproutes/%s",
                    "InferencePool": f"{POOLS}/%s/inferencepools/%s"}.get(o["kind"])
            if kind:
                path = kind % (f"namespaces/{self.space}", o["metadata"]["name"])
                live = self.plane.api.get(path)["spec"]
                extra = {k: None for k in live if k not in o["spec"]}
                self.plane.api.merge(path, {"spec": {**extra, **o["spec"]}})
        until(lambda: self.served_by(MODEL_A, "a") and self.served_by(MODEL_B, "b"), 60,
              "both models are served")
        until(lambda: all(len(m) == 2 for n in "ab" for m in self.members(f"{self.space}/{n}")), 30,
              "two members a pool")

    def uninstall(self):
        self.plane.helm("uninstall", "gate", "-n", self.space, ok=False)
        until(lambda: not self.pods(), 40, "the gateway's pods are gone")

    # ---- what it is asked
    @property
    def address(self):
        status = self.plane.api.get(f"{ROUTES}/namespaces/{self.space}/gateways/gw")["status"]
        return status["addresses"][0]["value"]

    def service_address(self):
        """Of the Service, whatever the Gateway's status says."""
        return self.plane.api.get(f"/api/v1/namespaces/{self.space}/services/body-based-router")[
            "status"]["loadBalancer"]["ingress"][0]["ip"]

    def ask(self, model, n=1, **more):
        """Outcomes of n requests at once."""
        return flood.burst((self.service_address(), 80), [flood.Ask(model, **more)] * n, timeout=30)

    def one(self, model, **more):
        return self.ask(model, **more)[0]

    def served_by(self, model, deployment):
        """Whether one request for @model is now answered by a pod of @deployment."""
        o = self.one(model)
        return not o.wrong and o.server.startswith(deployment + "-")

    def flood(self, models, n=6, stream=True, max_tokens=20):
        return flood.Flood((self.service_address(), 80),
                           [flood.Ask(m, stream=stream, max_tokens=max_tokens) for m in models], n)

    # ---- what is inside
    def pods(self):
        return self.plane.api.get(f"/api/v1/namespaces/{self.space}/pods",
                                  labelSelector="app=body-based-router")["items"]

    def inside(self, pod, path):
        """A page of the agent's administration port, which listens on the pod's own loopback."""
        name = "p" + pod["metadata"]["uid"].replace("-", "")[:12]
        done = subprocess.run(["ip", "netns", "exec", name, "curl", "-sS", "-m", "5", "--fail",
                               "http://127.0.0.1:9015" + path], capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr.strip())
        return done.stdout

    def states(self):
        return [json.loads(self.inside(p, "/state")) for p in self.pods()]

    def metrics(self):
        return [Page(self.inside(p, "/metrics")) for p in self.pods()]

    def members(self, name):
        """Per replica: the names of a pool's endpoints that may get requests."""
        found = []
        for state in self.states():
            there = [p for p in state["pools"] if p["name"] == name]
            found.append({e.get("server") or e["address"] for p in there for e in p["endpoints"]
                          if "drain" not in e["flags"]})
        return found

    def log(self, pod, container):
        path = self.plane.file("logs", f"{self.space}_{pod['metadata']['name']}_{container}.log")
        with open(path, errors="replace") as f:
            return f.read()


def conditions(obj, controller=CONTROLLER):
    """type → condition, of the first parent's that @controller wrote, or of the object's own."""
    status = obj.get("status", {})
    for parent in status.get("parents", []):
        if parent.get("controllerName", controller) == controller:
            return {c["type"]: c for c in parent.get("conditions", [])}
    return {c["type"]: c for c in status.get("conditions", [])}


def says(plane, path, kind, status="True", reason=None):
    """Whether the object's condition @kind is so, for its present generation."""
    obj = plane.api.get(path)
    c = conditions(obj).get(kind)
    return bool(c and c["status"] == status and c["observedGeneration"] == obj["metadata"]["generation"]
                and (reason is None or c["reason"] == reason))


@contextlib.contextmanager
def installed(plane, space, **values):
    g = Gateway(plane, space, **values)
    try:
        yield g.install()
    finally:
        g.uninstall()
