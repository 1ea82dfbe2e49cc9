#!/usr/bin/env python3
"""clang-tidy over what a build directory compiles, two files at a time.

  tidy.py BUILD_DIR [PATH...]   all sources of compile_commands.json, or those below the paths

A file without findings is remembered in BUILD_DIR/tidy by what it expands to, with its headers, the
rules and the tool: as long as none of these changes it is not looked at again.
"""
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))
TIDY = os.environ.get("CLANG_TIDY", "clang-tidy")


def expanded(entry):
    """The source as the compiler sees it, comments too: NOLINT stands in them."""
    command = shlex.split(entry["command"]) if "command" in entry else list(entry["arguments"])
    if "-o" in command:
        at = command.index("-o")
        del command[at:at + 2]
    command = [a for a in command if a != "-c"] + ["-E", "-C"]
    return subprocess.run(command, cwd=entry["directory"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=True).stdout


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = os.path.realpath(sys.argv[1])
    below = tuple(os.path.realpath(p) for p in sys.argv[2:]) or (ROOT,)
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        entries = {os.path.realpath(os.path.join(e["directory"], e["file"])): e
                   for e in json.load(f)}
    entries = {path: e for path, e in sorted(entries.items())
               if os.path.exists(path)
               and any(path == b or path.startswith(b + os.sep) for b in below)}
    kept = os.path.join(build, "tidy")
    os.makedirs(kept, exist_ok=True)
    rules = subprocess.run([TIDY, "--version"], stdout=subprocess.PIPE, check=True).stdout
    for at, dirs, files in os.walk(ROOT):
        dirs[:] = sorted(d for d in dirs if d[0] != "." and not d.startswith("build"))
        if ".clang-tidy" in files:
            with open(os.path.join(at, ".clang-tidy"), "rb") as f:
                rules += f.read()

    def tidy(path):
        try:
            seen = expanded(entries[path])
        except subprocess.CalledProcessError:
            seen = None  # it does not compile; the tool will say why
        stamp = seen and os.path.join(kept, hashlib.sha256(rules + seen).hexdigest())
        if stamp and os.path.exists(stamp):
            return True, ""
        run = subprocess.run([TIDY, "--quiet", "-p", build, path], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
                             check=False)
        if run.returncode == 0 and stamp:
            with open(stamp, "w", encoding="utf-8"):
                pass
        said = re.sub(r"(?m)^\d+ warnings?( and \d+ errors?)? generated\.\n|"
                      r"^\d+ warnings? treated as errors?\n", "", run.stdout)
        return run.returncode == 0, said

    bad = 0
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        for path, (fine, said) in zip(entries, pool.map(tidy, entries)):
            if not fine:
                bad += 1
                print(said.rstrip() or "%s: clang-tidy failed and said nothing" % path)
    print("clang-tidy: %d files, %d with findings" % (len(entries), bad))
    return 1 if bad or not entries else 0


if __name__ == "__main__":
    sys.exit(main())
