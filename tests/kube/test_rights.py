"""The chart's rights: enough for everything, nothing too much, and each one missed when it is gone.

The agent runs here as a process of its own beside the shared gateway, as an account that has the
chart's rules and no others, one rule fewer at a time.
"""
import json
import os
import re
import subprocess
import time

import guide
from gateway import CHARTS, gateway, pool, route
from images import AGENT
from plane import CLUSTER_IP, until

GROUPS = {"": "/api/v1", "gateway.networking.k8s.io": "/apis/gateway.networking.k8s.io/v1",
          "inference.networking.k8s.io": "/apis/inference.networking.k8s.io/v1"}

ports = iter(range(20000, 30000))  # nobody else is in this network


def chart_rules(plane):
    """Every rule that the chart gives, from its objects on the API server."""
    found = []
    label = {"labelSelector": "app.kubernetes.io/instance=gate"}
    base = "/apis/rbac.authorization.k8s.io/v1"
    for path in (f"{base}/clusterroles", f"{base}/namespaces/gate/roles"):
        for role in plane.api.get(path, **label)["items"]:
            found += [(path.rsplit("/", 1)[1] == "roles", rule) for rule in role["rules"]]
    return found


class Lone:
    """An agent of another controller name with rules of its own, on objects of its own."""

    def __init__(self, plane, space, rules, number, namespaces=None):
        self.plane, self.space = plane, space
        self.account = f"lone-{number}"
        self.log = plane.file("logs", self.account + ".log")
        self.controller = f"example.com/{space}-{self.account}"
        self.gateway_class = f"{space}-{self.account}"[:60]
        plane.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount",
             "metadata": {"name": self.account, "namespace": space}},
            self.role("ClusterRole", [r for own, r in rules if not own]),
            self.role("Role", [{**r, "resourceNames": ["svc"]} if "resourceNames" in r else r
                               for own, r in rules if own]),
            self.binding("ClusterRole"), self.binding("Role"),
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc", "namespace": space},
             "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]}},
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
             "metadata": {"name": self.gateway_class}, "spec": {"controllerName": self.controller}},
            gateway(space, self.account, self.gateway_class),
            pool(space, self.account, "nobody"),
            route(space, self.account, "m-" + self.account, [self.account],
                  parent={"name": self.account}))
        token = plane.kubectl("-n", space, "create", "token", self.account).strip()
        conf = {"kubernetes": {
            "kubeconfig": plane.kubeconfig(self.account, "https://%s:%d" % CLUSTER_IP,
                                           {"token": token}),
            "namespace": space, "service": f"{space}/svc", "controller": self.controller,
            "retry": "200ms", "retry_max": "500ms",
            **({"namespaces": namespaces} if namespaces else {})},
            "listen": {"spop": "unix@" + plane.file(self.account + ".spop"),
                       "feedback": f"127.0.0.1:{next(ports)}",
                       "admin": "unix@" + plane.file(self.account + ".admin")}}
        self.conf = plane.file(self.account + ".yaml")
        with open(self.conf, "w") as f:
            json.dump(conf, f)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([AGENT, "-f", self.conf], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)

    def role(self, kind, rules):
        meta = {"name": f"{self.space}-{self.account}"}
        if kind.startswith("Role"):
            meta["namespace"] = self.space
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": meta,
                "rules": rules}

    def binding(self, kind):
        obj = self.role(kind + "Binding", None)
        del obj["rules"]
        obj["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind,
                          "name": obj["metadata"]["name"]}
        obj["subjects"] = [{"kind": "ServiceAccount", "name": self.account, "namespace": self.space}]
        return obj

    def ready(self):
        return subprocess.run([AGENT, "health", "--ready", "-f", self.conf],
                              capture_output=True).returncode == 0

    def object(self, kind, name=None):
        group = "inference.networking.k8s.io" if kind == "inferencepools" else \
            "gateway.networking.k8s.io"
        where = "" if kind == "gatewayclasses" else f"/namespaces/{self.space}"
        return self.plane.api.get(f"{GROUPS[group]}{where}/{kind}/{name or self.account}")

    def told(self):
        """Which objects' status speaks for this controller."""
        found = set()
        for kind in ("httproutes", "inferencepools"):
            parents = self.object(kind).get("status", {}).get("parents", [])
            if any(p.get("controllerName", self.controller) == self.controller and p.get("conditions")
                   for p in parents):
                found.add(kind)
        for kind, name in (("gateways", None), ("gatewayclasses", self.gateway_class)):
            conditions = self.object(kind, name).get("status", {}).get("conditions", [])
            if any(c["status"] != "Unknown" for c in conditions):
                found.add(kind)
        if self.object("gateways").get("status", {}).get("addresses"):
            found.add("addresses")
        return found

    def asked(self):
        """(group, resource/subresource, verb, status) of all its requests, by the audit log."""
        user = f"system:serviceaccount:{self.space}:{self.account}"
        found = set()
        with open(self.plane.file("logs", "audit.log")) as f:
            for line in f:
                row = json.loads(line)
                ref = row.get("objectRef")
                if row["user"].get("username") == user and ref:
                    name = ref["resource"] + ("/" + ref["subresource"] if "subresource" in ref else "")
                    found.add((ref.get("apiGroup", ""), name, row["verb"],
                               row["responseStatus"]["code"]))
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait(15)
        self.plane.kubectl("delete", "--ignore-not-found", "--wait=false", "gatewayclass",
                           self.gateway_class)
        self.plane.kubectl("delete", "--wait=false", "clusterrole,clusterrolebinding",
                           f"{self.space}-{self.account}")


ALL = {"httproutes", "inferencepools", "gateways", "gatewayclasses", "addresses"}


def test_the_chart_s_rights_are_enough_and_not_too_many(gate, space):
    rules = chart_rules(gate.plane)
    lone = Lone(gate.plane, space, rules, "all")
    try:
        until(lone.ready, 20)
        until(lambda: lone.told() == ALL, 20)
        time.sleep(1)
        asked = lone.asked()
        refused = {a for a in asked if a[3] in (401, 403)}
        assert not refused, refused
        used = {a[:3] for a in asked}
        granted = {(g, r, v) for _, rule in rules for g in rule["apiGroups"]
                   for r in rule["resources"] for v in rule["verbs"]}
        assert granted - used == set(), "rights that nothing uses"
    finally:
        lone.stop()


def test_each_right_is_missed(gate, space):
    """One rule fewer: the server refuses, the agent says what it may not, and something lacks."""
    rules = chart_rules(gate.plane)
    lones = []
    try:
        for i in range(len(rules)):
            lones.append(Lone(gate.plane, space, rules[:i] + rules[i + 1:], i))
        for i, lone in enumerate(lones):
            rule = rules[i][1]
            refused = until(lambda: {a for a in lone.asked() if a[3] == 403}, 20,
                            f"a refusal without {rule}")
            time.sleep(1)
            assert {a[1] for a in refused} <= set(rule["resources"]), (rule, refused)
            assert not lone.ready() or lone.told() != ALL, f"without {rule} nothing lacks"
            log = guide.read_file(lone.log)
            assert "forbidden" in log and any(r.split("/")[0] in log for r in rule["resources"]), \
                (rule, log)
            assert lone.process.poll() is None
    finally:
        for lone in lones:
            lone.stop()


def test_the_gateway_itself_was_refused_nothing(gate):
    """All that the shared gateway asked for, in everything that the tests did to it. What it may,
    the API server can still refuse for a moment after its start, before it has read the roles."""
    with open(gate.plane.file("logs", "audit.log")) as f:
        rows = [json.loads(line) for line in f]
    mine = [r for r in rows if r["user"].get("username") == "system:serviceaccount:gate:body-based-router"]
    assert mine
    asked = {403: set(), 200: set()}
    for r in mine:
        code = r["responseStatus"]["code"]
        if code in asked:
            asked[code].add((r["verb"], r["requestURI"].split("?")[0]))
    assert asked[200]
    assert asked[403] <= asked[200], asked[403] - asked[200]


def test_in_named_namespaces_only(gate, space):
    """kubernetes.watchNamespaces: Roles there instead of one for the cluster."""
    told = gate.plane.helm("template", "lone", os.path.join(CHARTS, "body-based-routing"), "-n", space,
                           "--set", "provider.name=haproxy", "--set",
                           f"kubernetes.watchNamespaces={{{space}}}", "--show-only",
                           "templates/rbac.yaml")
    objects = gate.plane.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", input=told)
    objects = [json.loads(o) for o in re.split(r"(?m)(?<=^})\n(?={)", objects.strip())]
    rules = [(o["kind"] == "Role", r) for o in objects if o["kind"] in ("Role", "ClusterRole")
             for r in o["rules"]]
    assert {r for own, rule in rules if not own for r in rule["resources"]} == {
        "gatewayclasses", "gatewayclasses/status", "namespaces"}
    lone = Lone(gate.plane, space, rules, "ns", [space])
    try:
        until(lone.ready, 20)
        until(lambda: lone.told() == ALL, 20)
        assert not [a for a in lone.asked() if a[3] == 403]
    finally:
        lone.stop()
