"""The system call filter of the systemd unit, without systemd.

    sandbox.py PROGRAM [ARGUMENT…]     runs it under the filter of haproxy/spoa-inference.service

systemd-analyze says which calls the unit's words stand for; a filter of these is installed and the
program takes this one's place. As systemd does: what is not allowed fails by SystemCallErrorNumber,
and sockets of other families than RestrictAddressFamilies by EAFNOSUPPORT.
"""
import ctypes
import errno
import functools
import glob
import os
import re
import shutil
import socket
import struct
import subprocess
import sys

UNIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "haproxy", "spoa-inference.service")
FILTER = ["@system-service", "~@setuid @keyring @memlock"]
FAMILIES = "AF_UNIX AF_INET AF_INET6"
# AUDIT_ARCH_… of linux/audit.h
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def unit(key):
    with open(UNIT) as f:
        return re.findall(rf"^{key}=(.*)$", f.read(), re.M)


def filter_of_unit():
    return unit("SystemCallFilter")


@functools.lru_cache(None)
def members(name):
    """The calls of a group, groups within it resolved."""
    if not name.startswith("@"):
        return frozenset([name])
    text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True,
                          check=True).stdout
    found = set()
    for word in re.findall(r"^\s+(@?[\w-]+)$", text, re.M):
        found |= members(word)
    return frozenset(found)


def system_calls():
    """Those that the unit allows."""
    allowed = set(members("@default"))
    for line in filter_of_unit():
        for word in line.lstrip("~").split():
            if line.startswith("~"):
                allowed -= members(word)
            else:
                allowed |= members(word)
    return allowed


def numbers():
    """name → number on this machine."""
    name = {"x86_64": "unistd_64.h", "aarch64": "unistd.h"}[os.uname().machine]
    for pattern in (f"/usr/include/*/asm/{name}", f"/usr/include/asm/{name}", f"/usr/include/asm-generic/{name}"):
        for path in glob.glob(pattern):
            with open(path) as f:
                found = dict(re.findall(r"^#define __NR_(\w+)\s+(\d+)", f.read(), re.M))
            if len(found) > 200:
                return {k: int(v) for k, v in found.items()}
    return None


def missing():
    """Why there can be no filter here, or None."""
    if os.uname().machine not in ARCHITECTURES:
        return "no filter for this machine"
    if not shutil.which("systemd-analyze"):
        return "systemd-analyze is not installed"
    return None if numbers() else "the kernel's headers are not installed"


def launcher():
    """What to put before a command."""
    import pytest
    if why := missing():
        pytest.skip(why)
    return [sys.executable, os.path.abspath(__file__)]


def program():
    """struct sock_filter[]: the architecture, families of sockets, then one comparison a call."""
    def op(code, k, jt=0, jf=0):
        return struct.pack("HBBI", code, jt, jf, k)

    load, equal, give = 0x20, 0x15, 0x06
    number = numbers()
    refused = ERRNO | getattr(errno, unit("SystemCallErrorNumber")[0])
    families = [getattr(socket, f) for f in unit("RestrictAddressFamilies")[0].split()]
    out = [op(load, 4), op(equal, ARCHITECTURES[os.uname().machine], 1, 0), op(give, KILL), op(load, 0)]
    # socket(family, …): the low half of the first argument
    out += [op(equal, number["socket"], 0, len(families) + 3), op(load, 16)]
    out += [op(equal, int(f), len(families) - i, 0) for i, f in enumerate(families)]
    out += [op(give, ERRNO | errno.EAFNOSUPPORT), op(give, ALLOW)]
    for call in sorted(system_calls()):
        if call in number and call != "socket":
            out += [op(equal, number[call], 0, 1), op(give, ALLOW)]
    return out + [op(give, refused)]


def main(argv):
    code = program()
    text = ctypes.create_string_buffer(b"".join(code))

    class Fprog(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    prog = Fprog(len(code), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                                                                 ctypes.byref(prog), 0, 0):
        sys.exit("no filter: " + os.strerror(ctypes.get_errno()))
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
