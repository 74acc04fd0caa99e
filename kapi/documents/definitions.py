"""Types as OpenAPI describes them: schemas of version 3 (components) and of version 2 (definitions), made from kapi.schema.

The facts come from openapi's tables. Descriptions are not in them: they are read from the file of the `kubernetes-validate`
package each time a document is made, and left out where there is none.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kapi.objects.meta import Object
from kapi.schema import builtin
from kapi.schema.schema import Schema
from kapi.schema.texts import Texts
from openapi import tables

SCALARS: dict[str, Object] = {
    "string": {"type": "string"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number", "format": "double"},
    "boolean": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {},
}
WHOLE: dict[str, Object] = {
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intstr": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "duration": {"type": "string"},
}
WHOLE_V2 = WHOLE | {"quantity": {"type": "string"}, "intstr": {"type": "string", "format": "int-or-string"}}
FREE = frozenset({builtin.META + "FieldsV1", builtin.META + "Patch", "io.k8s.apimachinery.pkg.runtime.RawExtension"})
"""Types that are objects of any shape."""
ZEROS: dict[str, Any] = {"string": "", "int32": 0, "int64": 0, "boolean": False, "number": 0, "object": {}}
EVERYWHERE = frozenset({builtin.META + "DeleteOptions", builtin.META + "WatchEvent"})
"""Types that are kinds of every group version."""
V3, V2 = "#/components/schemas/", "#/definitions/"


class Definitions:
    """Schemas of one OpenAPI version; `prefix` is V3 or V2. `told`: the kinds listed for types that are EVERYWHERE."""

    def __init__(self, prefix: str, descriptions: Texts, told: Callable[[Object], bool] = bool) -> None:
        self.prefix, self.told = prefix, told
        self.descriptions = descriptions
        self._published = tables.published()["types"]
        self._needed: list[str] = []

    def closure(self, names: Iterable[str]) -> Iterator[tuple[str, Object]]:
        """The named types and all they refer to, with their names."""
        seen: set[str] = set()
        self._needed = sorted(names)
        while self._needed:
            if (name := self._needed.pop()) not in seen and name in tables.types():
                seen.add(name)
                yield name, self.whole(name)

    def whole(self, name: str) -> Object:
        """One definition."""
        node, descriptions, published = builtin.schema(name), self.descriptions.get(name, {}), self._published.get(name, {})
        out: Object = {"description": descriptions["description"]} if "description" in descriptions else {}
        special = (WHOLE if self.prefix == V3 else WHOLE_V2).get(node.type)
        if special is not None or node.type == "any" or name in FREE:
            return out | (special or ({"type": "object"} if name in FREE else {}))
        out["type"] = "object"
        if node.fields:
            described, words = descriptions.get("properties", {}), tables.types()[name]
            out["properties"] = {
                field: self.field(inner, words[field], described.get(field, {}).get("description", ""), published.get(field, {}))
                for field, inner in sorted(node.fields.items())
            }
        if node.required:
            out["required"] = [field for field in node.fields if field in node.required]
        if node.atomic:
            out["x-kubernetes-map-type"] = "atomic"
        if kinds := [kind for kind in kinds_of(name) if name not in EVERYWHERE or self.told(kind)]:
            out["x-kubernetes-group-version-kind"] = kinds
        whole = published.get("", {})
        return out | {key: value for key, value in whole.items() if self.prefix == V3 or key in ("required", "x-kubernetes-unions")}

    def field(self, node: Schema, words: str, description: str, published: Object) -> Object:
        """A property: its type, description and merge strategy; `words` is its row in the table, `published` what OpenAPI adds to it."""
        out = self._typed(node)
        more: Object = {"description": description} if description else {}
        for inner in ("items", "additionalProperties"):
            if inner in published:
                out[inner] |= published[inner]
        if "enum" in published:
            more["enum"] = published["enum"]
        more |= _merging(node, words)
        if self.prefix == V3 and (default := published.get("default", _zero(node))) is not None:
            more["default"] = default
        if "$ref" in out and more and self.prefix == V3:
            out = {"allOf": [{"$ref": out["$ref"]}]}
        return out | more

    def _typed(self, node: Schema) -> Object:
        if node.name:
            self._needed.append(node.name)
            return {"$ref": self.prefix + node.name}
        if node.type in ("list", "map"):
            item = self._typed(node.item) if node.item else {}
            return {"type": "array", "items": item} if node.type == "list" else {"type": "object", "additionalProperties": item}
        return dict(SCALARS[node.type])


def _zero(node: Schema) -> Any:
    """Go's zero value of a field that always has one; None for the others."""
    if node.pointer or node.type not in ZEROS or (node.omit_empty and not node.name):
        return None
    return ZEROS[node.type]


def _merging(node: Schema, words: str) -> Object:
    """The x-kubernetes words of a field."""
    out: Object = {}
    if "list=" in words:
        out["x-kubernetes-list-type"] = node.list_type
    if node.keys:
        out["x-kubernetes-list-map-keys"] = list(node.keys)
    if match := re.search(r"map=(atomic|granular)", words):
        out["x-kubernetes-map-type"] = match[1]
    if node.patch_strategy:
        out["x-kubernetes-patch-strategy"] = ",".join(sorted(node.patch_strategy, key=["merge", "retainKeys", "replace"].index))
    if node.patch_key:
        out["x-kubernetes-patch-merge-key"] = node.patch_key
    return out


def kinds_of(name: str) -> list[Object]:
    """The group-version-kinds of a definition."""
    words = tables.types()[name].get("", "").split()
    triples = (word[5:].split("/") for word in words if word.startswith("kind="))
    return [{"group": group, "kind": kind, "version": version} for group, version, kind in triples]
