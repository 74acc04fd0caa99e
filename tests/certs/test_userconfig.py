"""The user's kubeconfig: ours goes in and out, everything else stays."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from certs import kubeconfig, userconfig
from certs.userconfig import Entries, Taken

OURS = kubeconfig.text("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY")
ENTRIES = Entries("kapi", "/srv/one", userconfig.authority(OURS))
OTHERS = kubeconfig.text("https://127.0.0.1:7000", b"ANOTHER CA", b"CERT", b"KEY")
OTHER = Entries("kapi", "/srv/two", userconfig.authority(OTHERS))
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
    assert userconfig.merge(OURS, ENTRIES, path) is False
    expected = yaml.safe_load(OURS)
    expected["contexts"][0]["context"]["extensions"] = [{"name": "kapi/cluster", "extension": {"directory": "/srv/one"}}]
    assert load(path) == expected
    assert path.stat().st_mode & 0o777 == 0o600
    userconfig.remove(ENTRIES, path)
    assert list(path.parent.iterdir()) == []


def test_into_a_file_and_out_again(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    path.chmod(0o644)
    assert userconfig.merge(OURS, ENTRIES, path) is True, "others could read it, and now it has the administrator's key"
    assert path.stat().st_mode & 0o777 == 0o600
    config = load(path)
    assert config["current-context"] == "kapi"
    assert [entry["name"] for entry in config["clusters"]] == ["prod", "kapi"]
    userconfig.remove(ENTRIES, path)
    assert path.read_text() == THEIRS
    assert path.stat().st_mode & 0o777 == 0o600


def test_merging_twice_replaces_and_remembers_the_first_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    userconfig.merge(OURS, ENTRIES, path)
    userconfig.merge(kubeconfig.text("https://127.0.0.1:7000", b"CA", b"CERT", b"KEY"), ENTRIES, path)
    assert [entry["cluster"]["server"] for entry in load(path)["clusters"]] == ["https://example.com", "https://127.0.0.1:7000"]
    userconfig.remove(ENTRIES, path)
    assert path.read_text() == THEIRS


def test_a_context_chosen_since_stays_current(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    userconfig.merge(OURS, ENTRIES, path)
    path.write_text(path.read_text().replace("current-context: kapi", "current-context: prod"))
    userconfig.remove(ENTRIES, path)
    assert path.read_text() == THEIRS


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(THEIRS)
    (tmp_path / "config").symlink_to(tmp_path / "real")
    userconfig.merge(OURS, ENTRIES, tmp_path / "config")
    assert (tmp_path / "config").is_symlink()
    assert load(tmp_path / "real")["current-context"] == "kapi"


def test_a_lock_of_kubectl_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userconfig, "LOCK_SECONDS", 0.0)
    (tmp_path / "config.lock").touch()
    with pytest.raises(TimeoutError, match=r"config\.lock"):
        userconfig.merge(OURS, ENTRIES, tmp_path / "config")
    assert not (tmp_path / "config").exists()


def test_removing_from_nothing_changes_nothing(tmp_path: Path) -> None:
    userconfig.remove(ENTRIES, tmp_path / "config")
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
    userconfig.merge(OURS, ENTRIES, path)
    before = path.read_bytes()
    with pytest.raises(Taken, match=r"is already that of https://127\.0\.0\.1:6443"):
        userconfig.merge(OTHERS, OTHER, path)
    with pytest.raises(Taken):
        userconfig.check(OTHER, path)
    userconfig.remove(OTHER, path)
    assert path.read_bytes() == before
    userconfig.remove(ENTRIES, path)
    assert not path.exists()


@pytest.mark.parametrize("section", ["clusters", "users", "contexts"])
def test_a_name_is_taken_in_any_section(tmp_path: Path, section: str) -> None:
    path = tmp_path / "config"
    theirs: Any = yaml.safe_load(THEIRS)
    theirs[section][0]["name"] = "kapi"
    path.write_text(yaml.safe_dump(theirs))
    with pytest.raises(Taken):
        userconfig.merge(OURS, ENTRIES, path)
    assert load(path) == theirs


def test_two_clusters_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "config"
    userconfig.merge(OURS, ENTRIES, path)
    second = Entries("kapi-two", "/srv/two", userconfig.authority(OTHERS))
    userconfig.merge(OTHERS, second, path)
    config = load(path)
    assert [c["name"] for c in config["contexts"]] == [c["name"] for c in config["users"]] == ["kapi", "kapi-two"]
    assert config["contexts"][1]["context"]["cluster"] == "kapi-two"
    userconfig.remove(second, path)
    assert load(path)["current-context"] == "kapi"


def test_another_file_of_the_list_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    (tmp_path / "a").write_text(THEIRS)
    (tmp_path / "b").write_bytes(OURS)
    with pytest.raises(Taken):
        userconfig.merge(OTHERS, OTHER)


def test_the_same_directory_anew_is_the_same_cluster(tmp_path: Path) -> None:
    """A directory that was deleted by hand leaves its context behind; the next cluster there takes it over."""
    path = tmp_path / "config"
    userconfig.merge(OURS, ENTRIES, path)
    userconfig.merge(OTHERS, Entries("kapi", "/srv/one", userconfig.authority(OTHERS)), path)
    assert load(path)["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:7000"


def test_a_lock_that_a_killed_kapi_left(tmp_path: Path) -> None:
    (tmp_path / "config.lock").write_bytes(b"kapi")
    userconfig.merge(OURS, ENTRIES, tmp_path / "config")
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


@pytest.mark.parametrize("text", ["- a list", "clusters: 5", "contexts: [5]", "users: [{name: kapi, user: 5}]", "a: [", "\x00"])
def test_what_is_no_kubeconfig_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    attempts: list[Callable[[], bool]] = [lambda: userconfig.merge(OURS, ENTRIES, path), lambda: userconfig.remove(ENTRIES, path)]
    for attempt in attempts:
        with pytest.raises((ValueError, yaml.YAMLError)):
            attempt()
    assert path.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_with_sudo_the_file_is_the_user_s(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    path = tmp_path / ".kube" / "config"
    userconfig.merge(OURS, ENTRIES, path)
    assert {(p.stat().st_uid, p.stat().st_gid) for p in (path, path.parent)} == {(12345, 12345)}


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    """A pipe or device is neither read, which may take forever, nor replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for act in (lambda: userconfig.check(ENTRIES, pipe), lambda: userconfig.merge(OURS, ENTRIES, pipe)):
        with pytest.raises(ValueError, match="it is not a regular file"):
            act()
    assert userconfig.remove(ENTRIES, pipe) is False
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_place_that_cannot_be_written_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        userconfig.check(ENTRIES, tmp_path / "file" / "config")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PermissionError) as why:
        userconfig.check(ENTRIES, tmp_path / "new" / "config")
    assert why.value.filename == str(tmp_path)
