"""A real Prometheus scrapes the agent and the model servers, with TLS and token where the agent wants
them, and understands every panel of the dashboard. No HAProxy is needed."""
import json
import os
import shutil
import subprocess
import urllib.parse

import pytest

from haproxy import free_port
from spop_client import SpopClient
from stack import LLAMA, LLAMAS, ROOT, SERVERS, Agent, Sims, ask, end, until

DASHBOARD = os.path.join(ROOT, "haproxy", "demo", "compose", "grafana", "dashboards", "inference.json")
TOKEN = "a-token-of-thirty-two-characters"
# There is no HAProxy here, and no model that is known is refused.
EMPTY = ("haproxy_backend_", "spoa_inference_haproxy_up", 'verdict!="routed"')


def program(name):
    found = shutil.which(name)
    if not found:
        pytest.skip(f"no {name} (Debian's prometheus)")
    return found


def panels():
    with open(DASHBOARD, encoding="utf-8") as f:
        for panel in json.load(f)["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"].replace("$__rate_interval", "5s").replace(
                    "$pool", ".*")


class Prometheus:
    """It and its folder; JSON is YAML."""

    def __init__(self, folder, jobs):
        self.port = free_port()
        self.log = str(folder / "prometheus.log")
        (folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
        subprocess.run([program("promtool"), "check", "config", str(folder / "prometheus.yml")],
                       check=True, capture_output=True, timeout=60)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program("prometheus"), f"--config.file={folder}/prometheus.yml",
                 f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def get(self, path, **query):
        answer = ask(self.port, path=f"{path}?{urllib.parse.urlencode(query)}")
        said = answer.json()
        assert answer.status == 200 and said["status"] == "success", (query, said)
        return said["data"]

    def query(self, expression):
        return self.get("/api/v1/query", query=expression)["result"]

    def _ready(self):
        with open(self.log, errors="replace") as f:
            assert self.process.poll() is None, f.read()
        try:
            return ask(self.port, path="/-/ready").status == 200
        except OSError:
            return False

    def __enter__(self):
        until(self._ready, 60, "Prometheus is ready")
        return self

    def __exit__(self, *_):
        end(self.process)


def page(agent, path):
    return subprocess.run(
        [program("curl"), "-sS", "--cacert", agent.cert, "-H", f"Authorization: Bearer {TOKEN}",
         f"https://127.0.0.1:{agent.admin_port}{path}"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30).stdout


@pytest.fixture(scope="module")
def sims(tmp_path_factory):
    s = Sims(SERVERS, str(tmp_path_factory.mktemp("s")), ("--speed", "10"))
    yield s
    s.stop()


@pytest.fixture
def agent(sims, tmp_path):
    key, cert = str(tmp_path / "admin.key"), str(tmp_path / "admin.pem")
    subprocess.run([program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=admin",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True, timeout=60)
    (tmp_path / "token").write_text(TOKEN + "\n")
    a = Agent({
        "listen": {"spop": f"unix@{tmp_path}/spop", "feedback": f"127.0.0.1:{free_port()}",
                   "admin": f"127.0.0.1:{free_port()}",
                   "admin_cert": cert, "admin_key": key, "admin_token_file": str(tmp_path / "token")},
        "scrape": {"interval": "100ms", "models_interval": "1s"},
        "drain": "1s",
        "pools": {"llama": {"endpoints": [{"address": sims.addresses[n], "server": n}
                                          for n in LLAMAS]}}}, str(tmp_path))
    a.cert = cert
    a.start(ready=False)
    until(lambda: page(a, "/readyz") == b"ready\n", 20, "the agent is ready")
    yield a
    a.stop()


def job(name, *targets, **more):
    return {"job_name": name, "static_configs": [{"targets": list(targets)}], **more}


def is_up(p, name):
    targets = p.query(f'up{{job="{name}"}}')
    return targets and all(t["value"][1] == "1" for t in targets)


def route(client):
    ack = client.ask(body=b'{"model":"%s"}' % LLAMA.encode())
    return ack.plain().get("verdict") == "routed"


def test_dashboard_on_a_real_prometheus(sims, agent, tmp_path):
    address = f"127.0.0.1:{agent.admin_port}"
    secure = {"scheme": "https", "tls_config": {"ca_file": agent.cert}}
    jobs = [job("agent", address, authorization={"credentials": TOKEN}, **secure),
            job("nobody", address, **secure),
            job("model-servers", *(sims.addresses[n] for n in LLAMAS))]
    with Prometheus(tmp_path, jobs) as p, SpopClient(agent.conf["listen"]["spop"]) as c:
        until(lambda: is_up(p, "agent") and is_up(p, "model-servers"), 60, "both are scraped")
        assert not is_up(p, "nobody")
        until(lambda: route(c), 30, "a request is routed")

        def requests_seen():
            route(c)
            ask(sims.port("llama1"), "POST", "/v1/completions",
                json.dumps({"model": LLAMA, "prompt": "a", "max_tokens": 2}),
                {"content-type": "application/json"})
            return (p.query('rate(spoa_inference_requests_total{verdict="routed"}[5s]) > 0') and
                    p.query("rate(vllm:e2e_request_latency_seconds_count[5s]) > 0"))
        until(requests_seen, 60, "requests are counted", every=0.3)
        for title, expression in panels():
            found = p.query(expression)
            assert found or any(part in expression for part in EMPTY), (title, expression)
        for row in p.get("/api/v1/targets", state="active")["activeTargets"]:
            assert (row["lastError"] == "") == (row["labels"]["job"] != "nobody"), row


def test_page_by_promtool(agent):
    """Its linter has no complaint: names, units, help, types."""
    with SpopClient(agent.conf["listen"]["spop"]) as c:
        until(lambda: route(c), 30, "a request is routed")
    done = subprocess.run([program("promtool"), "check", "metrics"], input=page(agent, "/metrics"),
                          capture_output=True, timeout=60)
    assert done.returncode == 0 and not done.stderr + done.stdout, done.stderr.decode()
