#!/usr/bin/env python3
"""gcc -fanalyzer and clang --analyze over agent/ and spop/, as a build directory compiles them.

  analyze.py [BUILD_DIR] [PATH...]     BUILD_DIR: default build; PATH: these alone

Every finding is printed and makes the exit status 1: what is wrong is mended, and what an analyser
cannot know is told to it in the source, by an assert, or stands with its reason in analyze.known,
whose rows name the file, the rule and what must stand in the line that is complained of. Rows that
nothing needed are told at the end.
One thing is not asked of gcc: its 12th takes
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


def known():
    """(tool, file, rule, text of the line)"""
    with open(os.path.join(ROOT, "tests", "analyze.known")) as f:
        return [tuple(line.split(": ")[0].split(maxsplit=3)) for line in f if line.strip() and not line.startswith("#")]


KNOWN = known()


def row_of(tool, path, rule, line):
    """The row of analyze.known that says why this is not so, or None."""
    with open(os.path.join(ROOT, path)) as f:
        text = f.read().splitlines()[line - 1]
    return next((row for row in KNOWN if row[:3] == (tool, path, rule) and row[3] in text), None)


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
        return f"{path}: not looked at to the end within {PATIENCE} s", []
    if done.returncode != 0:
        return done.stderr, []
    found = re.findall(r"^([^\s:]+):(\d+):\d+: warning: .*\[(-Wanalyzer[\w-]+|\w+\.[\w.]+)\]", done.stderr, re.M)
    rows = [row_of(tool, os.path.relpath(os.path.realpath(os.path.join(directory, f)), ROOT), rule, int(line))
            for f, line, rule in found]
    return done.stderr if None in rows else "", [row for row in rows if row]


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
            findings, passed_over = [], []
            for text, rows in pool.map(lambda j, t=tool: analyse(t, j), jobs):
                passed_over += rows
                if text:
                    print(text, flush=True)
                    findings.append(text)
        print(f"analyze: {tool}: {f'FAILED, {len(findings)} files' if findings else 'ok'}, {len(jobs)} looked at, "
              f"{len(passed_over)} findings of analyze.known",
              flush=True)
        for row in KNOWN:
            if row[0] == tool and row not in passed_over and not sys.argv[2:]:
                print(f"analyze: not needed any more: {' '.join(row)}")
        failed |= bool(findings)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
