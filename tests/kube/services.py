"""A stand-in for kube-proxy and for a cloud's load balancers.

    services.py KUBECONFIG.json FOLDER

Each Service with an address is listened for on that address, and each connection goes to one of its
ready endpoints (those that end but still serve, when no other is left), as EndpointSlices say. A
Service of type LoadBalancer gets an address of 10.200.0.0/16. kubernetes.default is faulty.py's.
"""
import asyncio
import json
import random
import socket
import sys
import threading

import network
from api import Api, Refused


class Services:
    def __init__(self, conf):
        self.api = Api(**conf["api"])
        self.services, self.slices = {}, {}
        self.listeners = {}  # (address, port) → (server, service key, port name)
        self.loop = asyncio.new_event_loop()
        self.turn = asyncio.Lock()
        self.next = 1

    # ---- what the API says
    def follow(self, path, what):
        for kind, obj in self.api.follow(path):
            self.loop.call_soon_threadsafe(self.learn, what, kind, obj)

    def learn(self, what, kind, obj):
        meta = obj["metadata"]
        table = self.services if what == "service" else self.slices
        if kind == "DELETED":
            table.pop((meta["namespace"], meta["name"]), None)
        else:
            table[(meta["namespace"], meta["name"])] = obj
        if what == "service":
            if kind != "DELETED":
                self.give_address(obj)
            self.loop.create_task(self.listen())

    def give_address(self, obj):
        if obj["spec"].get("type") != "LoadBalancer" or obj["metadata"].get("deletionTimestamp") or \
                obj.get("status", {}).get("loadBalancer", {}).get("ingress"):
            return
        meta = obj["metadata"]
        address = f"10.200.{self.next >> 8}.{self.next & 255}"
        self.next += 1
        threading.Thread(target=self.patch, daemon=True, args=(
            f"/api/v1/namespaces/{meta['namespace']}/services/{meta['name']}/status",
            {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}})).start()

    def patch(self, path, what):
        try:
            self.api.merge(path, what)
        except (OSError, Refused) as e:
            print(f"{path}: {e}", flush=True)

    # ---- connections
    async def listen(self):
        async with self.turn:
            await self.listen_to_what_is_there()

    async def listen_to_what_is_there(self):
        wanted = {}
        for key, obj in self.services.items():
            if key == ("default", "kubernetes") or obj["metadata"].get("deletionTimestamp"):
                continue
            spec = obj["spec"]
            given = obj.get("status", {}).get("loadBalancer", {}).get("ingress") or []
            addresses = [a for a in spec.get("clusterIPs") or [] if a != "None"]
            addresses += spec.get("externalIPs") or []
            addresses += [i["ip"] for i in given if "ip" in i]
            for p in spec.get("ports") or []:
                for a in addresses:
                    if p.get("protocol", "TCP") == "TCP":
                        wanted[(a, p["port"])] = (key, p.get("name", ""))
        for at in [at for at, had in self.listeners.items() if wanted.get(at) != had[1:]]:
            self.listeners.pop(at)[0].close()
        for at, (key, port) in wanted.items():
            if at not in self.listeners:
                network.add_local(at[0])
                server = await asyncio.start_server(
                    lambda r, w, key=key, port=port: self.carry(key, port, r, w), *at, backlog=1024)
                self.listeners[at] = (server, key, port)

    def endpoints(self, key, port):
        ready, ending = [], []
        for (space, _), s in self.slices.items():
            labels = s["metadata"].get("labels") or {}
            if space != key[0] or labels.get("kubernetes.io/service-name") != key[1]:
                continue
            number = [p["port"] for p in s.get("ports") or [] if (p.get("name") or "") == port]
            for e in s.get("endpoints") or []:
                c = e.get("conditions") or {}
                for a in e["addresses"] if number else []:
                    if c.get("ready", True):
                        ready.append((a, number[0]))
                    elif c.get("serving") and c.get("terminating"):
                        ending.append((a, number[0]))
        return ready or ending

    async def carry(self, key, port, reader, writer):
        there = self.endpoints(key, port)
        random.shuffle(there)
        try:
            if not there:
                raise OSError("no endpoints")
            peer, out = await asyncio.wait_for(asyncio.open_connection(*there[0]), 3)
        except (OSError, asyncio.TimeoutError):
            writer.transport.abort()
            return
        for w in (writer, out):
            w.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(self.copy(reader, out), self.copy(peer, writer))
        for w in (writer, out):
            w.close()

    async def copy(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:  # a reset here is a reset there
            writer.transport.abort()

    def run(self):
        for path, what in (("/api/v1/services", "service"),
                           ("/apis/discovery.k8s.io/v1/endpointslices", "slice")):
            threading.Thread(target=self.follow, args=(path, what), daemon=True).start()
        self.loop.run_forever()


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        Services(json.load(f)).run()
