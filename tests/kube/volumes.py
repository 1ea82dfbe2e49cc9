"""A pod's volumes as folders: emptyDir, configMap, secret, downwardAPI, projected.

What comes from the API is written as the kubelet does it: a folder of its own for each version, the
names links through `..data`, which is turned to the next version by one rename.
"""
import base64
import os
import re
import time

from api import Refused


class Wait(Exception):
    """The pod cannot start yet, and why."""


def field(pod, path):
    """fieldRef's value."""
    m = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if m:
        return pod["metadata"].get(m.group(1), {}).get(m.group(2), "")
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = pod["metadata"].get(path.split(".")[1], {})
        return "".join(f'{k}="{v}"\n' for k, v in sorted(pairs.items()))
    value = {**pod, "status": {**pod.get("status", {})}}
    for word in path.split("."):
        value = value.get(word, "") if isinstance(value, dict) else ""
    return str(value)


def fetch(api, pod, kind, source):
    """name → bytes of a ConfigMap or Secret."""
    space, name = pod["metadata"]["namespace"], source.get("name") or source.get("secretName")
    try:
        obj = api.get(f"/api/v1/namespaces/{space}/{kind}/{name}")
    except Refused as e:
        if e.status == 404 and source.get("optional"):
            return {}
        raise Wait(f'{kind[:-1]} "{name}" not found') from e
    if kind == "secrets":
        return {k: base64.b64decode(v) for k, v in (obj.get("data") or {}).items()}
    found = {k: v.encode() for k, v in (obj.get("data") or {}).items()}
    found.update({k: base64.b64decode(v) for k, v in (obj.get("binaryData") or {}).items()})
    return found


def chosen(found, source):
    """Its items by their paths, or all."""
    if not source.get("items"):
        return found
    picked = {}
    for item in source["items"]:
        if item["key"] in found:
            picked[item["path"]] = found[item["key"]]
        elif not source.get("optional"):
            raise Wait(f"references non-existent key: {item['key']}")
    return picked


class Volume:
    def __init__(self, api, pod, spec, folder):
        self.api, self.pod, self.spec, self.folder = api, pod, spec, folder
        self.written, self.tokens = None, {}
        context = pod["spec"].get("securityContext") or {}
        self.group = context.get("fsGroup")
        os.makedirs(folder)
        os.chmod(folder, 0o755)
        if "emptyDir" in spec:
            os.chmod(folder, 0o777)
            if self.group is not None:
                os.chown(folder, 0, self.group)
                os.chmod(folder, 0o2777)
        else:
            self.refresh()

    def token(self, source):
        """A bound token, asked for anew when 80 % of its time are over."""
        key = source.get("path")
        text, again = self.tokens.get(key, (None, 0))
        if time.time() < again:
            return text
        meta = self.pod["metadata"]
        account = self.pod["spec"].get("serviceAccountName", "default")
        seconds = int(os.environ.get("KUBELET_TOKEN_SECONDS") or
                      source.get("expirationSeconds") or 3600)
        told = self.api.create(
            f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
             "spec": {"expirationSeconds": max(600, seconds),
                      "audiences": [source["audience"]] if source.get("audience") else None,
                      "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"],
                                         "uid": meta["uid"]}}})
        text = told["status"]["token"].encode()
        self.tokens[key] = (text, time.time() + seconds * 0.8)
        return text

    def content(self):
        """(path → bytes, mode)"""
        spec, pod = self.spec, self.pod
        for kind, name in (("configMap", "configmaps"), ("secret", "secrets")):
            if kind in spec:
                source = spec[kind]
                return chosen(fetch(self.api, pod, name, source), source), source.get("defaultMode")
        if "downwardAPI" in spec:
            items = spec["downwardAPI"].get("items", [])
            return ({i["path"]: field(pod, i["fieldRef"]["fieldPath"]).encode() for i in items},
                    spec["downwardAPI"].get("defaultMode"))
        if "projected" not in spec:
            raise Wait(f"volume {spec['name']}: not a kind this stand-in knows")
        files = {}
        for source in spec["projected"].get("sources", []):
            if "serviceAccountToken" in source:
                files[source["serviceAccountToken"]["path"]] = self.token(
                    source["serviceAccountToken"])
            for kind, name in (("configMap", "configmaps"), ("secret", "secrets")):
                if kind in source:
                    files.update(chosen(fetch(self.api, pod, name, source[kind]), source[kind]))
            for i in source.get("downwardAPI", {}).get("items", []):
                files[i["path"]] = field(pod, i["fieldRef"]["fieldPath"]).encode()
        return files, spec["projected"].get("defaultMode")

    def refresh(self):
        if "emptyDir" in self.spec:
            return
        files, mode = self.content()
        if files == self.written:
            return
        version = f"..{time.time_ns()}"
        for path, data in files.items():
            at = os.path.join(self.folder, version, path)
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "wb") as f:
                f.write(data)
            bits = mode if mode is not None else 0o644
            if self.group is not None:
                os.chown(at, 0, self.group)
                bits |= 0o440
            os.chmod(at, bits)
        os.makedirs(os.path.join(self.folder, version), exist_ok=True)
        data = os.path.join(self.folder, "..data")
        old = os.readlink(data) if os.path.islink(data) else None
        os.symlink(version, data + "_tmp")
        os.rename(data + "_tmp", data)
        for name in {p.split("/")[0] for p in files}:
            link = os.path.join(self.folder, name)
            if not os.path.islink(link):
                os.symlink(os.path.join("..data", name), link)
        for name in os.listdir(self.folder):
            if not name.startswith("..") and name not in {p.split("/")[0] for p in files}:
                os.unlink(os.path.join(self.folder, name))
        self.written = files
        if old:
            os.system(f"rm -rf '{os.path.join(self.folder, old)}'")
