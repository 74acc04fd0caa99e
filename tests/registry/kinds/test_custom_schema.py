"""Schemas of definitions that are not structural, or have bad lists, defaults and paths: what is said, and where."""

import re
from typing import Any

import pytest

from kapi.objects.meta import Object
from kapi.registry.kinds.apiextensions import custom_paths, custom_schema
from kapi.registry.kinds.apiextensions.custom_schema import NOTHING_SPARED, Spared

TEXT: Object = {"type": "string"}
IDS = "x-kubernetes-list-map-keys"


def obj(**properties: Any) -> Object:
    return {"type": "object", "properties": properties}


def told(schema: Object, spare: Spared = NOTHING_SPARED, *, status: bool = False) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in custom_schema.validate("s", schema, status, spare)]


def keyed(item: Object, *keys: str) -> Object:
    return {"type": "array", "x-kubernetes-list-type": "map", IDS: list(keys), "items": item}


UNTYPED = "Required value: must not be empty for specified object fields"
BARE = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
NEEDED = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"


@pytest.mark.parametrize(
    ("field", "causes"),
    [
        ({"type": "array"}, ["items: Required value: must be specified"]),
        ({"type": "array", "items": {}}, ["items.type: Required value: must not be empty for specified array items"]),
        ({"type": "array", "items": [TEXT]}, ["items: Forbidden: items must be a schema object and not an array"]),
        ({"type": "string", "$ref": "#/x"}, ["$ref: Forbidden: $ref is not supported"]),
        ({"$schema": "x"}, []),
        ({**obj(c=TEXT), "anyOf": [{"type": "object"}]}, ["anyOf[0].type: Forbidden: must be empty to be structural"]),
        ({**obj(c=TEXT), "not": {"properties": {"c": {"default": 0}}}},
         ["not.properties[c].default: Forbidden: must be undefined to be structural"]),
        ({**obj(c=TEXT), "allOf": [{"nullable": True, "title": "t"}]},
         ["allOf[0].nullable: Forbidden: must be false to be structural", "allOf[0].title: Forbidden: must be empty to be structural"]),
        ({**obj(c=TEXT), "oneOf": [{"properties": {"d": {"minLength": 2}}}]}, []),
        ({**obj(metadata=obj()), "anyOf": [{"properties": {"metadata": {}}}]},
         ["anyOf[0].properties[metadata]: Forbidden: must not be specified in a nested context"]),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, []),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}]},
         ["anyOf[0].type: Forbidden: must be empty to be structural"]),
        ({"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^a"}]}, []),
        ({"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
         ["x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"]),
        ({"type": "object", "x-kubernetes-embedded-resource": True}, [f"properties: Required value: {BARE}"]),
        ({**obj(kind={"type": "integer"}), "x-kubernetes-embedded-resource": True},
         ['properties[kind].type: Invalid value: "integer": must be string']),
        ({"type": "string", "pattern": "["}, [
            'pattern: Invalid value: "[": must be a valid regular expression, but isn\'t: error parsing regexp: missing closing ]: `[`']),
        ({"type": "null"}, [
            'type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string"',
            "type: Forbidden: type cannot be set to null, use nullable as an alternative"]),
        ({**obj(c=TEXT), "additionalProperties": True}, []),
        ({**obj(c=TEXT), "additionalProperties": False},
         ["additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"]),
        ({"type": "object", "definitions": {"d": TEXT}}, ["definitions: Forbidden: definitions is not supported"]),
    ],
)  # fmt: skip
def test_shapes(field: Object, causes: list[str]) -> None:
    wanted = [f"s.properties[f].{cause}" for cause in causes]
    if "$schema" in field:
        wanted = ["s: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"]
    assert told(obj(f=field)) == wanted


def test_what_the_root_of_a_status_may_not_say() -> None:
    bad: list[Object] = [{"not": {}}, {"additionalProperties": {}}, {"nullable": True}]
    for more in bad:
        assert told({**obj(status=obj()), **more}, status=True)[0].startswith('s: Invalid value: {"ID":"",'), more
    assert told({**obj(status=obj()), "nullable": False, "allOf": [], "description": "d"}, status=True) == []


@pytest.mark.parametrize(
    ("root", "causes"),
    [
        (obj(metadata={"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}), []),
        (obj(metadata=obj(labels=obj())), ["s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, "
                                           "but metadata is implicitly specified"]),
        (obj(metadata=TEXT), ['s.properties[metadata].type: Invalid value: "string": must be object']),
        ({**obj(), "additionalProperties": True}, ["s.additionalProperties: Forbidden: must not be used at the root"]),
        ({**obj(c=TEXT), "oneOf": [{"properties": {"d": {"minLength": 2}}}]},
         ["s.properties[d]: Required value: because it is defined in s.oneOf[0].properties[d]"]),
        ({**obj(c=TEXT), "allOf": [{"not": {"properties": {"c": {"items": {"minLength": 2}}}}}]},
         ["s.properties[c].items: Required value: because it is defined in s.allOf[0].not.properties[c].items"]),
        (obj(apiVersion={"type": "string", "default": "v9"}), [
            "s.properties[apiVersion].default: Forbidden: must not be set in top-level apiVersion"]),
    ],
)  # fmt: skip
def test_the_root(root: Object, causes: list[str]) -> None:
    assert told(root) == causes


@pytest.mark.parametrize(
    ("field", "causes"),
    [
        ({"type": "array", "x-kubernetes-list-type": "set", "items": obj(a=TEXT)}, [
            "items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"]),
        ({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT}}, [
            'items.x-kubernetes-list-type: Invalid value: "set": must be atomic as item of a list with x-kubernetes-list-type=set']),
        ({"type": "array", "x-kubernetes-list-type": "set", "items": {**TEXT, "nullable": True}},
         ["items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set"]),
        (keyed({**obj(n=TEXT), "required": ["n"]}, "m"),
         [f'{IDS}: Invalid value: ["m"]: entries must all be names of item properties']),
        (keyed({**obj(n=TEXT), "required": ["n"]}, "n", "n"), [f'{IDS}: Invalid value: ["n","n"]: must not contain duplicate entries']),
        (keyed({**obj(n=obj()), "required": ["n"]}, "n"), [
            "items.properties[n].type: Invalid value: \"object\": must be a scalar type if parent array's x-kubernetes-list-type is map"]),
        (keyed(obj(n=TEXT), "n"), [f"items.properties[n].default: Required value: {NEEDED}"]),
        (keyed(TEXT, "n"), ["items.type: Invalid value: \"string\": must be object if parent array's x-kubernetes-list-type is map"]),
    ],
)  # fmt: skip
def test_lists(field: Object, causes: list[str]) -> None:
    assert told(obj(f=field)) == [f"s.properties[f].{cause}" for cause in causes]


RULED = {"x-kubernetes-validations": [{"rule": "self > 7"}]}


@pytest.mark.parametrize(
    ("field", "causes"),
    [
        ({**obj(b=TEXT), "default": {"c": "x"}}, ['default: Invalid value: {"c":"x"}: must not have unknown fields']),
        ({"type": "integer", "default": "no"}, ['default: Invalid value: "string":  in body must be of type integer: "string"']),
        ({"type": "integer", "default": 6, **RULED}, ["default: Invalid value: 6: failed rule: self > 7"]),
        ({**obj(i={"type": "integer", **RULED}), "default": {"i": 5}}, ["default.i: Invalid value: 5: failed rule: self > 7"]),
        ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True, "default": {}},
         ["default.apiVersion: Required value", "default.kind: Required value"]),
    ],
)  # fmt: skip
def test_defaults(field: Object, causes: list[str]) -> None:
    assert told(obj(f=field)) == [f"s.properties[f].{cause}" for cause in causes]


def test_a_default_in_a_header() -> None:
    (text,) = told(obj(f={**obj(kind={"type": "string", "default": "Not Good"}), "x-kubernetes-embedded-resource": True}))
    at = 's.properties[f].properties[kind].default: Invalid value: "Not Good"'
    assert text.startswith(f'{at}: must result in valid metadata: kind: Invalid value: "Not Good": may have mixed case, but should ')


def test_what_an_update_is_spared() -> None:
    old = obj(f=keyed(obj(n=TEXT), "n"), g={**obj(b=TEXT), "default": {"c": "x"}})
    spared = custom_schema.spared([old])
    assert spared == Spared(defaults=True, map_keys=True)
    assert told(old, spared) == []
    assert custom_schema.spared([obj(f={"type": "file"}, g={"type": "array", "x-kubernetes-list-type": "set", "items": obj()})]) == Spared(
        types=True, sets=True
    )


PATHS = obj(spec=obj(a=TEXT, map={"type": "object", "additionalProperties": TEXT}))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", "spec.a"),
        (".spec['a']", "spec.a"),
        (".spec.map['x.y']", "spec.map[x.y]"),
        (".spec.map.x", "spec.map[x]"),
        (r".spec.map['it\'s']", "spec.map[it's]"),
    ],
)
def test_paths(path: str, found: str) -> None:
    assert custom_paths.find(PATHS, path).path == found


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("spec", "expected [ or . but got: spec"),
        (".spec.", "unexpected end of JSON path"),
        (".spec[a]", "expected single quoted string but got a"),
        (".spec['a'", "unexpected end of JSON path"),
        (r".spec['\z']", r"invalid string literal: invalid escape char \z"),
        (".spec.a.b", "does not refer to a valid field"),
        (".other", "does not refer to a valid field"),
    ],
)
def test_bad_paths(path: str, fault: str) -> None:
    with pytest.raises(custom_paths.PathFault, match=f"^{re.escape(fault)}$"):
        custom_paths.find(PATHS, path)


def test_paths_without_brackets() -> None:
    with pytest.raises(custom_paths.PathFault, match="array notation is not allowed"):
        custom_paths.find(obj(a=TEXT), "['a']", brackets=False)
