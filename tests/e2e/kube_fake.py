"""A small API server over HTTPS for tests that need no control plane: lists in pages, watches with
bookmarks, merge patches of status with conflicts, and faults on demand. It knows the kinds that
the agent watches and checks nothing of what is put into it.

    with KubeFake(directory) as k:
        k.put(pod("default", "p1", {"app": "llama"}, "127.0.0.1"))
        k.kubeconfig                 # a file that says where it is, with CA and token
        k.delete("pods", "default", "p1")
        k.status("httproutes", "default", "r")["parents"]
"""
import base64
import copy
import http.server
import json
import os
import queue
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.parse

CORE, GATEWAY, INFERENCE = "", "gateway.networking.k8s.io", "inference.networking.k8s.io"
CONTROLLER = "spoa-inference/gateway-controller"
TOKEN = "a-token-of-the-tests"
# plural: group, version, kind, namespaced
KINDS = {
    "pods": (CORE, "v1", "Pod", True),
    "namespaces": (CORE, "v1", "Namespace", False),
    "services": (CORE, "v1", "Service", True),
    "configmaps": (CORE, "v1", "ConfigMap", True),
    "gatewayclasses": (GATEWAY, "v1", "GatewayClass", False),
    "gateways": (GATEWAY, "v1", "Gateway", True),
    "httproutes": (GATEWAY, "v1", "HTTPRoute", True),
    "referencegrants": (GATEWAY, "v1beta1", "ReferenceGrant", True),
    "inferencepools": (INFERENCE, "v1", "InferencePool", True),
}
PLURALS = {kind: plural for plural, (_, _, kind, _) in KINDS.items()}


# ---- objects ---------------------------------------------------------------------------------
def _object(plural, namespace, name, **more):
    group, version, kind, _ = KINDS[plural]
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    meta.update(more.pop("metadata", {}))
    return {"apiVersion": f"{group}/{version}" if group else version, "kind": kind,
            "metadata": meta, **more}


def pod(namespace, name, labels, ip, ready=True, phase="Running", port=8000):
    return _object("pods", namespace, name, metadata={"labels": labels}, spec={
        "containers": [{"name": "server", "image": "vllm", "ports": [{"containerPort": port}]}],
    }, status={
        "phase": phase, "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    })


def pool(namespace, name, labels, port, annotations=None, **spec):
    return _object("inferencepools", namespace, name,
                   metadata={"annotations": annotations} if annotations else {},
                   spec={"selector": {"matchLabels": labels}, "targetPorts": [{"number": port}],
                         "endpointPickerRef": {"name": "none", "failureMode": "FailOpen",
                                               "port": {"number": 9002}}, **spec})


def gateway_class(name="inference-haproxy", controller=CONTROLLER):
    return _object("gatewayclasses", None, name, spec={"controllerName": controller})


def gateway(namespace, name, listeners=None, of="inference-haproxy"):
    return _object("gateways", namespace, name, spec={"gatewayClassName": of, "listeners": listeners or [
        {"name": "http", "port": 80, "protocol": "HTTP",
         "allowedRoutes": {"namespaces": {"from": "All"}}}]})


def to_pool(name, weight=1, namespace=None):
    ref = {"group": INFERENCE, "kind": "InferencePool", "name": name, "weight": weight}
    return {**ref, "namespace": namespace} if namespace else ref


def matching(model=None, base=None, path="/", path_type="PathPrefix", method=None, headers=()):
    match = {"path": {"type": path_type, "value": path}}
    wanted = list(headers)
    if model:
        wanted.append(("X-Gateway-Model-Name", model))
    if base:
        wanted.append(("X-Gateway-Base-Model-Name", base))
    if wanted:
        match["headers"] = [{"type": "Exact", "name": n, "value": v} for n, v in wanted]
    if method:
        match["method"] = method
    return match


def route(namespace, name, *rules, parent="inference-gateway", hostnames=None):
    """@rules: ([matches], [references], timeout or None)"""
    spec = {"parentRefs": [{"group": GATEWAY, "kind": "Gateway", "name": parent}], "rules": []}
    if hostnames:
        spec["hostnames"] = hostnames
    for matches, references, timeout in rules:
        rule = {"matches": matches, "backendRefs": references}
        if timeout:
            rule["timeouts"] = {"request": timeout}
        spec["rules"].append(rule)
    return _object("httproutes", namespace, name, spec=spec)


def adapters(namespace, name, base, names):
    return _object("configmaps", namespace, name,
                   metadata={"labels": {"inference.networking.k8s.io/bbr-managed": "true"}},
                   data={"baseModel": base, "adapters": "".join(f"- {n}\n" for n in names)})


# ---- the server ------------------------------------------------------------------------------
def _selected(o, labels, fields):
    have = o["metadata"].get("labels") or {}
    for word in filter(None, labels.split(",")):
        key, _, value = word.partition("=")
        if have.get(key) != value.lstrip("="):
            return False
    for word in filter(None, fields.split(",")):
        key, _, value = word.partition("=")
        if key == "metadata.name" and o["metadata"]["name"] != value.lstrip("="):
            return False
    return True


def _merge(onto, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    onto = dict(onto) if isinstance(onto, dict) else {}
    for key, value in patch.items():
        if value is None:
            onto.pop(key, None)
        else:
            onto[key] = _merge(onto.get(key), value)
    return onto


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _say(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, code, reason, message):
        self._say(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                         "reason": reason, "message": message})

    def _where(self):
        """(plural, namespace, name, sub-resource) or None."""
        words = urllib.parse.urlsplit(self.path).path.strip("/").split("/")
        words = words[2:] if words[0] == "api" else words[3:]
        namespace = name = sub = None
        if words[:1] == ["namespaces"] and len(words) > 2:
            namespace, words = words[1], words[2:]
        plural = words[0] if words else ""
        if len(words) > 1:
            name = words[1]
        if len(words) > 2:
            sub = words[2]
        return (plural, namespace, name, sub) if plural in KINDS else None

    def _enter(self):
        fake = self.server.fake
        where = self._where()
        with fake.lock:
            fake.requests.append((self.command, self.path))
        if self.headers.get("Authorization") != f"Bearer {fake.token}":
            self._refuse(401, "Unauthorized", "Unauthorized")
            return None
        if not where or where[0] in fake.absent:
            data = b"404 page not found\n"
            self.send_response(404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return None
        if where[0] in fake.forbidden:
            self._refuse(403, "Forbidden", f"{where[0]} is forbidden")
            return None
        return where

    def do_GET(self):
        where = self._enter()
        if not where:
            return
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        plural, namespace, name, _ = where
        if name:
            o = self.server.fake.get(plural, namespace, name)
            self._say(200, o) if o else self._refuse(404, "NotFound", "not found")
        elif query.get("watch") in ("1", "true"):
            self._watch(plural, namespace, query)
        else:
            self._list(plural, namespace, query)

    def _list(self, plural, namespace, query):
        fake = self.server.fake
        group, version, kind, _ = KINDS[plural]
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        with fake.lock:
            if "continue" in query:
                said, at = json.loads(base64.b64decode(query["continue"]))
                found = fake.pages[plural, namespace, said]
            else:
                at, said = 0, fake.version
                found = [copy.deepcopy(o) for key, o in sorted(fake.objects[plural].items())
                         if namespace in (None, key[0]) and _selected(o, labels, fields)]
                fake.pages[plural, namespace, said] = found
        limit = int(query.get("limit", 0)) or len(found) or 1
        meta = {"resourceVersion": str(said)}
        if at + limit < len(found):
            meta["continue"] = base64.b64encode(json.dumps([said, at + limit]).encode()).decode()
            meta["remainingItemCount"] = len(found) - at - limit
        self._say(200, {"kind": f"{kind}List",
                        "apiVersion": f"{group}/{version}" if group else version,
                        "metadata": meta, "items": found[at:at + limit]})

    def _event(self, kind, o):
        data = json.dumps({"type": kind, "object": o}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _watch(self, plural, namespace, query):
        fake = self.server.fake
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        since = int(query.get("resourceVersion") or 0)
        end = time.monotonic() + int(query.get("timeoutSeconds", 300))
        mine = queue.Queue()
        with fake.lock:
            if since < fake.oldest:
                self._refuse(410, "Expired", f"too old resource version: {since}")
                return
            for version, where, kind, o in fake.events:
                if version > since and where == plural:
                    mine.put((kind, o))
            fake.watchers.append((plural, mine))
            generation = fake.generation
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while fake.generation == generation and time.monotonic() < end:
                try:
                    kind, o = mine.get(timeout=0.2)
                except queue.Empty:
                    continue
                if namespace in (None, o["metadata"].get("namespace")) and _selected(o, labels, fields):
                    self._event(kind, o)
            if fake.generation == generation:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass
        finally:
            self.close_connection = True
            with fake.lock:
                fake.watchers.remove((plural, mine))

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        where = self._enter()
        if not where:
            return
        plural, namespace, name, sub = where
        fake = self.server.fake
        with fake.lock:
            o = fake.objects[plural].get((namespace or "", name))
            if not o or sub != "status":
                self._refuse(404, "NotFound", f"{plural} {name} not found")
                return
            wanted = (body.get("metadata") or {}).get("resourceVersion")
            if wanted and wanted != o["metadata"]["resourceVersion"]:
                fake.conflicts += 1
                self._refuse(409, "Conflict", "the object has been modified")
                return
            changed = copy.deepcopy(o)
            changed["status"] = _merge(o.get("status"), body.get("status"))
            fake.patches.append((plural, namespace, name))
            if changed["status"] != o.get("status"):
                o = fake._store(plural, changed, "MODIFIED")
            answer = copy.deepcopy(o)
        self._say(200, answer)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address, fake, context):
        self.fake, self.context = fake, context
        super().__init__(address, _Handler)

    def finish_request(self, request, client_address):
        # The handshake belongs to the connection's own thread: it may never come.
        request.settimeout(30)
        with self.context.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, client_address)

    def handle_error(self, *_):
        pass


class KubeFake:
    """@directory: for certificate and kubeconfig."""

    def __init__(self, directory, namespace="default"):
        self.directory, self.token = str(directory), TOKEN
        self.lock = threading.RLock()
        self.version, self.oldest, self.generation = 1, 0, 0
        self.objects = {plural: {} for plural in KINDS}
        self.events, self.watchers, self.pages = [], [], {}
        self.requests, self.patches, self.conflicts = [], [], 0
        self.absent, self.forbidden = set(), set()
        self.server = None
        key, cert = os.path.join(self.directory, "kube.key"), os.path.join(self.directory, "kube.crt")
        if not os.path.exists(cert):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                            "-days", "2", "-subj", "/CN=kubernetes", "-addext",
                            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.port = 0
        self.start()
        self.kubeconfig = os.path.join(self.directory, "kubeconfig")
        with open(self.kubeconfig, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "tests",
                       "clusters": [{"name": "fake", "cluster": {
                           "server": f"https://127.0.0.1:{self.port}", "certificate-authority": cert}}],
                       "users": [{"name": "me", "user": {"token": TOKEN}}],
                       "contexts": [{"name": "tests", "context": {
                           "cluster": "fake", "user": "me", "namespace": namespace}}]}, f)

    def start(self):
        """Again at the same port, after stop()."""
        self.server = _Server(("127.0.0.1", self.port), self, self.context)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Gone, with all connections; what it holds stays."""
        if self.server:
            self.cut()
            self.server.shutdown()
            self.server.server_close()
        self.server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def cut(self):
        """Every watch breaks off in the middle."""
        with self.lock:
            self.generation += 1

    def compact(self):
        """What happened is forgotten: a watch from before is told 410."""
        with self.lock:
            self.oldest = self.version
            self.events.clear()

    def _store(self, plural, o, kind):
        self.version += 1
        o["metadata"]["resourceVersion"] = str(self.version)
        key = (o["metadata"].get("namespace", ""), o["metadata"]["name"])
        if kind == "DELETED":
            self.objects[plural].pop(key, None)
        else:
            self.objects[plural][key] = o
        event = (self.version, plural, kind, copy.deepcopy(o))
        self.events.append(event)
        for where, q in self.watchers:
            if where == plural:
                q.put((kind, event[3]))
        return o

    def put(self, *objects):
        """Creates or replaces; keeps uid, creation and status, counts the generation."""
        for o in objects:
            o = copy.deepcopy(o)
            plural, meta = PLURALS[o["kind"]], o["metadata"]
            with self.lock:
                old = self.objects[plural].get((meta.get("namespace", ""), meta["name"]))
                before = old["metadata"] if old else {}
                meta["uid"] = before.get("uid", f"uid-{self.version}")
                meta["creationTimestamp"] = before.get(
                    "creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
                same = old is not None and old.get("spec") == o.get("spec")
                meta["generation"] = before.get("generation", 0) + (not same)
                if old and "status" in old and "status" not in o:
                    o["status"] = copy.deepcopy(old["status"])
                self._store(plural, o, "MODIFIED" if old else "ADDED")

    def delete(self, plural, namespace, name):
        with self.lock:
            o = copy.deepcopy(self.objects[plural][(namespace or "", name)])
            self._store(plural, o, "DELETED")

    def terminate(self, namespace, name):
        """A pod is asked to end: it has a deletionTimestamp and goes on for a while."""
        with self.lock:
            o = copy.deepcopy(self.objects["pods"][(namespace, name)])
            o["metadata"]["deletionTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            o["metadata"]["deletionGracePeriodSeconds"] = 30
            self._store("pods", o, "MODIFIED")

    def get(self, plural, namespace, name):
        with self.lock:
            return copy.deepcopy(self.objects[plural].get((namespace or "", name)))

    def status(self, plural, namespace, name):
        return (self.get(plural, namespace, name) or {}).get("status") or {}


def condition(conditions, kind):
    """("True", reason, observedGeneration, message) of a type, or None."""
    for c in conditions or ():
        if c["type"] == kind:
            return c["status"], c["reason"], c.get("observedGeneration"), c.get("message", "")
    return None
