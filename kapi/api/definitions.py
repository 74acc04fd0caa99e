"""Types as OpenAPI describes them: schemas of version 3 (components) and of version 2 (definitions), made from kapi.schema.

The facts come from openapi's table. Descriptions are not in it: they are read from an installed `kubernetes-validate`
package each time a document is made, and left out where there is none.
"""

import re
from collections.abc import Iterable, Iterator

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
ENUM = re.compile(r'^ - `"([^"`]*)"`', re.MULTILINE)
V3, V2 = "#/components/schemas/", "#/definitions/"


class Definitions:
    """Schemas in one of the two versions; `prefix` tells which: V3 or V2."""

    def __init__(self, prefix: str, said: Texts) -> None:
        self.prefix = prefix
        self.said = said
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
        node = builtin.schema(name)
        said = self.said.get(name, {})
        out: Object = {"description": said["description"]} if "description" in said else {}
        special = (WHOLE if self.prefix == V3 else WHOLE_V2).get(node.type)
        if special is not None or node.type == "any" or name in FREE:
            return out | (special or ({"type": "object"} if name in FREE else {}))
        out["type"] = "object"
        if node.fields:
            described, words = said.get("properties", {}), tables.types()[name]
            out["properties"] = {
                field: self.field(inner, words[field], described.get(field, {}).get("description", ""))
                for field, inner in sorted(node.fields.items())
            }
        if node.required:
            out["required"] = [field for field in node.fields if field in node.required]
        if node.atomic:
            out["x-kubernetes-map-type"] = "atomic"
        if kinds := kinds_of(name):
            out["x-kubernetes-group-version-kind"] = kinds
        return out

    def field(self, node: Schema, words: str, description: str = "") -> Object:
        """A property: its type, what is said of it, how it merges; `words` is its row in the table."""
        out = self._typed(node, in_struct=True)
        more: Object = {"description": description} if description else {}
        if node.type == "string" and self.prefix == V3 and (values := ENUM.findall(description)):
            more["enum"] = sorted(values)
        more |= _merging(node, words)
        if "$ref" in out and more and self.prefix == V3:
            out = {"allOf": [{"$ref": out["$ref"]}]}
            if not node.pointer and node.type == "object":
                out["default"] = {}
        return out | more

    def _typed(self, node: Schema, in_struct: bool = False) -> Object:
        if node.name:
            self._needed.append(node.name)
            out: Object = {"$ref": self.prefix + node.name}
            if in_struct or node.pointer or node.type != "object" or self.prefix == V2:
                return out
            return {"allOf": [out], "default": {}}
        if node.type in ("list", "map"):
            item = self._typed(node.item) if node.item else {}
            return {"type": "array", "items": item} if node.type == "list" else {"type": "object", "additionalProperties": item}
        out = dict(SCALARS[node.type])
        zero = {"string": "", "int32": 0, "int64": 0, "boolean": False, "number": 0}.get(node.type)
        if self.prefix == V3 and zero is not None and not node.pointer and not node.omit_empty:
            out["default"] = zero
        return out


def _merging(node: Schema, words: str) -> Object:
    """The x-kubernetes words of a field."""
    out: Object = {}
    if "list=" in words:
        out["x-kubernetes-list-type"] = node.list_type
    if node.keys:
        out["x-kubernetes-list-map-keys"] = list(node.keys)
    if found := re.search(r"map=(atomic|granular)", words):
        out["x-kubernetes-map-type"] = found[1]
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
