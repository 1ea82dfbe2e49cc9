"""The agent as a controller, with its own HAProxy following: objects of an API server (kube_fake)
become backends, servers and rules, and their status says so. A control plane's own faults are
tests/kube's; here it is the whole way from an object to a routed request, and how fast."""
import csv
import json
import tempfile
import time
import urllib.parse

import pytest

import kube_fake as kf
from flood import Ask, Flood
from haproxy import HAProxy, free_port, versions
from kube_fake import KubeFake, condition, matching, route, to_pool
from stack import ADAPTER, AGENT, LLAMA, OPTIONS, PHI, Agent, Sims, Stack, ask, until

# What does not hang on HAProxy's version.
one_version = pytest.mark.parametrize("version", versions()[:1])
PORT = free_port()  # of every pod: they differ by address


class KubeStack(Stack):
    """Pods are simulators on loopback addresses of their own, all on one port."""

    def __init__(self, version, conf=None, **kubernetes):
        self.version = version
        self.directory = tempfile.mkdtemp(prefix="spoa-e2e-")
        self.h = self.agent = self.sims = None
        self.pods, self.next_ip = {}, 2
        self.kube = KubeFake(self.directory)
        try:
            self.h = HAProxy(version, config="00-inference-env.cfg",
                             more=("haproxy.cfg", "90-inference-pools.cfg"),
                             files={"00-inference-env.cfg": "", "90-inference-pools.cfg": ""},
                             INFERENCE_POOLS="1", INFERENCE_KUBERNETES="1")
            self.over = {"pools": {}, "kubernetes": {
                "kubeconfig": self.kube.kubeconfig, "haproxy_dir": self.h.dir_outside,
                "haproxy_master": self.h.outside("master.sock"), "addresses": ["192.0.2.9"],
                **kubernetes}, **(conf or {})}
            self.agent = Agent(self.configuration(self.over), self.directory,
                               env={"POD_NAMESPACE": "default"})
        except BaseException:
            self.stop()
            raise

    def start(self):
        self.agent.start(ready=False)
        self.h.start()
        self.h.wait_agent("UP")
        self.agent.wait_ready()
        return self

    def stop(self):
        self.kube.stop()
        for sims, _ in list(self.pods.values()):
            sims.process.kill()
            Sims.stop(sims)
        self.pods = {}
        super().stop()

    def run(self, name, app, model=PHI, adapter=None, ready=True, address=None, more=()):
        """A pod whose server runs; with @ready it is told at once."""
        address = address or f"127.0.0.{self.next_ip}"
        self.next_ip += 1
        sims = Sims({name: [f"listen={address}:{PORT}", f"model={model}", *more,
                            *([f"adapter={adapter}"] if adapter else [])]},
                    self.directory, OPTIONS)
        self.pods[name] = (sims, kf.pod("default", name, {"app": app}, address))
        if ready:
            self.kube.put(self.pods[name][1])
        return self.pods[name][1]

    def tell(self, name, **status):
        o = json.loads(json.dumps(self.pods[name][1]))
        o["status"].update(status)
        self.kube.put(o)

    def kill(self, name):
        sims, _ = self.pods.pop(name)
        sims.process.kill()
        Sims.stop(sims)

    def control(self, name, what, method="POST", **query):
        address = self.pods[name][1]["status"]["podIP"]
        a = ask(PORT, method, f"/sim/{what}?" + urllib.parse.urlencode(query), host=address)
        assert a.status == 200, a
        return a.json()

    def stats(self, name):
        return self.control(name, "stats", "GET")

    def in_flight(self, name):
        return self.stats(name)["in_flight"]

    def serve(self):
        """Two pools of two pods, a class and a gateway."""
        self.kube.put(kf.gateway_class(), kf.gateway("default", "inference-gateway"))
        for name in ("llama-1", "llama-2"):
            self.run(name, "llama", LLAMA, ADAPTER)
        for name in ("phi-1", "phi-2"):
            self.run(name, "phi", PHI)
        self.kube.put(kf.pool("default", "llama", {"app": "llama"}, PORT),
                      kf.pool("default", "phi", {"app": "phi"}, PORT))

    def send(self, model=None, path="/v1/chat/completions", method="POST", **headers):
        body = {"max_tokens": 2, "messages": [{"role": "user", "content": "x"}]}
        if model:
            body["model"] = model
        data = json.dumps(body).encode() if method == "POST" else None
        return ask(self.port, method, path, data, {"content-type": "application/json",
                                                   **{k.replace("_", "-"): v for k, v in headers.items()}})

    def went(self, *args, **more):
        """The pod that answered, be it that it does not know the model, or HAProxy's status."""
        a = self.send(*args, **more)
        return a.headers.get("x-sim-name", a.status)

    def lands(self, among, *args, n=8, **more):
        got = [self.went(*args, **more) for _ in range(n)]
        return set(got) <= set(among) and got


@pytest.fixture
def make(version, request):
    from conftest import RUNNING
    made = []

    def build(start=True, serve=True, **how):
        s = KubeStack(version, **how)
        made.append(s)
        request.config.stash[RUNNING].append(s)
        if serve:
            s.serve()
        return s.start() if start else s

    yield build
    for s in made:
        request.config.stash[RUNNING].remove(s)
        s.stop()


LLAMAS, PHIS = {"llama-1", "llama-2"}, {"phi-1", "phi-2"}


def by_model(name, model, pool, timeout=None):
    return route("default", name, ([matching(model)], [to_pool(pool)], timeout))


def test_routes_of_the_guide(make):
    """Two routes by model, status of everything, the gateway's address."""
    s = make()
    assert s.went(LLAMA) == 404
    s.kube.put(by_model("llama-route", LLAMA, "llama", "300s"),
               by_model("phi-route", PHI, "phi", "300s"))
    until(lambda: s.lands(LLAMAS, LLAMA) and s.lands(PHIS, PHI), what="both are routed")
    assert s.went("nobody") == 404
    assert s.send(method="GET", path="/v1/models").json()["data"] != []

    for name in ("llama-route", "phi-route"):
        parents = until(lambda: s.kube.status("httproutes", "default", name).get("parents"))
        assert len(parents) == 1 and parents[0]["controllerName"] == kf.CONTROLLER
        assert condition(parents[0]["conditions"], "Accepted")[:3] == ("True", "Accepted", 1)
        assert condition(parents[0]["conditions"], "ResolvedRefs")[:3] == ("True", "ResolvedRefs", 1)
    got = until(lambda: s.kube.status("gateways", "default", "inference-gateway").get("addresses"))
    assert got == [{"type": "IPAddress", "value": "192.0.2.9"}]
    for plural, namespace, name in (("gatewayclasses", None, "inference-haproxy"),
                                    ("gateways", "default", "inference-gateway")):
        assert condition(s.kube.status(plural, namespace, name)["conditions"], "Accepted")[0] == "True"
    # Everything was said once: nothing is written when nothing changes.
    until(lambda: s.agent.state()["kubernetes"]["status_writes"]["waiting"] == 0)
    time.sleep(0.5)
    before = len(s.kube.patches)
    s.kube.put(s.kube.get("namespaces", None, "x") or
               kf._object("namespaces", None, "x"))
    time.sleep(0.5)
    assert len(s.kube.patches) == before
    assert s.kube.conflicts == 0


def test_matches(make):
    """Hosts, exact paths and prefixes, methods, headers, requests without a body."""
    s = make()
    s.kube.put(
        by_model("model", PHI, "phi"),
        route("default", "host", ([matching()], [to_pool("llama")], None),
              hostnames=["llama.example.com"]),
        route("default", "paths",
              ([matching(path="/only", path_type="Exact")], [to_pool("phi")], None),
              ([matching(path="/only")], [to_pool("llama")], None), hostnames=["paths.example.com"]),
        route("default", "tier",
              ([matching(headers=[("x-tier", "gold")]), matching(method="OPTIONS")],
               [to_pool("phi")], None), hostnames=["*.tier.example.com"]))
    host = {"host": "LLAMA.example.com:80"}
    until(lambda: s.lands(LLAMAS, "whatever", **host), what="the host is known")
    assert s.lands(LLAMAS, None, method="GET", path="/health", **host)
    # what is in a body stays wrong
    assert ask(s.port, "POST", "/v1/x", b"{", {"content-type": "application/json", **host}).status == 400
    paths = {"host": "paths.example.com"}
    until(lambda: s.lands(LLAMAS, "m", path="/only/", **paths))
    assert s.lands(PHIS, "m", path="/only?a=/b", **paths)
    assert s.lands(LLAMAS, "m", path="/only/x", **paths)
    assert s.went("m", path="/onlyx", **paths) == 404
    # and without a model, to whatever host: no rule matches, which is not that a server is missing
    for host_of in (paths, {}, {"host": "nobody.example.com"}):
        for method in ("GET", "HEAD", "DELETE"):
            assert s.send(method=method, path="/onlyx", **host_of).status == 404, (method, host_of)
        assert s.send(path="/onlyx", **host_of).status == 400
    assert s.agent.explain(b"", "--host", "paths.example.com", "--path", "/only?x=1",
                           "--method", "GET").returncode == 0

    def says(*more, body=b""):
        return s.agent.explain(body, *more).stdout.decode()
    assert "pool      default/phi" in says("--host", "paths.example.com", "--path", "/only?x=1")
    assert "pool      default/llama" in says("--host", "paths.example.com", "--path", "/only/x")
    assert "none of" in says("--host", "paths.example.com", "--path", "/onlyx")
    assert "verdict   no_model" in says("--host", "paths.example.com", "--path", "/onlyx")
    tier = {"host": "a.tier.example.com"}
    # HAProxy sends headers only since a rule looks at one.
    until(lambda: s.lands(PHIS, "m", x_tier="gold", **tier), what="headers are sent")
    assert s.went("m", x_tier="silver", **tier) == 404
    assert "route     default/tier" in says("--host", "a.tier.example.com", "--header", "X-Tier: gold")
    assert "route     none of" in says("--host", "a.tier.example.com", "--header", "X-Tier: g")
    assert "route     default/tier" in says("--host", "a.tier.example.com", "--method", "OPTIONS")
    # a client's own word about the model is nothing
    assert s.went("nobody", x_gateway_model_name=PHI) == 404


def test_weights_and_references_that_lead_nowhere(make):
    s = make()
    s.kube.put(route("default", "split", ([matching("either")],
                                          [to_pool("llama", 3), to_pool("phi", 1)], None)),
               route("default", "lost", ([matching("lost")], [to_pool("nowhere")], None)))
    until(lambda: s.went("either") in LLAMAS | PHIS)
    got = [s.went("either") for _ in range(200)]
    phis = sum(g in PHIS for g in got)
    assert set(got) <= LLAMAS | PHIS and 20 <= phis <= 90, phis
    a = until(lambda: (lambda x: x if x.status == 503 else None)(s.send("lost")))
    assert a.headers["retry-after"]
    refs = until(lambda: condition(s.kube.status("httproutes", "default", "lost")["parents"][0]
                                   ["conditions"], "ResolvedRefs"))
    assert refs[:2] == ("False", "BackendNotFound")
    # Weights change, and a pool is left out of them.
    s.kube.put(route("default", "split", ([matching("either")],
                                          [to_pool("llama", 0), to_pool("phi", 1)], None)))
    until(lambda: s.lands(PHIS, "either", n=20), what="all goes to one")


def test_timeout_of_a_route(make):
    """timeouts.request bounds the time to the headers of the answer."""
    s = make()
    s.kube.put(by_model("quick", PHI, "phi", "700ms"), by_model("slow", LLAMA, "llama"))
    until(lambda: s.lands(PHIS, PHI) and s.lands(LLAMAS, LLAMA))
    for name in s.pods:
        s.control(name, "fault", kind="hang", **{"for": 3000})
    began = time.monotonic()
    a = s.send(PHI)
    assert a.status == 504 and 0.5 < time.monotonic() - began < 2.5, a
    for name in s.pods:
        s.control(name, "fault", kind="none")
    assert s.lands(PHIS, PHI)


@one_version
def test_adapters_by_configmap(make):
    """A base model's route takes its adapters, as the ConfigMap says; later as its servers say."""
    s = make()
    s.kube.put(route("default", "base", ([matching(base=LLAMA)], [to_pool("llama")], None)),
               route("default", "phi", ([matching(base=PHI)], [to_pool("phi")], None)))
    # the servers tell this one
    until(lambda: s.lands(LLAMAS, ADAPTER), what="the adapter goes where its base goes")
    assert s.went("movie-critique") == 404
    s.kube.put(kf.adapters("default", "phi-adapters", PHI, ["movie-critique"]))
    until(lambda: s.lands({404}, "movie-critique") is False or s.agent.state() and
          "movie-critique" in s.agent.explain(json.dumps({"model": "movie-critique"})).stdout.decode()
          and "pool      default/phi" in
          s.agent.explain(json.dumps({"model": "movie-critique"})).stdout.decode())
    assert s.send("movie-critique").headers.get("x-inference-pool") == "phi"
    s.kube.delete("configmaps", "default", "phi-adapters")
    until(lambda: "x-inference-pool" not in s.send("movie-critique").headers, what="it is gone")


def seconds_until(condition):
    began = time.monotonic()
    until(condition, 10, every=0.005)
    return time.monotonic() - began


def test_pods_come_and_go_while_requests_flow(make):
    """Within a second, without a failed request."""
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi"))
    until(lambda: s.lands(PHIS, PHI))
    s.run("phi-3", "phi", ready=False)
    with Flood(s.port, [Ask(PHI, max_tokens=4), Ask(PHI, stream=True, max_tokens=30)], 6) as flood:
        time.sleep(0.5)
        s.kube.put(s.pods["phi-3"][1])
        began = time.monotonic()
        until(lambda: any(o.server == "phi-3" for o in flood.outcomes), 10, every=0.005)
        took = min(o.began for o in flood.outcomes if o.server == "phi-3") - began
        assert took < 1, f"{took:.2f} s until the new pod got a request"
        flood.wait(50)

        # It is asked to end: no new requests, what it has goes on to its end.
        began = time.monotonic()
        s.kube.terminate("default", "phi-3")
        time.sleep(1.2)
        took = max(o.began for o in flood.outcomes if o.server == "phi-3") - began
        assert took < 1, f"{took:.2f} s until the leaving pod got no more requests"
        until(lambda: s.in_flight("phi-3") == 0)
        s.kube.delete("pods", "default", "phi-3")
        until(lambda: "phi-3" not in s.agent.endpoints())
        s.kill("phi-3")
        time.sleep(0.5)
    wrong = [str(o) for o in flood.outcomes if o.wrong]
    assert not wrong, wrong[:5]
    assert {o.server for o in flood.outcomes} == {"phi-1", "phi-2", "phi-3"}
    until(lambda: s.agent.tickets() == 0)


def test_pod_that_is_not_ready_any_more(make):
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi"))
    until(lambda: s.lands(PHIS, PHI, n=20) and len(set(s.lands(PHIS, PHI, n=20))) == 2)
    stream, _ = s.open_stream(PHI, 100000)
    try:
        holder = next(n for n in PHIS if s.in_flight(n))
        other = (PHIS - {holder}).pop()
        s.tell(holder, conditions=[{"type": "Ready", "status": "False"}])
        until(lambda: s.lands({other}, PHI, n=10))
        assert stream.recv(100) and s.in_flight(holder) == 1
        s.tell(holder, conditions=[{"type": "Ready", "status": "True"}])
        until(lambda: holder in (s.lands(PHIS, PHI, n=10) or ()))
    finally:
        stream.close()


def test_new_pool_and_pool_deleted_under_load(make):
    """A new pool is routable within two seconds, without a cut stream; a deleted one is 404."""
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi"))
    until(lambda: s.lands(PHIS, PHI))
    with Flood(s.port, [Ask(PHI, stream=True, max_tokens=40)], 4) as flood:
        time.sleep(0.3)
        s.run("extra-1", "extra", "extra")
        s.kube.put(kf.pool("default", "extra", {"app": "extra"}, PORT),
                   by_model("extra-route", "extra", "extra"))
        took = seconds_until(lambda: s.went("extra") == "extra-1")
        assert took < 3, f"{took:.2f} s until the new pool served"
        s.kube.delete("httproutes", "default", "extra-route")
        until(lambda: s.went("extra") == 404)
        s.kube.delete("inferencepools", "default", "extra")
        until(lambda: "default/extra" not in [p["name"] for p in s.agent.state()["pools"]])
        time.sleep(0.3)
    wrong = [str(o) for o in flood.outcomes if o.wrong]
    assert not wrong, wrong[:5]


@one_version
def test_without_the_api_server(make):
    """It goes, comes back, forgets its history: what was served is served."""
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi"))
    until(lambda: s.lands(PHIS, PHI))
    s.kube.stop()
    assert s.lands(PHIS, PHI)
    until(lambda: s.agent.state()["kubernetes"]["resources"]["pods"]["state"] != "watching", 20)
    assert s.agent.page("/readyz").status == 200 and s.lands(PHIS, PHI)
    # Meanwhile a pod went and a route came.
    s.kube.delete("pods", "default", "phi-1")
    s.kube.put(by_model("llama-route", LLAMA, "llama"))
    s.kube.compact()
    s.kube.start()
    until(lambda: s.lands(LLAMAS, LLAMA) and s.lands({"phi-2"}, PHI), 40, what="caught up")
    s.kube.cut()
    s.kube.put(s.pods["phi-1"][1])
    until(lambda: "phi-1" in (s.lands(PHIS, PHI) or ()), 20)


def test_haproxy_restarts(make):
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi"), by_model("llama-route", LLAMA, "llama"))
    until(lambda: s.lands(PHIS, PHI) and s.lands(LLAMAS, LLAMA))
    s.h.stop(keep=True)
    s.h.start()
    s.h.wait_agent("UP")
    until(lambda: s.lands(PHIS, PHI) and s.lands(LLAMAS, LLAMA), what="all is back")


@one_version
def test_agent_restarts(make):
    """A new agent finds everything as it is, and nothing to write."""
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi"))
    until(lambda: s.lands(PHIS, PHI))
    until(lambda: s.agent.state()["kubernetes"]["status_writes"]["waiting"] == 0)
    time.sleep(0.3)
    before = len(s.kube.patches)
    s.agent.stop()
    # HAProxy goes on with its map
    until(lambda: s.lands(PHIS, PHI), what="without the agent")
    s.agent.start()
    s.h.wait_agent("UP")
    until(lambda: s.lands(PHIS, PHI))
    assert len(s.kube.patches) == before


@one_version
def test_two_replicas(make, tmp_path):
    """Both say the same of every object, and then nothing more."""
    s = make(start=False)
    for i in range(20):
        s.kube.put(by_model(f"route-{i}", f"model-{i}", ("phi", "llama", "nowhere")[i % 3]))
    folder = tmp_path / "haproxy"
    folder.mkdir()
    other = Agent({"listen": {"spop": f"unix@{tmp_path}/spop.sock",
                              "admin": f"127.0.0.1:{free_port()}",
                              "feedback": f"unix@{tmp_path}/feedback.sock"},
                   "haproxy": {"socket": str(tmp_path / "none.sock")},
                   "kubernetes": {**s.over["kubernetes"], "haproxy_dir": str(folder),
                                  "haproxy_master": str(tmp_path / "master.sock")}},
                  str(tmp_path), env={"POD_NAMESPACE": "default"})
    try:
        s.agent.start(ready=False)
        other.start(ready=False)

        def writes():
            return [a.state()["kubernetes"]["status_writes"] for a in (s.agent, other)]

        def quiet():
            before = len(s.kube.patches)
            time.sleep(0.7)
            return len(s.kube.patches) == before and not any(w["waiting"] for w in writes())
        until(lambda: s.kube.status("httproutes", "default", "route-19").get("parents"), 30)
        until(quiet, 30, "nobody writes any more")
        # 20 routes, 2 pools, class and gateway: each object changed a few times at most
        changed = [o["metadata"]["resourceVersion"] for _, plural, kind, o in s.kube.events
                   if kind == "MODIFIED" and plural != "pods"]
        assert len(changed) <= 3 * 24, len(changed)
        assert all(w["refused"] == 0 for w in writes())
        s.kube.put(by_model("route-2", "model-2", "phi"))
        until(lambda: condition(s.kube.status("httproutes", "default", "route-2")["parents"][0]
                                ["conditions"], "ResolvedRefs")[:3] == ("True", "ResolvedRefs", 2))
        until(quiet, 30)
        assert len(s.kube.status("httproutes", "default", "route-2")["parents"]) == 1
    finally:
        other.stop()


@one_version
def test_reload_of_the_section(make):
    s = make(namespaces=["default"])
    s.kube.put(by_model("phi-route", PHI, "phi"))
    until(lambda: s.lands(PHIS, PHI))
    # a kubeconfig that is none: the old one stays
    conf = s.configuration({**s.over, "kubernetes": {**s.over["kubernetes"],
                                                     "kubeconfig": "/nowhere/config"}})
    assert s.agent.reload(conf) == "failed"
    assert s.agent.events("kube_access_failed")
    assert s.lands(PHIS, PHI)
    # other things are watched: what was served goes on until they are known
    conf = s.configuration({**s.over, "kubernetes": {**s.over["kubernetes"], "namespaces": []}})
    with Flood(s.port, [Ask(PHI, max_tokens=3)], 4) as flood:
        assert s.agent.reload(conf) == "ok"
        until(lambda: s.agent.state()["kubernetes"]["synced"])
        time.sleep(0.5)
    assert not [str(o) for o in flood.outcomes if o.wrong]
    # and away with it
    conf = s.configuration({**s.over, "pools": {"phi": {"backend": "phi", "models": [PHI]}}})
    del conf["kubernetes"]
    assert s.agent.reload(conf) == "ok"
    until(lambda: "kubernetes" not in s.agent.state())
    assert s.lands(PHIS, PHI)
    assert s.agent.reload(s.configuration(s.over)) == "ok"
    until(lambda: s.agent.state().get("kubernetes", {}).get("synced"))
    until(lambda: s.lands(PHIS, PHI))


def test_other_server_lines_by_a_reload(make):
    """Not one object changes, and HAProxy's servers have the new keywords all the same; nothing fails."""
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi"))
    until(lambda: s.lands(PHIS, PHI))

    def limits():
        rows = csv.DictReader(s.h.runtime("show stat").lstrip("# ").splitlines())
        return {r["svname"]: r["slim"] for r in rows if r["svname"] in PHIS}

    assert limits() == {"phi-1": "", "phi-2": ""}
    conf = s.configuration({**s.over, "kubernetes": {**s.over["kubernetes"],
                                                     "server_keywords": "check inter 1s maxconn 7"}})
    with Flood(s.port, [Ask(PHI, max_tokens=3)], 4) as flood:
        assert s.agent.reload(conf) == "ok"
        until(lambda: limits() == {"phi-1": "7", "phi-2": "7"}, what="the servers' lines are the new ones")
        until(lambda: s.agent.state()["kubernetes"]["haproxy"]["state"] == "current")
        time.sleep(0.5)
    assert not [str(o) for o in flood.outcomes if o.wrong]


@one_version
def test_rights_that_are_missing(make):
    """Nothing is served by half: not ready, and it says why."""
    s = make(start=False)
    s.kube.forbidden.add("referencegrants")
    s.kube.put(by_model("phi-route", PHI, "phi"))
    s.agent.start(ready=False)
    s.h.start()
    page = until(lambda: (lambda a: a if b"forbidden" in a.body else None)(s.agent.page("/readyz")))
    assert page.status == 503 and b"referencegrants" in page.body, page
    assert s.agent.events("kube_watch_failed")[0]["resource"] == "referencegrants"
    s.kube.forbidden.clear()
    s.agent.wait_ready(60)
    s.h.wait_agent("UP")
    until(lambda: s.lands(PHIS, PHI))


@one_version
def test_kinds_that_are_not_installed(make):
    """Without the Gateway API's definitions there are no routes; pools of the file serve."""
    s = make(start=False, serve=False)
    s.kube.absent |= {"gatewayclasses", "gateways", "httproutes", "referencegrants"}
    s.start()
    assert s.agent.state()["kubernetes"]["resources"]["httproutes"]["state"] == "absent"


@one_version
def test_explain_without_the_api_server(make):
    s = make(start=False)
    s.kube.stop()
    done = s.agent.explain(json.dumps({"model": PHI}))
    said = done.stdout.decode()
    assert done.returncode == 1
    assert "could not be read" in said and "verdict   not known" in said, said
    assert "model_not_found" not in said and "no_model" not in said


@one_version
def test_pages(make):
    s = make()
    s.kube.put(by_model("phi-route", PHI, "phi", "5s"),
               route("default", "odd", ([matching("odd", path="/x.*", path_type="RegularExpression")],
                                        [to_pool("phi")], None)))
    until(lambda: s.lands(PHIS, PHI))
    state = until(lambda: (lambda x: x if x["kubernetes"]["problems"] else None)(s.agent.state()))
    rules = [r for r in state["rules"] if r["route"] == "default/phi-route"]
    assert rules[0]["pools"] == [{"pool": "default/phi", "weight": 1}]
    assert rules[0]["timeout_ms"] == 5000 and rules[0]["path"] == "/"
    k = state["kubernetes"]
    assert k["synced"] and k["pods"] == 4 and k["resources"]["pods"]["objects"] == 4
    assert any(p["name"] == "odd" for p in k["problems"])
    assert k["haproxy"]["state"] in ("current", "busy") and k["haproxy"]["pools"] == 2
    m = s.agent.metrics()
    assert m.sum("spoa_inference_kube_objects", resource="pods") == 4
    assert m.sum("spoa_inference_kube_synced", resource="httproutes") == 1
    assert m.sum("spoa_inference_kube_status_writes_total", result="written") > 0
    assert m.sum("spoa_inference_kube_resolves_total") > 0
    names = {p["id"] for p in s.agent.page("/v1/models").json()["data"]}
    assert names == {PHI}


def test_a_thousand_pods(tmp_path):
    """1,000 pods and 200 pools in 40 MB; a change is in the plan within a second."""
    with KubeFake(tmp_path) as k:
        k.put(kf.gateway_class(), kf.gateway("default", "inference-gateway"))
        for i in range(200):
            k.put(kf.pool("default", f"pool-{i}", {"app": f"a{i}"}, 9,
                          {"spoa-inference/models": f"model-{i}"}), by_model(f"r-{i}", f"model-{i}", f"pool-{i}"))
        for i in range(1000):
            k.put(kf.pod("default", f"pod-{i}-5d8f7b9c4-x2x4z", {
                "app": f"a{i % 200}", "pod-template-hash": "5d8f7b9c4", "role": "decode"},
                f"127.9.{i // 250}.{1 + i % 250}"))
        admin = free_port()
        a = Agent({"listen": {"spop": f"unix@{tmp_path}/spop.sock", "admin": f"127.0.0.1:{admin}",
                              "feedback": f"unix@{tmp_path}/feedback.sock"},
                   "kubernetes": {"kubeconfig": k.kubeconfig}, "log": {"level": "warning"}},
                  str(tmp_path)).start(wait=60)
        try:
            state = a.state()
            assert state["kubernetes"]["pods"] == 1000 and len(state["rules"]) == 200
            until(lambda: a.state()["kubernetes"]["status_writes"]["waiting"] == 0, 300)

            def members():
                return {e["name"]: e for p in a.state()["pools"] if p["name"] == "default/pool-7"
                        for e in p["endpoints"]}
            k.delete("pods", "default", "pod-7-5d8f7b9c4-x2x4z")
            with open(AGENT, "rb") as f:
                sanitized = b"__asan_init" in f.read()
            took = seconds_until(lambda: len(members()) == 4)
            assert sanitized or took < 1, f"{took:.2f} s until the pod was gone"
            with open(f"/proc/{a.process.pid}/status") as f:
                peak = next(int(x.split()[1]) for x in f if x.startswith("VmHWM"))
            assert sanitized or peak < 40 * 1024, f"{peak} kB"
        finally:
            a.stop()


@one_version
def test_beside_somebody_elses_haproxy(make):
    """routing: models, by address: nothing of the Gateway API is asked for."""
    s = make(start=False, routing="models")
    conf = s.configuration({**s.over, "kubernetes": {
        "kubeconfig": s.kube.kubeconfig, "routing": "models"}})
    s.agent.configure(conf)
    s.agent.start()
    state = s.agent.state()
    assert {m["name"] for m in state["models"]} == {LLAMA, ADAPTER, PHI}
    for e in (e for p in state["pools"] for e in p["endpoints"]):
        assert "server" not in e and e["address"].endswith(f":{PORT}")
    asked = {path.split("?")[0] for _, path in s.kube.requests}
    assert asked == {"/api/v1/pods", "/api/v1/configmaps",
                     "/apis/inference.networking.k8s.io/v1/inferencepools"}, asked
    assert not s.kube.patches
