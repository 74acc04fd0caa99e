"""The OpenAPI of custom kinds, as it is published: their own schema, with what every object has, in both versions of OpenAPI.

Version 2 lacks words for much, and its clients take what they do not understand for errors: there it is left out.
Source: apiextensions-apiserver's OpenAPI builder and its conversion to version 2 (v1.36).
"""

from collections.abc import Iterator

from kapi.documents.definitions import V2, V3
from kapi.objects.meta import Object
from kapi.registry.kind import Kind
from kapi.schema import builtin
from kapi.schema.structural import EMBEDDED, INT_OR_STRING, PRESERVE
from kapi.schema.texts import Texts

JUNCTORS = ("allOf", "oneOf", "anyOf", "not")
INT_OR_STRING_ANY = [{"type": "integer"}, {"type": "string"}]
CONVENTIONS = "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"


def type_name(kind: Kind, listed: bool = False) -> str:
    """The definition name of a kind's objects or lists: of a custom one 'com.example.v1.Thing'."""
    resource = kind.resource
    if not kind.custom:
        return builtin.named(resource.group, resource.version, resource.kind) + ("List" if listed else "")
    own = (kind.list_kind or resource.kind + "List") if listed else resource.kind
    return ".".join([*reversed(resource.group.split(".")), resource.version, own])


def types(kind: Kind, prefix: str, descriptions: Texts) -> Iterator[tuple[str, Object]]:
    """The definitions of a custom kind, its objects and its lists, with their names. `prefix` is that of the version: V3 or V2."""
    yield type_name(kind), whole(kind, prefix, descriptions)
    yield type_name(kind, True), _list(kind, prefix, descriptions)


def whole(kind: Kind, prefix: str, descriptions: Texts) -> Object:
    """The schema of an object."""
    given = kind.strategy.openapi()
    if not given or (prefix == V2 and given.get(PRESERVE)):
        return {"type": "object", **_named(kind, kind.resource.kind)}
    own = _converted(given, prefix, descriptions)
    own["properties"] = dict(own.get("properties") or {}) | _header("Pod", "ObjectMeta", prefix, descriptions)
    return own | _named(kind, kind.resource.kind)


def _named(kind: Kind, own: str) -> Object:
    resource = kind.resource
    return {"x-kubernetes-group-version-kind": [{"group": resource.group, "kind": own, "version": resource.version}]}


def _header(like: str, meta: str, prefix: str, descriptions: Texts) -> Object:
    """What every object (or list) has, described as that of a built-in kind is."""
    known = descriptions.get(f"io.k8s.api.core.v1.{like}", {}).get("properties", {})
    fields = ("apiVersion", "kind", "metadata")
    described = {name: {"description": known[name]["description"]} if name in known else {} for name in fields}
    reference: Object = {"$ref": prefix + builtin.META + meta}
    if described["metadata"] and prefix == V3:
        reference = {"allOf": [reference]}
    out = {name: {"type": "string", **described[name]} for name in ("apiVersion", "kind")}
    return out | {"metadata": {**reference, **described["metadata"]}}


def _list(kind: Kind, prefix: str, descriptions: Texts) -> Object:
    own = kind.resource.kind
    items: Object = {"type": "array", "items": {"$ref": prefix + type_name(kind)}}
    out: Object = {"type": "object", "required": ["items"]}
    if descriptions:
        out["description"] = f"{own}List is a list of {own}"
        items["description"] = f"List of {kind.resource.plural}. {CONVENTIONS}"
    out["properties"] = _header("PodList", "ListMeta", prefix, descriptions) | {"items": items}
    return out | _named(kind, kind.list_kind or own + "List")


def _converted(given: Object, prefix: str, descriptions: Texts) -> Object:
    """A schema and all below it as this version has it."""
    out = _reduced(given) if prefix == V2 else dict(given)
    if prefix == V3 and given.get(INT_OR_STRING):
        out.setdefault("anyOf", INT_OR_STRING_ANY)
    if "properties" in out:
        out["properties"] = {name: _converted(part, prefix, descriptions) for name, part in out["properties"].items()}
    for field in ("items", "additionalProperties"):
        if isinstance(out.get(field), dict):
            out[field] = _converted(out[field], prefix, descriptions)
    if given.get(EMBEDDED) and not (prefix == V2 and given.get(PRESERVE)):
        out["properties"] = (out.get("properties") or {}) | _header("Pod", "ObjectMeta", prefix, descriptions)
        out["required"] = list(dict.fromkeys([*(out.get("required") or ()), "kind", "apiVersion"]))
    return out


def _reduced(given: Object) -> Object:
    """One node without the keywords that OpenAPI v2 lacks."""
    out = {key: value for key, value in given.items() if key not in (*JUNCTORS, "nullable", "default")}
    nullable, open_ = given.get("nullable"), given.get(PRESERVE)
    if nullable or open_:
        for field in ("items", "properties"):
            out.pop(field, None)
    if nullable or (out.get("type") == "array" and "items" not in out) or (open_ and out.get("type") == "object"):
        out.pop("type", None)
    fields = given.get("properties") or {}
    if needed := [name for name in given.get("required") or () if not (fields.get(name) or {}).get("nullable")]:
        out["required"] = needed
    else:
        out.pop("required", None)
    return out
