#!/usr/bin/env python3
"""gcc -fanalyzer and clang --analyze over agent/ and spop/, as a build directory compiles them.

  analyze.py [BUILD_DIR] [PATH...]     BUILD_DIR: default build; PATH: these alone

Every finding is printed and makes the exit status 1: what is wrong is mended, and what an analyser
cannot know is told to it in the source, by an assert. One thing is not asked of gcc: its 12th takes
`s->text = strdup(t)` for a leak wherever it has lost sight of s, on every third file here; leaks are
for clang's analyser, ASan and valgrind to find. A compiler that is not here is skipped aloud.
"""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

PATIENCE = 600  # seconds a file
ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))


def commands(build, paths):
    with open(os.path.join(build, "compile_commands.json")) as f:
        for entry in json.load(f):
            path = os.path.relpath(os.path.realpath(os.path.join(entry["directory"], entry["file"])), ROOT)
            if path.startswith(("agent/", "spop/")) and (not paths or path.startswith(tuple(paths))):
                words = shlex.split(entry["command"])[1:]
                at = words.index("-o")
                kept = [w for w in words[:at] + words[at + 2:]
                        if w != "-c" and not w.startswith(("-M", "-W")) and not w.endswith((".d", ".o"))]
                yield path, entry["directory"], kept


def analyse(tool, job):
    path, directory, words = job
    # Without the optimiser: what it inlines makes gcc 12 look at the same code for a quarter of an hour.
    words = [w for w in words if not w.startswith(("-O", "-D_FORTIFY_SOURCE"))]
    argv = ([tool, "-fanalyzer", "-Wno-analyzer-malloc-leak", "-c", "-o", "/dev/null"] if tool == "gcc" else
            [tool, "--analyze", "--analyzer-output", "text", "-o", "/dev/null"]) + words
    try:
        done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return path, f"{path}: not looked at to the end within {PATIENCE} s"
    found = done.returncode != 0 or re.search(r"warning: .*\[(-Wanalyzer|\w+\.)", done.stderr)
    return path, done.stderr if found else ""


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build"))
    jobs = sorted({path: (path, directory, words)
                   for path, directory, words in commands(build, sys.argv[2:])}.values())
    failed = False
    for tool in ("gcc", "clang"):
        if not shutil.which(tool):
            print(f"analyze: {tool}: skipped, it is not installed")
            continue
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            findings = []
            for _, text in pool.map(lambda j, t=tool: analyse(t, j), jobs):
                if text:
                    print(text, flush=True)
                    findings.append(text)
        print(f"analyze: {tool}: {f'FAILED, {len(findings)} files' if findings else 'ok'}, {len(jobs)} looked at",
              flush=True)
        failed |= bool(findings)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
