"""Runs one container's process: namespaces, a root made of mounts, then the user and the program.

    container.py SPEC.json

What `image` has is mounted read-only; volumes stand at the paths that the pod names. The process is
number 1 of its own PID namespace, as in a container: what it starts ends with it, and signals it
does not handle are not delivered. The spec's "status" file says {"pid": N} when it runs and, at the
end, {"pid": N, "code": N, "signal": N}.
"""
import ctypes
import json
import os
import signal
import sys

from network import MS_PRIVATE, MS_REC, check, libc, mount

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
LAST_CAPABILITY = 40
# What containerd leaves a container.
KEPT = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6,
        "SETUID": 7, "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18,
        "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}


def say(spec, **what):
    new = spec["status"] + ".new"
    with open(new, "w") as f:
        json.dump(what, f)
    os.rename(new, spec["status"])


def bind(source, target, readonly):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            open(target, "w").close()
    mount(source, target, None, MS_BIND | MS_REC)
    if readonly:
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def make_root(spec):
    """Under spec["root"], an empty directory outside."""
    root = spec["root"]
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64m")
    for name in ("proc", "dev", "etc", "tmp", "run", "var", "sys"):
        os.mkdir(f"{root}/{name}")
    os.chmod(f"{root}/tmp", 0o1777)
    mount("proc", f"{root}/proc", "proc")
    mount("tmpfs", f"{root}/dev", "tmpfs", 0, "mode=0755")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        bind(f"/dev/{name}", f"{root}/dev/{name}", False)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
                         ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):
        os.symlink(target, f"{root}/dev/{name}")
    for source, target in spec["base"]:
        bind(source, root + target, True)
    for path in spec.get("tmpfs", []):  # folders of the image that get more put into
        mount("tmpfs", root + path, "tmpfs", 0, "mode=0755")
    for path, target in spec.get("links", {}).items():
        os.symlink(target, root + path)
    for path, text in spec.get("texts", {}).items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w") as f:
            f.write(text)
    for source, target in spec.get("after", []):
        bind(source, root + target, True)
    for path, how in spec.get("folders", {}).items():
        os.makedirs(root + path, exist_ok=True)
        os.chmod(root + path, how["mode"])
        os.chown(root + path, how["uid"], how["uid"])
    for source, target, readonly in spec["mounts"]:
        bind(source, root + target, readonly)
    if spec.get("readonly"):
        for path in spec.get("tmpfs", []):
            mount(None, root + path, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
        mount(None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chroot(root)


def become(spec):
    kept = dict(KEPT)
    if "ALL" in spec.get("drop", []):
        kept = {}
    for name in spec.get("drop", []):
        kept.pop(name, None)
    for name in spec.get("add", []):
        kept[name] = KEPT[name]
    for number in set(range(LAST_CAPABILITY + 1)) - set(kept.values()):
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    os.setgroups(spec.get("groups", []))
    os.setresgid(spec["gid"], spec["gid"], spec["gid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    if spec.get("no_new_privileges"):
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def run(spec):
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    make_root(spec)
    become(spec)
    os.chdir(spec.get("cwd") or "/")
    os.umask(0o022)
    for s in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT):
        signal.signal(s, signal.SIG_DFL)
    try:
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as e:
        print(f"exec: {spec['argv'][0]}: {e.strerror}", file=sys.stderr, flush=True)
        os._exit(127 if isinstance(e, FileNotFoundError) else 126)


def main(path):
    with open(path) as f:
        spec = json.load(f)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with open("/run/netns/" + spec["network"]) as f:
        check(libc.setns(f.fileno(), CLONE_NEWNET), "setns")
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    name = spec["hostname"].encode()
    libc.sethostname(name, ctypes.c_size_t(len(name)))
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as f:
        f.write("0")
    pid = os.fork()
    if pid == 0:
        try:
            run(spec)
        except BaseException as e:
            print("container:", e, file=sys.stderr, flush=True)
        os._exit(125)
    say(spec, pid=pid)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    say(spec, pid=pid, code=code if code >= 0 else 128 - code, signal=max(0, -code))


if __name__ == "__main__":
    main(sys.argv[1])
