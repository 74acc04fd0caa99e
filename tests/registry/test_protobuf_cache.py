"""Objects in protobuf: encoded once for each revision, within a bound."""

import orjson
import pytest

from kapi.registry import catalogue, protobuf_cache
from kapi.registry.kind import Encoded, Kind
from kapi.registry.protobuf_cache import Kept
from kapi.storage.store import Entry


@pytest.fixture
def kind() -> Kind:
    found = catalogue.standard().get("", "v1", "configmaps")
    assert found is not None
    return found


def entry(name: str, revision: int, text: str = "") -> Entry:
    body = {"metadata": {"resourceVersion": str(revision), "name": name}, "data": {"k": text}}
    return Entry(f"/core/configmaps/default/{name}", revision, 1, orjson.dumps(body), {}, {})


def test_an_object_is_encoded_once_for_each_revision(kind: Kind) -> None:
    first = protobuf_cache.item(kind, entry("a", 1, "one"))
    assert protobuf_cache.item(kind, entry("a", 1, "one")) is first
    second = protobuf_cache.item(kind, entry("a", 2, "two"))
    assert b"two" in second
    assert b"one" in protobuf_cache.item(kind, entry("a", 1, "one"))  # an old page of a list
    assert protobuf_cache.item(kind, entry("a", 2, "two")) is second
    third = entry("b", 3, "three")
    assert list(protobuf_cache.items(kind, [entry("a", 2), third])) == [second, protobuf_cache.item(kind, third)]


def test_what_is_not_stored_is_not_kept(kind: Kind) -> None:
    protobuf_cache.item(kind, entry("a", 0, "one"))
    assert not protobuf_cache.known(kind, entry("a", 0))
    assert b"two" in protobuf_cache.item(kind, entry("a", 0, "two"))


def test_what_is_deleted_is_not_kept(kind: Kind) -> None:
    protobuf_cache.item(kind, entry("a", 1, "x" * 1000))
    before = protobuf_cache.KEPT.size
    protobuf_cache.forget(kind, entry("a", 2))
    assert before - protobuf_cache.KEPT.size >= 1000
    assert b"new" in protobuf_cache.item(kind, entry("a", 3, "new"))


def test_all_together_are_bounded() -> None:
    kept = Kept(10_000)
    pods: Encoded = {}
    maps: Encoded = {}
    for index in range(100):
        for of in (pods, maps):
            kept.add(of, f"k{index}", 1, b"x" * 244)
    assert kept.size == 10_000
    assert 0 < len(pods) < 20
    assert len(pods) + len(maps) == 20
    kept.add(pods, "large", 1, b"x" * 20_000)
    assert kept.size <= 10_000
    assert "large" not in pods
    for key in list(pods):
        kept.add(pods, key, 2, b"")
    assert sum(len(found[1]) + 256 for of in (pods, maps) for found in of.values()) == kept.size
