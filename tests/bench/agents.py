"""Agents without a HAProxy, for the load generator: spoa-inference under a static configuration,
and the floors.
"""
import json
import os
import subprocess
import time

from measure import memory_kb
from systems import LLAMA, ask, free_port, until


def configuration(models=1, endpoints=4, pools=1, model=LLAMA, scrape=None):
    """Pools with listed endpoints and models: nobody is asked anything, unless @scrape gives the
    ports."""
    conf = {"scrape": {} if scrape else {"engine": "none"}, "pools": {},
            "limits": {"endpoints": 8192, "pools": 1024}}
    for p in range(pools):
        names = ([model] if models == 1 and pools == 1 else
                 [f"{model}{i}" for i in range(p, models, pools)])
        ports = scrape or [1 + (p * endpoints + i) % 65000 for i in range(endpoints)]
        conf["pools"]["llama" if pools == 1 else f"pool{p}"] = {
            "models": names,
            "endpoints": [{"address": f"127.0.0.1:{port}", "server": f"llama{i + 1}"}
                          for i, port in enumerate(ports)]}
    return conf


class Agent:
    bare = False

    def __init__(self, programs, directory, name, workers=1, conf=None):
        self.name = name
        self.address = "unix@" + os.path.join(directory, name + ".sock")
        self.admin_port, feedback = free_port(), free_port()
        self.feedback = f"127.0.0.1:{feedback}"
        conf = {**(conf or configuration()), "workers": workers, "listen": {
            "spop": self.address, "admin": f"127.0.0.1:{self.admin_port}",
            "feedback": self.feedback}}
        file = os.path.join(directory, name + ".yaml")
        with open(file, "w") as f:
            json.dump(conf, f)
        self.log = os.path.join(directory, name + ".log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([programs.agent, "-f", file], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        try:
            until(lambda: self.page("/readyz").status == 200, 60, name + " is ready")
        except AssertionError:
            self.stop()
            with open(self.log, errors="replace") as f:
                raise RuntimeError(f.read()) from None

    def page(self, path):
        return ask(self.admin_port, path=path)

    def memory_kb(self):
        return memory_kb(self.pid)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            time.sleep(0.05)
            if self.process.poll() is None:
                self.process.terminate()
            self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Floor:
    def __init__(self, programs, directory, name, contract=False):
        self.name, self.bare = name, not contract
        path = os.path.join(directory, name + ".sock")
        self.address = "unix@" + path
        self.feedback = None
        argv = [programs.path("floor"), path]
        if contract:
            port = free_port()
            self.feedback = f"127.0.0.1:{port}"
            argv += ["llama", str(port), "llama1", "llama2", "llama3", "llama4"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        until(lambda: os.path.exists(path), 5)
        time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
