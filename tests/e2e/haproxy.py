"""Real HAProxies of several versions under haproxy/'s own files.

The files are loaded unchanged; what differs between tests goes in as the environment variables
that haproxy.cfg names. HAProxy 2.6 is Debian 12's own package; later ones live in Debian folders
(debootstrap) under SPOA_CHROOTS that `chroot` enters: loopback is shared, files are not, so every
path exists twice, inside() as HAProxy sees it and outside() as the test does.

    with HAProxy("3.2", LLAMA1="127.0.0.1:9001") as h:
        h.port, h.runtime("show servers state llama")
"""
import csv
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

FILES = os.path.join(os.path.dirname(__file__), "..", "..", "haproxy")
CACHE = os.environ.get("SPOA_CACHE", os.path.expanduser("~/.cache/spoa-inference"))
CHROOTS = os.environ.get("SPOA_CHROOTS", os.path.join(CACHE, "chroots"))
WANTED = ("2.6", "3.0", "3.2", "3.4")
_given_out = set()


def free_port():
    """A port nobody listens on now and that this process has not given out before."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in _given_out:
            _given_out.add(port)
            return port


def _version_of(command):
    try:
        out = subprocess.run(command + ["-v"], capture_output=True, text=True, timeout=20)
    except OSError:
        return None
    found = re.search(r"version (\d+\.\d+)", out.stdout)
    return found.group(1) if found else None


@functools.lru_cache(None)
def installed():
    """{"2.6": (root, [command…]), …}: what can be started here."""
    found = {}
    for binary in ("/usr/sbin/haproxy", shutil.which("haproxy")):
        if binary and os.path.exists(binary):
            found.setdefault(_version_of([binary]), ("/", [binary]))
    if os.geteuid() == 0 and os.path.isdir(CHROOTS):
        for name in sorted(os.listdir(CHROOTS)):
            root = os.path.join(CHROOTS, name)
            if os.path.exists(os.path.join(root, "usr/sbin/haproxy")):
                command = ["chroot", root, "/usr/sbin/haproxy"]
                found.setdefault(_version_of(command), (root, command))
    found.pop(None, None)
    return found


def versions():
    return [v for v in WANTED if v in installed()]


class HAProxy:
    """One HAProxy in master-worker mode. @config is the file of haproxy/ to start from, @more are
    others of it; @files, {name: text or bytes}, are put beside them. @env: INFERENCE_… and server
    addresses."""

    def __init__(self, version, config="haproxy.cfg", more=(), files=None, debug=False, **env):
        self.version = version
        self.root, self.command = installed()[version]
        self.debug = debug
        base = os.path.join(self.root, "tmp")
        self.dir_outside = tempfile.mkdtemp(prefix="hap-", dir=base)
        os.chmod(self.dir_outside, 0o755)
        self.dir = os.path.join("/tmp", os.path.basename(self.dir_outside))
        self.configs = [config, *more]
        for name in os.listdir(FILES):
            path = os.path.join(FILES, name)
            if os.path.isfile(path):
                shutil.copy(path, self.dir_outside)
        for name, text in (files or {}).items():
            self.write(name, text)
        self.port, self.port_tls = free_port(), free_port()
        self.feedback_port, self.admin_port = free_port(), free_port()
        self.agent_address = "unix@" + self.outside("spop.sock")  # for the agent
        self.env = {
            "INFERENCE_DIR": self.dir,
            "INFERENCE_MAP": self.inside("models.map"),
            "INFERENCE_NO_CHROOT": "1",
            "INFERENCE_LOG": "stdout",
            "INFERENCE_STATS_SOCKET": self.inside("admin.sock"),
            "INFERENCE_BIND": f"127.0.0.1:{self.port}",
            "INFERENCE_BIND_TLS": f"127.0.0.1:{self.port_tls}",
            "INFERENCE_AGENT": "unix@" + self.inside("spop.sock"),
            "INFERENCE_FEEDBACK": f"127.0.0.1:{self.feedback_port}",
            "INFERENCE_ADMIN": f"127.0.0.1:{self.admin_port}",
            "INFERENCE_MAXCONN": "2000",
            # Tests share their machine: no assertion hangs on 50 ms.
            "INFERENCE_TIMEOUT": "5s",
        }
        self.env.update({k: str(v) for k, v in env.items()})
        self.process = None

    def inside(self, name):
        return os.path.join(self.dir, name)

    def outside(self, name):
        return os.path.join(self.dir_outside, name)

    def write(self, name, text):
        mode = "wb" if isinstance(text, bytes) else "w"
        with open(self.outside(name), mode) as f:
            f.write(text)

    def _environment(self):
        # Nothing of ours may leak in from the caller's environment.
        kept = {k: v for k, v in os.environ.items() if not k.startswith("INFERENCE_")}
        return {**kept, **self.env}

    def _files(self):
        return [word for name in self.configs for word in ("-f", self.inside(name))]

    def check(self):
        """haproxy -c: (exit status, output)."""
        done = subprocess.run(
            self.command + ["-c", "-V"] + self._files(),
            env=self._environment(), capture_output=True, text=True, timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def start(self, wait=20):
        self._log = open(self.outside("log"), "ab")
        args = ["-W", "-S", self.inside("master.sock")] + self._files()
        self.process = subprocess.Popen(
            self.command + args + (["-d"] if self.debug else []),
            env=self._environment(), stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
        )
        self._wait_ready(wait)
        return self

    def _wait_ready(self, wait):
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"haproxy {self.version} ended:\n{self.log()}")
            try:
                if "Uptime" in self.runtime("show info") and "Loading success" in self.log():
                    return
                time.sleep(0.02)
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"haproxy {self.version} did not start:\n{self.log()}")

    def runtime(self, command, timeout=5, name="admin.sock"):
        """One command on the runtime socket, or the master's, and its answer."""
        # Long folder names would not fit into sun_path: go by /proc/self/fd.
        fd = os.open(self.dir_outside, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(timeout)
                s.connect(f"/proc/self/fd/{fd}/{name}")
                s.sendall(command.encode() + b"\n")
                if name == "master.sock":  # which goes on with the next one
                    s.shutdown(socket.SHUT_WR)
                parts = []
                while part := s.recv(65536):
                    parts.append(part)
                return b"".join(parts).decode(errors="replace")
        finally:
            os.close(fd)

    def worker_pids(self):
        """Every worker that lives, old ones that finish their requests included."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split()]

    def worker_pid(self):
        return int(re.search(r"^Pid: (\d+)", self.runtime("show info"), re.M).group(1))

    def reload(self, wait=20):
        """SIGUSR2 to the master, as systemd does, and wait for the new worker."""
        old = self.worker_pid()
        said = self.log().count("Loading success"), self.log().count("Reloading HAProxy")
        end = time.monotonic() + wait
        again = 0.0
        while time.monotonic() < end:
            # Up to 3.0 the master starts itself anew for a reload, and a signal may get lost there.
            if time.monotonic() >= again and self.log().count("Reloading HAProxy") == said[1]:
                self.process.send_signal(signal.SIGUSR2)
                again = time.monotonic() + 1
            try:
                if self.worker_pid() != old and self.log().count("Loading success") > said[0]:
                    return
            except (OSError, AttributeError):
                pass
            time.sleep(0.02)
        raise RuntimeError(f"haproxy {self.version} did not reload:\n{self.log()}")

    def log(self):
        with open(self.outside("log"), errors="replace") as f:
            return f.read()

    def cpu_seconds(self):
        """User and system time of the worker so far."""
        with open(f"/proc/{self.worker_pid()}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_agent(self, state="UP", wait=15, server="inference-agent/agent"):
        """Until the checks have seen the agent (or its absence)."""
        backend, name = server.split("/")
        end = time.monotonic() + wait
        while time.monotonic() < end:
            lines = self.runtime("show stat").lstrip("# ").splitlines()
            for row in csv.DictReader(lines):
                # UP before the first check has ended is only HAProxy's hope.
                checked = state != "UP" or row["check_status"].lstrip("* ") in ("L4OK", "L6OK", "L7OK")
                here = (row["pxname"], row["svname"]) == (backend, name)
                if here and checked and row["status"].startswith(state):
                    return
            time.sleep(0.02)
        rows = [line[:300] for line in self.runtime("show stat").splitlines() if name in line]
        raise RuntimeError(f"{server} is not {state}: {rows}\n{self.log()}")

    def stop(self, keep=False):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            self._log.close()
        self.process = None
        if not keep:
            shutil.rmtree(self.dir_outside, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()
