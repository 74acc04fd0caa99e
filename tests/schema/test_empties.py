"""Empty lists and maps: left out of what is decoded, there for defaults and rules, null where Go always writes them."""

import orjson
import pytest

from kapi.schema import builtin, decode
from kapi.schema.empties import Empties

Object = dict[str, object]


def read(kind: str, value: Object) -> tuple[Object, Empties]:
    empties = Empties()
    out, _ = decode.read(value, builtin.schema(f"io.k8s.api.{kind}"), empties)
    return out, empties


def test_what_holds_none_costs_nothing_to_show() -> None:
    pod, empties = read("core.v1.Pod", {"spec": {"containers": [{"name": "c", "resources": {}}]}})
    assert empties == []
    with empties.restored(pod):
        assert pod["spec"] == {"containers": [{"name": "c", "resources": {}}]}


def test_an_empty_map_is_there_only_while_it_is_shown() -> None:
    pod, empties = read("core.v1.Pod", {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "c", "args": []}]}})
    before = orjson.dumps(pod)
    with empties.restored(pod):
        assert pod["metadata"] == {"labels": {}}
        assert pod["spec"] == {"containers": [{"name": "c", "args": [], "resources": {}}]}
    assert orjson.dumps(pod) == before


def test_what_fills_an_empty_place_stays() -> None:
    pod, empties = read("core.v1.Pod", {"metadata": {"labels": {}}})
    with empties.restored(pod):
        pod["metadata"]["labels"]["a"] = "b"  # type: ignore[index]
    assert pod["metadata"] == {"labels": {"a": "b"}}


def test_a_place_that_has_gone_is_passed_over() -> None:
    pod, empties = read("core.v1.Pod", {"spec": {"containers": [{"name": "c", "args": []}]}})
    pod["spec"] = {"containers": None}
    with empties.restored(pod):
        assert pod["spec"] == {"containers": None}


@pytest.mark.parametrize(("old", "shown"), [({"a": "b"}, {"labels": {}}), ({}, {})])
def test_of_a_change_only_what_takes_something_away_is_shown(old: Object, shown: Object) -> None:
    new, empties = read("core.v1.ConfigMap", {"metadata": {"labels": {}}})
    with empties.restored(new, {"metadata": {"labels": old}}):
        assert new["metadata"] == shown


def test_what_go_always_writes_stays_and_is_stored_as_null() -> None:
    role, empties = read("rbac.v1.Role", {"rules": []})
    assert role["rules"] == []
    with empties.restored(role):
        assert role["rules"] == []
    empties.write_nulls(role)
    assert role["rules"] is None


def test_null_stays_null_when_the_change_says_empty() -> None:
    role, empties = read("rbac.v1.Role", {"rules": []})
    with empties.restored(role, {"rules": None}):
        assert role["rules"] is None
