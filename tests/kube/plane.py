"""A real control plane in a folder: etcd, kube-apiserver, controller manager, scheduler.

    network.enter()
    with Plane(folder) as p:
        p.kubectl("get", "nodes")
        p.api.get("/api/v1/pods")

No containers and no privileges of the project's own: the three Kubernetes programs are one, built
from plane/ (tests/setup.sh), etcd is Debian's. The kubelet, kube-proxy and the cloud are stand-ins.
Everything is in the namespaces of network.enter() and ends with this process.
"""
import base64
import ctypes
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "charts"))

import network
import tools
from api import Api, Refused
from faulty import Faulty

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "1.35.4"
CACHE = os.environ.get("SPOA_CACHE") or os.path.expanduser("~/.cache/spoa-inference")
PROGRAMS = os.path.join(CACHE, "kube-" + VERSION)
SERVER = (network.GATEWAY, 6443)
CLUSTER_IP = ("10.96.0.1", 443)  # kubernetes.default
ETCD = "http://127.0.0.1:2379"
NODES = ("node-a", "node-b")
OTHERS = ("manager", "scheduler")


def missing():
    """Why there can be no control plane here; None when there can."""
    if not os.path.exists(os.path.join(PROGRAMS, "kube")):
        return os.environ.get("SPOA_SKIP_KUBE") or "kube-apiserver is not built (tests/run.sh does)"
    try:
        tools.helm(), tools.kubectl()  # fetched now: later there is no network
    except tools.NoTool as e:
        return str(e)
    for name in ("etcd", "openssl", "ip", "nsenter"):
        if not shutil.which(name):
            return f"{name} is not installed"
    return None


def definitions():
    """Files of the resource definitions: Gateway API, Inference Extension, PodMonitor."""
    return sorted(glob.glob(os.path.join(PROGRAMS, "definitions", "*", "*.yaml")))


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)


def until(condition, wait=30, what=None, every=0.05):
    """Until condition() is true; returns what it said."""
    end, last = time.monotonic() + wait, None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, Refused, KeyError, IndexError, ValueError) as e:
            last = e
        if time.monotonic() > end:
            raise AssertionError(f"not within {wait} s: {what or condition}; last: {last!r}")
        time.sleep(every)


class Plane:
    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        self.kept = threading.Lock()  # held while others end and start
        for d in ("pki", "etcd", "logs", "home"):
            os.makedirs(self.file(d), exist_ok=True)
        self.tokens = {name: base64.b16encode(os.urandom(16)).decode() for name in
                       ("admin", "kubelet", "manager", "scheduler")}

    def file(self, *names):
        return os.path.join(self.folder, *names)

    # ---- keys
    def openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.file("pki"))

    def make_keys(self):
        def request(name, subject):
            self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                         "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj", subject)

        def sign(name, extension):
            with open(self.file("pki", name + ".ext"), "w") as f:
                f.write(extension)
            self.openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                         "-CAcreateserial", "-days", "3650", "-extfile", name + ".ext",
                         "-out", name + ".crt")

        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-days", "3650", "-keyout", "ca.key", "-out", "ca.crt",
                     "-subj", "/CN=kubernetes", "-addext", "keyUsage=critical,keyCertSign,digitalSignature")
        request("server", "/CN=kube-apiserver")
        sign("server", "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,"
             "DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,"
             f"IP:{SERVER[0]},IP:{CLUSTER_IP[0]}\nextendedKeyUsage=serverAuth\n")
        request("admin", "/O=system:masters/CN=admin")
        sign("admin", "extendedKeyUsage=clientAuth\n")
        self.openssl("genrsa", "-out", "accounts.key", "2048")
        groups = {"admin": "system:masters", "kubelet": "system:masters",
                  "manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler"}
        users = {"manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler"}
        with open(self.file("pki", "tokens.csv"), "w") as f:
            for name, token in self.tokens.items():
                f.write(f'{token},{users.get(name, name)},{name},"{groups[name]}"\n')

    def kubeconfig(self, name, server=None, user=None):
        """A file for kubectl and its like. @user: the user's part, instead of the token's."""
        path = self.file(name + ".kubeconfig")
        conf = {"apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": {
                    "server": server or "https://%s:%d" % SERVER,
                    "certificate-authority": self.file("pki", "ca.crt")}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": user or {"token": self.tokens[name]}}]}
        with open(path, "w") as f:
            json.dump(conf, f, indent=1)
        return path

    # ---- processes
    def spawn(self, name, argv):
        with open(self.file("logs", name + ".log"), "ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
                start_new_session=True, preexec_fn=die_with_parent)

    def end(self, name, how=signal.SIGTERM, wait=15):
        p = self.processes.pop(name, None)
        if p and p.poll() is None:
            p.send_signal(how)
            try:
                p.wait(wait)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def log(self, name):
        with open(self.file("logs", name + ".log"), errors="replace") as f:
            return f.read()

    def start_etcd(self):
        self.spawn("etcd", [
            "etcd", "--data-dir", self.file("etcd", "data"), "--listen-client-urls", ETCD,
            "--advertise-client-urls", ETCD, "--listen-peer-urls", "http://127.0.0.1:2380",
            "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
            "--initial-cluster", "default=http://127.0.0.1:2380", "--log-level", "error",
            "--snapshot-count", "5000"])

    def start_apiserver(self, *more):
        pki = lambda name: self.file("pki", name)
        self.spawn("apiserver", [
            os.path.join(PROGRAMS, "kube-apiserver"), "--etcd-servers", ETCD,
            "--secure-port", str(SERVER[1]), "--bind-address", "0.0.0.0",
            "--advertise-address", SERVER[0], "--cert-dir", self.file("pki"),
            "--tls-cert-file", pki("server.crt"), "--tls-private-key-file", pki("server.key"),
            "--client-ca-file", pki("ca.crt"), "--token-auth-file", pki("tokens.csv"),
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", pki("accounts.key"),
            "--service-account-signing-key-file", pki("accounts.key"),
            "--service-account-extend-token-expiration=false",
            "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16",
            "--etcd-compaction-interval", "0", "--audit-policy-file", self.file("audit.yaml"),
            "--audit-log-path", self.file("logs", "audit.log"), "--shutdown-delay-duration", "0s",
            "--enable-priority-and-fairness=false", "--v", "1", *more])

    def wait_apiserver(self, wait=60):
        def ready():
            p = self.processes["apiserver"]
            if p.poll() is not None:
                raise RuntimeError(f"kube-apiserver ended: {self.log('apiserver')[-3000:]}")
            return self.api.get("/readyz") == "ok"
        until(ready, wait, "kube-apiserver is ready")

    def keep_others(self):
        """They end where they do not find the server in time; as static pods they come again."""
        while True:
            time.sleep(0.5)
            with self.kept:
                gone = [n for n in OTHERS if n in self.processes and self.processes[n].poll() is not None]
                if gone:
                    self.start_others(gone)

    def start_others(self, which=OTHERS):
        for name in which:
            self.spawn(name, self.command(name))

    def command(self, name):
        common = ["--leader-elect=false", "--authentication-skip-lookup", "--v", "1",
                  "--secure-port", "0"]
        if name == "scheduler":
            return [os.path.join(PROGRAMS, "kube-scheduler"), *common,
                    "--kubeconfig", self.kubeconfig("scheduler")]
        return [
            os.path.join(PROGRAMS, "kube-controller-manager"), *common,
            "--kubeconfig", self.kubeconfig("manager"), "--use-service-account-credentials",
            "--service-account-private-key-file", self.file("pki", "accounts.key"),
            "--root-ca-file", self.file("pki", "ca.crt"),
            "--controllers", "*,-node-lifecycle-controller,-nodeipam,-node-route-controller,"
            "-persistentvolume-binder-controller,-persistentvolume-attach-detach-controller",
            "--concurrent-deployment-syncs", "10", "--kube-api-qps", "200", "--kube-api-burst", "400",
            "--endpointslice-updates-batch-period", "0s"]

    def end_others(self):
        for name in OTHERS:
            self.end(name, signal.SIGKILL)

    def wait_others(self, wait=60):
        """Until what is created now is taken care of."""
        name = f"wait-{time.monotonic_ns()}"
        self.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace",
                                               "metadata": {"name": name}})
        works = lambda: self.api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default")
        try:
            until(works, 15)
        except AssertionError:  # after a long absence of the server they take their time
            with self.kept:
                self.end_others()
                self.start_others()
            until(works, wait, "the controller manager works")
        self.api.delete(f"/api/v1/namespaces/{name}")

    def start_standins(self):
        for name in ("kubelet", "services"):
            conf = {"api": {"server": "https://%s:%d" % SERVER, "ca": self.file("pki", "ca.crt"),
                            "token": self.tokens["kubelet"]},
                    "nodes": NODES, "environment": {
                        "KUBERNETES_SERVICE_HOST": CLUSTER_IP[0],
                        "KUBERNETES_SERVICE_PORT": str(CLUSTER_IP[1]),
                        "KUBERNETES_SERVICE_PORT_HTTPS": str(CLUSTER_IP[1])}}
            with open(self.file(name + ".json"), "w") as f:
                json.dump(conf, f)
            self.spawn(name, [sys.executable, os.path.join(HERE, name + ".py"),
                              self.file(name + ".json"), self.folder])

    def start(self):
        self.make_keys()
        with open(self.file("audit.yaml"), "w") as f:
            # who asked for what, of the agent alone
            json.dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
                       "omitStages": ["RequestReceived"],
                       "rules": [{"level": "None", "userGroups": ["system:masters", "system:nodes"]},
                                 {"level": "None", "users": ["system:apiserver",
                                                             "system:kube-controller-manager",
                                                             "system:kube-scheduler"]},
                                 {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
                                 {"level": "Metadata"}]}, f)
        self.admin = self.kubeconfig("admin")
        self.api = Api("https://%s:%d" % SERVER, self.file("pki", "ca.crt"), self.tokens["admin"])
        self.start_etcd()
        self.start_apiserver()
        self.wait_apiserver()
        self.start_others()
        threading.Thread(target=self.keep_others, daemon=True).start()
        network.add_local(CLUSTER_IP[0])
        pki = lambda name: self.file("pki", name)
        self.faulty = Faulty(CLUSTER_IP, SERVER, pki("server.crt"), pki("server.key"), pki("ca.crt"))
        self.start_standins()
        self.apply_definitions()
        until(lambda: self.api.get("/api/v1/namespaces/default/serviceaccounts/default"), 30)
        until(lambda: len(self.api.get("/api/v1/nodes")["items"]) == len(NODES), 30)
        return self

    def apply_definitions(self):
        files = [word for f in definitions() for word in ("-f", f)]
        self.kubectl("apply", "--server-side", *files)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")

    def stop(self):
        if hasattr(self, "faulty"):
            self.faulty.close()
        for name in ("kubelet", "services"):
            self.end(name, wait=5)
        with self.kept:
            self.end_others()
        self.end("apiserver", signal.SIGKILL)
        self.end("etcd", signal.SIGKILL)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    # ---- what can happen to it
    def stop_apiserver(self):
        self.end("apiserver", signal.SIGKILL)

    def restart_apiserver(self, *more):
        self.end("apiserver", signal.SIGKILL)
        self.start_apiserver(*more)
        self.wait_apiserver()
        self.wait_others()

    def save_etcd(self):
        """A copy of everything as of now; the apiserver waits meanwhile."""
        self.end("etcd")
        shutil.rmtree(self.file("etcd", "saved"), ignore_errors=True)
        shutil.copytree(self.file("etcd", "data"), self.file("etcd", "saved"))
        self.start_etcd()
        self.wait_apiserver()

    def restore_etcd(self):
        """Back to that copy: what was written since never was, and its versions come again."""
        self.end("apiserver", signal.SIGKILL)
        self.end("etcd", signal.SIGKILL)
        shutil.rmtree(self.file("etcd", "data"))
        shutil.copytree(self.file("etcd", "saved"), self.file("etcd", "data"))
        self.start_etcd()
        self.start_apiserver()
        self.wait_apiserver()
        # The others have caches of a future that is no more.
        with self.kept:
            self.end_others()
            self.start_others()

    def compact_etcd(self):
        """Forgets every version but the newest; watches from older ones get 410 after a restart."""
        import urllib.request

        def post(path, obj):
            r = urllib.request.Request(ETCD + path, json.dumps(obj).encode())
            with urllib.request.urlopen(r, timeout=10) as answer:
                return json.load(answer)
        revision = int(post("/v3/kv/range", {"key": base64.b64encode(b"x").decode()})
                       ["header"]["revision"])
        post("/v3/kv/compaction", {"revision": revision, "physical": True})
        return revision

    # ---- tools
    def environment(self):
        home = self.file("home")
        return {**os.environ, "KUBECONFIG": self.admin, "HOME": home, "HELM_CACHE_HOME": home + "/c",
                "HELM_CONFIG_HOME": home + "/f", "HELM_DATA_HOME": home + "/d",
                "PATH": os.path.dirname(tools.kubectl()) + ":" + os.environ["PATH"]}

    def run(self, argv, input=None, ok=True, timeout=120, cwd=None):
        done = subprocess.run(argv, input=input, capture_output=True, text=True, timeout=timeout,
                              env=self.environment(), cwd=cwd)
        if ok and done.returncode:
            raise AssertionError(f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}"
                                 f"{done.stderr}")
        return done

    def kubectl(self, *words, input=None, ok=True):
        done = self.run([tools.kubectl(), *words], input, ok)
        return done.stdout if ok else done

    def helm(self, *words, ok=True, **more):
        done = self.run([tools.helm(), *words], ok=ok, **more)
        return done.stdout if ok else done

    def apply(self, *objects):
        """Objects (dicts) as they are, by kubectl."""
        return self.kubectl("apply", "-f", "-", input=json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": list(objects)}))
