"""One cluster with containers and one without, each brought up once; a namespace for every test."""

import itertools
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kapi.cli import cleanup
from tests.e2e.cluster import Cluster, Kubectl, started

_numbers = itertools.count(1)


def left_on_the_machine() -> set[str]:
    """What any cluster may leave behind: network namespaces, links, cgroups, mounts and nft tables."""
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    roots = [*Path("/sys/fs/cgroup").glob("*/kapi*"), *Path("/sys/fs/cgroup").glob("kapi*")]
    cgroups = {directory for root in roots for directory, _, _ in os.walk(root)}
    links = {name for _, name in socket.if_nameindex()}
    return {*tables, *mounts, *cgroups, *links, *map(str, Path("/var/run/netns").glob("*"))}


def left_of(directory: Path) -> list[str]:
    """What is left of a cluster on the machine: mounts, cgroups, links, nft tables, processes."""
    own = cleanup.machine_names(directory)
    names = {own.cgroup.strip("/"), own.bridge, own.table, f"{own.bridge}-pods"}
    found = [t for t in left_on_the_machine() if t.startswith(f"{directory}/") or names & set(re.split(r"[/ ]", t))]
    return found + processes_of(directory)


def empty_network_namespaces() -> set[str]:
    """Those that no process is in: a pod's, once it is gone."""
    used = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):
            used.add(path.stat().st_ino)
    return {p.name for p in Path("/var/run/netns").glob("cni-*") if p.stat().st_ino not in used}


def processes_of(directory: Path) -> list[str]:
    """Command lines of processes that have to do with a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


@pytest.fixture(scope="session")
def real() -> Iterator[Cluster]:
    """A cluster with containers; when it is down again, nothing of it is left."""
    before = empty_network_namespaces()
    with started() as cluster:
        yield cluster
    assert left_of(cluster.directory) == []
    assert empty_network_namespaces() - before == set()


@pytest.fixture(scope="session")
def simulated() -> Iterator[Cluster]:
    """A cluster of three nodes that only pretend to run pods."""
    with started("--simulate", "--nodes", "3") as cluster:
        yield cluster
    assert processes_of(cluster.directory) == []


def in_new_namespace(cluster: Cluster) -> Iterator[Kubectl]:
    kubectl = Kubectl(cluster, f"test-{next(_numbers)}")
    kubectl("create", "namespace", kubectl.namespace)
    kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=10s")
    yield kubectl
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false")


@pytest.fixture
def kubectl(real: Cluster) -> Iterator[Kubectl]:
    """kubectl in a namespace of its own, with real containers."""
    yield from in_new_namespace(real)


@pytest.fixture
def sim(simulated: Cluster) -> Iterator[Kubectl]:
    """kubectl in a namespace of its own, without containers."""
    yield from in_new_namespace(simulated)


@pytest.fixture(params=[pytest.param("sim", marks=pytest.mark.slow), pytest.param("kubectl", marks=pytest.mark.containers)])
def either(request: pytest.FixtureRequest) -> Kubectl:
    """kubectl without and with containers, one after the other."""
    kubectl: Kubectl = request.getfixturevalue(request.param)
    return kubectl
