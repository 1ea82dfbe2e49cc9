"""Short of everything: descriptors, memory, disk, time, a reader for the log. The agent goes on
serving what it can, counts what it cannot, and recovers."""
import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest

import stack
from attack import BODY, SANITIZED, Bystander, Lone, descriptors
from spop_client import SpopClient, Wrong
from stack import until

HERE = os.path.dirname(os.path.abspath(__file__))


# ---- descriptors ---------------------------------------------------------------------------------
def test_out_of_descriptors():
    """Those who are connected are served, those who come wait; nobody spins; it says so once."""
    with Lone() as a:
        resource.prlimit(a.agent.process.pid, resource.RLIMIT_NOFILE, (60, 60))
        with Bystander(a.address) as b:
            peers = []
            for _ in range(80):
                s = socket.socket(socket.AF_UNIX)
                s.connect(a.address[5:])
                peers.append(s)
            until(lambda: a.agent.events("accept_failed"), what="it says so")
            b.more(50)
            with open(f"/proc/{a.agent.process.pid}/stat") as f:
                before = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
            time.sleep(1)
            with open(f"/proc/{a.agent.process.pid}/stat") as f:
                used = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) - before
            assert used < 0.7 * os.sysconf("SC_CLK_TCK"), "it spins"
            b.more(50)
            for s in peers:
                s.close()
            with SpopClient(a.address) as c:
                assert c.ask(body=BODY)["verdict"].value == "routed"
        until(lambda: descriptors(a.agent) < 40, what="they are given back")
        assert len(a.agent.events("accept_failed")) < 20


# ---- memory --------------------------------------------------------------------------------------
def preload(folder, source, why):
    """A library for LD_PRELOAD; not under a sanitizer, @why."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler is here")
    if SANITIZED:
        pytest.skip(why)
    library = str(folder / "preload.so")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """An allocator that says no every n-th time once a file says so."""
    return preload(tmp_path_factory.mktemp("failing"), os.path.join(HERE, "failing_malloc.c"),
                   "a sanitizer has an allocator of its own")


@pytest.mark.parametrize("every", [2, 3, 7, 31, 200])
def test_memory_fails_now_and_then(failing, every, tmp_path):
    """Every n-th allocation of the whole program fails, libraries included, under questions, pages,
    reloads, large frames and lines. It never crashes; what it cannot do is refused or counted; and it
    is whole again when memory is back."""
    switch = tmp_path / "every"
    switch.write_text("0     \n")

    def fail(n):
        with open(switch, "r+") as f:  # it is mapped: never shorter
            f.write(f"{n:<6}\n")
    env = {"LD_PRELOAD": failing, "FAILING_MALLOC": str(switch)}
    over = {"workers": 2, "scrape": {"engine": "none", "interval": "100ms", "models_interval": "1s"},
            "pools": {"p": {"models": ["served"], "endpoints": ["127.0.0.1:9", "127.0.0.1:10"]},
                      "q": {"models": ["scraped"], "scrape": {"engine": "vllm"}, "endpoints": ["127.0.0.1:11"]}}}
    with Lone(env=env, **over) as a:
        refused = served = 0
        fail(every)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert a.agent.process.poll() is None, a.agent.log()[-3000:]
            try:
                with SpopClient(a.address, timeout=2) as c:
                    for i in range(5):
                        c.ask(body=BODY)
                        served += 1
                    c.ask(body=b'{"a":"' + b"x" * 300_000 + b'","model":"served"}')
            except (OSError, Wrong):
                refused += 1
            for path in ("/metrics", "/state", "/v1/models"):
                try:
                    page = a.agent.page(path, timeout=1)
                    assert page.status in (200, 500), page
                    if page.status == 200 and path != "/metrics":
                        page.json()
                except (OSError, stack.http.client.HTTPException):
                    pass
            a.agent.process.send_signal(signal.SIGHUP)
            try:
                with socket.create_connection(("127.0.0.1", a.feedback), 1) as s:
                    s.sendall(b"<134>1 - h haproxy 1 - [inference@32473 ticket=\"1\" backend=\"p\"] x\n")
            except OSError:
                pass
        fail(0)
        time.sleep(0.3)
        assert a.agent.process.poll() is None, a.agent.log()[-3000:]
        assert served or every < 3
        until(lambda: a.agent.page("/state").status == 200, 20, "pages are whole again")
        assert a.agent.reload() == "ok"
        with Bystander(a.address) as b:
            b.more(100)
        assert {p["name"] for p in a.agent.state()["pools"]} == {"p", "q"}
        assert set(a.agent.models()) >= {"served"}
        assert descriptors(a.agent) < 80
        print(every, served, refused)


# ---- disk ----------------------------------------------------------------------------------------
@pytest.fixture
def small_disk():
    """64 KB of tmpfs."""
    at = tempfile.mkdtemp(prefix="spoa-disk-")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", at], capture_output=True)
    if done.returncode != 0:
        os.rmdir(at)
        pytest.skip("mounting a small disk takes root")
    yield at
    subprocess.run(["umount", at], check=True)
    os.rmdir(at)


def test_full_disk(small_disk):
    """The log and the map file find no room: requests do not notice; it is counted, and with room both
    go on. No half-written map ever stands where HAProxy would read it."""
    names = [f"model-{i:04d}-{'x' * 100}" for i in range(1000)]
    mapped = os.path.join(small_disk, "models.map")
    over = {"haproxy": {"socket": "/nonexistent.sock", "map_file": mapped, "poll": "100ms"},
            "pools": {"p": {"models": ["served", *names], "endpoints": ["127.0.0.1:9"]}}}
    a = Lone(**over)
    a.agent.log_file = os.path.join(small_disk, "log")
    with open(os.path.join(small_disk, "filler"), "wb") as f:
        f.write(bytes(40_000))
    a.agent.configure({**a.agent.conf, "log": {"level": "debug"}})
    with a:
        with Bystander(a.address) as b:
            for _ in range(400):
                with SpopClient(a.address):
                    pass
            b.more(100)
            assert os.statvfs(small_disk).f_bavail == 0, "the disk is not full"
            if os.path.exists(mapped):
                with open(mapped) as f:
                    assert len(f.read().splitlines()) >= len(names)
            os.unlink(os.path.join(small_disk, "filler"))
            os.truncate(a.agent.log_file, 0)
            subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
            before = os.path.getsize(a.agent.log_file)
            with SpopClient(a.address):
                pass
            until(lambda: os.path.getsize(a.agent.log_file) > before, what="lines are written again")
            assert a.agent.reload() == "ok"
            b.more(50)


# ---- who reads the log ---------------------------------------------------------------------------
def log_to(fd, **over):
    a = Lone(log={"level": "debug"}, **over)

    def start(ready=True, wait=20):
        a.agent.process = subprocess.Popen([stack.AGENT, "-f", a.agent.file], stdout=fd, stderr=fd,
                                           stdin=subprocess.DEVNULL)
        return a.agent
    a.agent.start = start
    a.agent.log = lambda: ""
    return a


def hammer(a, n=400):
    for _ in range(n):
        with SpopClient(a.address):
            pass


def test_nobody_reads_the_log():
    """A pipe that is full: lines are lost, nothing waits."""
    reader, writer = os.pipe()
    with log_to(writer, workers=2) as a:
        os.close(writer)
        with Bystander(a.address) as b:
            hammer(a)
            b.more(100)
            assert a.agent.page("/healthz").status == 200
            assert len(os.read(reader, 1 << 20)) > 1000
    os.close(reader)


def test_nobody_reads_the_log_socket():
    """As journald's: a stream socket."""
    reader, writer = socket.socketpair()
    with log_to(writer.fileno(), workers=2) as a:
        writer.close()
        with Bystander(a.address) as b:
            hammer(a, 1500)
            b.more(100)
    reader.close()


def test_the_reader_of_the_log_goes_away():
    reader, writer = os.pipe()
    with log_to(writer) as a:
        os.close(writer)
        os.close(reader)
        with Bystander(a.address) as b:
            hammer(a, 50)
            b.more(100)


class Syslog:
    """A log daemon's socket where an agent started by `here()` finds /dev/log."""

    def __init__(self, directory):
        self.directory = os.path.join(directory, "dev")
        self.path = os.path.join(self.directory, "log")
        os.mkdir(self.directory)
        try:
            for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
                os.mknod(os.path.join(self.directory, name), 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            with open(os.path.join(self.directory, "null"), "wb") as f:
                f.write(b"x")
            subprocess.run(self.here("true"), check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a /dev of one's own takes root")
        self.socket = None
        self.up()

    def here(self, *command):
        return ["unshare", "-m", "--propagation", "private", "sh", "-c",
                'mount --bind "$0" /dev && exec "$@"', self.directory, *command]

    def up(self):
        self.down()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(self.path)

    def down(self):
        if self.socket:
            self.socket.close()
            os.unlink(self.path)
        self.socket = None

    def until(self, text):
        while text not in (line := self.socket.recv(4096).decode()):
            pass
        return line


def test_the_log_daemon_stops(tmp_path):
    """A syslog whose queue is full, that comes back, is restarted, or is not there: lines are lost and
    counted, nothing waits for it, and whoever reads again gets what is said from then on."""
    daemon = Syslog(str(tmp_path))
    a = Lone(log={"target": "syslog", "level": "debug"}, workers=2)

    def start(ready=True, wait=20):
        a.agent.process = subprocess.Popen(daemon.here(stack.AGENT, "-f", a.agent.file))
        return a.agent
    a.agent.start = start
    a.agent.log = lambda: ""

    def lost():
        return a.agent.metrics().get_one("spoa_inference_log_lines_lost_total")

    with a:
        line = daemon.until("event=started")
        assert re.match(r"<30>[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d spoa-inference\[\d+\]: level=info ", line)
        assert lost() == 0
        with Bystander(a.address) as b:
            hammer(a, 1500)
            b.more(100)
            assert a.agent.page("/healthz").status == 200
            assert lost() > 100
            assert a.agent.reload() == "ok"
            while select.select([daemon.socket], [], [], 0)[0]:
                daemon.socket.recv(4096)
            hammer(a, 1)
            daemon.until("event=spop_")
            daemon.up()
            hammer(a, 1)
            daemon.until("event=spop_")
            daemon.down()
            before = lost()
            hammer(a, 10)
            assert lost() > before
            b.more(50)
            daemon.up()
            hammer(a, 1)
            daemon.until("event=spop_")
            hammer(a, 1500)  # stopped again, while it is told to end
    daemon.down()


def test_standard_descriptors_are_closed(tmp_path):
    """Else the first socket would be descriptor 2, and lines would go to a peer."""
    a = Lone(log={"level": "debug"})

    def start(ready=True, wait=20):
        a.agent.process = subprocess.Popen(
            ["sh", "-c", 'exec "$0" -f "$1" <&- >&- 2>&-', stack.AGENT, a.agent.file])
        return a.agent
    a.agent.start = start
    a.agent.log = lambda: ""
    with a:
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{a.agent.process.pid}/fd/{fd}") == "/dev/null"
        with Bystander(a.address) as b:
            hammer(a, 50)  # every frame is checked: a line in between would be none
            b.more(50)


# ---- time ----------------------------------------------------------------------------------------
SHIFT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* seconds by which the wall clock and the monotonic clock are moved, in a file that is mapped */
static volatile long *shift;
__attribute__((constructor)) static void begin(void)
{
	int fd = open(getenv("SHIFT_FILE"), O_RDONLY);
	shift = mmap(0, 16, PROT_READ, MAP_SHARED, fd, 0);
}
int clock_gettime(clockid_t id, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(id, ts);
	if (shift)
		ts->tv_sec += id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE ? shift[0] : shift[1];
	return r;
}
time_t time(time_t *t)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
int gettimeofday(struct timeval *restrict tv, void *restrict z)
{
	struct timespec ts;
	(void)z;
	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}
"""


@pytest.fixture(scope="module")
def shifting(tmp_path_factory):
    at = tmp_path_factory.mktemp("shift")
    (at / "shift.c").write_text(SHIFT)
    return preload(at, at / "shift.c", "a sanitizer reads clocks on its way up")


def shifted(shifting, tmp_path, wall, mono):
    path = tmp_path / "shift"
    path.write_bytes(wall.to_bytes(8, "little", signed=True) + mono.to_bytes(8, "little", signed=True))

    def move(wall, mono):
        with open(path, "r+b") as f:
            f.write(wall.to_bytes(8, "little", signed=True) + mono.to_bytes(8, "little", signed=True))
    return {"LD_PRELOAD": shifting, "SHIFT_FILE": str(path)}, move


YEAR = 366 * 86400


@pytest.mark.parametrize("wall", [-40 * YEAR, -3600, 3600, 13 * YEAR, 90 * YEAR])
def test_the_wall_clock_jumps(shifting, tmp_path, wall):
    """Deadlines, tickets and scrapes follow the monotonic clock; a jump of the other moves nothing."""
    env, move = shifted(shifting, tmp_path, 0, 0)
    with Lone(env=env, timeouts={"ticket": "30s"}) as a, Bystander(a.address) as b:
        b.more(20)
        open_before = a.agent.tickets()
        made = a.agent.page("/v1/models").json()["data"][0]["created"]
        move(wall, 0)
        time.sleep(1.2)
        b.more(50)
        assert a.agent.tickets() >= open_before > 0, "tickets went with the clock"
        assert a.agent.metrics().get_one("spoa_inference_tickets_expired_total") == 0
        assert a.agent.page("/v1/models").json()["data"][0]["created"] == made
        assert a.agent.page("/healthz").status == 200
        assert a.agent.state()["uptime_s"] < 600
        assert a.agent.reload() == "ok"


@pytest.mark.parametrize("mono", [2**32 // 1000 - 2, 2**31 // 1000 - 2, 2**31 - 2, 2**32 - 2, 200 * YEAR])
def test_counters_of_milliseconds_roll_over(shifting, tmp_path, mono):
    """The machine is up for 24.8 and 49.7 days, for 68 and 136 years: the agent begins two seconds
    before a 32-bit count of milliseconds or seconds is over, and goes on behind it."""
    with open("/proc/uptime") as f:
        up = int(float(f.read().split()[0]))
    env, move = shifted(shifting, tmp_path, 0, mono - up)
    with Lone(env=env, timeouts={"hello": "1s", "frame": "1s"}) as a, Bystander(a.address) as b:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            b.more(20)
            silent = SpopClient(a.address, hello=False, timeout=10)
            assert silent.goodbye()[0] == 2
            silent.close()
        assert a.agent.page("/healthz").status == 200 and a.agent.state()["uptime_s"] < 600
        assert a.agent.reload() == "ok"


def test_the_machine_slept(shifting, tmp_path):
    """The monotonic clock jumps an hour: what was half here is closed, who asks is answered."""
    env, move = shifted(shifting, tmp_path, 0, 0)
    with Lone(env=env, timeouts={"ticket": "30s"}) as a, Bystander(a.address) as b:
        with SpopClient(a.address) as c:
            c.send(b"\0\0\1")
            b.more(20)
            move(0, 3600)
            assert c.goodbye()[0] == 2
        b.more(50)
        until(lambda: a.agent.metrics().get_one("spoa_inference_tickets_expired_total") > 0,
              what="tickets of an hour ago are let go")
        until(lambda: a.agent.page("/healthz").status == 200, what="its workers' beats are heard again")


def test_stopped_and_continued():
    with Lone() as a, Bystander(a.address) as b:
        for _ in range(5):
            a.agent.process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            a.agent.process.send_signal(signal.SIGCONT)
            b.more(20)


def test_signals_without_end():
    """EINTR everywhere: signals of all kinds, by the thousand."""
    with Lone(workers=2) as a, Bystander(a.address) as b:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for s in (signal.SIGPIPE, signal.SIGWINCH, signal.SIGCONT, signal.SIGURG, signal.SIGCHLD, signal.SIGHUP):
                a.agent.process.send_signal(s)
        b.more(100)
        assert a.agent.page("/healthz").status == 200
