"""A Debian machine of its own, booted by systemd in a container of systemd-nspawn.

Its folder is made once by debootstrap and cached; what happens in a machine is written over it in
memory and gone with it. There is no network but its own loopback.
"""
import os
import re
import shutil
import signal
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("SPOA_CACHE") or os.path.expanduser("~/.cache/spoa-inference")
README = os.path.join(ROOT, "haproxy", "README.md")
PACKAGES = ["systemd", "systemd-sysv", "dbus", "adduser", "procps", "curl", "haproxy"]


class Missing(Exception):
    """No machine can be had here, and why."""


def install_part():
    """The README's words on installing beside Debian's HAProxy."""
    with open(README, encoding="utf-8") as f:
        return f.read().split("## Beside Debian's packaged HAProxy\n")[1].split("\n## ")[0]


def commands():
    return install_part().split("```\n")[1]


def libraries():
    """Those that it says another machine needs."""
    listed = re.search(r"the program wants Debian's (.*?)\.\n\n", install_part(), re.S).group(1)
    return re.findall(r"lib[a-z0-9.+-]*[a-z0-9]", listed)


def base():
    """The folder that machines are made of."""
    if os.geteuid() != 0:
        raise Missing("systemd-nspawn takes root")
    for program in ("systemd-nspawn", "debootstrap", "nsenter"):
        if not shutil.which(program):
            raise Missing(f"no {program}")
    packages = PACKAGES + libraries()
    folder = os.path.join(CACHE, "machine")
    stamp = os.path.join(folder, "etc", "spoa-packages")
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as f:
            if f.read() == " ".join(packages):
                return folder
    fresh = folder + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(fresh, mode=0o755)
    done = subprocess.run(["debootstrap", "--variant=minbase", "--include=" + ",".join(packages),
                           "bookworm", fresh], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", timeout=900)
    if done.returncode != 0:
        raise Missing("debootstrap: " + " / ".join(done.stdout.strip().splitlines()[-2:]))
    for name in os.listdir(os.path.join(fresh, "var", "cache", "apt", "archives")):
        if name.endswith(".deb"):
            os.unlink(os.path.join(fresh, "var", "cache", "apt", "archives", name))
    with open(os.path.join(fresh, "etc", "spoa-packages"), "w", encoding="utf-8") as f:
        f.write(" ".join(packages))
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(fresh, folder)
    return folder


class Machine:
    """@files: folder that stands in it as /src, read-only."""

    def __init__(self, log, files):
        self.log, self.name = log, f"spoa-{os.getpid()}"
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", base(), "--volatile=overlay",
                 "--machine", self.name, "--register=no", "--keep-unit",
                 "--private-network", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
                 f"--bind-ro={files}:/src", "--console=pipe", "--boot"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.leader = None

    def boot(self, wait=60):
        """Until its services have been started."""
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            if self.leader is None:
                children = subprocess.run(["pgrep", "-P", str(self.process.pid)],
                                          capture_output=True, text=True, timeout=30).stdout.split()
                self.leader = children[0] if children else None
            elif self.run("systemctl", "is-system-running", check=False).stdout.strip() in (
                    "running", "degraded"):
                return self
            time.sleep(0.2)
        with open(self.log, errors="replace") as f:
            told = " / ".join(f.read().strip().splitlines()[-3:])
        self.stop()
        raise Missing(f"systemd does not boot in a container here: {told or 'no word'}")

    def argv(self, *argv):
        return ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--net", "--pid",
                "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                "SYSTEMD_PAGER=", *argv]

    def run(self, *argv, check=True, timeout=60, **more):
        done = subprocess.run(self.argv(*argv), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=timeout, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def shell(self, text, **more):
        return self.run("bash", "-euc", text, **more).stdout

    def begin(self, text):
        """In the background; its output is a pipe."""
        return subprocess.Popen(self.argv("bash", "-euc", text), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                errors="replace")

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def show(self, unit, what):
        return self.run("systemctl", "show", "--value", "-p", what, unit).stdout.strip()

    def stop(self):
        """As by its power button; then by force."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{self.name}", ignore_errors=True)
