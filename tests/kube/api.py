"""The Kubernetes API for the stand-ins and the tests: JSON over one kept connection a thread.

    api = Api(server, ca, token=...)
    api.get("/api/v1/pods")["items"]
    for kind, obj in api.follow("/api/v1/pods"): ...
"""
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.parse


class Refused(Exception):
    """The server's answer was no. .status, .reason and .message are its own."""

    def __init__(self, status, body):
        try:
            told = json.loads(body)
        except ValueError:
            told = {"message": body.decode(errors="replace")}
        self.status, self.reason = status, told.get("reason", "")
        self.message = told.get("message", "")
        super().__init__(f"{status} {self.reason}: {self.message}")


class Api:
    def __init__(self, server, ca, token=None, cert=None, key=None):
        url = urllib.parse.urlsplit(server)
        self.host, self.port, self.token = url.hostname, url.port or 443, token
        self.context = ssl.create_default_context(cafile=ca)
        if cert:
            self.context.load_cert_chain(cert, key)
        self.local = threading.local()

    def _connection(self, timeout=30):
        c = http.client.HTTPSConnection(self.host, self.port, timeout=timeout,
                                        context=self.context)
        c.connect()
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return c

    def _headers(self, kind=None):
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        if kind:
            headers["Content-Type"] = kind
        return headers

    def ask(self, method, path, body=None, kind="application/json", **query):
        """The answer's object; Refused, or OSError where there was no answer."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        kept = getattr(self.local, "connection", None)
        for c in (kept, None):  # a kept connection may have been closed meanwhile
            fresh = c is None
            try:
                c = c or self._connection()
                c.request(method, path, data, self._headers(kind if data else None))
                r = c.getresponse()
                text = r.read()
                break
            except (http.client.HTTPException, OSError) as e:
                if c:
                    c.close()
                self.local.connection = None
                if fresh:
                    raise e if isinstance(e, OSError) else OSError(str(e)) from e
        self.local.connection = c
        if r.status >= 300:
            raise Refused(r.status, text)
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def get(self, path, **query):
        return self.ask("GET", path, **query)

    def create(self, path, obj, **query):
        return self.ask("POST", path, obj, **query)

    def replace(self, path, obj, **query):
        return self.ask("PUT", path, obj, **query)

    def delete(self, path, body=None, **query):
        return self.ask("DELETE", path, body, **query)

    def merge(self, path, patch, **query):
        return self.ask("PATCH", path, patch, "application/merge-patch+json", **query)

    def strategic(self, path, patch, **query):
        return self.ask("PATCH", path, patch, "application/strategic-merge-patch+json", **query)

    def watch(self, path, version, **query):
        """(type, object) until the server ends it."""
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", **query}
        c = self._connection(timeout=600)
        try:
            c.request("GET", path + "?" + urllib.parse.urlencode(query), headers=self._headers())
            r = c.getresponse()
            if r.status != 200:
                raise Refused(r.status, r.read())
            while line := r.readline():
                event = json.loads(line)
                yield event["type"], event["object"]
        except http.client.HTTPException as e:
            raise OSError(str(e)) from e
        finally:
            c.close()

    def follow(self, path, **query):
        """("ADDED" | "MODIFIED" | "DELETED", object) for ever: list and watch, whatever happens to
        the server. What went while nobody watched is told as DELETED."""
        known = {}
        while True:
            try:
                listed = self.get(path, **query)
                there = {o["metadata"]["uid"]: o for o in listed["items"]}
                for uid in set(known) - set(there):
                    yield "DELETED", known.pop(uid)
                for uid, obj in there.items():
                    yield ("MODIFIED" if uid in known else "ADDED"), obj
                known = there
                version = listed["metadata"]["resourceVersion"]
                while True:
                    for kind, obj in self.watch(path, version, **query):
                        if kind == "ERROR":
                            raise OSError(str(obj))
                        version = obj["metadata"]["resourceVersion"]
                        uid = obj["metadata"].get("uid")
                        if kind == "DELETED":
                            known.pop(uid, None)
                        elif kind != "BOOKMARK":
                            known[uid] = obj
                        if kind != "BOOKMARK":
                            yield kind, obj
            except (OSError, Refused, ValueError):
                time.sleep(0.1)
