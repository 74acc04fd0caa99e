"""Readings of metadata."""

from kapi.objects import meta

POD = {
    "metadata": {
        "name": "p",
        "namespace": "ns",
        "uid": "1",
        "ownerReferences": [{"uid": "a"}, {"uid": "b", "controller": True}],
    },
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


def test_readings() -> None:
    assert meta.key(POD) == "ns/p"
    assert meta.split_key("ns/p") == ("ns", "p")
    assert meta.split_key("n1") == ("", "n1")
    assert (meta.controller_of(POD) or {})["uid"] == "b"
    assert meta.controlled_by(POD, {"metadata": {"uid": "b"}})
    assert (meta.condition(POD, "Ready") or {})["status"] == "True"
    assert meta.path(POD, "spec", "nodeName") is None


def test_a_clone_shares_nothing_that_changes() -> None:
    copy = meta.clone(POD)
    copy["metadata"]["ownerReferences"][0]["uid"] = "changed"
    assert copy != POD
    assert meta.clone(POD) == POD


def test_owner_reference_blocks_deletion() -> None:
    ref = meta.owner_reference(POD, api_version="v1", kind="Pod")
    assert ref == {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": True, "blockOwnerDeletion": True}
