"""Image → programs of this machine: what `docker pull` and an image's own settings are elsewhere.

An image here has what the real one has and no more: the agent's and the simulator's hold one program
and its libraries (no shell), HAProxy's is a Debian with the official image's entrypoint, user and
folders. vLLM's and llm-d's simulator's names stand for the simulator: their options that matter to a
gateway are translated. The conformance suites' model server is the real one, built from its Go module.
"""
import hashlib
import os
import re
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("SPOA_BUILD", os.path.join(ROOT, "build"))
AGENT = os.path.join(BUILD, "agent", "spoa-inference")
SIM = os.path.join(BUILD, "tests", "sim", "spoa-sim")
CACHE = os.environ.get("SPOA_CACHE") or os.path.expanduser("~/.cache/spoa-inference")
CHROOTS = os.environ.get("SPOA_CHROOTS") or os.path.join(CACHE, "chroots")
SUITES = {"3.0": "trixie", "3.2": "sid", "3.4": "experimental"}

PASSWD = "root:x:0:0:root:/root:/sbin/nologin\nhaproxy:x:99:99::/var/lib/haproxy:/sbin/nologin\n" \
         "inference:x:65532:65532::/:/sbin/nologin\n"
GROUP = "root:x:0:\nhaproxy:x:99:\ninference:x:65532:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"
LINKS = {"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"}

HAPROXY_ENTRYPOINT = """#!/bin/sh
# As the official image does: options alone, or "haproxy", mean the master and its workers.
case $1 in -*) set -- haproxy "$@" ;; esac
if [ "$1" = haproxy ]; then shift; set -- haproxy -W -db "$@"; fi
exec "$@"
"""
# vllm serve MODEL --port N ..., or --model MODEL: what the simulator is told instead.
VLLM = """#!/usr/bin/python3
import json, os, sys
words, options, modules, model = sys.argv[1:], {}, [], None
if words[:1] == ["serve"]:
    words.pop(0)
while words:
    word = words.pop(0)
    if not word.startswith("-"):
        model = model or word
        continue
    name, eq, value = word.partition("=")
    values = [value] if eq else []
    while not eq and words and not words[0].startswith("--"):
        values.append(words.pop(0))
    options[name] = values
served = options.get("--served-model-name") or options.get("--model") or [model]
server = "name=" + os.uname().nodename + "".join(",model=" + m for m in served[:1])
for text in options.get("--lora-modules", []):
    pair = json.loads(text) if text.startswith("{") else dict(zip(("name", "path"), text.split("=", 1)))
    server += ",adapter=" + pair["name"] + ":" + pair.get("path", "/adapters/" + pair["name"])
port = (options.get("--port") or ["8000"])[0]
os.execv("/usr/local/bin/spoa-sim", ["spoa-sim", "--lenient", "--speed", "8", "--prefill-rate", "1e7",
    "--listen", "0.0.0.0:" + port, "--server", server])
"""


class NoImage(Exception):
    """As when it cannot be pulled."""


def libraries(program):
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(/\S+) \(0x", told)))


def scratch(program, at, **more):
    """One program and what it loads."""
    if not os.path.exists(program):
        raise NoImage(f"{program} is not built")
    base = [(program, at)] + [(lib, lib) for lib in libraries(program)]
    return {"base": base, "texts": {"/etc/passwd": PASSWD, "/etc/group": GROUP,
                                    "/etc/nsswitch.conf": NSSWITCH},
            "env": {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}, **more}


def agent(_):
    image = scratch(AGENT, "/usr/sbin/spoa-inference", entrypoint=["/usr/sbin/spoa-inference"],
                    cmd=["-f", "/etc/spoa-inference.yaml"], user=65532,
                    folders={"/run/spoa-inference": {"mode": 0o2770, "uid": 65532}})
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(bundle):
        image["base"].append((bundle, bundle))
    return image


def simulator(_):
    return scratch(SIM, "/usr/bin/spoa-sim", entrypoint=["/usr/bin/spoa-sim", "--listen",
                                                         "0.0.0.0:8000"], cmd=[], user=65532)


def conformance_program(name):
    """One built from conformance/ as it is now (tests/setup.sh: conformance_folder); NoImage."""
    sources = os.path.join(ROOT, "tests", "kube", "conformance")
    digest = hashlib.sha256()
    for source in ("base.yaml", "go.mod", "go.sum", "picker/main.go", "suite_test.go"):
        with open(os.path.join(sources, source), "rb") as f:
            digest.update(f.read())
    program = os.path.join(CACHE, "conformance-" + digest.hexdigest()[:12], name)
    if not os.path.exists(program):
        raise NoImage(os.environ.get("SPOA_SKIP_CONFORMANCE") or
                      "the conformance suites are not built (tests/run.sh does)")
    return program


def conformance(name):
    """It needs nothing else."""
    return {"base": [(conformance_program(name), "/" + name)], "entrypoint": ["/" + name],
            "cmd": [], "user": 65532, "texts": {"/etc/passwd": PASSWD, "/etc/group": GROUP},
            "env": {"PATH": "/"}}


def debian(root, **more):
    return {"base": [(root.rstrip("/") + "/usr", "/usr")], "links": LINKS, "tmpfs": ["/usr/local"],
            "texts": {"/etc/passwd": PASSWD, "/etc/group": GROUP, "/etc/nsswitch.conf": NSSWITCH,
                      **more.pop("texts", {})},
            "env": {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, **more}


def haproxy_version(root):
    try:
        argv = ["chroot", root] if root != "/" else []
        told = subprocess.run(argv + ["/usr/sbin/haproxy", "-v"], capture_output=True, text=True)
    except OSError:
        return None
    found = re.search(r"version (\d+\.\d+)", told.stdout)
    return found and found.group(1)


def haproxies():
    """version → Debian folder, of those that are here."""
    found = {}
    for root in ["/"] + [os.path.join(CHROOTS, s) for s in SUITES.values()]:
        version = haproxy_version(root) if os.path.exists(root + "/usr/sbin/haproxy") else None
        if version:
            found.setdefault(version, root)
    return found


def haproxy(tag):
    """The tag's version, or SPOA_KUBE_HAPROXY's in its place."""
    wanted = os.environ.get("SPOA_KUBE_HAPROXY") or re.match(r"\d+\.\d+|", tag).group()
    here = haproxies()
    if wanted not in here:
        raise NoImage(f"HAProxy {wanted or tag} is not among {sorted(here)}")
    root = here[wanted]
    return debian(
        root, entrypoint=["/bin/sh", "/usr/local/bin/docker-entrypoint.sh"],
        cmd=["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"], user=99,
        stop_signal="SIGUSR1", cwd="/var/lib/haproxy",
        texts={"/usr/local/bin/docker-entrypoint.sh": HAPROXY_ENTRYPOINT},
        after=[(root.rstrip("/") + "/usr/sbin/haproxy", "/usr/local/sbin/haproxy")],
        folders={"/var/lib/haproxy": {"mode": 0o755, "uid": 99},
                 "/usr/local/etc/haproxy": {"mode": 0o755, "uid": 0},
                 "/run/haproxy": {"mode": 0o755, "uid": 99}})


def vllm(_):
    return debian("/", entrypoint=["/usr/bin/python3", "/usr/local/bin/vllm"], cmd=[], user=0,
                  texts={"/usr/local/bin/vllm": VLLM}, after=[(SIM, "/usr/local/bin/spoa-sim")])


TABLE = [(r"(.*/)?spoa-inference", agent), (r"(.*/)?spoa-sim", simulator),
         (r"(.*/)?haproxy(-alpine|-debian|-ubuntu)?", haproxy),
         (r"(.*/)?echo-basic", lambda _: conformance("echo-basic")),
         (r"(.*/)?gateway-api-inference-extension/epp", lambda _: conformance("picker")),
         (r"(.*/)?(vllm-openai|vllm-cpu|llm-d-inference-sim)", vllm)]


def find(name):
    """The image's record: base, links, texts, tmpfs, after, folders, entrypoint, cmd, user, cwd,
    env, stop_signal."""
    name = name.split("@", 1)[0]
    repository, _, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, "", "")
    for pattern, make in TABLE:
        if re.fullmatch(pattern, repository):
            return make(tag)
    raise NoImage(f"no such image: {name}")
