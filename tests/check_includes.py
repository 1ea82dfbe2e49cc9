#!/usr/bin/env python3
"""The floors of the house: who may include whom.

  check_includes.py [ROOT]      findings as FILE:LINE: TEXT, exit status 1 when there are any
  check_includes.py --selftest  builds a bad tree and looks for each kind of finding

Rooms of agent/ include downward only, rooms of one floor do not see each other; a third-party
header is included behind its door; spop/ sees nothing but libc. A new room states its floor in
FLOORS, a new library its door in DOORS.
"""
import os
import re
import sys
import tempfile

FLOORS = {
    "base": 0,
    "config": 1,
    "request": 2, "route": 2,
    "pick": 3,
    "net": 4,
    "observe": 5, "discover": 5,
    "serve": 6,
}
MAIN = 7  # agent/main.c
# Wings of a room, on its floor; their files are included as "room/wing/file.h".
WINGS = {"discover/kube", "discover/follow"}

# header or directory of headers -> rooms behind whose door it lives
DOORS = {
    "yaml.h": {"config"},
    "cJSON.h": {"discover", "serve"},
    "cjson/": {"discover", "serve"},
    "curl/": {"net"},
    "ares.h": {"net"},
    "ares_dns.h": {"net"},
    "event2/": {"net", "serve", "main"},
    "xxhash.h": {"request", "route", "pick", "discover"},
    "urcu.h": {"base"},
    "urcu/": {"base"},
    "uthash.h": {"discover", "observe", "serve"},
    "systemd/": {"serve"},
    "openssl/": {"serve"},
    "emmintrin.h": {"request", "observe"},
    "immintrin.h": {"request"},
    "arm_neon.h": {"request"},
}

LIBC = set("""
    alloca.h assert.h byteswap.h ctype.h dirent.h dlfcn.h endian.h errno.h fcntl.h float.h
    fnmatch.h getopt.h glob.h grp.h ifaddrs.h inttypes.h libgen.h limits.h link.h linux/filter.h
    linux/seccomp.h locale.h malloc.h math.h net/if.h netdb.h netinet/in.h netinet/ip.h
    netinet/tcp.h arpa/inet.h paths.h poll.h pthread.h pwd.h regex.h sched.h search.h semaphore.h setjmp.h
    signal.h spawn.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h
    stdio_ext.h stdlib.h stdnoreturn.h string.h strings.h sys/auxv.h sys/capability.h sys/epoll.h
    sys/eventfd.h sys/file.h sys/inotify.h sys/ioctl.h sys/mman.h sys/prctl.h sys/queue.h
    sys/random.h sys/resource.h sys/select.h sys/signalfd.h sys/socket.h sys/stat.h sys/statvfs.h
    sys/syscall.h sys/time.h sys/timerfd.h sys/types.h sys/uio.h sys/un.h sys/utsname.h sys/wait.h
    syslog.h termios.h threads.h time.h unistd.h wchar.h
""".split())
# spop/ has no sockets, no clock, no log, no files.
SPOP_LIBC = set("""
    assert.h endian.h errno.h inttypes.h limits.h stdalign.h stdbool.h stddef.h stdint.h stdlib.h
    string.h sys/types.h
""".split())

LINES_MAX = 600
TABLES_MAX = 1000  # of tests, which are tables of cases for the most part
SKIPPED = {"node_modules", "__pycache__", "venv", "results"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def door(header):
    for name, rooms in DOORS.items():
        if header == name or (name.endswith("/") and header.startswith(name)):
            return rooms
    return None


class Check:
    def __init__(self, root):
        self.root = root
        self.found = []

    def say(self, path, line, text):
        self.found.append((path, line, text))

    def folders(self):
        """(path relative to the root, names of files), what is built or installed left out."""
        for at, dirs, files in os.walk(self.root):
            dirs[:] = sorted(d for d in dirs if d[0] != "." and d not in SKIPPED
                             and not d.startswith(("build", "cmake-build")))
            path = os.path.relpath(at, self.root)
            yield ("" if path == "." else path), sorted(files)

    def run(self):
        for path, files in self.folders():
            parts = path.split(os.sep) if path else []
            if files and self.wants_readme(parts) and "README.md" not in files:
                self.say(os.path.join(path, "README.md"), 1,
                         "there is none: each folder says what lives there")
            if parts[:1] == ["agent"] and len(parts) > 1 and self.code(files):
                self.room(parts, path)
            for name in files:
                if name.endswith((".c", ".h", ".def")):
                    self.file(os.path.join(path, name), parts, name)
        return sorted(self.found)

    @staticmethod
    def code(files):
        return [f for f in files if f.endswith((".c", ".h", ".def"))]

    @staticmethod
    def wants_readme(parts):
        """Top-level folders, rooms, and the kinds of tests."""
        if len(parts) == 1:
            return True
        if len(parts) == 3:
            return parts[0] == "agent" and "/".join(parts[1:]) in WINGS
        return len(parts) == 2 and parts[0] in ("agent", "tests", "charts")

    def room(self, parts, path):
        if parts[1] not in FLOORS:
            self.say(path, 1, "a room without a floor: state it in FLOORS of check_includes.py")
        elif len(parts) > 2 and "/".join(parts[1:]) not in WINGS:
            self.say(path, 1, "a room has no rooms in it: put the files into agent/%s, or state "
                     "a wing in WINGS of check_includes.py" % parts[1])

    def file(self, path, parts, name):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as f:
            lines = f.read().split("\n")
        if lines[-1] == "":
            lines.pop()
        test = parts[:1] == ["tests"] and ("unit" in parts or name.startswith("test_"))
        most = TABLES_MAX if test else LINES_MAX
        if len(lines) > most:
            self.say(path, most + 1,
                     "%d lines: past %d a file has two nouns in it" % (len(lines), most))
        includes = []
        for number, line in enumerate(lines, 1):
            m = INCLUDE.match(line)
            if m:
                includes.append((number, m.group(1), m.group(2)))
        for number, ours, theirs in includes:
            if "../" in (ours or theirs):
                self.say(path, number, '"../" in an include: name the room')
            elif parts[:1] == ["spop"] and "example" not in parts:
                self.from_spop(path, number, ours, theirs, "include" in parts)
            elif parts[:1] == ["agent"]:
                room = "main" if len(parts) == 1 else parts[1]
                self.from_agent(path, number, ours, theirs, room)
        if name.endswith(".c") and parts[:1] in (["spop"], ["agent"]):
            self.own_first(path, parts, name, includes)

    def from_spop(self, path, number, ours, theirs, public):
        if theirs and theirs not in SPOP_LIBC:
            self.say(path, number, "<%s>: spop/ is bytes in, values out, with libc's headers "
                     "of SPOP_LIBC alone" % theirs)
        if ours and not ours.startswith("spop/") and (public or "/" in ours):
            self.say(path, number, '"%s": %s' % (ours, "a public header includes spop/ and libc "
                     "alone" if public else "spop/ sees nothing of others"))

    def from_agent(self, path, number, ours, theirs, room):
        floor = MAIN if room == "main" else FLOORS.get(room)
        if theirs:
            rooms = door(theirs)
            if rooms is None and theirs not in LIBC:
                self.say(path, number, "<%s> has no door: state it in DOORS of "
                         "check_includes.py" % theirs)
            elif rooms is not None and room not in rooms:
                self.say(path, number, "<%s> belongs behind the door of %s"
                         % (theirs, ", ".join(sorted(rooms))))
            return
        other = ours.split("/")[0]
        if "/" not in ours:
            self.say(path, number, '"%s": write "room/file.h"' % ours)
        elif ours.count("/") > 1 and ours.rpartition("/")[0] not in WINGS:
            self.say(path, number, '"%s": there is no wing %s' % (ours, ours.rpartition("/")[0]))
        elif other == "spop" or other == room or floor is None:
            return
        elif other not in FLOORS:
            self.say(path, number, '"%s": there is no room %s' % (ours, other))
        elif FLOORS[other] >= floor:
            self.say(path, number, "%s (floor %d) may not include %s (floor %d)"
                     % (room, floor, other, FLOORS[other]))

    def own_first(self, path, parts, name, includes):
        """x.c begins with room/x.h; x_y.c, where there is no x_y.h, with that of its family."""
        stem = name[:-2]
        while stem:
            own = [spelled for header, spelled in self.spellings(parts, stem)
                   if os.path.exists(os.path.join(self.root, header))]
            if own:
                first = includes[0] if includes else (1, None, None)
                if first[1] not in own:
                    self.say(path, first[0], 'the own header comes first: "%s"' % own[0])
                return
            stem = stem.rpartition("_")[0]

    @staticmethod
    def spellings(parts, stem):
        if parts[0] == "spop":
            return [("spop/include/spop/%s.h" % stem, "spop/%s.h" % stem),
                    ("spop/%s.h" % stem, "%s.h" % stem)]
        if len(parts) >= 2:
            room = "/".join(parts[1:])
            return [("agent/%s/%s.h" % (room, stem), "%s/%s.h" % (room, stem))]
        return []


GOOD = {
    "agent/README.md": "",
    "agent/main.c": '#include <event2/event.h>\n#include "serve/loop.h"\n',
    "agent/base/README.md": "",
    "agent/base/log.h": "#include <stdint.h>\n",
    "agent/base/log.c": '#include "base/log.h"\n\n#include <stdio.h>\n',
    "agent/discover/README.md": "",
    "agent/discover/names.h": '#include "discover/kube/stream.h"\n',
    "agent/discover/kube/README.md": "",
    "agent/discover/kube/stream.h": "",
    "agent/discover/kube/stream.c": '#include "discover/kube/stream.h"\n\n#include <cJSON.h>\n',
    "agent/discover/kube/stream_list.c": '#include "discover/kube/stream.h"\n'
                                         '#include "discover/names.h"\n',
    "agent/pick/README.md": "",
    "agent/pick/policy.h": '#include "base/log.h"\n#include "route/table.h"\n',
    "agent/pick/policy_turn.c": '#include "pick/policy.h"\n#include "pick/policy.def"\n',
    "agent/pick/policy.def": "",
    "agent/route/README.md": "",
    "agent/route/table.h": "",
    "agent/serve/README.md": "",
    "agent/serve/loop.h": '#include <event2/event.h>\n#include "spop/session.h"\n',
    "spop/README.md": "",
    "spop/include/spop/session.h": '#include <stdint.h>\n#include "spop/view.h"\n',
    "spop/session.c": '#include "spop/session.h"\n#include "cursor.h"\n',
    "spop/cursor.c": '#include "cursor.h"\n\n#include <string.h>\n',
    "spop/cursor.h": "",
    "tests/README.md": "",
    "tests/unit/README.md": "",
    "tests/unit/test_b.c": "int x;\n" * 1000,
    "build/CMakeFiles/a.c": '#include "../x.h"\n',
}
BAD = {
    "agent/base/up.c": ('#include "config/config.h"\n',
                        "agent/base/up.c:1: base (floor 0) may not include config (floor 1)"),
    "agent/request/side.h": ('\n#include "route/table.h"\n',
                             "agent/request/side.h:2: request (floor 2) may not include route "
                             "(floor 2)"),
    "agent/pick/log.h": ('#include "serve/loop.h"\n',
                         "agent/pick/log.h:1: pick (floor 3) may not include serve (floor 6)"),
    "agent/observe/loop.c": ('#  include <event2/event.h>\n',
                             "agent/observe/loop.c:1: <event2/event.h> belongs behind the door "
                             "of main, net, serve"),
    "agent/net/tree.c": ("#include <yaml.h>\n",
                         "agent/net/tree.c:1: <yaml.h> belongs behind the door of config"),
    "agent/net/json.c": ("#include <jansson.h>\n",
                         "agent/net/json.c:1: <jansson.h> has no door: state it in DOORS of "
                         "check_includes.py"),
    "agent/net/dots.c": ('#include "../base/log.h"\n',
                         'agent/net/dots.c:1: "../" in an include: name the room'),
    "agent/net/bare.c": ('#include "log.h"\n',
                         'agent/net/bare.c:1: "log.h": write "room/file.h"'),
    "agent/net/who.c": ('#include "lobby/bell.h"\n',
                        'agent/net/who.c:1: "lobby/bell.h": there is no room lobby'),
    "agent/attic/box.c": ("", "agent/attic:1: a room without a floor: state it in FLOORS of "
                              "check_includes.py"),
    "agent/net/deep/x.c": ("", "agent/net/deep:1: a room has no rooms in it: put the files into "
                               "agent/net, or state a wing in WINGS of check_includes.py"),
    "agent/net/wing.c": ('#include "net/deep/x.h"\n',
                         'agent/net/wing.c:1: "net/deep/x.h": there is no wing net/deep'),
    "agent/discover/kube/late.c": ('#include "serve/loop.h"\n',
                                   "agent/discover/kube/late.c:1: discover (floor 5) may not "
                                   "include serve (floor 6)"),
    "agent/discover/kube/stream.c": ('#include "discover/stream.h"\n',
                                     'agent/discover/kube/stream.c:1: the own header comes '
                                     'first: "discover/kube/stream.h"'),
    "agent/discover/follow/a.c": ("#include <curl/curl.h>\n",
                                  "agent/discover/follow/a.c:1: <curl/curl.h> belongs behind the "
                                  "door of net"),
    "agent/route/table.c": ('#include <stdio.h>\n#include "route/table.h"\n',
                            'agent/route/table.c:1: the own header comes first: '
                            '"route/table.h"'),
    "agent/pick/policy_lowest.c": ('#include "pick/log.h"\n',
                                   'agent/pick/policy_lowest.c:1: the own header comes first: '
                                   '"pick/policy.h"'),
    "spop/frame.c": ('#include "base/log.h"\n',
                     'spop/frame.c:1: "base/log.h": spop/ sees nothing of others'),
    "spop/clock.c": ("#include <time.h>\n",
                     "spop/clock.c:1: <time.h>: spop/ is bytes in, values out, with libc's "
                     "headers of SPOP_LIBC alone"),
    "spop/include/spop/frame.h": ('#include "cursor.h"\n',
                                  'spop/include/spop/frame.h:1: "cursor.h": a public header '
                                  "includes spop/ and libc alone"),
    "spop/writer.c": ("int x;\n" * 601,
                      "spop/writer.c:601: 601 lines: past 600 a file has two nouns in it"),
    "tests/unit/table.c": ("int x;\n" * 1001,
                           "tests/unit/table.c:1001: 1001 lines: past 1000 a file has two nouns "
                           "in it"),
    "tests/unit/a.c": ('#include "../b.h"\n',
                       'tests/unit/a.c:1: "../" in an include: name the room'),
}
BAD_READMES = ["agent/attic", "agent/discover/follow", "agent/net", "agent/observe",
               "agent/request"]


def build(root, tree):
    for path, text in tree.items():
        at = os.path.join(root, path)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w", encoding="utf-8") as f:
            f.write(text)


def selftest():
    with tempfile.TemporaryDirectory() as root:
        build(root, GOOD)
        good = Check(root).run()
        build(root, {path: text for path, (text, _) in BAD.items()})
        said = {"%s:%d: %s" % f for f in Check(root).run()}
    wanted = {text for _, text in BAD.values()}
    # Put first, an include that is refused anyway is not the own header either.
    wanted |= {'spop/frame.c:1: the own header comes first: "spop/frame.h"'}
    wanted |= {"%s/README.md:1: there is none: each folder says what lives there" % path
               for path in BAD_READMES}
    wrong = ["in the good tree: %s:%d: %s" % f for f in good]
    wrong += ["not said: " + text for text in sorted(wanted - said)]
    wrong += ["said without need: " + text for text in sorted(said - wanted)]
    print("\n".join(wrong) if wrong else
          "check_includes: %d kinds of findings found, none in a good tree" % len(wanted))
    return 1 if wrong else 0


def main():
    if sys.argv[1:] == ["--selftest"]:
        return selftest()
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    found = Check(root).run()
    for path, line, text in found:
        print("%s:%d: %s" % (path, line, text))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
