"""Startup, readiness and liveness of a container, each probe in a thread of its own."""
import http.client
import socket
import ssl
import subprocess
import threading


class Probe:
    """run(): (good, what it said), once."""

    def __init__(self, spec, container):
        self.spec, self.container = spec, container
        self.delay = spec.get("initialDelaySeconds", 0)
        self.period = spec.get("periodSeconds", 10)
        self.timeout = spec.get("timeoutSeconds", 1)
        self.good = spec.get("successThreshold", 1)
        self.bad = spec.get("failureThreshold", 3)

    def port(self, value):
        if isinstance(value, str) and not value.isdigit():
            for p in self.container.spec.get("ports", []):
                if p.get("name") == value:
                    return p["containerPort"]
            raise OSError(f"no port is named {value}")
        return int(value)

    def run(self):
        try:
            if "exec" in self.spec:
                return self.container.execute(self.spec["exec"]["command"], self.timeout)
            address = self.container.pod.address
            if "tcpSocket" in self.spec:
                at = self.spec["tcpSocket"]
                socket.create_connection((at.get("host") or address, self.port(at["port"])),
                                         self.timeout).close()
                return True, ""
            if "httpGet" in self.spec:
                return self.get(self.spec["httpGet"], address)
            if "grpc" in self.spec:
                return self.check(self.spec["grpc"], address)
        except subprocess.TimeoutExpired:
            return False, "timed out"
        except (OSError, http.client.HTTPException) as e:
            return False, str(e)
        return False, "not a kind of probe this stand-in knows"

    def get(self, at, address):
        host, port = at.get("host") or address, self.port(at["port"])
        if at.get("scheme") == "HTTPS":
            c = http.client.HTTPSConnection(host, port, timeout=self.timeout,
                                            context=ssl._create_unverified_context())
        else:
            c = http.client.HTTPConnection(host, port, timeout=self.timeout)
        try:
            headers = {h["name"]: h["value"] for h in at.get("httpHeaders") or []}
            c.request("GET", at.get("path") or "/", headers=headers)
            r = c.getresponse()
            return 200 <= r.status < 400, f"HTTP {r.status} {r.read(200)!r}"
        finally:
            c.close()

    def check(self, at, address):
        """grpc.health.v1.Health/Check, by curl: Python's own client has no HTTP/2."""
        name = at.get("service", "").encode()
        message = b"\x0a" + bytes([len(name)]) + name if name else b""
        done = subprocess.run(
            ["curl", "-sS", "--http2-prior-knowledge", "-m", str(self.timeout), "-H", "te: trailers",
             "-H", "content-type: application/grpc", "--data-binary", "@-",
             f"http://{address}:{self.port(at['port'])}/grpc.health.v1.Health/Check"],
            input=b"\0" + len(message).to_bytes(4, "big") + message, capture_output=True)
        serving = b"\0\0\0\0\2\x08\1"
        return done.stdout == serving, (done.stderr or repr(done.stdout).encode()).decode()[-200:]


def watch(probe, over, changed):
    """Probes until `over` (an Event) is set; changed(good, said) whenever a threshold is met."""
    def turns():
        if over.wait(probe.delay):
            return
        count = {True: 0, False: 0}
        while True:
            good, said = probe.run()
            if over.is_set():
                return
            count[good], count[not good] = count[good] + 1, 0
            if count[good] >= (probe.good if good else probe.bad):
                changed(good, said)
            if over.wait(probe.period):
                return

    threading.Thread(target=turns, daemon=True).start()
