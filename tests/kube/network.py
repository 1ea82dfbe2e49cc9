"""The cluster's own network: a namespace that ends with the process, a bridge for the pods.

enter() moves the calling process (before it has threads) into network and mount namespaces of its
own; what listens there collides with nothing outside, and nothing of it outlives the process. Pods
get namespaces and addresses as in a real cluster, so containers listen on what port they like and
reach each other on 127.0.0.1 within a pod only.
"""
import ctypes
import os
import subprocess

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
GATEWAY = "10.244.0.1"  # the node's address on the bridge
libc = ctypes.CDLL(None, use_errno=True)


class Impossible(Exception):
    """This machine does not let us, and why."""


def check(status, what):
    if status != 0:
        e = ctypes.get_errno()
        raise OSError(e, f"{what}: {os.strerror(e)}")


def mount(source, target, kind, flags=0, data=None):
    check(libc.mount(source and source.encode(), target.encode(), kind and kind.encode(),
                     ctypes.c_ulong(flags), data and data.encode()), f"mount {target}")


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def enter():
    if os.geteuid() != 0:
        raise Impossible("network and mount namespaces need root")
    try:
        check(libc.unshare(CLONE_NEWNS | CLONE_NEWNET), "unshare")
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        os.makedirs("/run/netns", exist_ok=True)
        mount("tmpfs", "/run/netns", "tmpfs", 0, "mode=0755")
        ip("link", "set", "lo", "up")
        # Without an address of its own it has the lowest of its ports', another one whenever that
        # pod ends, and what the others send it is lost for as long as they remember the old one.
        ip("link", "add", "pods", "address", "02:00:0a:f4:00:01", "type", "bridge")
        ip("addr", "add", GATEWAY + "/16", "dev", "pods")
        ip("link", "set", "pods", "up")
    except (OSError, FileNotFoundError) as e:
        raise Impossible(str(e)) from e


def add_pod(name, address):
    """A namespace /run/netns/NAME with one interface; any port is for any user, as in a pod."""
    ip("netns", "add", name)
    host = "v" + name[-12:]
    ip("link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("link", "set", host, "master", "pods", "up")
    for words in (["link", "set", "lo", "up"], ["addr", "add", address + "/16", "dev", "eth0"],
                  ["link", "set", "eth0", "up"], ["route", "add", "default", "via", GATEWAY]):
        ip("-n", name, *words)


def remove_pod(name):
    try:
        ip("netns", "delete", name)
    except OSError:
        pass


def add_local(address):
    """An address that this namespace answers to, as kube-proxy's."""
    try:
        ip("addr", "add", address + "/32", "dev", "lo")
    except OSError as e:
        if "exists" not in str(e) and "already assigned" not in str(e):  # the kernel's words vary
            raise
