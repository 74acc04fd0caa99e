"""The pages of docs/ do what they say: their commands are run as they stand there, on a machine of its own; their programs too."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client, config, watch

from kapi.testing import Cluster
from tests import markdown
from tests.cli.machine import Machine, NoNamespace, machine
from tests.house import ROOT

pytestmark = pytest.mark.slow
DOCS = ROOT / "docs"
INSTALLED = "pip install "
"""Commands that only bring in what is there when tests run."""
ENDED = "unset KAPI_DATA_DIR; trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
"""What goes on in the background ends with the page."""
PRIVATE = "mount --make-rprivate / && mount -t tmpfs tmpfs /var/lib && "
"""So that the default directory is empty, and gone afterwards."""


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Machine]:
    try:
        with machine(tmp_path, PRIVATE) as made:
            yield made
            made.run("kapi down --data-dir /var/lib/kapi")  # where a page ended early
    except NoNamespace as why:
        pytest.skip(f"no machine for a test here: {why}")


def run(where: Machine, page: str) -> str:
    """All commands of a page, one after the other; the first that fails ends it. What they printed."""
    lines = [line for line in markdown.commands(DOCS / page) if not line.startswith(INSTALLED)]
    (where.directory / "page.sh").write_text(f"set -ex\n{ENDED}" + "\n".join(lines) + "\n")
    done = where.run("bash page.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_for_authors_of_tests(alone: Machine) -> None:
    assert run(alone, "test-author.md").count(" Ready  ") == 3


def test_for_extenders(alone: Machine) -> None:
    for block in markdown.blocks(DOCS / "extender.md"):
        if block.language == "yaml":
            name, _, text = block.text.partition("\n")
            (alone.directory / name.removeprefix("# ")).write_text(text)
    assert "garden   3" in run(alone, "extender.md")


def test_for_operators_of_many_nodes(alone: Machine) -> None:
    printed = run(alone, "many-nodes.md")
    assert printed.count("condition met") == 100
    assert "kapi_event_loop_lag_seconds" in printed


def programs(page: str) -> list[str]:
    return [block.text for block in markdown.blocks(DOCS / page) if block.language == "python"]


def test_the_programs_for_authors_of_tests(tmp_path: Path) -> None:
    test, plain = programs("test-author.md")
    (tmp_path / "test_page.py").write_text(test)
    (tmp_path / "plain.py").write_text(plain)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_page.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    done = subprocess.run([sys.executable, "plain.py"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("https://127.0.0.1:")


@contextmanager
def running(text: str, cluster: Cluster, directory: Path) -> Iterator[client.CoreV1Api]:
    """A program of a page beside the cluster, and a client of it."""
    (directory / "program.py").write_text(text)
    env = {"KUBECONFIG": str(cluster.kubeconfig), "PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen([sys.executable, "program.py"], cwd=directory, env=env) as program,
        config.new_client_from_config(str(cluster.kubeconfig)) as api,
    ):
        try:
            yield client.CoreV1Api(api)
            assert program.poll() is None
        finally:
            program.terminate()
            api.rest_client.pool_manager.clear()


def test_the_controller_for_extenders(cluster: Cluster, tmp_path: Path) -> None:
    with running(programs("extender.md")[0], cluster, tmp_path) as core:
        core.create_namespace({"metadata": {"name": "counted"}})
        for event in watch.Watch().stream(core.list_namespace, timeout_seconds=20):
            about = event["object"].metadata
            if about.name == "counted" and (about.annotations or {}).get("example.dev/maps") == "1":  # of the cluster's authority
                break
        else:
            raise AssertionError("nobody counts")
        core.delete_namespace("counted")


def test_the_scheduler_for_extenders(cluster: Cluster, tmp_path: Path) -> None:
    with running(programs("extender.md")[1], cluster, tmp_path) as core:
        spec = {"schedulerName": "quiet", "containers": [{"name": "c", "image": "any"}]}
        core.create_namespaced_pod("default", {"metadata": {"name": "quiet"}, "spec": spec})
        for event in watch.Watch().stream(core.list_namespaced_pod, "default", timeout_seconds=20):
            if event["object"].metadata.name == "quiet" and event["object"].spec.node_name:
                break
        else:
            raise AssertionError("it is not placed")
        core.delete_namespaced_pod("quiet", "default")
