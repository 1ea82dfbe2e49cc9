"""The address of kubernetes.default, and everything that can be wrong with it.

Pods reach the API server through this proxy. As a rule it carries bytes as they are, so TLS is
between the client and the real server. `rules` turns it into a man in the middle, with the cluster's
own certificate: it then reads each request's head, asks the real server, and may cut, delay, refuse
or garble the answer, counted in bytes of HTTP, at exactly the place that was asked for.
"""
import re
import socket
import ssl
import threading


class Rule:
    """What happens to requests whose "METHOD target" matches @pattern; @times of them, or all.

    kind: cut (after @bytes of the answer: reset), end (the same, but closed in peace), stall (after
    @bytes: nothing more comes), pieces (the answer goes out @bytes at a time), status (@answer is
    the whole answer, HTTP head and body), before (@change is called before the server is asked)."""

    def __init__(self, pattern, kind, bytes=0, answer=b"", times=None, change=None):
        self.pattern, self.kind, self.bytes = re.compile(pattern), kind, bytes
        self.answer, self.times, self.change, self.hits = answer, times, change, 0

    def takes(self, line):
        if (self.times is not None and self.hits >= self.times) or not self.pattern.search(line):
            return False
        self.hits += 1
        return True


class Faulty:
    def __init__(self, address, target, cert, key, ca):
        self.address, self.target = address, target
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(cert, key)
        self.server.set_alpn_protocols(["http/1.1"])
        self.client = ssl.create_default_context(cafile=ca)
        self.client.check_hostname = False
        self.rules, self.middle, self.refusing = [], False, False
        self.open, self.lock, self.requests = set(), threading.Lock(), []
        self.listener = socket.create_server(address, backlog=256)
        threading.Thread(target=self.accept, daemon=True).start()

    # ---- for tests
    def between(self, *rules):
        """From now on in the middle, with these rules; the connections of before are cut."""
        self.rules, self.middle = list(rules), True
        self.requests = []
        self.cut_all()

    def clear(self):
        self.rules, self.middle, self.refusing = [], False, False
        self.cut_all()

    def refuse(self):
        """As a server that is gone: its connections reset, new ones reset at once."""
        self.refusing = True
        self.cut_all()

    def cut_all(self):
        with self.lock:
            there, self.open = self.open, set()
        for s in there:
            wake(s)

    def close(self):
        self.refusing = True
        self.listener.close()
        self.cut_all()

    # ---- connections
    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                reset(s)
                continue
            with self.lock:
                self.open.add(s)
            run = self.in_the_middle if self.middle else self.straight
            threading.Thread(target=self.guard, args=(run, s), daemon=True).start()

    def guard(self, run, s):
        try:
            run(s)
        except (OSError, ValueError):
            reset(s)
        finally:
            with self.lock:
                self.open.discard(s)

    def upstream(self):
        s = socket.create_connection(self.target, 10)
        s.settimeout(None)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def straight(self, s):
        up = self.upstream()
        with self.lock:
            self.open.add(up)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def back():
            try:
                carry(up, s)
            except OSError:
                wake(s)
        t = threading.Thread(target=back, daemon=True)
        t.start()
        try:
            carry(s, up)
        except OSError:
            wake(up)
        t.join()
        for one in (s, up):
            one.close()
        with self.lock:
            self.open.discard(up)

    def in_the_middle(self, s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.wrap_socket(s, server_side=True) as c:
            with self.lock:
                self.open.discard(s)
                self.open.add(c)
            try:
                self.one_request(c)
            finally:
                with self.lock:
                    self.open.discard(c)

    def one_request(self, c):
        head = b""
        while b"\r\n\r\n" not in head:
            more = c.recv(65536)
            if not more:
                return
            head += more
        head, _, body = head.partition(b"\r\n\r\n")
        m = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        while m and len(body) < int(m.group(1)):
            body += c.recv(65536)
        line = head.split(b"\r\n", 1)[0].decode()
        line = line.rsplit(" ", 1)[0]
        self.requests.append(line)
        rule = next((r for r in self.rules if r.takes(line)), None)
        if rule and rule.kind == "status":
            c.sendall(rule.answer)
            c.unwrap()
            return
        if rule and rule.kind == "before":
            rule.change(line)
        head = re.sub(rb"(?i)\r\n(connection|accept-encoding):[^\r]*", b"", head)
        with self.client.wrap_socket(self.upstream()) as up:
            with self.lock:
                self.open.add(up)
            try:
                up.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
                self.answer(up, c, rule)
            finally:
                with self.lock:
                    self.open.discard(up)

    def answer(self, up, c, rule):
        kind, left = (rule.kind, rule.bytes) if rule else (None, 0)
        while data := up.recv(65536):
            if kind == "pieces":
                for at in range(0, len(data), rule.bytes):
                    c.sendall(data[at:at + rule.bytes])
                continue
            elif kind in ("cut", "end", "stall"):
                if len(data) >= left:
                    c.sendall(data[:left])
                    if kind == "cut":
                        reset(c)
                        return
                    if kind == "stall":
                        while c.recv(65536):
                            pass
                    break
                left -= len(data)
            c.sendall(data)
        c.unwrap()


def carry(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)


def wake(s):
    """Ends both ways at once, for whoever waits on it; that one closes. Closed here, its number would
    soon be another's, and OpenSSL, which keeps the number, would write to that one."""
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def reset(s):
    """For its owner: the other side gets a reset."""
    wake(s)
    try:
        s.close()
    except OSError:
        pass
