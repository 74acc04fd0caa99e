"""`kapi version` and --version, with and without a cluster."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kapi import __version__, testing
from kapi.cli import commands as cli
from kapi.documents.version import VERSION
from kapi.testing import Cluster
from kubelet import __main__ as kubelet


def test_the_short_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"kapi {__version__} (Kubernetes {VERSION['gitVersion']})\n"
    with pytest.raises(SystemExit, match="0"):
        kubelet.main(["--version"])
    assert capsys.readouterr().out == f"Kubernetes {VERSION['gitVersion']}\n"


def test_without_a_cluster(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["version", "--data-dir", str(tmp_path / "none")]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == f"Client Version: {VERSION['gitVersion']} (kapi {__version__}, {VERSION['goVersion']})"
    assert "Server Version" not in printed.out
    assert f"Kernel: Linux {platform.release()}" in printed.out.splitlines()
    assert printed.err == f"No cluster is running from {tmp_path / 'none'}.\n"
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with testing.cluster() as cluster:
        yield cluster


def test_with_a_cluster(running: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version", "--data-dir", str(running.directory)]) == 0
    printed = capsys.readouterr()
    assert f"Server Version: {VERSION['gitVersion']}" in printed.out.splitlines()
    assert printed.err == ""


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_for_programs(form: str, read: Callable[[str], Any], running: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version", "-o", form, "--data-dir", str(running.directory)]) == 0
    found = read(capsys.readouterr().out)
    assert found["clientVersion"] == found["serverVersion"] == VERSION
    assert set(found["machine"]) == {"kernel", "containerd", "runc"}
    assert cli.main(["version", "-o", form, "--client"]) == 0
    assert set(read(capsys.readouterr().out)) == {"clientVersion", "kapiVersion"}


@pytest.mark.slow
def test_a_database_and_programs(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kapi.db").write_bytes(b"x" * (3 << 20))
    (tmp_path / "containerd").write_text("#!/bin/sh\necho containerd github.com/containerd/containerd v1.7.3 abc")
    (tmp_path / "containerd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert cli.main(["version", "--data-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f", 3.0 MB in {tmp_path}/kapi.db" in printed
    assert "containerd: 1.7.3" in printed.splitlines()


def test_a_cluster_that_cannot_be_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "admin.conf").write_text("[]")
    assert cli.main(["version", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().err == f"The cluster in {tmp_path} does not answer: {tmp_path}/pki/admin.conf is no kubeconfig.\n"


@pytest.mark.slow
def test_output_that_nobody_reads() -> None:
    """`kapi … | head -0`: no traceback; and a full disk is told."""
    kapi = f"{sys.executable} -m kapi"
    early = ["bash", "-c", f"set -o pipefail; {kapi} --help | true; {kapi} completion zsh | true"]
    done = subprocess.run(early, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, 141)
    full = subprocess.run(f"{kapi} --help > /dev/full", shell=True, capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr) == (1, "kapi: The output can't be written: No space left on device.\n")
