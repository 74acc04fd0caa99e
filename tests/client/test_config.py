"""Where the server is and who we are."""

import base64
from pathlib import Path

import pytest
import yaml

from certs import making
from certs.spec import CertificateSpec
from kapi.client import config
from kapi.objects import time

KUBECONFIG = {
    "current-context": "one",
    "contexts": [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
        {"name": "two", "context": {"cluster": "c", "user": "plugin"}},
        {"name": "broken", "context": {"cluster": "nowhere", "user": "u"}},
    ],
    "clusters": [{"name": "c", "cluster": {"server": "https://host:6443", "certificate-authority": "ca.crt"}}],
    "users": [
        {"name": "u", "user": {"token": "t", "client-certificate-data": base64.b64encode(b"PEM").decode()}},
        {"name": "plugin", "user": {"exec": {"command": "login"}}},
    ],
}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_bytes(b"CA")
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(KUBECONFIG))
    return path


def test_current_context(kubeconfig: Path) -> None:
    found = config.from_kubeconfig(kubeconfig)
    assert found == config.Endpoint("https://host:6443", authority=b"CA", certificate=b"PEM", token="t", namespace="team")


@pytest.mark.parametrize(
    ("context", "message"),
    [("two", "exec plugins"), ("broken", 'no cluster named "nowhere"'), ("absent", 'no context named "absent"')],
)
def test_what_cannot_be_used(kubeconfig: Path, context: str, message: str) -> None:
    with pytest.raises(config.ConfigError, match=message):
        config.from_kubeconfig(kubeconfig, context)


def test_inside_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "ca.crt").write_bytes(b"CA")
    (tmp_path / "namespace").write_text("team\n")
    found = config.in_cluster(tmp_path)
    assert (found.server, found.authority, found.namespace) == ("https://[fd00::1]:443", b"CA", "team")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(config.ConfigError, match="not inside a pod"):
        config.in_cluster(tmp_path)


def test_a_token_file_is_read_again_after_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    now = [1000.0]
    time.set_clock(lambda: now[0])
    try:
        token = config._token(config.Endpoint("https://host", token_file=str(path)))
        assert token is not None
        assert token() == "first"
        path.write_text("second\n")
        assert token() == "first"
        now[0] += 61
        assert token() == "second"
    finally:
        time.set_clock(None)


def test_keys_are_loaded_without_a_file() -> None:
    key = making.new_key()
    certificate = making.authority(CertificateSpec("x", "x"), key, time.now())
    context = config.tls(config.Endpoint("https://host", authority=certificate, certificate=certificate, key=key))
    assert context.cert_store_stats()["x509_ca"] == 1
