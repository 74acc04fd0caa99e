"""What reading a custom object keeps, drops and fills in."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapi.objects.errors import BadRequest
from kapi.objects.meta import Object
from kapi.schema import decode
from kapi.schema.reading import DecodeError
from kapi.schema.structural import Structural, walk

TEXT: Object = {"type": "string"}
KEEPS: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def read(value: Any, **properties: Object) -> tuple[Any, list[str]]:
    """A value read by an object schema of these fields."""
    unknown: list[str] = []
    return Structural({"type": "object", "properties": properties}).read(value, unknown), unknown


def fields(*paths: str) -> list[str]:
    return [f'unknown field "{path}"' for path in paths]


def test_unknown_fields_go() -> None:
    inner = {"type": "object", "properties": {"b": TEXT}}
    found = read({"a": {"b": "x", "c": 1}, "l": [{"b": "y", "d": 2}], "z": 1}, a=inner, l={"type": "array", "items": inner})
    assert found == ({"a": {"b": "x"}, "l": [{"b": "y"}]}, fields("a.c", "l[0].d", "z"))


def test_maps_keep_their_keys() -> None:
    labels = {"type": "object", "additionalProperties": TEXT}
    free = {"type": "object", "additionalProperties": True}
    assert read({"labels": {"any": "x"}}, labels=labels) == ({"labels": {"any": "x"}}, [])
    assert read({"free": {"a": 1, "b": {"c": 2}}}, free=free) == ({"free": {"a": 1, "b": {}}}, fields("free.b.c"))


def test_what_is_to_be_preserved_stays_but_for_what_is_specified() -> None:
    known = {**KEEPS, "properties": {"closed": {"type": "object", "properties": {"a": TEXT}}}}
    found = read({"x": {"any": {"thing": [None, 1]}, "closed": {"a": "b", "c": 1}}}, x=known)
    assert found == ({"x": {"any": {"thing": [None, 1]}, "closed": {"a": "b"}}}, fields("x.closed.c"))


def test_nulls_stay_where_they_may() -> None:
    assert read({"a": None, "b": None}, a=TEXT, b={**TEXT, "nullable": True}) == ({"b": None}, [])
    assert read({"a": None}, a={**TEXT, "default": "x"}) == ({"a": "x"}, [])
    assert read({"m": {"k": None}}, m={"type": "object", "additionalProperties": {**TEXT, "default": "x"}}) == ({"m": {"k": "x"}}, [])
    assert read({"l": [None]}, l={"type": "array", "items": {**TEXT, "default": "x"}}) == ({"l": ["x"]}, [])


def test_defaults_have_defaults_inside() -> None:
    port = {"type": "object", "default": {}, "properties": {"number": {"type": "integer", "default": 80}, "name": TEXT}}
    first, second = read({}, port=port)[0], read({}, port=port)[0]
    assert first == {"port": {"number": 80}}
    first["port"]["number"] = 1
    assert second == {"port": {"number": 80}}
    assert read({"port": {"name": "x"}}, port=port)[0] == {"port": {"name": "x", "number": 80}}


@pytest.mark.parametrize(("given", "kept"), [(1.0, 1), (1.5, 1.5), (2**64, float(2**64)), (-(2**63), -(2**63)), (True, True), ("1", "1")])
def test_numbers_as_go_writes_them(given: Any, kept: Any) -> None:
    found = read({"n": given}, n={"x-kubernetes-int-or-string": True})[0]["n"]
    assert (found, type(found)) == (kept, type(kept))


def test_the_header_of_embedded_objects() -> None:
    template = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": KEEPS}}
    given = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "odd": 1}, "spec": {"x": 1}, "more": 1}
    kept, unknown = read({"template": given}, template=template)
    assert kept == {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"x": 1}}}
    assert unknown == fields("template.metadata.odd", "template.more")


def test_metadata_is_that_of_every_object() -> None:
    root = Structural({"type": "object", "properties": {"spec": KEEPS}}, root=True)
    with pytest.raises(DecodeError, match=r"cannot unmarshal number into Go struct field ObjectMeta.labels of type string"):
        decode.read({"metadata": {"labels": {"a": 1}}}, root)
    assert decode.read({"metadata": {"odd": 1}, "b": 1, "a": 1}, root)[1] == fields("metadata.odd", "a", "b")


def test_types_for_owners_of_fields() -> None:
    root = Structural({"type": "object", "properties": {
        "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
        "atom": {"type": "object", "additionalProperties": TEXT, "x-kubernetes-map-type": "atomic"},
        "any": KEEPS,
    }}, root=True)  # fmt: skip
    assert (root.fields["set"].type, root.fields["set"].list_type) == ("list", "set")
    assert (root.fields["atom"].type, root.fields["atom"].atomic) == ("map", True)
    assert root.fields["any"].type == "any"
    assert root.at("metadata", "labels") is not None


def test_walking_a_value() -> None:
    openapi = {"type": "object", "properties": {"l": {"type": "array", "items": TEXT}}, "additionalProperties": TEXT}
    assert [path for _, _, path in walk(openapi, {"l": ["a"], "k": "b"})] == ["", "l", "l[0]", "[k]"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
MARKS = st.fixed_dictionaries({}, optional={"nullable": st.just(True), "x-kubernetes-preserve-unknown-fields": st.just(True)})


def _objects(inner: st.SearchStrategy[Object]) -> st.SearchStrategy[Object]:
    fields = st.builds(lambda part: {"type": "object", "properties": part}, st.dictionaries(st.sampled_from("ab"), inner, max_size=2))
    lists = st.builds(lambda part: {"type": "array", "items": part}, inner)
    maps = st.builds(lambda part: {"type": "object", "additionalProperties": part}, inner)
    return st.builds(lambda node, marks: node | marks, fields | lists | maps, MARKS)


LEAVES = st.builds(
    lambda kind, marks, default: {"type": kind, **marks, **({} if default is None else {"default": default})},
    st.sampled_from(("string", "integer")), MARKS, st.none() | st.integers(0, 3),
)  # fmt: skip
SCHEMAS = st.recursive(LEAVES, _objects, max_leaves=5)


@given(SCHEMAS, VALUES)
def test_what_was_read_is_read_the_same_again(openapi: Object, value: Any) -> None:
    node, unknown, nothing = Structural(openapi), list[str](), list[str]()
    before = deepcopy(value)
    once = node.read(value, unknown)
    assert value == before
    assert node.read(once, nothing) == once
    assert nothing == []


@pytest.mark.parametrize("text", ["1e400", "-1e999"])
def test_what_no_double_holds(text: str) -> None:
    raw = f'{{"apiVersion": "x.io/v1", "kind": "X", "metadata": {{}}, "spec": {{"n": {text}}}}}'.encode()
    schema = Structural({"type": "object", "properties": {"spec": KEEPS}}, root=True)
    with pytest.raises(BadRequest) as caught:
        decode.decode(raw, "json", schema, api_version="x.io/v1", kind="X")
    why = f"json: cannot unmarshal number {text} into Go value of type float64"
    assert caught.value.message == f'X in version "v1" cannot be handled as a X: {why}'
    assert decode.decode_applied(raw, "x.io/v1")[0]["spec"] == {"n": text}
