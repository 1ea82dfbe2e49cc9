"""HTTPS: a release of its own with a certificate, beside whatever else there is."""
import ssl
import subprocess

import pytest

from gateway import CHARTS, MODEL_A, ROUTES, conditions, gateway, pool, route, simulators
from plane import until

VALUES = {"provider.name": "haproxy", "bbr.replicas": "1", "bbr.name": "secure",
          "gatewayClass.name": "secure", "gatewayClass.controllerName": "example.com/secure",
          "tls.secrets": "{llm-certificate}", "service.type": "LoadBalancer", "preStopSeconds": "2",
          "terminationGracePeriodSeconds": "15", "haproxy.threads": "1"}


@pytest.fixture
def certificate(plane, space, tmp_path):
    key, crt = tmp_path / "tls.key", tmp_path / "tls.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=llm.example.com",
                    "-addext", "subjectAltName=DNS:llm.example.com", "-keyout", str(key), "-out",
                    str(crt)], check=True, capture_output=True)
    plane.kubectl("create", "secret", "tls", "llm-certificate", "-n", space, f"--key={key}",
                  f"--cert={crt}")
    return crt


def curl(pod, certificate, *words):
    return subprocess.run(["curl", "-sS", "-m", "10", "--cacert", str(certificate), "--connect-to",
                           f"llm.example.com:443:{pod}:8443", *words], capture_output=True, text=True)


def test_https(plane, space, certificate):
    settings = [w for k, v in VALUES.items() for w in ("--set", f"{k}={v}")]
    plane.helm("install", "secure", f"{CHARTS}/body-based-routing", "-n", space, *settings)
    try:
        https = {"name": "https", "port": 443, "protocol": "HTTPS",
                 "tls": {"certificateRefs": [{"name": "llm-certificate"}]}}
        unknown = {**https, "name": "unknown", "hostname": "b.example.com",
                   "tls": {"certificateRefs": [{"name": "not-mounted"}]}}
        plane.apply(gateway(space, "gw", "secure", listeners=[https]),
                    gateway(space, "wrong", "secure", listeners=[unknown]),
                    simulators(space, "a", MODEL_A, replicas=1), pool(space, "a"),
                    route(space, "a", MODEL_A, ["a"]))
        plane.kubectl("-n", space, "rollout", "status", "deployment/secure", "--timeout=90s")
        path = f"{ROUTES}/namespaces/{space}/gateways/"

        def programmed():
            return conditions(plane.api.get(path + "gw"))["Programmed"]["status"] == "True"
        until(programmed, 30, "the Gateway is programmed")
        (pod,) = plane.api.get(f"/api/v1/namespaces/{space}/pods", labelSelector="app=secure")["items"]
        address = pod["status"]["podIP"]
        url = "https://llm.example.com/v1/completions"
        body = ["-H", "content-type: application/json", "-d",
                f'{{"model": "{MODEL_A}", "prompt": "x", "max_tokens": 2}}']

        def served():
            done = curl(address, certificate, "--http2", "-o", "/dev/null", "-w",
                        "%{http_code} %{http_version}", url, *body)
            return done.stdout == "200 2"
        until(served, 60, "HTTP/2 over TLS with the Secret's certificate")
        assert curl(address, certificate, "--http1.1", "-o", "/dev/null", "-w", "%{http_code}", url,
                    *body).stdout == "200"
        # what was served is that certificate, not any
        there = ssl.get_server_certificate((address, 8443))
        assert there.split() == certificate.read_text().split()

        def told():
            (listener,) = plane.api.get(path + "wrong")["status"]["listeners"]
            found = {c["type"]: c for c in listener["conditions"]}["ResolvedRefs"]
            return found["status"] == "False" and found["reason"] == "InvalidCertificateRef"
        until(told, 20, "a Secret that is not mounted is said to be none")
        # the pod may not read Secrets: HAProxy has this one, the agent none
        assert plane.kubectl("auth", "can-i", "get", "secrets", "-n", space, "--as",
                             f"system:serviceaccount:{space}:secure", ok=False).stdout.strip() == "no"
    finally:
        plane.helm("uninstall", "secure", "-n", space, ok=False)
