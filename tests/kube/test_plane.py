"""The harness itself: what the other tests rely on, shown on its own."""
import json
import time
import urllib.request

import pytest

from faulty import Rule
from plane import CLUSTER_IP, until
from api import Api, Refused

MODEL = "microsoft/Phi-4-mini-instruct"


def simulators(space, name="sims", replicas=2, **more):
    container = {"name": "server", "image": "spoa-sim:dev", "args": [
        "--lenient", "--server", f"name=$(POD_NAME),model={MODEL}"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1},
        "securityContext": {"readOnlyRootFilesystem": True, "runAsNonRoot": True,
                            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": space},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}},
                                  "spec": {"containers": [{**container, **more}],
                                           "terminationGracePeriodSeconds": 5}}}}


def service(space, name="sims", kind="LoadBalancer"):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": space},
            "spec": {"type": kind, "selector": {"app": name},
                     "ports": [{"port": 80, "targetPort": "http"}]}}


def pods(plane, space):
    return plane.api.get(f"/api/v1/namespaces/{space}/pods")["items"]


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in pod.get("status", {}).get("conditions", []))


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as r:
        return r.status, r.headers, r.read()


def test_a_deployment_gets_ready_and_its_service_answers(plane, space):
    plane.apply(simulators(space), service(space))
    plane.kubectl("-n", space, "rollout", "status", "deployment/sims", "--timeout=60s")
    there = pods(plane, space)
    assert len({p["status"]["podIP"] for p in there}) == 2 and all(map(is_ready, there))
    address = until(lambda: plane.api.get(f"/api/v1/namespaces/{space}/services/sims")["status"]
                    ["loadBalancer"]["ingress"][0]["ip"])
    until(lambda: get(f"http://{address}/v1/models")[0] == 200)
    seen = {json.loads(get(f"http://{address}/v1/models")[2])["data"][0]["id"] for _ in range(3)}
    assert seen == {MODEL}
    names = {get(f"http://{address}/v1/models")[1]["X-Sim-Name"] for _ in range(40)}
    assert names == {p["metadata"]["name"] for p in there}
    plane.kubectl("-n", space, "scale", "deployment/sims", "--replicas=1")
    until(lambda: len(pods(plane, space)) == 1, 20)


def test_a_pod_is_restarted_and_told(plane, space):
    plane.apply(simulators(space, replicas=1))
    pod = until(lambda: [p for p in pods(plane, space) if is_ready(p)])[0]
    address = pod["status"]["podIP"]
    urllib.request.urlopen(urllib.request.Request(
        f"http://{address}:8000/sim/fault?kind=die", method="POST"), timeout=5)
    until(lambda: [p for p in pods(plane, space) if is_ready(p)
                   and p["status"]["containerStatuses"][0]["restartCount"] == 1], 20)


def test_a_container_is_as_isolated_as_the_pod_says(plane, space):
    """Users, groups, volumes, read-only root, its own localhost: asked of a shell inside."""
    script = ("id -u; id -g; cat /conf/key; touch /no 2>/dev/null || echo read-only; "
              "touch /data/yes && stat -c %g /data/yes; cat /var/run/secrets/kubernetes.io/"
              "serviceaccount/namespace; echo; echo $IP $LIMIT; echo $$$$; grep CapEff /proc/self/status; "
              "sleep 100")
    plane.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": space},
         "data": {"key": "first\n"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": space}, "spec": {
            "securityContext": {"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456},
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "conf", "configMap": {"name": "c"}}, {"name": "data", "emptyDir": {}}],
            "initContainers": [
                {"name": "first", "image": "haproxy:2.6", "command": ["sh", "-c", "echo 1 >/data/init"],
                 "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
                {"name": "side", "image": "haproxy:2.6", "restartPolicy": "Always",
                 "command": ["sh", "-c", "echo 2 >/data/side; exec sleep 100"],
                 "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                 "startupProbe": {"exec": {"command": ["test", "-e", "/data/side"]},
                                  "periodSeconds": 1}}],
            "containers": [{
                "name": "main", "image": "haproxy:2.6",
                "command": ["sh", "-c", "cat /data/init /data/side; " + script],
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource":
                                                                             "limits.memory"}}}],
                "resources": {"limits": {"memory": "64Mi"}},
                "securityContext": {"readOnlyRootFilesystem": True},
                "volumeMounts": [{"name": "conf", "mountPath": "/conf"},
                                 {"name": "data", "mountPath": "/data"}]}]}})
    pod = until(lambda: [p for p in pods(plane, space) if is_ready(p)], 20)[0]
    log = plane.file("logs", f"{space}_p_main.log")
    lines = until(lambda: "CapEff" in open(log).read() and open(log).read().split("\n"))
    assert lines[:11] == ["1", "2", "1234", "2345", "first", "read-only", "3456", space,
                          f"{pod['status']['podIP']} {64 << 20}", "1",
                          "CapEff:\t0000000000000000"], lines
    assert [c["name"] for c in pod["status"]["initContainerStatuses"]] == ["first", "side"]
    # A ConfigMap's change reaches the folder.
    plane.api.merge(f"/api/v1/namespaces/{space}/configmaps/c", {"data": {"key": "second\n"}})
    folder = plane.file("pods", pod["metadata"]["uid"], "volume-conf", "key")
    until(lambda: open(folder).read() == "second\n")
    # SIGTERM is not what ends a shell that is number 1; the grace period does.
    begin = time.monotonic()
    plane.kubectl("-n", space, "delete", "pod", "p")
    assert time.monotonic() - begin < 10
    until(lambda: not pods(plane, space))


def test_an_account_s_token_has_its_rights_and_no_more(plane, space):
    plane.kubectl("-n", space, "create", "role", "reader", "--verb=get,list", "--resource=pods")
    plane.kubectl("-n", space, "create", "rolebinding", "r", "--role=reader",
                  f"--serviceaccount={space}:default")
    token = plane.kubectl("-n", space, "create", "token", "default").strip()
    api = Api("https://%s:%d" % CLUSTER_IP, plane.file("pki", "ca.crt"), token)
    assert api.get(f"/api/v1/namespaces/{space}/pods")["items"] == []
    with pytest.raises(Refused) as e:
        api.get(f"/api/v1/namespaces/{space}/secrets")
    assert e.value.status == 403


def test_the_faulty_server_is_faulty_where_it_was_told(plane, space):
    f = plane.faulty
    api = Api("https://%s:%d" % CLUSTER_IP, plane.file("pki", "ca.crt"), plane.tokens["admin"])
    try:
        f.between(Rule(r"^GET /api/v1/nodes", "status", times=1, answer=b"HTTP/1.1 429 Too Many "
                       b"Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
        with pytest.raises(Refused) as e:
            api.get("/api/v1/nodes")
        assert e.value.status == 429
        assert len(api.get("/api/v1/nodes")["items"]) == 2
        f.between(Rule(r"^GET /api/v1/nodes", "cut", bytes=700))
        with pytest.raises(OSError):
            api.get("/api/v1/nodes")
        f.between(Rule(r"^GET /api/v1/nodes", "pieces", bytes=7))
        assert len(api.get("/api/v1/nodes")["items"]) == 2
        f.refuse()
        with pytest.raises(OSError):
            api.get("/api/v1/nodes")
    finally:
        f.clear()
    assert len(api.get("/api/v1/nodes")["items"]) == 2


def test_the_past_comes_back_and_the_old_versions_are_gone(plane, space):
    def names():
        return {o["metadata"]["name"] for o in
                plane.api.get(f"/api/v1/namespaces/{space}/configmaps")["items"]} & {"a", "b"}
    conf = lambda name: {"apiVersion": "v1", "kind": "ConfigMap",
                         "metadata": {"name": name, "namespace": space}}
    plane.apply(conf("a"))
    plane.save_etcd()
    listed = plane.api.get("/api/v1/configmaps")["metadata"]["resourceVersion"]
    plane.apply(conf("b"))
    assert names() == {"a", "b"}
    plane.restore_etcd()
    assert names() == {"a"}
    assert int(plane.api.get("/api/v1/configmaps")["metadata"]["resourceVersion"]) <= int(listed) + 20
    for _ in range(5):
        plane.api.merge(f"/api/v1/namespaces/{space}/configmaps/a", {"data": {"t": str(time.time())}})
    plane.compact_etcd()
    plane.restart_apiserver()
    kind, obj = next(plane.api.watch("/api/v1/configmaps", listed))
    assert (kind, obj["code"]) == ("ERROR", 410)
