"""The user's kubeconfig: ours goes in and out, everything else stays."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from certs import kubeconfig, userconfig

OURS = kubeconfig.text("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY")
THEIRS = """\
apiVersion: v1
clusters:
- cluster:
    server: https://example.com
  name: prod
contexts:
- context:
    cluster: prod
    namespace: shop
    user: me
  name: prod
current-context: prod
kind: Config
preferences:
  colors: true
users:
- name: me
  user:
    token: abc
"""


def load(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def test_into_no_file_and_out_again(tmp_path: Path) -> None:
    path = tmp_path / ".kube" / "config"
    userconfig.merge(OURS, path)
    assert load(path) == yaml.safe_load(OURS)
    assert path.stat().st_mode & 0o777 == 0o600
    userconfig.remove(path)
    assert list(path.parent.iterdir()) == []


def test_into_a_file_and_out_again(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    path.chmod(0o640)
    userconfig.merge(OURS, path)
    config = load(path)
    assert config["current-context"] == "kapi"
    assert [entry["name"] for entry in config["clusters"]] == ["prod", "kapi"]
    userconfig.remove(path)
    assert path.read_text() == THEIRS
    assert path.stat().st_mode & 0o777 == 0o640


def test_merging_twice_replaces_and_remembers_the_first_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    userconfig.merge(OURS, path)
    userconfig.merge(kubeconfig.text("https://127.0.0.1:7000", b"CA", b"CERT", b"KEY"), path)
    assert [entry["cluster"]["server"] for entry in load(path)["clusters"]] == ["https://example.com", "https://127.0.0.1:7000"]
    userconfig.remove(path)
    assert path.read_text() == THEIRS


def test_a_context_chosen_since_stays_current(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    userconfig.merge(OURS, path)
    path.write_text(path.read_text().replace("current-context: kapi", "current-context: prod"))
    userconfig.remove(path)
    assert path.read_text() == THEIRS


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(THEIRS)
    (tmp_path / "config").symlink_to(tmp_path / "real")
    userconfig.merge(OURS, tmp_path / "config")
    assert (tmp_path / "config").is_symlink()
    assert load(tmp_path / "real")["current-context"] == "kapi"


def test_a_lock_of_kubectl_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userconfig, "LOCK_SECONDS", 0.0)
    (tmp_path / "config.lock").touch()
    with pytest.raises(TimeoutError, match=r"config\.lock"):
        userconfig.merge(OURS, tmp_path / "config")
    assert not (tmp_path / "config").exists()


def test_removing_from_nothing_changes_nothing(tmp_path: Path) -> None:
    userconfig.remove(tmp_path / "config")
    assert list(tmp_path.iterdir()) == []


def test_the_default_path_is_kubectls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert userconfig.default_path() == tmp_path / ".kube" / "config"
    (tmp_path / "b").touch()
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    assert userconfig.default_path() == tmp_path / "b"
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/x:{tmp_path}/y")
    assert userconfig.default_path() == tmp_path / "y"


def test_the_context_of_another_cluster_stays(tmp_path: Path) -> None:
    path = tmp_path / "config"
    userconfig.merge(OURS, path)
    other: Any = yaml.safe_load(OURS)
    other["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:7000"
    userconfig.remove(path, only=yaml.safe_dump(other).encode())
    assert load(path) == yaml.safe_load(OURS)
    userconfig.remove(path, only=OURS)
    assert not path.exists()
