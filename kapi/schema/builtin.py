"""Schemas of the built-in types, made from openapi's table at first use: `builtin.schema("io.k8s.api.core.v1.Pod")`.

The table maps each definition to its fields in Go's order. A field is a type and words: "*[]T", "map[K]T", "bytes", a
definition's name, "v1.Protocol=string" for a scalar Go has a name for; '*' is a pointer, '?' omitempty, '0' omitzero, '!'
required, "in=VolumeSource" lies in an embedded struct, "list=map(port,protocol)", "map=atomic",
"patch=merge,retainKeys(name)". The key "" holds words on the whole type.
"""

import re
from functools import cache
from typing import Any

from kapi.schema import unpublished
from kapi.schema.schema import Fields, Schema
from openapi import tables

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
APIEXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    META + "Time": "time",
    META + "MicroTime": "microtime",
    META + "Duration": "duration",
    META + "FieldsV1": "any",
    APIEXTENSIONS + "JSON": "any",
    APIEXTENSIONS + "JSONSchemaPropsOrArray": "any",
    APIEXTENSIONS + "JSONSchemaPropsOrBool": "any",
    APIEXTENSIONS + "JSONSchemaPropsOrStringArray": "any",
}
"""Definitions that are not written as objects with fields."""
PLAIN = {"bool": "boolean", "float64": "number"}


def _of(name: str) -> dict[str, str]:
    """The fields of a definition. Raises KeyError."""
    return unpublished.TYPES[name] if name in unpublished.TYPES else tables.types()[name]


def _words(text: str) -> dict[str, Any]:
    """Schema arguments of the words behind a type."""
    out: dict[str, Any] = {"omit_empty": False}
    for word in text.split():
        key, _, value = word.partition("=")
        value, _, inner = value.rstrip(")").partition("(")
        if key == "?":
            out["omit_empty"] = True
        elif key == "0":
            out["omit_zero"] = True
        elif key == "in":
            out["embedded"] = value
        elif key == "list":
            out |= {"list_type": value, "keys": inner.split(",") if inner else ()}
        elif key == "map":
            out["atomic"] = value == "atomic"
        elif key == "patch":
            out |= {"patch_strategy": value.split(","), "patch_key": inner}
    return out


def _type(text: str, **more: Any) -> Schema:
    """The node of a type's notation."""
    if text.startswith("*"):
        return _type(text[1:], pointer=True, **more)
    if text.startswith("[]"):
        return Schema("list", item=_type(text[2:], omit_empty=False), **more)
    if found := re.match(r"map\[([^]]*)\](.*)", text):
        item = _type(found[2], omit_empty=False)
        return Schema("map", item=item, **{"go": "" if found[1] == "string" else f"map[{found[1]}]{item.pointed}"} | more)
    if "=" in text:
        go, _, text = text.partition("=")
        return _type(text, go=go, **more)
    if text in SPECIAL:
        return Schema(SPECIAL[text], name=text, **more)
    if text.startswith("io."):
        whole = _of(text).get("", "")
        return Schema(
            "object",
            name=text,
            fields=lambda: _fields(text),
            required=_required(text),
            **{"atomic": "map=atomic" in whole} | more,
        )
    return Schema(PLAIN.get(text, text), **more)


@cache
def _required(name: str) -> frozenset[str]:
    return frozenset(field for field, text in _of(name).items() if field and "!" in text.split())


@cache
def _fields(name: str) -> Fields:
    return {field: _field(text) for field, text in _of(name).items() if field}


def _field(text: str) -> Schema:
    kind, _, words = text.partition(" ")
    return _type(kind, **_words(words))


@cache
def schema(name: str) -> Schema:
    """The whole type of a definition name; KeyError when there is none."""
    _of(name)
    return _type(name)


@cache
def _by_gvk() -> dict[str, str]:
    out: dict[str, str] = {}
    for name, fields in tables.types().items():
        for word in fields.get("", "").split():
            if word.startswith("kind="):
                out.setdefault(word[5:], name)
    return out


def of_answer(api_version: str, kind: str) -> Schema:
    """The type of what a server answers; its documents of v1 may have no version. Raises KeyError."""
    if found := unpublished.KINDS.get((api_version, kind)):
        return schema(found)
    group, _, version = (api_version or "v1").rpartition("/")
    return schema(named(group, version, kind))


def named(group: str, version: str, kind: str) -> str:
    """The definition name of a kind: named("apps", "v1", "Deployment"); "" when there is none."""
    return _by_gvk().get(f"{group}/{version}/{kind}", "")
