"""The examples of --help that need containers, each as it stands there, on a machine of its own (network, /run, /var/lib, /var/log)."""

import gzip
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet import cgroups, images
from tests.cli.machine import Machine, machine
from tests.cli.test_examples import CONTAINERS, FOLLOWED, SERVER
from tests.e2e.cluster import line_with
from tests.e2e.conftest import left_of
from tests.kubelet.archived import digest, files, oci, tarred

pytestmark = pytest.mark.containers
UP, FOREGROUND, LOAD, LOAD_UNNAMED, *KUBELETS = CONTAINERS
PRIVATE = "mount --make-rprivate / && for d in /run /var/lib /var/log; do mount -t tmpfs tmpfs $d; done && "
"""So that default directories are empty, and gone afterwards."""
RUNTIME = f"""{sys.executable} -c '
import asyncio
from pathlib import Path
from kubelet import containerd
print(asyncio.run(containerd.start(containerd.Settings(Path("/run/containerd"), bridge="kapi-example"))).pid)
'"""
"""Starts a containerd that goes on, with its socket where a kubelet looks for it."""


@pytest.fixture
def alone() -> Iterator[Machine]:
    directory = Path(tempfile.mkdtemp(prefix="kapi-ex-"))  # pytest's have too long a path for sockets
    try:
        with machine(directory, PRIVATE) as made:
            yield made
    finally:
        shutil.rmtree(directory)


def test_up_and_an_image(alone: Machine) -> None:
    (alone.directory / "busybox.tar").write_bytes(images.busybox())
    unnamed = oci({})
    (alone.directory / "unnamed.tar.gz").write_bytes(gzip.compress(tarred(unnamed)))
    printed = {}
    try:
        for line in (UP, LOAD, LOAD_UNNAMED):
            done = alone.run(line)
            assert (done.returncode, done.stderr) == (0, ""), done.stdout
            printed[line] = done.stdout
        assert printed[LOAD] == f"Loaded {images.BUSYBOX} ({digest(files(images.busybox()))})\n"
        assert printed[LOAD_UNNAMED] == f"Loaded example.com/team/web:1 ({digest(unnamed)})\n"
        refused = alone.run("kapi image load unnamed.tar.gz")
        assert refused.stderr == (
            "kapi image: unnamed.tar.gz does not name its image. Give it the name that pods use: "
            "kapi image load unnamed.tar.gz --name NAME\n"
        )
        following = alone.start(FOLLOWED)
        line_with(following.stdout, '"Starting"')
        following.terminate()  # not SIGINT: a process started in the background ignores it
        following.communicate()
    finally:
        down = alone.run("kapi down")
    assert (down.returncode, down.stderr) == (0, "")
    assert left_of(alone.directory / "cluster") == []


def test_up_in_the_foreground(alone: Machine) -> None:
    process = alone.start(FOREGROUND)
    line_with(process.stdout, "Press ctrl-C to stop.")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    assert process.returncode == 0
    assert "The cluster is down." in printed
    assert left_of(alone.directory / "cluster") == []


@pytest.mark.parametrize("line", KUBELETS)
def test_a_kubelet(line: str, alone: Machine) -> None:
    before = [*Path("/sys/fs/cgroup").glob("*/kubepods")]
    done = alone.run(RUNTIME)
    assert done.returncode == 0, done.stderr
    try:
        with alone.serving(SERVER), alone.serving(line) as process:
            ready = "kubectl --kubeconfig kapi-data/pki/admin.conf wait --for=condition=Ready node --all --timeout=30s"
            waited = alone.run(ready)
            assert waited.returncode == 0, waited.stderr + (alone.directory / "server.log").read_text()
        assert process.returncode == 0
    finally:
        os.kill(int(done.stdout), signal.SIGTERM)
        if not before:
            cgroups.remove("/kubepods")
