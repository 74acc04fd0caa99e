"""Selectors, lists and what deletes many: a long selector over many objects, large objects in all shapes."""

from urllib.parse import quote

import pytest

from tests.attacks.requests import MAPS, TABLE, config_map, create, create_config_maps
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
LABELS = {f"k{i}": f"v{i}" for i in range(20)}
CROWD = 1500


@pytest.fixture(scope="module", autouse=True)
def objects(victim: Victim) -> None:
    """1,500 objects with 20 labels each."""
    create_config_maps(victim, CROWD, "one", {**LABELS, "n": "5"})


SELECTORS = {
    "10,000 labels that must be missing": (",".join(f"!z{i}" for i in range(10_000)), CROWD),
    "10,000 labels that must be there": (",".join(f"z{i}" for i in range(10_000)), 0),
    "10,000 values of 20 labels": (",".join(f"k{i % 20}=v{i % 20}" for i in range(10_000)), CROWD),
    "10,000 values that contradict each other": (",".join(f"k1=v{i}" for i in range(10_000)), 0),
    "10,000 other values": (",".join(f"k{i % 20}!=w{i}" for i in range(10_000)), CROWD),
    "10,000 values in a set": (f"k1 in ({','.join(f'v{i}' for i in range(10_000))})", CROWD),
    "10,000 values out of a set": (f"k1 notin ({','.join(f'w{i}' for i in range(10_000))})", CROWD),
    "10,000 bounds": (",".join(f"n>{i % 5}" for i in range(10_000)), CROWD),
}


@pytest.mark.parametrize("what", SELECTORS)
def test_label_selectors(victim: Victim, what: str) -> None:
    text, found = SELECTORS[what]
    with victim.watched(f"list by {what}") as cost:
        status, answer = victim.ask("GET", f"{MAPS}?labelSelector={quote(text)}")
    assert status == 200, answer
    assert len(answer["items"]) == found
    cost.check()


BROKEN = {
    "60,000 brackets": "(" * 60_000,
    "a key of 60,000 characters": "a" * 60_000,
    "60,000 commas": f"k in ({',' * 60_000}",
    "9,000 terms and an error": ",".join(f"!z{i}" for i in range(9000)) + ",=",
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_selectors(victim: Victim, what: str) -> None:
    with victim.watched(f"list by {what}") as cost:
        assert victim.ask("GET", f"{MAPS}?labelSelector={quote(BROKEN[what])}")[0] == 400
    cost.check()


FIELDS = {
    "3,000 other names": (",".join(f"metadata.name!=x{i}" for i in range(3000)), CROWD),
    "3,000 names": (",".join(f"metadata.name=one-{i}" for i in range(3000)), 0),
    "30,000 escapes": ("metadata.name=" + "\\\\" * 30_000, 0),
}


@pytest.mark.parametrize("what", FIELDS)
def test_field_selectors(victim: Victim, what: str) -> None:
    text, found = FIELDS[what]
    with victim.watched(f"list by {what}") as cost:
        status, answer = victim.ask("GET", f"{MAPS}?fieldSelector={quote(text)}")
    assert status == 200, answer
    assert len(answer["items"]) == found
    cost.check()


def test_pages_and_counts(victim: Victim) -> None:
    """A page of a list that is looked at in turns is what it is of one that is not."""
    first = victim.ask("GET", f"{MAPS}?limit=700&labelSelector=n%3D5%2C%21zz")[1]
    second = victim.ask("GET", f"{MAPS}?limit=900&labelSelector=n%3D5%2C%21zz&continue={first['metadata']['continue']}")[1]
    names = [item["metadata"]["name"] for page in (first, second) for item in page["items"]]
    assert names == sorted(f"one-{i}" for i in range(CROWD))
    assert "continue" not in second["metadata"]
    assert "remainingItemCount" not in first["metadata"]


def test_watches(victim: Victim) -> None:
    text = ",".join(f"!z{i}" for i in range(10_000))
    with victim.watched("watch by 10,000 labels that must be missing") as cost:
        status, answer = victim.ask("GET", f"{MAPS}?watch=1&timeoutSeconds=1&labelSelector={quote(text)}")
    assert status == 200
    assert answer.count(b'"ADDED"') == CROWD
    cost.check()


def test_a_dry_run_of_deleting_all(victim: Victim) -> None:
    text = ",".join(f"!z{i}" for i in range(10_000))
    with victim.watched("deletecollection: a dry run by 10,000 labels") as cost:
        status, answer = victim.ask("DELETE", f"{MAPS}?dryRun=All&labelSelector={quote(text)}")
    assert status == 200
    assert len(answer["items"]) == CROWD
    cost.check()


def test_large_objects(victim: Victim) -> None:
    """Rows, YAML and deletion of objects that take long to read."""
    for number in range(12):
        create(victim, MAPS, {**config_map(f"large-{number}", labels={"size": "large"}), "data": {f"k{i}": "v" for i in range(30_000)}})
    chosen = f"{MAPS}?labelSelector=size%3Dlarge"
    for what, headers in (("a Table", TABLE), ("YAML", {"Accept": "application/yaml"})):
        with victim.watched(f"12 objects of 30,000 keys: {what}") as cost:
            assert victim.ask("GET", chosen, headers=headers)[0] == 200
        cost.check()
    with victim.watched("12 objects of 30,000 keys: deleted") as cost:
        status, answer = victim.ask("DELETE", chosen)
    assert (status, len(answer["items"])) == (200, 12)
    cost.check()


def test_deleting_many(victim: Victim) -> None:
    with victim.watched("deletecollection: 1,500 objects") as cost:
        status, answer = victim.ask("DELETE", f"{MAPS}?labelSelector=n%3D5")
    assert (status, len(answer["items"])) == (200, CROWD)
    cost.check()


def test_a_long_selector_in_a_review(victim: Victim) -> None:
    spec = {"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": {"rawSelector": "a=b," * 700_000 + "c=d"}}}
    with victim.watched("a review with a field selector of 2.8 MB") as cost:
        code, body = victim.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": spec})
    cost.check()
    assert code in (201, 413), body
