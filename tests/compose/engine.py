"""A Docker engine and Compose for the tests: the one that is there, or one of our own.

Our own is dockerd with everything that it has below one temporary folder and a socket there. What it
changes outside (packet filter, forwarding, links) is put back at the end. It has no registry, so its
base image is a minimal Debian made by debootstrap and kept under $SPOA_CACHE.
"""
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

CACHE = os.environ.get("SPOA_CACHE") or os.path.expanduser("~/.cache/spoa-inference")
FORWARD = "/proc/sys/net/ipv4/ip_forward"


class Missing(Exception):
    """There is no engine and none can be started, and why."""


def run(*command, seconds=120, check=True, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=seconds, **more)
    if check and done.returncode:
        raise AssertionError("%s: status %d\n%s" % (" ".join(command), done.returncode,
                                                    done.stdout[-6000:]))
    return done.stdout


def works(*command, **more):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              stdin=subprocess.DEVNULL, timeout=30, **more).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def docker_programs():
    """Every client there is: one in PATH may come before the distribution's."""
    for folder in os.environ["PATH"].split(":") + ["/usr/bin"]:
        path = os.path.join(folder, "docker")
        if os.access(path, os.X_OK):
            yield path


def compose_commands():
    """What understands compose files here, newest first; no engine is needed for that."""
    found = [[d, "compose"] for d in dict.fromkeys(docker_programs())
             if works(d, "compose", "version")][:1]
    if shutil.which("docker-compose"):
        found.append(["docker-compose"])
    return found


class Engine:
    """Use as a context. `docker`: the client; `env`: the environment for it and for Compose."""

    def __init__(self):
        self.env = dict(os.environ, DOCKER_BUILDKIT="0", COMPOSE_DOCKER_CLI_BUILD="0")
        self.own = None
        self.folder = None
        self.docker = None

    def __enter__(self):
        for docker in docker_programs():
            if works(docker, "info", env=self.env):
                self.docker = docker
                return self
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        clients = list(docker_programs())
        dockerd = shutil.which("dockerd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if not clients or not dockerd:
            raise Missing("no Docker engine runs, and dockerd is not installed")
        if os.geteuid() != 0:
            raise Missing("no Docker engine runs, and only root can start one")
        self.folder = tempfile.mkdtemp(prefix="spoa-docker-")
        self.rules = run("iptables-save", check=False) if shutil.which("iptables-save") else None
        with open(FORWARD) as f:
            self.forward = f.read()
        self.links = set(os.listdir("/sys/class/net"))
        log = os.path.join(self.folder, "log")
        self.env["DOCKER_HOST"] = "unix://" + os.path.join(self.folder, "docker.sock")
        with open(log, "w") as out:
            self.own = subprocess.Popen(
                [dockerd, "--data-root", os.path.join(self.folder, "data"),
                 "--exec-root", os.path.join(self.folder, "exec"),
                 "--pidfile", os.path.join(self.folder, "pid"), "-H", self.env["DOCKER_HOST"]],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        for _ in range(150):
            for docker in clients:
                if works(docker, "version", env=self.env):
                    self.docker = docker
                    return
            if self.own.poll() is not None:
                break
            time.sleep(0.2)
        with open(log) as f:
            raise Missing("dockerd does not start here: " + f.read().strip()[-600:])

    def stop(self):
        if self.own is None:
            return
        if self.docker:
            ids = self("ps", "-aq", check=False).split()
            if ids:
                self("rm", "-f", *ids, check=False)
        if self.own.poll() is None:
            self.own.send_signal(signal.SIGTERM)
            try:
                self.own.wait(30)
            except subprocess.TimeoutExpired:
                self.own.kill()
                self.own.wait()
        self.own = None
        with open("/proc/mounts") as f:
            mounts = [line.split()[1] for line in f]
        for at in sorted(mounts, reverse=True):
            if at.startswith(self.folder):
                works("umount", "-l", at)
        for link in set(os.listdir("/sys/class/net")) - self.links:
            if link.startswith(("docker", "br-", "veth")):
                works("ip", "link", "delete", link)
        if self.rules is not None:
            self.clean_rules()
        try:
            with open(FORWARD, "w") as f:
                f.write(self.forward)
        except OSError:
            pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def clean_rules(self):
        """Takes out what Docker put in, and nothing that others added in the meantime."""
        before = set(self.rules.splitlines())
        table, rules, chains = "", [], []
        for line in run("iptables-save", check=False).splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith(":DOCKER") and line.split()[0] not in self.rules:
                chains.append((table, line.split()[0][1:]))
            elif line.startswith("-A") and line not in before and (
                    "DOCKER" in line or "docker0" in line):
                rules.append((table, shlex.split(line)[1:]))
        for table, rule in rules:
            works("iptables", "-t", table, "-D", *rule)
        for verb in ("-F", "-X"):
            for table, chain in chains:
                works("iptables", "-t", table, verb, chain)
        if ":FORWARD DROP" not in self.rules:
            works("iptables", "-P", "FORWARD", "ACCEPT")

    def __call__(self, *arguments, **more):
        return run(self.docker, *arguments, env=self.env, **more)

    def has(self, image):
        """It is there, or its registry gave it."""
        if works(self.docker, "image", "inspect", image, env=self.env):
            return True
        try:
            self("pull", "-q", image, seconds=180)
            return True
        except (AssertionError, subprocess.TimeoutExpired):
            return False

    def debian(self):
        """The base image's name: the official one, or one from Debian's own archive."""
        if self.has("debian:bookworm-slim"):
            return "debian:bookworm-slim"
        tar = os.path.join(CACHE, "bookworm.tar")
        if not os.path.exists(tar):
            if not shutil.which("debootstrap") or os.geteuid() != 0:
                raise Missing("no registry gives debian:bookworm-slim, and making it takes "
                              "debootstrap and root")
            os.makedirs(CACHE, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="spoa-debian-") as folder:
                run("debootstrap", "--variant=minbase", "bookworm", folder, seconds=600)
                run("tar", "-C", folder, "--exclude=./var/cache/apt/*.bin",
                    "--exclude=./var/cache/apt/archives/*.deb", "-cf", tar + ".new", ".")
            os.rename(tar + ".new", tar)
        self("import", tar, "spoa-test-debian:bookworm")
        return "spoa-test-debian:bookworm"
