"""Runs a README whose commands are its tests.

Blocks marked "sh" run from the first to the last in one bash with `set -e`; a block marked "text"
after one holds lines that its output must have, in that order. In those … stands for anything within
a line, and any white space for any other.
"""
import os
import re
import subprocess
import time


class Block:
    def __init__(self, line, command):
        self.line, self.command, self.wanted, self.output = line, command, [], None

    def __repr__(self):
        return f"line {self.line}: {self.command.splitlines()[0]}"


def read(path):
    """The "sh" blocks, each with the lines wanted of it."""
    blocks, kind, begin, lines = [], None, 0, []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            m = re.match(r"```(\w*)\s*$", line)
            if not m:
                lines.append(line)
            elif kind is None:
                kind, begin, lines = m.group(1) or "console", number, []
            else:
                if kind == "sh":
                    blocks.append(Block(begin + 1, "".join(lines)))
                elif kind == "text":
                    if not blocks or blocks[-1].wanted:
                        raise ValueError(f"{path}:{begin}: text after no command")
                    blocks[-1].wanted = [w.strip() for w in lines if w.strip()]
                kind = None
    if kind is not None:
        raise ValueError(f"{path}:{begin}: a block without an end")
    return blocks


def pattern(wanted):
    words = [".*".join(re.escape(p) for p in word.split("…")) for word in wanted.split()]
    return re.compile(r"\s+".join(words), re.I if re.match(r"[\w-]+: ", wanted) else 0)


def missing(wanted, output):
    """The first line of @wanted that is not in @output after the ones before it; None if all are."""
    lines = iter(output.splitlines())
    for line in wanted:
        p = pattern(line)
        if not any(p.search(have) for have in lines):
            return line
    return None


class Shell:
    """One bash for all blocks, so that variables stay."""

    def __init__(self, env, cwd, folder):
        self.folder, self.count = folder, 0
        self.errors = open(os.path.join(folder, "shell.err"), "wb")
        self.process = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE, cwd=cwd, env=env,
                                        stdout=subprocess.DEVNULL, stderr=self.errors,
                                        start_new_session=True)

    def run(self, block, wait=90):
        """Its output, both streams as they came. AssertionError where it fails or lacks something."""
        self.count += 1
        path = os.path.join(self.folder, f"block-{self.count}")
        with open(path + ".sh", "w") as f:
            f.write(block.command)
        self.process.stdin.write(
            f"set -e; . {path}.sh </dev/null >{path}.out 2>&1; echo ok >{path}.ok\n".encode())
        self.process.stdin.flush()
        end = time.monotonic() + wait
        while not os.path.exists(path + ".ok"):
            dead = self.process.poll() is not None
            late = time.monotonic() > end
            if (dead or late) and not os.path.exists(path + ".ok"):
                why = f"ended with status {self.process.returncode}" if dead else f"took over {wait} s"
                raise AssertionError(f"{block!r} {why}\n$ {block.command}\n{read_file(path + '.out')}")
            time.sleep(0.02)
        block.output = read_file(path + ".out")
        lacking = missing(block.wanted, block.output)
        if lacking is not None:
            raise AssertionError(f"{block!r}: its output lacks {lacking!r}\n$ {block.command}\n"
                                 f"{block.output}")
        return block.output

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.errors.close()


def read_file(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""
