"""Volumes' files: what they hold, and that they change all at once."""

import os
from pathlib import Path
from typing import Any

import pytest

from kapi.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Resource
from kubelet.environment import EnvironmentContext, MissingReference
from kubelet.settings import Settings
from kubelet.volumes import atomic, claims, payload
from kubelet.volumes.atomic import File
from kubelet.volumes.manager import VolumeError, Volumes
from kubelet.volumes.tokens import Tokens
from tests.fakes import FakeApi
from tests.kubelet.build import one, pod


async def lookup(resource: Resource, namespace: str, name: str) -> Object | None:
    return {"kind": "ConfigMap", "data": {"a": "1", "b": "2"}} if (resource, name) == (CONFIG_MAPS, "cm") else None


async def token(of: Object, source: Object) -> str:
    return "t0ken"


def context(of: Object) -> payload.Context:
    return payload.Context(of, lookup, token, EnvironmentContext(node="n1"))


def content(directory: Path) -> dict[str, str]:
    return {str(p.relative_to(directory)): p.read_text() for p in directory.rglob("*") if p.is_file()}


def test_files_appear_change_and_go(tmp_path: Path) -> None:
    assert atomic.write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o600)})
    assert content((tmp_path / "..data").resolve()) == {"a": "1", "d/b": "2"}
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert (tmp_path / "d/b").stat().st_mode & 0o777 == 0o600
    first = os.readlink(tmp_path / "..data")
    assert not atomic.write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o600)})
    assert atomic.write(tmp_path, {"a": File(b"3")})
    assert os.readlink(tmp_path / "..data") != first
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("..2")) == ["..data", "a"]
    assert (tmp_path / "a").read_text() == "3"


async def test_keys_paths_and_modes() -> None:
    items = [{"key": "a", "path": "x/y"}, {"key": "b", "path": "z", "mode": 0o644}]
    volume = {"configMap": {"name": "cm", "defaultMode": 0o400, "items": items}}
    assert await payload.files(context(pod()), volume) == {"x/y": File(b"1", 0o400), "z": File(b"2", 0o644)}


async def test_the_service_accounts_volume() -> None:
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "cm", "items": [{"key": "a", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volume = {"name": "v", "projected": {"defaultMode": 0o644, "sources": sources}}
    found = await payload.files(context(pod()), volume)
    assert found == {"token": File(b"t0ken", 0o644), "ca.crt": File(b"1"), "namespace": File(b"default")}
    own = await payload.files(context(pod(one(securityContext={"runAsUser": 5}))), volume)
    assert own is not None
    assert own["token"] == File(b"t0ken", 0o600, 5)


async def test_what_is_missing() -> None:
    with pytest.raises(MissingReference, match='secret "s" not found'):
        await payload.files(context(pod()), {"secret": {"secretName": "s"}})
    assert await payload.files(context(pod()), {"secret": {"secretName": "s", "optional": True}}) == {}
    items = [{"key": "z", "path": "z"}]
    with pytest.raises(MissingReference, match="configmap references non-existent config key: z"):
        await payload.files(context(pod()), {"configMap": {"name": "cm", "items": items}})
    assert await payload.files(context(pod()), {"configMap": {"name": "cm", "items": items, "optional": True}}) == {}


async def test_volumes_of_a_pod(tmp_path: Path) -> None:
    settings = Settings(root_dir=tmp_path)
    volumes = [
        {"name": "e", "emptyDir": {}}, {"name": "c", "configMap": {"name": "cm"}},
        {"name": "h", "hostPath": {"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}},
    ]  # fmt: skip
    of, manager = pod(volumes=volumes), Volumes(settings)
    await manager.set_up("u1", context(of))
    paths = manager.paths("u1", of)
    assert paths["e"] == tmp_path / "pods/u1/volumes/kubernetes.io~empty-dir/e"
    assert paths["e"].stat().st_mode & 0o7777 == 0o777
    assert (paths["c"] / "a").read_text() == "1"
    assert (tmp_path / "made").is_dir()
    manager.tear_down("u1")
    assert not (tmp_path / "pods/u1").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"hostPath": {"path": "/nowhere", "type": "Directory"}}, "hostPath type check failed: /nowhere is not a directory"),
        ({"hostPath": {"path": "/etc", "type": "File"}}, "hostPath type check failed: /etc is not a file"),
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
    ],
)
async def test_a_volume_that_fails(tmp_path: Path, source: Object, message: str) -> None:
    with pytest.raises(VolumeError) as caught:
        await Volumes(Settings(root_dir=tmp_path)).set_up("u1", context(pod(volumes=[{"name": "v", **source}])))
    assert str(caught.value) == f'MountVolume.SetUp failed for volume "v" : {message}'


async def test_tokens_are_kept_for_most_of_their_life(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Object] = []

    async def post(path: str, obj: Object, **query: Any) -> Object:
        asked.append({"path": path, **obj["spec"]})
        return {"status": {"token": f"t{len(asked)}", "expirationTimestamp": "2099-01-01T00:00:00Z"}}

    client = Client(FakeApi())
    monkeypatch.setattr(client, "post", post)
    tokens = Tokens(client)
    assert [await tokens.get(pod(), {"expirationSeconds": 3607}) for _ in range(2)] == ["t1", "t1"]
    assert asked == [
        {
            "path": "/api/v1/namespaces/default/serviceaccounts/default/token", "audiences": None, "expirationSeconds": 3607,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "u1"},
        }
    ]  # fmt: skip
    tokens.forget("u1")
    assert await tokens.get(pod(), {}) == "t2"


async def test_claims_lead_to_directories(tmp_path: Path) -> None:
    objects: dict[tuple[Resource, str], Object] = {
        (PERSISTENT_VOLUME_CLAIMS, "c"): {"metadata": {}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}},
        (PERSISTENT_VOLUME_CLAIMS, "unbound"): {"metadata": {}, "spec": {}, "status": {"phase": "Pending"}},
        (PERSISTENT_VOLUME_CLAIMS, "web-own"): {
            "metadata": {"ownerReferences": [{"uid": "u1", "controller": True}]}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"},
        },
        (PERSISTENT_VOLUME_CLAIMS, "web-foreign"): {"metadata": {}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}},
        (PERSISTENT_VOLUMES, "v"): {"spec": {"hostPath": {"path": str(tmp_path / "data")}}},
    }

    async def find(resource: Resource, namespace: str, name: str) -> Object | None:
        return objects.get((resource, name))

    where = payload.Context(pod(), find, token, EnvironmentContext())

    def claimed(name: str) -> Object:
        return {"name": "v", "persistentVolumeClaim": {"claimName": name}}

    assert await claims.directory(where, claimed("c")) == tmp_path / "data"
    assert await claims.directory(where, {"name": "own", "ephemeral": {}}) == tmp_path / "data"
    assert os.listdir(tmp_path) == ["data"]
    for name, message in (("none", 'persistentvolumeclaim "none" not found'), ("unbound", "PVC default/unbound is not bound")):
        with pytest.raises(MissingReference, match=message):
            await claims.directory(where, claimed(name))
    with pytest.raises(MissingReference, match=r"PVC default/web-foreign was not created for pod default/web \(pod is not owner\)"):
        await claims.directory(where, {"name": "foreign", "ephemeral": {}})
