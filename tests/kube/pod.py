"""A pod: its network, volumes, containers in their order, and the status that the API is told."""
import os
import shutil
import subprocess
import threading
import time

import network
from api import Refused
from images import NoImage
from process import Container, now
from volumes import Volume, Wait

BACKOFF = (0.2, 0.5, 1, 2, 5)  # seconds; a real kubelet starts at 10


class Pod:
    def __init__(self, kubelet, obj):
        self.kubelet, self.api, self.obj = kubelet, kubelet.api, obj
        self.spec, self.name = obj["spec"], obj["metadata"]["name"]
        self.namespace, self.uid = obj["metadata"]["namespace"], obj["metadata"]["uid"]
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.folder = os.path.join(kubelet.folder, self.uid)
        self.network = "p" + self.uid.replace("-", "")[:12]
        self.address = kubelet.next_address()
        self.leaving = threading.Event()
        self.gone = threading.Event()
        self.dirty = threading.Event()
        self.volumes, self.waiting, self.initialized, self.conditions = {}, None, False, {}
        os.makedirs(self.folder)
        os.chmod(self.folder, 0o755)
        self.init = [Container(self, c, sidecar=c.get("restartPolicy") == "Always", init=True)
                     for c in self.spec.get("initContainers") or []]
        self.main = [Container(self, c) for c in self.spec["containers"]]
        self.sidecars = [c for c in self.init if c.sidecar]
        self.started = now()
        self.phase, self.told = "Pending", None
        threading.Thread(target=self.live, daemon=True).start()
        threading.Thread(target=self.report, daemon=True).start()

    # ---- life
    def live(self):
        try:
            network.add_pod(self.network, self.address)
            self.make_volumes()
            for c in self.init:
                if not self.bring_up(c):
                    return
            self.initialized = True
            for c in self.main:
                threading.Thread(target=self.keep, args=(c,), daemon=True).start()
            while not self.leaving.wait(1.5):
                for v in self.volumes.values():
                    try:
                        v.refresh()
                    except (Wait, Refused, OSError):
                        pass
        except (OSError, Refused, subprocess.SubprocessError) as e:
            self.event(None, "FailedCreatePodSandBox", str(e))

    def make_volumes(self):
        for spec in self.spec.get("volumes") or []:
            while not self.leaving.is_set():
                try:
                    folder = os.path.join(self.folder, "volume-" + spec["name"])
                    shutil.rmtree(folder, ignore_errors=True)
                    self.volumes[spec["name"]] = Volume(self.api, self.obj, spec, folder)
                    break
                except (Wait, Refused, OSError) as e:
                    self.waiting = f"MountVolume.SetUp failed for {spec['name']}: {e}"
                    self.event(None, "FailedMount", self.waiting)
                    self.leaving.wait(0.5)
            self.waiting = None

    def start(self, container):
        """Once its image and all it names are there."""
        while not self.leaving.is_set():
            try:
                container.start()
                return True
            except NoImage as e:
                container.state = {"waiting": {"reason": "ImagePullBackOff", "message": str(e)}}
            except (Wait, Refused, OSError) as e:
                container.state = {"waiting": {"reason": "CreateContainerConfigError",
                                               "message": str(e)}}
            self.event(container, "Failed", str(container.state))
            self.changed()
            self.leaving.wait(0.5)
        return False

    def bring_up(self, container):
        """An init container to its end, a sidecar to its start."""
        if container.sidecar:
            threading.Thread(target=self.keep, args=(container,), daemon=True).start()
            while not container.started:
                if self.leaving.wait(0.02):
                    return False
            return True
        for turn in range(1000):
            if not self.start(container):
                return False
            container.ended.wait()
            if container.state["terminated"]["exitCode"] == 0:
                container.ready = True
                self.changed()
                return True
            if self.spec.get("restartPolicy", "Always") == "Never":
                self.phase = "Failed"
                self.changed()
                return False
            self.back_off(container, turn)
        return False

    def back_off(self, container, turn):
        container.state = {"waiting": {"reason": "CrashLoopBackOff"}}
        self.changed()
        self.leaving.wait(BACKOFF[min(turn, len(BACKOFF) - 1)])

    def keep(self, container):
        """Started, and started again as restartPolicy says."""
        turn = 0
        while self.start(container):
            begin = time.monotonic()
            container.ended.wait()
            if self.leaving.is_set():
                return
            policy = "Always" if container.sidecar else self.spec.get("restartPolicy", "Always")
            code = container.state["terminated"]["exitCode"]
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            turn = 0 if time.monotonic() - begin > 10 else turn + 1
            self.back_off(container, turn - 1)

    def grace(self):
        meta = self.obj["metadata"]
        return meta.get("deletionGracePeriodSeconds",
                        self.spec.get("terminationGracePeriodSeconds", 30))

    def leave(self):
        """Asked to go: main containers first, then sidecars from the last to the first."""
        if self.leaving.is_set():
            return
        self.leaving.set()
        threading.Thread(target=self.end, daemon=True).start()

    def end(self):
        end = time.monotonic() + self.grace()
        stops = [threading.Thread(target=c.stop, args=(self.grace(),), daemon=True)
                 for c in self.main + [c for c in self.init if not c.sidecar]]
        for t in stops:
            t.start()
        for t in stops:
            t.join()
        for c in reversed(self.sidecars):
            c.stop(max(2, end - time.monotonic()))
        self.gone.set()
        self.dirty.set()
        network.remove_pod(self.network)
        shutil.rmtree(self.folder, ignore_errors=True)
        while True:
            try:
                self.api.delete(self.path, {"apiVersion": "v1", "kind": "DeleteOptions",
                                            "gracePeriodSeconds": 0,
                                            "preconditions": {"uid": self.uid}})
                break
            except Refused as e:
                if e.status in (404, 409):
                    break
                time.sleep(0.5)
            except OSError:
                time.sleep(0.5)
        self.kubelet.forget(self)

    # ---- what is told
    def changed(self):
        self.dirty.set()

    def event(self, container, reason, message):
        where = f"{self.namespace}/{self.name}" + (f"/{container.name}" if container else "")
        self.kubelet.note(f"{where} {reason}: {message}")

    def condition(self, kind, good, reason=None):
        status = "True" if good else "False"
        old = self.conditions.get(kind)
        if not old or old["status"] != status:
            self.conditions[kind] = {"type": kind, "status": status, "lastTransitionTime": now(),
                                     **({"reason": reason} if reason and not good else {})}

    def status(self):
        running = self.main + self.sidecars
        ready = self.initialized and all(c.ready for c in running)
        if self.phase != "Failed":
            if not self.initialized or all("waiting" in c.state and c.restarts < 0
                                           for c in self.main):
                self.phase = "Pending"
            elif all("terminated" in c.state for c in self.main) and \
                    self.spec.get("restartPolicy", "Always") != "Always":
                bad = any(c.state["terminated"]["exitCode"] for c in self.main)
                self.phase = "Failed" if bad else "Succeeded"
            else:
                self.phase = "Running"
        gates = all(c["status"] == "True" for c in self.obj.get("status", {}).get("conditions", [])
                    if c["type"] in [g["conditionType"] for g in self.spec.get("readinessGates", [])])
        self.condition("PodReadyToStartContainers", True)
        self.condition("Initialized", self.initialized, "ContainersNotInitialized")
        self.condition("ContainersReady", ready, "ContainersNotReady")
        self.condition("Ready", ready and gates, "ContainersNotReady")
        return {
            "phase": self.phase, "hostIP": "10.244.0.1", "hostIPs": [{"ip": "10.244.0.1"}],
            "podIP": self.address, "podIPs": [{"ip": self.address}], "startTime": self.started,
            "conditions": list(self.conditions.values()),
            "containerStatuses": [c.status() for c in self.main],
            **({"initContainerStatuses": [c.status() for c in self.init]} if self.init else {}),
        }

    def report(self):
        while not self.gone.is_set():
            self.dirty.wait()
            self.dirty.clear()
            status = self.status()
            if status == self.told or self.gone.is_set():
                continue
            try:
                self.api.strategic(self.path + "/status",
                                   {"metadata": {"uid": self.uid}, "status": status})
                self.told = status
            except Refused as e:
                if e.status in (404, 409):
                    return
                self.event(None, "status", str(e))
                time.sleep(0.2)
                self.dirty.set()
            except OSError:
                time.sleep(0.2)
                self.dirty.set()
