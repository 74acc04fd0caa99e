"""The rules of ObjectMeta that all kinds share."""

from uuid import RFC_4122, UUID

import pytest

from kapi.objects.meta import Object
from kapi.registry import metadata


def owner(name: str, kind: str = "Pod", version: str = "v1", **more: object) -> Object:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": f"u-{name}", **more}


def texts(meta: Object) -> list[str]:
    return [f"{cause.field}: {cause.message.rpartition(': ')[2]}" for cause in metadata.validate_change(meta, {**meta})]


def test_uids_are_random_uuids_of_version_4() -> None:
    uids = {metadata.new_uid() for _ in range(200)}
    assert len(uids) == 200
    assert {(str(UUID(uid)) == uid, UUID(uid).version, UUID(uid).variant) for uid in uids} == {(True, 4, RFC_4122)}


def test_one_owner_controls() -> None:
    """Each further one is held against the first."""
    owners = [owner("a", controller=True), owner("b"), owner("c", "ReplicaSet", "apps/v1", controller=True), owner("d", controller=True)]
    text = 'Only one reference can have Controller set to true. Found "true" in references for Pod/a and '
    assert texts({"ownerReferences": owners}) == [f"metadata.ownerReferences: {text}{last}" for last in ("ReplicaSet/c", "Pod/d")]


@pytest.mark.parametrize(("version", "faults"), [
    ("v1", ["metadata.ownerReferences: /v1, Kind=Event is disallowed from being an owner"]), ("events.k8s.io/v1", []),
])  # fmt: skip
def test_events_own_nothing(version: str, faults: list[str]) -> None:
    assert texts({"ownerReferences": [owner("e", "Event", version)]}) == faults


@pytest.mark.parametrize(("text", "number"), [
    ("", 0), ("7", 7), ("007", 7), ("-1", 0), ("+1", 0), ("1_0", 0), ("٣", 0), ("x", 0),
    (str((1 << 64) - 1), (1 << 64) - 1), (str(1 << 64), 0),
])  # fmt: skip
def test_revisions(text: str, number: int) -> None:
    assert metadata.revision(text) == number
