"""Values that are wrong or would promise what is not there: refused, in words that help."""
import os

import pytest

import charts
import readme

APP = ["--set", "inferencePool.modelServers.matchLabels.app=x"]
CASES = [
    (charts.GATEWAY, "provider.name=istio", ["provider.name=istio", "is haproxy", "Inference Extension"]),
    (charts.GATEWAY, "provider.name=none", ["provider.name=none"]),
    (charts.GATEWAY, "provider.name=", ["provider.name="]),
    (charts.GATEWAY, "bbr.replica=2", ["/bbr", "'replica' not allowed"]),
    (charts.GATEWAY, "replicas=2", ["'replicas' not allowed"]),
    (charts.GATEWAY, "bbr.replicas=two", ["/bbr/replicas", "want integer"]),
    (charts.GATEWAY, "bbr.replicas=-1", ["/bbr/replicas"]),
    (charts.GATEWAY, "bbr.name=Router", ["/bbr/name", "pattern"]),
    (charts.GATEWAY, "bbr.name=a b", ["/bbr/name"]),
    (charts.GATEWAY, "bbr.image.pullPolicy=Sometimes", ["/bbr/image/pullPolicy", "IfNotPresent"]),
    (charts.GATEWAY, "bbr.plugins[0].type=response-cache", ["bbr.plugins", "response-cache"]),
    (charts.GATEWAY, "bbr.plugins[0].type=body-field-to-header,bbr.plugins[0].json.fieldName=user",
     ["bbr.plugins", "field model"]),
    (charts.GATEWAY, "bbr.tracing.enabled=true", ["bbr.tracing.enabled", "no traces"]),
    (charts.GATEWAY, "bbr.flags.v=high", ["/bbr/flags/v"]),
    (charts.GATEWAY, "bbr.flags.streaming=true", ["/bbr/flags", "'streaming' not allowed"]),
    (charts.GATEWAY, "haproxy.threads=0", ["/haproxy/threads", "minimum"]),
    (charts.GATEWAY, "haproxy.timeoutServer=5min", ["/haproxy/timeoutServer", "pattern"]),
    (charts.GATEWAY, "haproxy.failOpen=closed", ["/haproxy/failOpen", "want boolean"]),
    (charts.GATEWAY, "service.type=ExternalName", ["/service/type", "LoadBalancer"]),
    (charts.GATEWAY, "service.port=70000", ["/service/port", "maximum"]),
    (charts.GATEWAY, "kubernetes.routing=ingress", ["/kubernetes/routing", "httproutes"]),
    (charts.GATEWAY, "kubernetes.watchNamespaces=team-a", ["/kubernetes/watchNamespaces", "array"]),
    (charts.GATEWAY, "kubernetes.watchNamespaces={a,a}", ["/kubernetes/watchNamespaces"]),
    (charts.GATEWAY, "kubernetes.routing=models,inferenceGateway.create=true",
     ["inferenceGateway.create", "models"]),
    (charts.GATEWAY, "gatewayClass.controllerName=mine", ["/gatewayClass/controllerName", "pattern"]),
    (charts.GATEWAY, "tls.secrets={Wild Card}", ["/tls/secrets/0", "pattern"]),
    (charts.GATEWAY, "terminationGracePeriodSeconds=5", ["terminationGracePeriodSeconds", "longer"]),
    (charts.GATEWAY, "autoscaling.enabled=true,autoscaling.maxReplicas=1", ["maxReplicas is less"]),
    (charts.GATEWAY, "podDisruptionBudget.maxUnavailable=0", ["/podDisruptionBudget/maxUnavailable"]),
    (charts.GATEWAY, "podDisruptionBudget.maxUnavailable=many", ["/podDisruptionBudget/maxUnavailable"]),
    (charts.GATEWAY, "serviceAccount.create=false", ["serviceAccount.name"]),
    (charts.POOL, "provider.name=gke", ["provider.name=gke", "is haproxy"]),
    (charts.POOL, "inferencePool.apiVersion=inference.networking.x-k8s.io/v1alpha2",
     ["v1alpha2", "inference.networking.k8s.io/v1"]),
    (charts.POOL, "inferencePool.targetPorts[0].number=0", ["/inferencePool/targetPorts/0/number"]),
    (charts.POOL, "inferencePool.targetPorts[0]=8000", ["/inferencePool/targetPorts/0", "object"]),
    (charts.POOL, "inferencePool.targetPorts[0].number=1,inferencePool.targetPorts[1].number=1",
     ["/inferencePool/targetPorts"]),
    (charts.POOL, ",".join(f"inferencePool.targetPorts[{i}].number={8000 + i}" for i in range(9)),
     ["/inferencePool/targetPorts", "maxItems"]),
    (charts.POOL, "inferencePool.modelServerType=ollama", ["/inferencePool/modelServerType", "vllm"]),
    (charts.POOL, "inferencePool.modelServerProtocol=grpc", ["grpc", "not supported"]),
    (charts.POOL, "inferencePool.options.policy=prefix", ["/inferencePool/options/policy", "least-loaded"]),
    (charts.POOL, "inferencePool.options.polcy=random-of-two", ["'polcy' not allowed"]),
    (charts.POOL, "inferencePool.options.metricsPath=metrics", ["/inferencePool/options/metricsPath"]),
    (charts.POOL, "inferenceExtension.failureMode=Open", ["/inferenceExtension/failureMode", "FailOpen"]),
    (charts.POOL, "inferenceExtension.replica=2", ["'replica' not allowed"]),
    (charts.POOL, "inferenceExtension.pluginsCustomConfig.a=b", ["pluginsCustomConfig", "policy"]),
    (charts.POOL, "inferenceExtension.latencyPredictor.enabled=true", ["latencyPredictor", "shortest-wait"]),
    (charts.POOL, "inferenceExtension.sidecar.enabled=true", ["sidecar", "extraContainers"]),
    (charts.POOL, "inferenceExtension.tracing.enabled=true", ["no traces"]),
    (charts.POOL, "inferenceObjectives[0].name=high", ["inferenceObjectives", "not supported"]),
    (charts.POOL, "experimentalHttpRoute.requestTimeout=300", ["/experimentalHttpRoute/requestTimeout"]),
]


@pytest.mark.parametrize("chart,given,words", CASES, ids=[g[:60] for _, g, _ in CASES])
def test_refused(chart, given, words):
    more = APP if chart == charts.POOL else []
    done = charts.template(chart, "x", *more, "--set", given, check=False)
    assert done.returncode != 0 and not done.stdout
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_pool_without_labels():
    done = charts.template(charts.POOL, "x", check=False)
    assert done.returncode != 0
    assert "inferencePool.modelServers.matchLabels is required" in done.stderr
    done = charts.template(charts.POOL, "x", "--set", "inferencePool.modelServers.matchLabels=null",
                           check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("chart", [charts.GATEWAY, charts.POOL])
def test_schema_is_strict(chart):
    """No object takes unknown names, but those that are somebody's own; every value is described."""
    free = {"global", "agent.config", "affinity", "podSecurityContext"}

    def look(node, path):
        assert node.get("description"), path
        if "properties" in node:
            assert node["additionalProperties"] is False, path
            for name, child in node["properties"].items():
                look(child, path + [name])
        elif node.get("type") == "object" and not isinstance(node.get("additionalProperties"), dict):
            assert ".".join(path) in free or "x-envoy" in node or path[-1] == "json", path
        if isinstance(node.get("items"), dict) and "properties" in node["items"]:
            look(node["items"], path + ["[]"])
    look(readme.schema(chart), [])


@pytest.mark.parametrize("chart", [charts.GATEWAY, charts.POOL])
def test_defaults_are_in_the_schema(chart):
    known = {path for path, _ in readme.walk(readme.schema(chart))}

    def look(values, path=()):
        for name, value in values.items():
            assert path + (name,) in known, path + (name,)
            if isinstance(value, dict) and any(p[:-1] == path + (name,) for p in known):
                look(value, path + (name,))
    look(readme.defaults(chart))


# Every value of the Envoy-based charts, v1.0.0 and v1.5.0; whole trees where they stand for one thing.
ENVOY = {
    charts.GATEWAY: """bbr.name bbr.replicas bbr.image.name bbr.image.hub bbr.image.tag
        bbr.image.pullPolicy bbr.image.registry bbr.image.repository bbr.port bbr.healthCheckPort
        bbr.multiNamespace bbr.flags.v bbr.plugins bbr.tracing provider.name provider.istio
        inferenceGateway.name""",
    charts.POOL: """inferenceExtension.replicas inferenceExtension.image
        inferenceExtension.extProcPort inferenceExtension.env inferenceExtension.pluginsConfigFile
        inferenceExtension.pluginsCustomConfig inferenceExtension.extraContainerPorts
        inferenceExtension.extraServicePorts inferenceExtension.flags inferenceExtension.failureMode
        inferenceExtension.affinity inferenceExtension.tolerations inferenceExtension.resources
        inferenceExtension.sidecar inferenceExtension.monitoring inferenceExtension.tracing
        inferenceExtension.latencyPredictor inferenceExtension.metricsDataSource.scheme
        inferenceExtension.metricsDataSource.path
        inferenceExtension.metricsDataSource.insecureSkipVerify inferencePool.targetPorts
        inferencePool.targetPortNumber inferencePool.modelServerType
        inferencePool.modelServerProtocol inferencePool.parser inferencePool.apiVersion
        inferencePool.modelServers provider.name provider.gke provider.istio
        experimentalHttpRoute.enabled experimentalHttpRoute.inferenceGatewayName
        experimentalHttpRoute.requestTimeout experimentalHttpRoute.baseModel inferenceObjectives""",
}


@pytest.mark.parametrize("chart", [charts.GATEWAY, charts.POOL])
def test_every_value_of_the_envoy_chart_is_explained(chart):
    told = {".".join(path) for path, node in readme.walk(readme.schema(chart)) if "x-envoy" in node}
    assert told == set(ENVOY[chart].split())


@pytest.mark.parametrize("chart,release", [(charts.GATEWAY, "gateway"), (charts.POOL, "pool")])
def test_notes_name_what_has_no_meaning(chart, release):
    name = next(n for n in charts.RENDERS if n.startswith(release) and n.endswith("envoy-values"))
    done = charts.helm("install", release, os.path.join(charts.CHARTS, chart), "--dry-run=client",
                       "-f", charts.values_file(name))
    notes = done.stdout.split("\nNOTES:\n")[1]
    expected = {"gateway": ["bbr.port", "bbr.healthCheckPort", "bbr.multiNamespace",
                            "bbr.plugins"],
                "pool": ["inferenceExtension.replicas", "inferenceExtension.resources",
                         "inferencePool.parser"]}[release]
    for word in ["Without a meaning here"] + expected:
        assert word in notes, notes
    plain = charts.helm("install", release, os.path.join(charts.CHARTS, chart), "--dry-run=client",
                        *(APP if chart == charts.POOL else []))
    assert "Without a meaning here" not in plain.stdout


@pytest.mark.parametrize("chart", [charts.GATEWAY, charts.POOL])
def test_readme_is_fresh(chart):
    now, wanted = readme.made(chart)
    assert now == wanted, f"charts/{chart}/README.md {readme.STALE}"
    assert now.count("<!-- end -->") == (3 if chart == charts.GATEWAY else 2)
