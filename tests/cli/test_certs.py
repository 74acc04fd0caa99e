"""`kapi certs`: what it says of a cluster's keys, and how a damaged authority is replaced."""

import os
import subprocess
from pathlib import Path

import pytest

import certs
from kapi.cli import commands as cli
from kapi.cli import locks
from kapi.cli.processes import Process
from tests.e2e.cluster import Cluster, Failed, Kubectl


@pytest.fixture
def data(tmp_path: Path) -> Path:
    certs.ensure(tmp_path / "pki")
    return tmp_path


def test_what_is_in_order(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["certs", "check", "--data-dir", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert all(line.startswith("✓ ") for line in lines)
    assert "✓ admin.crt                     CN=kubernetes-admin, signed by kubernetes, ends in 364 days" in lines


@pytest.mark.parametrize(("name", "why"), [("apiserver.crt", "is no certificate"), ("admin.key", "admin.key is no private key")])
def test_what_is_not(data: Path, capsys: pytest.CaptureFixture[str], name: str, why: str) -> None:
    (data / "pki" / name).write_text("")
    assert cli.main(["certs", "check", "--data-dir", str(data)]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("✗"))
    assert why in line


@pytest.mark.parametrize(
    ("name", "files"), [("ca", "ca.crt, ca.key"), ("front-proxy-ca", "front-proxy-ca.crt, front-proxy-ca.key"), ("sa", "sa.key, sa.pub")]
)
def test_a_damaged_authority_is_replaced(data: Path, capsys: pytest.CaptureFixture[str], name: str, files: str) -> None:
    pki = data / "pki"
    before = {path.name: path.read_bytes() for path in pki.iterdir()}
    (pki / f"{name}.key").write_text("damaged")
    with pytest.raises(certs.Unusable):
        certs.ensure(pki)
    assert cli.main(["certs", "replace", name, "--data-dir", str(data)]) == 0
    assert capsys.readouterr().out.startswith(f"{files} went to {pki}/replaced/")
    certs.ensure(pki)
    (aside,) = (pki / "replaced").iterdir()
    assert {path.name for path in aside.iterdir()} == set(files.split(", "))
    assert (aside / f"{name}.key").read_text() == "damaged"
    assert (pki / f"{name}.key").read_bytes() != before[f"{name}.key"]
    others = {"ca.key", "front-proxy-ca.key", "sa.key"} - {f"{name}.key"}
    assert {other for other in others if (pki / other).read_bytes() != before[other]} == set()
    assert cli.main(["certs", "check", "--data-dir", str(data)]) == 0


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["certs", *words]) == 1
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    return output


def test_what_cannot_be_replaced(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There are no certificates in " in refused(capsys, "check", "--data-dir", str(data / "none"))
    assert "Say what to replace: ca, front-proxy-ca or sa." in refused(capsys, "replace", "--data-dir", str(data))
    lock = locks.acquire(Process("apiserver", data).lock_file)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock]) as holder:
        os.close(lock)
        output = refused(capsys, "replace", "ca", "--data-dir", str(data))
        assert holder.stdin
        holder.stdin.close()
    assert f"The cluster is running (apiserver). Stop it with: kapi down --data-dir {data}" in output
    assert (data / "pki" / "ca.key").exists()


@pytest.mark.slow
def test_a_cluster_with_damaged_keys(tmp_path: Path) -> None:
    """What is made anew costs no client anything; what would is refused, and the printed command goes on."""
    cluster = Cluster(tmp_path / "data", "--simulate")
    cluster.env["KUBECONFIG"] = str(tmp_path / "kubeconfig")
    pki, kept = cluster.directory / "pki", tmp_path / "kept.conf"
    try:
        cluster.up()
        cluster.down()
        kept.write_bytes((pki / "admin.conf").read_bytes())
        for name in ("apiserver.crt", "admin.key", "sa.pub"):
            (pki / name).write_text("damaged")
        output = cluster.kapi("up", "--port", str(cluster.port), "--no-kubeconfig", "--simulate").err
        assert f"{pki}: apiserver.crt is no certificate. A new certificate is made." in output
        assert f"{pki}: admin.key is no private key. A new certificate is made." in output
        assert f"{pki}/sa.pub is no public key. It is made anew from sa.key." in output
        kubectl, admin = Kubectl(cluster, "default"), str(cluster.kubeconfig)
        assert "node/" in kubectl("--kubeconfig", str(kept), "get", "nodes", "-o", "name")
        cluster.down()
        (pki / "ca.key").write_text("damaged")
        with pytest.raises(Failed, match=r"ca\.key is no private key\. Restore it from a backup, or replace it") as refused:
            cluster.up()
        *_, command = str(refused.value).strip().partition(" with: kapi ")
        cluster.kapi(*command.split())
        cluster.up()
        assert "node/" in kubectl("--kubeconfig", admin, "get", "nodes", "-o", "name")
        assert "x509: certificate signed by unknown authority" in kubectl("--kubeconfig", str(kept), "get", "nodes", fails=True).err
    finally:
        cluster.down()
