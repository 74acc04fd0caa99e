"""JSON patch and merge patch."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapi.objects import errors, patch
from kapi.objects.meta import clone


def operate(document: Any, *operations: Any) -> Any:
    patch.check(list(operations))
    return patch.json_patch(clone(document), list(operations))


def test_operations() -> None:
    document = {"data": {"k": "v"}, "list": [1, 2], "x/y": {"~": 1}}
    assert operate(document, {"op": "add", "path": "/data/l", "value": "w"})["data"] == {"k": "v", "l": "w"}
    assert operate(document, {"op": "add", "path": "/list/-", "value": 3})["list"] == [1, 2, 3]
    assert operate(document, {"op": "add", "path": "/list/0", "value": 0})["list"] == [0, 1, 2]
    assert operate(document, {"op": "remove", "path": "/list/-1"})["list"] == [1]
    assert operate(document, {"op": "replace", "path": "/x~1y/~0", "value": 2})["x/y"] == {"~": 2}
    assert operate(document, {"op": "move", "from": "/data/k", "path": "/k"}) == {**document, "data": {}, "k": "v"}
    assert operate(document, {"op": "copy", "from": "/data", "path": "/d"})["d"] == {"k": "v"}
    assert operate(document, {"op": "test", "path": "/none", "value": None}) == document
    assert operate(document, {"op": "replace", "path": "", "value": {"a": 1}}) == {"a": 1}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/k", "value": "nope"},
        {"op": "remove", "path": "/data/none"},
        {"op": "add", "path": "/none/x", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "bogus", "path": "/data"},
        {"op": "add"},
        {"op": "add", "path": ""},
    ],
)
def test_what_does_not_apply_is_refused_without_details(operation: Any) -> None:
    with pytest.raises(errors.Invalid) as caught:
        operate({"data": {"k": "v"}, "list": []}, operation)
    assert caught.value.status()["details"] == {}
    assert caught.value.message == "the server rejected our request due to an error in our request"


def test_what_cannot_be_read_is_a_bad_request() -> None:
    with pytest.raises(errors.BadRequest, match="cannot unmarshal object into Go value of type"):
        patch.check({"op": "add"})
    with pytest.raises(errors.BadRequest, match=r"number into Go struct field jsonPatchOp.op of type string"):
        patch.check([{"op": 1}])
    with pytest.raises(errors.RequestEntityTooLarge, match="is 10000, got 10001"):
        patch.check([{"op": "test", "path": ""}] * 10_001)
    assert patch.check([{"op": "add", "path": "/a", "x": 1}]) == ['json patch unknown field "[0].x"']


def test_merge_patch() -> None:
    document = {"a": {"b": 1, "c": 2}, "l": [1, {"x": 1}]}
    wanted = {"a": {"c": 2, "d": {"e": 1}}, "l": [2]}
    assert patch.merge_patch(clone(document), {"a": {"b": None, "d": {"e": 1, "f": None}}, "l": [2]}) == wanted


def test_values_as_go_prints_them() -> None:
    assert patch.go_text({"spec": {"b": [1, True, None], "a": "x"}}) == "map[spec:map[a:x b:[1 true <nil>]]]"


values = st.recursive(
    st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from(["", "x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@given(objects, objects)
@settings(max_examples=40)
def test_a_merge_patch_twice_is_once(document: Any, change: Any) -> None:
    once = patch.merge_patch(clone(document), change)
    assert patch.merge_patch(clone(once), change) == once


@given(objects, objects)
@settings(max_examples=40)
def test_adding_and_removing_leaves_the_document(document: Any, value: Any) -> None:
    assert operate(document, {"op": "add", "path": "/new", "value": value}, {"op": "remove", "path": "/new"}) == document
