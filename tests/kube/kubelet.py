"""A stand-in for the kubelet of every node: runs the pods that the scheduler placed.

    kubelet.py KUBECONFIG.json FOLDER

Started by plane.py inside the cluster's network. A container is a process of this machine in
namespaces of its own (container.py); images are looked up in a table (images.py). Not done: CPU and
memory limits, hostPath and persistent volumes, host network, seccomp, ephemeral containers.
"""
import json
import os
import sys
import threading
import time

from api import Api, Refused
from pod import Pod
from process import now


class Kubelet:
    def __init__(self, conf, folder):
        self.api = Api(**conf["api"])
        self.nodes, self.environment = conf["nodes"], conf["environment"]
        self.folder = os.path.join(folder, "pods")
        self.logs = os.path.join(folder, "logs")
        for d in (self.folder, self.logs):
            os.makedirs(d, exist_ok=True)
        self.pods, self.lock, self.last = {}, threading.Lock(), 1

    def next_address(self):
        with self.lock:
            self.last += 1
            return f"10.244.{self.last >> 8}.{self.last & 255}"

    def note(self, text):
        print(f"{now()} {text}", flush=True)

    def forget(self, pod):
        with self.lock:
            self.pods.pop(pod.uid, None)

    def register(self, name):
        """The node, ready and without taints. It has GPUs, as far as the scheduler can tell."""
        room = {"cpu": "64", "memory": "256Gi", "pods": "250", "ephemeral-storage": "100Gi",
                "nvidia.com/gpu": "8"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": "zone-" + name[-1]}}}
        status = {"capacity": room, "allocatable": room, "addresses": [
            {"type": "InternalIP", "address": "10.244.0.1"}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                            "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
            "nodeInfo": {"kubeletVersion": "v1.35.4", "operatingSystem": "linux",
                         "architecture": "amd64", "containerRuntimeVersion": "process://1",
                         "kernelVersion": "", "osImage": "", "machineID": "", "systemUUID": "",
                         "bootID": "", "kubeProxyVersion": ""}}
        try:
            self.api.create("/api/v1/nodes", node)
        except Refused as e:
            if e.status != 409:
                raise
        self.api.merge(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})
        self.api.merge(f"/api/v1/nodes/{name}/status", {"status": status})

    def on_pod(self, kind, obj):
        uid = obj["metadata"]["uid"]
        with self.lock:
            pod = self.pods.get(uid)
        if obj["spec"].get("nodeName") not in self.nodes:
            return
        if kind == "DELETED":
            if pod:
                pod.leave()
            return
        if pod:
            pod.obj = obj
        elif obj["metadata"].get("deletionTimestamp") or \
                obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            if obj["metadata"].get("deletionTimestamp"):
                try:
                    meta = obj["metadata"]
                    self.api.delete(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}",
                                    {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
                except Refused:
                    pass
            return
        else:
            pod = Pod(self, obj)
            with self.lock:
                self.pods[uid] = pod
            pod.changed()
        if obj["metadata"].get("deletionTimestamp"):
            pod.leave()

    def run(self):
        while True:
            try:
                for name in self.nodes:
                    self.register(name)
                break
            except (OSError, Refused) as e:
                self.note(f"register: {e}")
                time.sleep(0.2)
        for kind, obj in self.api.follow("/api/v1/pods"):
            try:
                self.on_pod(kind, obj)
            except (OSError, Refused) as e:
                self.note(f"{obj['metadata']['name']}: {e}")


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        Kubelet(json.load(f), sys.argv[2]).run()
