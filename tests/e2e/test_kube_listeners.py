"""Listeners of a Gateway as clients meet them: two ports of our own HAProxy, routes that are
attached to one or the other, certificates that are renewed while streams flow."""
import os
import shutil
import socket
import ssl
import subprocess

import pytest

import kube_fake as kf
from haproxy import free_port
from kube_fake import GATEWAY, condition, matching, route, to_pool
from stack import ask, until
from test_kube import make  # noqa: F401  (a fixture)


def listener(name, port, hostname=None, protocol="HTTP", **more):
    return {"name": name, "port": port, "protocol": protocol,
            "allowedRoutes": {"namespaces": {"from": "All"}},
            **({"hostname": hostname} if hostname else {}), **more}


def service(*ports):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "gw"},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "ports": [
                {"port": port, "targetPort": target, "protocol": "TCP"} for port, target in ports]}}


def attached(name, pool, hostnames=None, **parent):
    o = route("default", name, ([matching()], [to_pool(pool)], None), hostnames=hostnames)
    o["spec"]["parentRefs"] = [{"group": GATEWAY, "kind": "Gateway", "name": "inference-gateway", **parent}]
    return o


def start(make, *more, **kubernetes):
    s = make(start=False, service="default/gw", **kubernetes)
    second = free_port()
    s.h.env["INFERENCE_BIND"] = f"127.0.0.1:{s.h.port},127.0.0.1:{second}"
    s.kube.put(service((80, s.h.port), (81, second)),
               kf.gateway("default", "inference-gateway", [listener("one", 80), listener("two", 81), *more]))
    return s, second


def pool_at(port, host):
    a = ask(port, "POST", "/v1/chat/completions", b'{"model":"m","messages":[]}',
            {"content-type": "application/json", "host": host})
    return a.headers.get("x-inference-pool") or a.status


def test_ports_and_hosts(make):
    s, second = start(make, listener("narrow", 81, "a.example.com"))
    s.kube.put(attached("first", "llama", sectionName="one"),
               attached("second", "phi", sectionName="two"))
    s.start()
    until(lambda: pool_at(s.h.port, "x.org") == "llama" and pool_at(second, "x.org") == "phi", 20)
    # listened for at the second port alone, where nothing is attached to it
    assert pool_at(s.h.port, "a.example.com") == "llama"
    assert pool_at(second, "a.example.com") == 404
    s.kube.put(attached("narrow", "llama", port=81, hostnames=["*.example.com"]))
    until(lambda: pool_at(second, "a.example.com") == "llama", 10)
    assert pool_at(second, "b.example.com") == "llama"  # by the listener without a host name
    assert pool_at(second, "x.org") == "phi"
    assert {r["route"]: r["ports"] for r in s.agent.state()["rules"]}["default/first"][0] == s.h.port
    told = s.agent.explain("{}", "--host", "a.example.com", "--port", str(s.h.port)).stdout.decode()
    assert "default/first" in told, told
    # One port again: nobody has to tell it, and HAProxy stops sending it.
    with open(s.h.outside("00-inference-env.cfg")) as f:
        assert "    setenv INFERENCE_DST_PORT 1\n" in f.read()
    s.kube.put(service((80, s.h.port)), kf.gateway("default", "inference-gateway", [listener("one", 80)]))

    def stops():
        with open(s.h.outside("00-inference-env.cfg")) as f:
            return "unsetenv INFERENCE_DST_PORT" in f.read()
    until(stops, 10)
    until(lambda: s.agent.state()["kubernetes"]["haproxy"]["state"] == "current", 20)
    until(lambda: pool_at(second, "x.org") == "llama", 10)


def test_names_that_haproxy_has_itself(make):
    """A pool that cannot be a backend says so where people look, and hurts no other."""
    s = make(start=False)
    s.run("own-1", "own")
    s.kube.put(kf.pool("default", "inference", {"app": "own"}, 1),
               attached("r", "inference", ["own.example.com"]), attached("ok", "phi"))
    s.start()
    until(lambda: s.kube.status("inferencepools", "default", "inference").get("parents"), 20)
    conditions = s.kube.status("inferencepools", "default", "inference")["parents"][0]["conditions"]
    assert condition(conditions, "Accepted")[:2] == ("False", "NotSupportedByParent")
    until(lambda: s.kube.status("httproutes", "default", "r").get("parents"), 20)
    conditions = s.kube.status("httproutes", "default", "r")["parents"][0]["conditions"]
    assert condition(conditions, "ResolvedRefs")[:2] == ("False", "UnsupportedValue")
    until(lambda: pool_at(s.h.port, "x.org") == "phi", 20)
    assert pool_at(s.h.port, "own.example.com") == 503


def certificate(folder, name):
    at = os.path.join(folder, "site.pem.new")
    key = at + ".key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-keyout", key, "-out", at, "-subj", f"/CN={name}", "-days", "2"],
                   check=True, capture_output=True)
    with open(key) as k, open(at, "a") as f:
        f.write(k.read())
    os.remove(key)
    os.rename(at, os.path.join(folder, "site.pem"))


def shown(port):
    """The name in the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as s, context.wrap_socket(s) as t:
        der = t.getpeercert(binary_form=True)
    return next((n for n in ("first.example", "second.example", "third.example") if n.encode() in der), der)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is needed")
def test_certificate_renewed(make):
    s = make(start=False)
    folder = s.h.outside("tls")
    os.mkdir(folder)
    certificate(folder, "first.example")
    s.h.env["INFERENCE_CRT"] = s.h.inside("tls")
    s.agent.configure(s.configuration({**s.over, "kubernetes": {**s.over["kubernetes"], "tls_dir": folder}}))
    s.kube.put(attached("ok", "phi"))
    s.start()
    until(lambda: pool_at(s.h.port, "x.org") == "phi", 20)
    until(lambda: s.agent.state()["kubernetes"]["haproxy"]["state"] == "current", 20)
    assert shown(s.h.port_tls) == "first.example"
    certificate(folder, "second.example")
    until(lambda: shown(s.h.port_tls) == "second.example", 20)
    # One that HAProxy refuses changes nothing, and the next good one does.
    with open(os.path.join(folder, "site.pem"), "w") as f:
        f.write("no certificate\n")
    until(lambda: s.agent.state()["kubernetes"]["haproxy"]["state"] == "failed", 20)
    assert shown(s.h.port_tls) == "second.example" and pool_at(s.h.port, "x.org") == "phi"
    certificate(folder, "third.example")
    until(lambda: shown(s.h.port_tls) == "third.example", 20)
    until(lambda: s.agent.state()["kubernetes"]["haproxy"]["state"] == "current", 20)
