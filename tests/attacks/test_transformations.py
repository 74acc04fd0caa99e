"""Patches: none of the four forms makes much out of little, or holds the event loop however long its lists are."""

from typing import Any

import pytest

from kapi.objects.meta import Object
from tests.attacks.requests import MAPS, config_map, create, patch
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
MANY = 10_000


def owners(first: int, last: int, **more: Any) -> list[Object]:
    return [{"apiVersion": "v1", "kind": "Pod", "name": f"p{i}", "uid": f"u{i}", **more} for i in range(first, last)]


def finalizers(first: int, last: int) -> list[str]:
    return [f"example.com/f{i}" for i in range(first, last)]


def test_copying_a_field_onto_itself(victim: Victim) -> None:
    create(victim, MAPS, {**config_map("copied"), "data": {"a": "x" * 50}})
    copies = [{"op": "copy", "from": "/data", "path": f"/data/x{i}"} for i in range(25)]
    with victim.watched("JSON patch: a field copied onto itself 25 times") as cost:
        status, answer = patch(victim, f"{MAPS}/copied", "json", copies)
    assert (status, answer["message"]) == (422, "the server rejected our request due to an error in our request")
    cost.check()


def test_copies_of_many_small_values(victim: Victim) -> None:
    create(victim, MAPS, config_map("empties"))
    start = [{"op": "add", "path": "/x", "value": [{}] * 44_000}]
    with victim.watched("JSON patch: 44,000 objects copied 20 times") as cost:
        status, _ = patch(victim, f"{MAPS}/empties", "json", start + [{"op": "copy", "from": "/x", "path": "/y"}] * 20)
    assert status == 422
    cost.check()


JSON_PATCHES = {
    "9,000 inserts at the front of a list": [
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers(0, 5000)},
        *({"op": "add", "path": "/metadata/finalizers/0", "value": f"example.com/x{i}"} for i in range(9000)),
    ],
    "a pointer of a million steps": [{"op": "add", "path": "/x" * 1_400_000, "value": 1}],
    "9,000 long pointers": [{"op": "add", "path": "/x" + "/a" * 130, "value": 1}] * 9000,
    "10,000 moves": [{"op": "add", "path": "/x", "value": {}}, *[{"op": "move", "from": "/x", "path": "/x"}] * 9_999],
    "more operations than there may be": [{"op": "test", "path": "/x", "value": None}] * 100_000,
}


@pytest.mark.parametrize("what", JSON_PATCHES)
def test_json_patches(victim: Victim, what: str) -> None:
    create(victim, MAPS, {**config_map("patched"), "data": {"a": "x"}})
    with victim.watched(f"JSON patch: {what}") as cost:
        status, _ = patch(victim, f"{MAPS}/patched", "json", JSON_PATCHES[what])
    assert status in (200, 413, 422)
    cost.check()


STRATEGIC: dict[str, tuple[Object, Object]] = {
    "objects merged by key": ({"ownerReferences": owners(0, MANY)}, {"ownerReferences": owners(5000, 5000 + MANY)}),
    "objects deleted by key": (
        {"ownerReferences": owners(0, MANY)},
        {"ownerReferences": [{"$patch": "delete", "uid": f"u{i}"} for i in range(5000, 5000 + MANY)]},
    ),
    "texts merged in an order": (
        {"finalizers": finalizers(0, MANY)},
        {"finalizers": finalizers(5000, 5000 + MANY), "$setElementOrder/finalizers": finalizers(5000, 5000 + MANY)},
    ),
    "texts deleted": (
        {"finalizers": finalizers(0, MANY)},
        {"$deleteFromPrimitiveList/finalizers": finalizers(5000, 5000 + MANY)},
    ),
    "keys retained": (
        {"annotations": {f"k{i}": "v" for i in range(MANY)}},
        {"annotations": {"$retainKeys": [f"k{i}" for i in range(MANY)], **{f"k{i}": "w" for i in range(MANY)}}},
    ),
}


@pytest.mark.parametrize("what", STRATEGIC)
def test_strategic_merge_of_long_lists(victim: Victim, what: str) -> None:
    before, change = STRATEGIC[what]
    name = what.replace(" ", "-")
    create(victim, MAPS, config_map(name, **before))
    with victim.watched(f"strategic merge patch: 10,000 {what}") as cost:
        status, answer = patch(victim, f"{MAPS}/{name}", "strategic", {"metadata": change})
    assert status == 200, answer
    cost.check()


def test_merge_patch(victim: Victim) -> None:
    create(victim, MAPS, {**config_map("merged"), "data": {f"k{i}": "v" for i in range(50_000)}})
    with victim.watched("merge patch: 50,000 keys") as cost:
        status, answer = patch(victim, f"{MAPS}/merged", "merge", {"data": {f"k{i}": "w" for i in range(50_000)}})
    assert status == 200, answer
    cost.check()


def test_apply_against_five_managers(victim: Victim) -> None:
    for manager in range(5):
        wanted = {**config_map("applied"), "data": {f"k{i}": "v" for i in range(20_000)}}
        assert patch(victim, f"{MAPS}/applied", "apply", wanted, f"m{manager}")[0] in (200, 201)
    with victim.watched("apply: 100,000 conflicts with five managers") as cost:
        status, answer = patch(victim, f"{MAPS}/applied", "apply", {**wanted, "data": {f"k{i}": "w" for i in range(20_000)}})
    assert status == 409
    assert answer["message"].startswith("Apply failed with 100000 conflicts: conflicts with ")
    cost.check()


def test_apply_of_long_lists(victim: Victim) -> None:
    assert patch(victim, f"{MAPS}/listed", "apply", config_map("listed", ownerReferences=owners(0, 6000)))[0] == 201
    with victim.watched("apply: 6,000 items over 6,000 of another manager's") as cost:
        status, answer = patch(victim, f"{MAPS}/listed", "apply", config_map("listed", ownerReferences=owners(3000, 9000)), "other")
    assert status == 200, answer
    cost.check()


def test_managed_fields_of_the_attackers_making(victim: Victim) -> None:
    create(victim, MAPS, {**config_map("managed"), "data": {"a": "b"}})
    entry = {"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    fields = [{"manager": f"m{i}", **entry, "fieldsV1": {"f:data": {f"f:k{i}": {}}}} for i in range(9_500)]
    with victim.watched("update: 9,500 managers of its own making") as cost:
        status, answer = victim.ask("PUT", f"{MAPS}/managed", {**config_map("managed", managedFields=fields), "data": {"a": "c"}})
    assert status == 200, answer
    cost.check()
