"""What the charts render: golden files, and what must hold whatever the values are."""
import os
import re

import pytest

import charts

GATEWAYS = [n for n, (chart, _) in charts.RENDERS.items() if chart == charts.GATEWAY]
POOLS = [n for n, (chart, _) in charts.RENDERS.items() if chart == charts.POOL]
# ConfigMap key: the file it must be, byte for byte
COPIES = {"haproxy.cfg": "haproxy/haproxy.cfg", "spoe-inference.conf": "haproxy/spoe-inference.conf",
          "inference.lua": "haproxy/inference.lua", "models.map": "haproxy/models.map",
          "spoa-inference.json": "haproxy/demo/compose/grafana/dashboards/inference.json"}


def read(*path):
    with open(os.path.join(charts.ROOT, *path), encoding="utf-8") as f:
        return f.read()


def shortened(text):
    """Without the files that are tested for themselves, and without what follows from them."""
    for key, path in COPIES.items():
        text = re.sub(rf"^  {re.escape(key)}: \|\n(?:    .*\n|\n)*", f"  {key}: ({path})\n", text,
                      flags=re.M)
    return re.sub(r"(checksum/config: )[0-9a-f]{64}", r"\1(of the ConfigMaps)", text)


@pytest.mark.parametrize("name", charts.RENDERS)
def test_golden(name, request):
    path = os.path.join(charts.HERE, "golden", name + ".yaml")
    now = shortened(charts.rendered(name))
    if request.config.getoption("--golden"):
        with open(path, "w", encoding="utf-8") as f:
            f.write(now)
    with open(path, encoding="utf-8") as f:
        assert now == f.read(), "if that is as it should be: pytest tests/charts --golden"


@pytest.mark.parametrize("name", charts.RENDERS)
def test_names_of_digits_are_names(name):
    """A release, a namespace may be called so; YAML would take them for numbers."""
    chart = os.path.join(charts.CHARTS, charts.RENDERS[name][0])
    text = charts.helm("template", "123", chart, "-n", "456", "-f", charts.values_file(name)).stdout
    for obj in charts.parse(text):
        meta = obj["metadata"]
        words = [meta["name"], meta.get("namespace", ""), *meta.get("labels", {}).values(),
                 *(obj.get("spec") or {}).get("selector", {}).get("matchLabels", {}).values()]
        assert all(isinstance(w, str) for w in words), words


@pytest.mark.parametrize("chart", [charts.GATEWAY, charts.POOL])
def test_lint(chart):
    given = [x for n, (c, _) in charts.RENDERS.items() if c == chart for x in [n]]
    for name in given:
        charts.helm("lint", "--strict", os.path.join(charts.CHARTS, chart), "-f",
                    charts.values_file(name))


@pytest.mark.parametrize("chart", [charts.GATEWAY, charts.POOL])
def test_package_is_whole(chart, tmp_path):
    """What is packaged renders as the folder does: links are followed."""
    charts.helm("package", os.path.join(charts.CHARTS, chart), "-d", str(tmp_path))
    (package,) = os.listdir(tmp_path)
    name = next(n for n, (c, _) in charts.RENDERS.items() if c == chart)
    release = charts.RENDERS[name][1]
    done = charts.helm("template", release, str(tmp_path / package), "-n", charts.NAMESPACE, "-f",
                       charts.values_file(name))
    assert done.stdout == charts.rendered(name)


@pytest.mark.parametrize("name", GATEWAYS)
def test_files_are_those_of_haproxy(name):
    seen = set()
    for o in charts.objects(name):
        if o["kind"] == "ConfigMap":
            for key in set(o["data"]) & set(COPIES):
                assert o["data"][key] == read(COPIES[key]), key
                seen.add(key)
    assert len(seen) >= 4


def containers(deployment):
    spec = deployment["spec"]["template"]["spec"]
    return spec["initContainers"] + spec["containers"]


def by_name(deployment, name):
    return next(c for c in containers(deployment) if c["name"] == name)


@pytest.mark.parametrize("name", GATEWAYS)
def test_pod_hangs_together(name):
    d = charts.one(charts.objects(name), "Deployment")
    spec = d["spec"]["template"]["spec"]
    volumes = {v["name"] for v in spec["volumes"]}
    assert len(volumes) == len(spec["volumes"])
    used = set()
    maps = {o["metadata"]["name"] for o in charts.objects(name) if o["kind"] == "ConfigMap"}
    for c in containers(d):
        mounts = c.get("volumeMounts", [])
        assert len({m["mountPath"] for m in mounts}) == len(mounts)
        used |= {m["name"] for m in mounts}
        ports = {p["name"] for p in c.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            at = c.get(probe, {}).get("httpGet")
            assert not at or at["port"] in ports
        names = [e["name"] for e in c.get("env", [])]
        assert len(set(names)) == len(names)
    assert used == volumes
    for v in spec["volumes"]:
        if "configMap" in v:
            assert v["configMap"]["name"] in maps
    labels = d["spec"]["template"]["metadata"]["labels"]
    assert d["spec"]["selector"]["matchLabels"].items() <= labels.items()
    service = charts.one(charts.objects(name), "Service")
    assert service["spec"]["selector"].items() <= labels.items()
    ports = {p["name"] for p in by_name(d, "haproxy")["ports"]}
    assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("name", GATEWAYS)
def test_pod_has_little(name):
    d = charts.one(charts.objects(name), "Deployment")
    spec = d["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for c in containers(d):
        if c["name"] == "beside":  # extraContainers: somebody's own
            continue
        assert c["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]}}, c["name"]
        assert c["resources"]["requests"] and c["resources"]["limits"]["memory"]
        has_token = "token" in {m["name"] for m in c["volumeMounts"]}
        assert has_token == (c["name"] == "agent")
    for o in charts.objects(name):
        for rule in o.get("rules") or []:
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
            writes = set(rule["verbs"]) - {"list", "watch"}
            assert not writes or all(r.endswith("/status") for r in rule["resources"])


@pytest.mark.parametrize("name", GATEWAYS)
def test_pod_starts_and_ends_in_order(name):
    d = charts.one(charts.objects(name), "Deployment")
    spec = d["spec"]["template"]["spec"]
    first, agent = spec["initContainers"]
    # what HAProxy is told to load is there before it starts, whoever writes it
    haproxy = by_name(d, "haproxy")
    loaded = [haproxy["command"][i + 1] for i, w in enumerate(haproxy["command"]) if w == "-f"]
    for path in [x for x in loaded if x.startswith("/run/")]:
        assert f": > {path}\n" in first["command"][-1]
    assert agent["restartPolicy"] == "Always" and "startupProbe" in agent
    assert "--ready" in agent["startupProbe"]["exec"]["command"]
    # a gateway whose agent is ill goes on: the pod stays ready
    assert "readinessProbe" not in agent and "readinessProbe" in haproxy
    slept = haproxy["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 1 <= slept < spec["terminationGracePeriodSeconds"]
    assert d["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("name", GATEWAYS)
def test_environment_is_read(name):
    """What is set is read by haproxy.cfg or the SPOE file, and paths of the two containers agree."""
    d = charts.one(charts.objects(name), "Deployment")
    text = read("haproxy", "haproxy.cfg") + read("haproxy", "spoe-inference.conf")
    env = {e["name"]: e.get("value") for e in by_name(d, "haproxy")["env"]}
    known = set(re.findall(r"INFERENCE_[A-Z0-9_]+", text)) | {"INFERENCE_KUBERNETES"}
    given = {n for n in env if n.startswith("INFERENCE_")}
    assert given <= known, given - known
    agent = charts.one(charts.objects(name), "ConfigMap", d["metadata"]["name"] + "-agent")
    conf = charts.parse(agent["data"]["spoa-inference.yaml"])[0]
    assert env["INFERENCE_AGENT"] == conf["listen"]["spop"]
    assert env["INFERENCE_ADMIN"] in conf["listen"]["admin"]
    assert env["INFERENCE_FEEDBACK"] == conf["listen"]["feedback"]
    assert env["INFERENCE_STATS_SOCKET"] == conf["haproxy"]["socket"]
    assert env["INFERENCE_MAP"] == conf["haproxy"]["map_file"]
    command = " ".join(by_name(d, "haproxy")["command"])
    assert f"-S {conf['kubernetes']['haproxy_master']},mode,600 " in command
    assert f"-f {conf['kubernetes']['haproxy_dir']}/00-inference-env.cfg " in command


def test_new_configuration_makes_new_pods():
    def annotations(*more):
        text = charts.template(charts.GATEWAY, "x", *more).stdout
        return charts.one(charts.parse(text), "Deployment")["spec"]["template"]["metadata"][
            "annotations"]
    assert annotations() == annotations()
    assert annotations() != annotations("--set", "agent.config.body=whole")
    assert annotations() != annotations("--set", "haproxy.threads=2")


def test_agent_config_lies_over_the_chart():
    conf = charts.parse(charts.one(charts.objects("gateway-everything"), "ConfigMap", "gw-agent")[
        "data"]["spoa-inference.yaml"])[0]
    assert conf["log"]["level"] == "warning"  # though bbr.flags.v says debug
    assert conf["limits"] == {"connections": 4096}
    assert conf["listen"]["spop"] == "unix@/run/spoa-inference/spop.sock"


def test_namespaces_narrow_the_rights():
    everywhere = {(o["kind"], r) for o in charts.objects("gateway-default") if o.get("rules")
                  for rule in o["rules"] for r in rule["resources"]}
    assert ("ClusterRole", "pods") in everywhere
    found = charts.objects("gateway-everything")
    cluster = charts.one(found, "ClusterRole")
    assert {r for rule in cluster["rules"] for r in rule["resources"]} == {
        "gatewayclasses", "gatewayclasses/status", "namespaces"}
    spaces = {o["metadata"]["namespace"] for o in found if o["kind"] == "Role"
              and any("pods" in r["resources"] for r in o["rules"])}
    assert spaces == {"team-a", "team-b"}
    for o in found:
        if o["kind"].endswith("RoleBinding"):
            role = charts.one([x for x in found if x["kind"] == o["roleRef"]["kind"] and
                               x["metadata"].get("namespace") == o["metadata"].get("namespace")],
                              o["roleRef"]["kind"], o["roleRef"]["name"])
            assert role and o["subjects"] == [
                {"kind": "ServiceAccount", "name": "gw", "namespace": charts.NAMESPACE}]


def test_models_need_no_gateway_api():
    found = charts.objects("gateway-models")
    assert not {o["kind"] for o in found} & {"GatewayClass", "Gateway", "ClusterRole"}
    assert not [r for o in found for r in o.get("rules") or []
                if "gateway.networking.k8s.io" in r["apiGroups"]]


def test_old_image_keys():
    text = charts.template(charts.GATEWAY, "x", "--set",
                           "bbr.image.hub=example.com/a,bbr.image.name=bbr,bbr.image.tag=v1").stdout
    agent = by_name(charts.one(charts.parse(text), "Deployment"), "agent")
    assert agent["image"] == "example.com/a/bbr:v1"


def test_pool_of_the_guide():
    (pool,) = charts.objects("pool-guide")
    assert pool["metadata"]["name"] == "vllm-phi4-mini-instruct"
    assert "annotations" not in pool["metadata"]
    assert pool["spec"]["selector"] == {"matchLabels": {"app": "phi4-mini"}}
    assert pool["spec"]["targetPorts"] == [{"number": 8000}]
    assert pool["spec"]["endpointPickerRef"]["failureMode"] == "FailOpen"


def test_pool_options_are_annotations():
    pool = charts.one(charts.objects("pool-everything"), "InferencePool")
    assert pool["metadata"]["annotations"] == {
        "spoa-inference/policy": "shortest-wait", "spoa-inference/when-full": "reject",
        "spoa-inference/max-inflight": "1000000", "spoa-inference/retry-after": "2",
        "spoa-inference/engine": "trtllm", "spoa-inference/metrics-path": "/prometheus/metrics",
        "spoa-inference/scheme": "https", "spoa-inference/models": "Qwen/Qwen3-32B,food-review-1",
        "example.com/owner": "team-a"}


def test_engines_are_words_of_the_agent():
    words = re.search(r"CONFIG_ENUM_engine|config_enum_engine", read("agent", "config", "config.h") +
                      read("agent", "config", "option.c") + read("agent", "config", "config.c"))
    assert words
    row = re.search(r'OPT\(SCRAPE, engine, .*\n\s*"([^"]*)"', read("agent", "config", "config.def"))
    known = set(re.split(r"[ ,]+|or", row[1]))
    for given in ("vllm", "sglang", "triton-tensorrt-llm", "trtllm-serve", "llamacpp", "none"):
        text = charts.template(charts.POOL, "x", "--set",
                               "inferencePool.modelServers.matchLabels.app=x,"
                               f"inferencePool.modelServerType={given}").stdout
        (pool,) = charts.parse(text)
        assert pool["metadata"]["annotations"]["spoa-inference/engine"] in known


def test_route_of_a_base_model():
    route = charts.one(charts.objects("pool-adapters"), "HTTPRoute", "vllm-deepseek-r1")
    assert route["spec"]["rules"] == [{
        "backendRefs": [{"group": "inference.networking.k8s.io", "kind": "InferencePool",
                         "name": "vllm-deepseek-r1"}],
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [
            {"type": "Exact", "name": "X-Gateway-Base-Model-Name",
             "value": "deepseek/DeepSeek-r1"}]}],
        "timeouts": {"request": "300s"}}]


def test_route_without_base_model_takes_all():
    route = charts.one(charts.objects("pool-everything"), "HTTPRoute")
    assert route["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert route["spec"]["parentRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "llm",
         "namespace": "gateways"}]
    assert route["spec"]["rules"][0]["timeouts"] == {"request": "10m"}


@pytest.mark.parametrize("name", ["on", "1", "a: b", 'x" y', "null", "0x10", "ä/ö"])
def test_model_names_survive(name, tmp_path):
    """YAML's own words, quotes and numbers as names of models."""
    import yaml

    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({
        "inferencePool": {"modelServers": {"matchLabels": {"app": "x"}},
                          "options": {"models": [name]}},
        "experimentalHttpRoute": {"enabled": True, "baseModel": name}}))
    found = charts.parse(charts.template(charts.POOL, "x", "-f", str(values)).stdout)
    route = charts.one(found, "HTTPRoute")
    assert route["spec"]["rules"][0]["matches"][0]["headers"][0]["value"] == name
    pool = charts.one(found, "InferencePool")
    assert pool["metadata"]["annotations"]["spoa-inference/models"] == name
