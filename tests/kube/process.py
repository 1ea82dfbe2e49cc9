"""One container of a pod: what its process is started with, and its life."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import images
import probes
from volumes import Wait, fetch, field

HERE = os.path.dirname(os.path.abspath(__file__))


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def expand(text, env):
    """$(NAME), where NAME is known; $$ is $."""
    return re.sub(r"\$\$|\$\(([A-Za-z_][-\w.]*)\)",
                  lambda m: "$" if m.group() == "$$" else env.get(m.group(1), m.group()), text)


class Container:
    def __init__(self, pod, spec, sidecar=False, init=False):
        self.pod, self.spec, self.sidecar, self.init = pod, spec, sidecar, init
        self.name = spec["name"]
        self.folder = os.path.join(pod.folder, self.name)
        os.makedirs(self.folder)
        self.restarts, self.last, self.started_at = -1, {}, None
        self.state = {"waiting": {"reason": "PodInitializing"}}
        self.started = self.ready = False
        self.process, self.pid = None, None
        self.ended = threading.Event()
        self.ended.set()
        self.probing = threading.Event()

    # ---- what it is started with
    def environment(self, image):
        env = {**image.get("env", {}), "HOSTNAME": self.pod.name, **self.pod.kubelet.environment}
        own = {}
        for source in self.spec.get("envFrom") or []:
            for kind, name in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if kind in source:
                    for k, v in fetch(self.pod.api, self.pod.obj, name, source[kind]).items():
                        own[source.get("prefix", "") + k] = v.decode()
        for e in self.spec.get("env") or []:
            source = e.get("valueFrom") or {}
            if "fieldRef" in source:
                path = source["fieldRef"]["fieldPath"]
                own[e["name"]] = {"status.podIP": self.pod.address, "status.hostIP": "10.244.0.1",
                                  "status.podIPs": self.pod.address}.get(path) \
                    or field(self.pod.obj, path)
            elif "resourceFieldRef" in source:
                own[e["name"]] = self.resource(source["resourceFieldRef"])
            elif "configMapKeyRef" in source or "secretKeyRef" in source:
                kind = "configmaps" if "configMapKeyRef" in source else "secrets"
                ref = source.get("configMapKeyRef") or source["secretKeyRef"]
                found = fetch(self.pod.api, self.pod.obj, kind, ref)
                if ref["key"] in found:
                    own[e["name"]] = found[ref["key"]].decode()
                elif not ref.get("optional"):
                    raise Wait(f"couldn't find key {ref['key']} in {kind} {ref['name']}")
            else:
                own[e["name"]] = expand(e.get("value", ""), {**env, **own})
        return {**env, **own}

    def resource(self, ref):
        """limits.cpu and the like in units of the divisor, rounded up; the node's where none is set."""
        def number(text):
            m = re.fullmatch(r"([\d.]+)(m|[KMGT]i?)?", text)
            return float(m.group(1)) * {None: 1, "m": 0.001, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
                                        "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[m.group(2)]

        kind, _, what = ref["resource"].partition(".")
        value = (self.spec.get("resources", {}).get(kind) or {}).get(what)
        if value is None:
            value = "2" if what == "cpu" else "2Gi"
        return str(-int(-number(value) // (number(ref.get("divisor") or "1") or 1)))

    def user(self, image):
        pod, own = self.pod.spec.get("securityContext") or {}, self.spec.get("securityContext") or {}
        uid = own.get("runAsUser", pod.get("runAsUser", image.get("user", 0)))
        gid = own.get("runAsGroup", pod.get("runAsGroup", uid if "runAsUser" not in {**pod, **own}
                                            else 0))
        if own.get("runAsNonRoot", pod.get("runAsNonRoot")) and uid == 0:
            raise Wait("container has runAsNonRoot and image will run as root")
        groups = list(pod.get("supplementalGroups") or [])
        if "fsGroup" in pod:
            groups.append(pod["fsGroup"])
        return uid, gid, groups

    def make_spec(self):
        image = images.find(self.spec["image"])
        env = self.environment(image)
        uid, gid, groups = self.user(image)
        security = self.spec.get("securityContext") or {}
        argv = self.spec.get("command") or image["entrypoint"]
        args = self.spec.get("args")
        if args is None:
            args = [] if self.spec.get("command") else image["cmd"]
        mounts = []
        for m in sorted(self.spec.get("volumeMounts") or [], key=lambda m: m["mountPath"]):
            volume = self.pod.volumes[m["name"]]
            source = volume.folder
            inside = m.get("subPath") or expand(m.get("subPathExpr", ""), env)
            if inside:
                source = os.path.realpath(os.path.join(source, inside))
                if not os.path.exists(source):
                    os.makedirs(source)
            readonly = m.get("readOnly", False) or "emptyDir" not in volume.spec
            mounts.append((source, m["mountPath"], readonly))
        texts = {**image["texts"], "/etc/hostname": self.pod.name + "\n",
                 "/etc/hosts": f"127.0.0.1 localhost\n{self.pod.address} {self.pod.name}\n",
                 "/etc/resolv.conf": ""}
        return image, {
            "root": self.folder + "/root", "status": self.folder + "/status.json",
            "network": self.pod.network, "hostname": self.pod.name[:63],
            "base": image["base"], "tmpfs": image.get("tmpfs", []), "links": image.get("links", {}),
            "texts": texts, "after": image.get("after", []), "folders": image.get("folders", {}),
            "mounts": mounts, "readonly": security.get("readOnlyRootFilesystem", False),
            "argv": [expand(a, env) for a in [*argv, *args]], "env": env,
            "cwd": self.spec.get("workingDir") or image.get("cwd"),
            "uid": uid, "gid": gid, "groups": groups,
            "drop": (security.get("capabilities") or {}).get("drop") or [],
            "add": (security.get("capabilities") or {}).get("add") or [],
            "no_new_privileges": security.get("allowPrivilegeEscalation") is False,
        }

    # ---- its life
    def start(self):
        """Wait or NoImage when it cannot be started now."""
        image, spec = self.make_spec()
        self.stop_signal = getattr(signal, image.get("stop_signal", "SIGTERM"))
        os.makedirs(spec["root"], exist_ok=True)
        if os.path.exists(spec["status"]):
            os.unlink(spec["status"])
        path = self.folder + "/spec.json"
        with open(path, "w") as f:
            json.dump(spec, f, indent=1)
        self.log = os.path.join(self.pod.kubelet.logs, f"{self.pod.namespace}_{self.pod.name}_"
                                f"{self.name}.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, os.path.join(HERE, "container.py"), path], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True)
        self.status_file = spec["status"]
        self.user_of_it = spec["uid"], spec["gid"]
        self.pid = None
        while self.pid is None and self.process.poll() is None:
            self.pid = self.told().get("pid")
            time.sleep(0.005)
        self.pid = self.pid or self.told().get("pid")
        self.restarts += 1
        self.started_at = now()
        self.state = {"running": {"startedAt": self.started_at}}
        self.ended, self.probing = threading.Event(), threading.Event()
        self.started = "startupProbe" not in self.spec
        self.ready = self.started and "readinessProbe" not in self.spec
        threading.Thread(target=self.wait, args=(self.process, self.ended), daemon=True).start()
        if "startupProbe" in self.spec:
            probes.watch(probes.Probe(self.spec["startupProbe"], self), self.probing,
                         self.on_startup)
        else:
            self.begin_probes()
        self.pod.changed()

    def told(self):
        try:
            with open(self.status_file) as f:
                return json.load(f)
        except (OSError, ValueError):
            return {}

    def wait(self, process, ended):
        process.wait()
        told = self.told()
        self.probing.set()
        code = told.get("code", 128)
        self.last = {"terminated": {
            "exitCode": code, "reason": "Completed" if code == 0 else "Error",
            "startedAt": self.started_at, "finishedAt": now()}}
        self.state = dict(self.last)
        self.ready = self.started = False
        self.pid = None
        ended.set()
        self.pod.changed()

    def on_startup(self, good, said):
        if good and not self.started:
            self.started = True
            self.ready = "readinessProbe" not in self.spec
            self.begin_probes()
            self.pod.changed()
        elif not good and not self.started:
            self.pod.event(self, "Unhealthy", f"Startup probe failed: {said}")
            self.kill("startup")

    def begin_probes(self):
        if "readinessProbe" in self.spec:
            probes.watch(probes.Probe(self.spec["readinessProbe"], self), self.probing, self.on_ready)
        if "livenessProbe" in self.spec:
            probes.watch(probes.Probe(self.spec["livenessProbe"], self), self.probing, self.on_live)

    def on_ready(self, good, said):
        if good != self.ready:
            self.ready = good
            if not good:
                self.pod.event(self, "Unhealthy", f"Readiness probe failed: {said}")
            self.pod.changed()

    def on_live(self, good, said):
        if not good and not self.pod.leaving:
            self.pod.event(self, "Unhealthy", f"Liveness probe failed: {said}")
            self.kill("liveness")

    def kill(self, _):
        threading.Thread(target=self.stop, args=(self.pod.grace(),), daemon=True).start()

    def signal(self, number):
        if self.pid:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def stop(self, grace):
        """preStop, the image's stop signal, and after the grace period the end."""
        if self.ended.is_set():
            return
        end = time.monotonic() + grace
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and not self.init:
            self.hook(hook, grace)
        self.signal(self.stop_signal)
        if not self.ended.wait(max(0.0, end - time.monotonic())):
            self.signal(signal.SIGKILL)
            self.ended.wait(10)

    def hook(self, hook, grace):
        if "sleep" in hook:
            self.ended.wait(min(grace, hook["sleep"]["seconds"]))
        elif "exec" in hook:
            try:
                self.execute(hook["exec"]["command"], grace)
            except (OSError, subprocess.TimeoutExpired):
                pass
        elif "httpGet" in hook:
            probes.Probe({"httpGet": hook["httpGet"], "timeoutSeconds": grace}, self).run()

    def execute(self, command, timeout):
        """A command inside: (ended well, what it said)."""
        pid = self.pid
        if not pid:
            return False, "not running"
        uid, gid = self.user_of_it
        done = subprocess.run(
            ["nsenter", "-t", str(pid), "-m", "-n", "-p", "-u", "-r", "-w", "-G", str(gid), "-S",
             str(uid), "--", *command], capture_output=True, timeout=timeout,
            env=self.make_spec()[1]["env"], stdin=subprocess.DEVNULL)
        return done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-500:]

    def status(self):
        return {"name": self.name, "image": self.spec["image"], "imageID": self.spec["image"],
                "ready": self.ready, "started": self.started, "restartCount": max(0, self.restarts),
                "state": self.state, "lastState": self.last if "terminated" not in self.state else {},
                **({"containerID": f"process://{self.pid}"} if self.pid else {})}
