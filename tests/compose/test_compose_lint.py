"""The compose demo as files: what can be said of them without an engine."""
import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

import demo
import engine

DOCKERFILES = ["agent/Dockerfile", "tests/sim/Dockerfile"]


def compose():
    loaded = demo.load("haproxy/demo/compose.yaml")
    if loaded is None:
        pytest.skip("no PyYAML")
    return loaded


def instructions(path):
    """[(instruction, rest)], continuation lines joined, comments left out."""
    lines = [x for x in demo.text(path).splitlines() if not x.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(x.split(None, 1)) for x in joined.splitlines() if x.strip()]


def context_holds(path):
    """Whether .dockerignore lets @path into the context: the last pattern that matches counts."""
    held = True
    for pattern in demo.text(".dockerignore").splitlines():
        keep, pattern = pattern.startswith("!"), pattern.lstrip("!").rstrip("/")
        if pattern.startswith("#") or not pattern:
            continue
        shape = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.match(shape + "(?:/|$)", path):
            held = keep
    return held


# ---- Dockerfiles -------------------------------------------------------------------------------
@pytest.mark.parametrize("path", DOCKERFILES)
def test_last_stage_is_small_and_without_root(path):
    all_of_it = instructions(path)
    stages = [i for i, (word, _) in enumerate(all_of_it) if word == "FROM"]
    assert len(stages) >= 2
    last = all_of_it[stages[-1]:]
    assert last[0] == ("FROM", "scratch")
    words = dict(last)
    assert "RUN" not in words, "there is nothing in it that could run"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", words["USER"]), "by number: runAsNonRoot reads it"
    assert words["STOPSIGNAL"] == "SIGTERM"
    assert os.path.isabs(json.loads(words["ENTRYPOINT"])[0]), "a list: there is no shell"
    for _, rest in [x for x in last if x[0] == "COPY"]:
        assert rest.startswith("--from=")


def test_agent_has_a_health_check_without_a_shell():
    words = dict(instructions("agent/Dockerfile"))
    form, _, command = words["HEALTHCHECK"].partition("CMD")
    assert json.loads(command)[:2] == ["/usr/sbin/spoa-inference", "health"]
    assert all(option in form for option in ("--interval=", "--timeout=", "--start-period="))


@pytest.mark.parametrize("path", DOCKERFILES)
def test_builds_from_pinned_releases_and_leaves_no_lists(path):
    for word, rest in instructions(path):
        assert word in {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "STOPSIGNAL",
                        "HEALTHCHECK", "ENTRYPOINT", "CMD"}, word
        assert ":latest" not in rest
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest and "rm -rf /var/lib/apt/lists" in rest
            assert rest.index("apt-get update") < rest.index("apt-get install")
    first = dict(instructions(path)[:1])
    assert first["ARG"] == "DEBIAN=debian:bookworm-slim"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_what_is_copied_is_in_the_context(path):
    copied = [rest.split() for word, rest in instructions(path)
              if word == "COPY" and not rest.startswith("--from")]
    assert copied
    for words in copied:
        for source in words[:-1]:
            assert os.path.exists(os.path.join(demo.ROOT, source)), source
            assert context_holds(source), source + " is kept out by .dockerignore"


def test_context_is_no_larger_than_it_must_be():
    for path in (".git", ".cache", "build", "build-asan/agent", "tests/e2e", "agent/README.md"):
        assert not context_holds(path), path
    for path in ("agent/main.c", "agent/serve/metric.def", "spop/CMakeLists.txt"):
        assert context_holds(path), path


def test_image_builds_with_what_the_project_needs():
    """What CMake asks for is what both Debian machines and the image install."""
    packages = {"libevent": "libevent-dev", "libevent_pthreads": "libevent-dev",
                "libevent_openssl": "libevent-dev",
                "libcjson": "libcjson-dev", "yaml-0.1": "libyaml-dev",
                "libcurl": "libcurl4-openssl-dev", "libcares": "libc-ares-dev",
                "libxxhash": "libxxhash-dev", "liburcu-memb": "liburcu-dev",
                "openssl": "libssl-dev", "libssl": "libssl-dev", "libcrypto": "libssl-dev"}
    asked = re.findall(r"pkg_check_modules\(\w+ REQUIRED (?:IMPORTED_TARGET )?([^\s)]+)",
                       demo.text("agent/CMakeLists.txt"))
    assert asked
    installed = demo.text("agent/Dockerfile").split()
    for module in asked:
        assert packages[module] in installed, module


# ---- compose.yaml ------------------------------------------------------------------------------
@pytest.mark.parametrize("profile", [[], ["--profile", "observe"]], ids=["plain", "observe"])
def test_compose_understands_it(profile):
    commands = engine.compose_commands()
    if not commands:
        pytest.skip("neither docker compose nor docker-compose is installed")
    for command in commands:
        out = engine.run(*command, "-f", demo.COMPOSE, *profile, "config", "--services")
        services = set(out.split())
        assert {"haproxy", "agent", "llama", "phi4"} <= services, command
        assert not profile or {"prometheus", "grafana"} <= services, command


def test_only_prometheus_and_grafana_wait_for_a_profile():
    waiting = {n: s["profiles"] for n, s in compose()["services"].items() if "profiles" in s}
    assert waiting == {"prometheus": ["observe"], "grafana": ["observe"]}


def test_no_key_that_only_newer_or_older_compose_knows():
    top = compose()
    assert set(top) == {"services", "volumes"}


def test_images_are_pinned_and_ports_are_local():
    for name, service in compose()["services"].items():
        image = service["image"]
        assert "latest" not in image
        assert re.search(r":\$?\{?\w", re.sub(r":-", "", image)) or service.get("build") or \
            name == "phi4", name
        for port in service.get("ports", []):
            assert port.startswith("${BIND:-127.0.0.1}:"), port
        assert not service.get("privileged") and "network_mode" not in service


def test_ours_run_with_little():
    for name in ("haproxy", "agent", "llama", "phi4"):
        service = compose()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    # the sockets between the two are 0600 and 0660: one user
    user = dict(instructions("agent/Dockerfile"))["USER"]
    assert compose()["services"]["haproxy"]["user"] == user


def test_every_mounted_file_is_there():
    seen = 0
    for service in compose()["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert os.path.exists(os.path.join(demo.DEMO, source)), source
                seen += 1
            else:
                assert source in compose()["volumes"], source
    assert seen >= 7


def test_every_variable_for_haproxy_is_read_by_it():
    files = demo.text("haproxy/haproxy.cfg") + demo.text("haproxy/spoe-inference.conf")
    known = set(re.findall(r"INFERENCE_[A-Z_]+", files))
    given = set(compose()["services"]["haproxy"]["environment"])
    assert given and given <= known, given - known


def test_pools_are_backends_and_services():
    agent = demo.load("haproxy/demo/compose/agent.yaml")
    backends = set(re.findall(r"^backend (\S+)", demo.text("haproxy/demo/compose/pools.cfg"),
                              re.M))
    assert set(agent["pools"]) == backends
    for name, pool in agent["pools"].items():
        assert pool["dns"] == "%s:8000" % name
        assert name in compose()["services"]
        assert re.search(r"server-template %s 1-10 %s:8000 " % (name, name),
                         demo.text("haproxy/demo/compose/pools.cfg"))


def test_stop_is_longer_than_drain():
    seconds = int(re.fullmatch(r"(\d+)s", compose()["services"]["agent"]["stop_grace_period"])[1])
    drain = re.search(r"^drain: (\d+)s", demo.text("haproxy/demo/compose/agent.yaml"), re.M)
    assert seconds >= (int(drain[1]) if drain else 5) + 5


def haproxy_environment(folder):
    env = dict(os.environ)
    for key, value in compose()["services"]["haproxy"]["environment"].items():
        value = value.replace("/usr/local/etc/haproxy", os.path.join(demo.ROOT, "haproxy"))
        env[key] = value.replace("/run/spoa-inference", str(folder))
    return env


def test_haproxy_takes_it(tmp_path):
    haproxy = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if not haproxy:
        pytest.skip("no haproxy")
    shutil.copy(os.path.join(demo.ROOT, "haproxy", "models.map"), tmp_path)
    done = subprocess.run(
        [haproxy, "-c", "-f", os.path.join(demo.ROOT, "haproxy", "haproxy.cfg"), "-f",
         os.path.join(demo.PARTS, "pools.cfg")], env=haproxy_environment(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    # outside its network the one name that is looked up at the start is not known
    told = [line for line in done.stdout.splitlines() if "[WARNING]" in line or "[ALERT]" in line]
    assert all("could not resolve address 'agent'" in line for line in told), done.stdout


def test_agent_takes_it():
    build = os.environ.get("SPOA_BUILD", "build")
    agent = os.path.join(demo.ROOT, build, "agent", "spoa-inference")
    if not os.path.exists(agent):
        pytest.skip("the agent is not built")
    engine.run(agent, "-t", "-f", os.path.join(demo.PARTS, "agent.yaml"))


def test_health_check_of_haproxy_is_a_shell_command():
    test = compose()["services"]["haproxy"]["healthcheck"]["test"].replace("$$", "$")
    for shell in ("sh", "bash"):
        assert engine.works(shell, "-n", "-c", test)
    assert "bash" in shlex.split(test.replace(";", " ; "))


# ---- Prometheus and Grafana ----------------------------------------------------------------------
def test_prometheus_takes_its_file(tmp_path):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool")
    engine.run(promtool, "check", "config", os.path.join(demo.PARTS, "prometheus.yml"))
    rules = [{"record": "panel:%d" % i,
              "expr": x.replace("$__rate_interval", "1m").replace("$pool", ".*")}
             for i, (_, x) in enumerate(demo.expressions()) if not x.startswith("label_values")]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    engine.run(promtool, "check", "rules", str(path))


def test_prometheus_scrapes_services_that_are_there():
    jobs = demo.load("haproxy/demo/compose/prometheus.yml")["scrape_configs"]
    names = [n for job in jobs for s in job["dns_sd_configs"] for n in s["names"]]
    assert sorted(names) == ["agent", "haproxy", "llama", "phi4"]
    assert set(names) <= set(compose()["services"])


def test_grafana_finds_data_source_and_dashboard():
    source = demo.load("haproxy/demo/compose/grafana/provisioning/datasources/prometheus.yaml")
    provider = demo.load("haproxy/demo/compose/grafana/provisioning/dashboards/inference.yaml")
    grafana = compose()["services"]["grafana"]
    inside = dict(v.split(":")[:2] for v in grafana["volumes"])
    at = provider["providers"][0]["options"]["path"]
    assert at == inside["./compose/grafana/dashboards"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == at + "/" + os.path.basename(demo.DASHBOARD)
    uid = source["datasources"][0]["uid"]
    with open(demo.DASHBOARD, encoding="utf-8") as f:
        board = json.load(f)
    used = [p["datasource"]["uid"] for p in board["panels"] if p["type"] != "row"]
    assert set(used) == {uid} and len(used) > 15


def test_dashboard_is_laid_out():
    with open(demo.DASHBOARD, encoding="utf-8") as f:
        panels = json.load(f)["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    cells = set()
    for p in panels:
        g = p["gridPos"]
        assert g["x"] + g["w"] <= 24
        mine = {(x, y) for x in range(g["x"], g["x"] + g["w"])
                for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & mine, p["title"]
        cells |= mine


def test_dashboard_reads_metrics_that_the_agent_has():
    table = re.findall(r'METRIC\(\w+,\s*"(\w+)",\s*"(\w+)",\s*"([^"]*)"',
                       demo.text("agent/serve/metric.def"))
    labels = {}
    for name, kind, known in table:
        name = "spoa_inference_" + name
        known = set(known.replace(",", " ").split())
        if kind == "histogram":
            labels[name + "_bucket"] = known | {"le"}
        else:
            labels[name] = known
    ours = 0
    for title, expression in demo.expressions():
        names = demo.metric_names(expression)
        assert names, "%s: %s reads nothing" % (title, expression)
        for name in names:
            if not name.startswith("spoa_inference_"):
                continue
            ours += 1
            assert name in labels, "%s: the agent has no %s" % (title, name)
            wanted = set(re.findall(r"(\w+)\s*=~?", expression))
            for group in re.findall(r"by \(([^)]*)\)", expression):
                wanted |= set(group.replace(",", " ").split())
            assert wanted <= labels[name], "%s: %s has no %s" % (title, name,
                                                                wanted - labels[name])
    assert ours > 20
