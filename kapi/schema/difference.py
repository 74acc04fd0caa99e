"""What an update changed, as field sets: added or changed fields, and removed ones.

Objects are compared as stock compares them, as Go structs: a field Go always writes (a struct that is not a pointer, a list
without omitempty) is present even when the JSON lacks it, so a new field inside it changes only itself.
Reordering a list whose items have keys is not a change. `created` is the fast path: everything is new.
"""

from functools import lru_cache
from typing import Any

import orjson

from kapi import limits
from kapi.objects.meta import Object
from kapi.schema.fieldset import MEMBER, FieldSet, child, granular, item_step, items
from kapi.schema.schema import ANY, ZEROS, Schema

_STRUCTS = frozenset({"object", "time", "microtime", "duration", "quantity", "intstr"})
_NO_FIELDS = frozenset({"kind", "apiVersion"})
NEVER_OWNED = frozenset(
    {"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion"}
)
"""Metadata that no manager owns."""
_NEVER_CREATED = NEVER_OWNED | {"deletionTimestamp", "deletionGracePeriodSeconds"}
"""Fields that the server clears on create before it tracks owners."""


@lru_cache(maxsize=8192)
def _always_there(schema: Schema) -> bool:
    """Whether Go writes the field even when it is empty: structs always, unless they have omitzero."""
    if schema.type in _STRUCTS:
        return not schema.pointer and not schema.omit_zero
    return not schema.omit_empty and not schema.pointer


def _zero(schema: Schema) -> Any:
    return {} if schema.type == "object" else ZEROS.get(schema.type)


# all new ------------------------------------------------------------------------------------------------------------------------


def _whole(schema: Schema, value: Any) -> FieldSet:
    """The node of a value that was not there before: a member, and so is everything in it."""
    if not value or not granular(schema, value):
        return MEMBER
    out: Object = {".": MEMBER}
    if isinstance(value, list):
        item_schema = schema.item or ANY
        for item in value:
            step = item_step(schema, item)
            if step not in out:
                out[step] = _whole(item_schema, item)
        return out if len(out) < 3 else dict(sorted(out.items()))
    if schema.type == "map":
        inner = schema.item or ANY
        for name in sorted(value):
            out[f"f:{name}"] = _whole(inner, value[name])
        return out
    fields = schema.fields
    for name in sorted(value):
        item = value[name]
        out[f"f:{name}"] = _whole(fields.get(name) or ANY, item) if isinstance(item, dict | list) else MEMBER
    return out


def _into_struct(schema: Schema, value: Object, skip: frozenset[str]) -> Object:
    """The children of a struct that was there, empty, before."""
    out: Object = {}
    for name in sorted(value):
        if name in skip:
            continue
        node, item = child(schema, name), value[name]
        if not _always_there(node):
            out[f"f:{name}"] = _whole(node, item)
        elif node.type == "object" and not node.atomic:
            inner = _into_struct(node, item or {}, frozenset())
            if inner:
                out[f"f:{name}"] = inner
        elif item != _zero(node) and granular(node, item):
            inner = {step: node for step, node in _whole(node, item).items() if step != "."}
            if item is not None:
                out[f"f:{name}"] = inner
        elif item != _zero(node) and item is not None:
            out[f"f:{name}"] = MEMBER
    return out


_kept: dict[tuple[str, bytes], Object] = {}
"""Field sets of the specs that came last: what comes from one template has one spec."""


def _spec(schema: Schema, spec: Object) -> Object:
    """The children of `spec`: 50 µs to work out for a pod, 4 to find again."""
    key = (schema.name, orjson.dumps(spec))
    found = _kept.get(key)
    if found is None:
        found = _into_struct(schema, spec, frozenset())
        if len(key[1]) <= limits.SPEC_REMEMBERED_BYTES:
            if len(_kept) >= limits.SPECS_REMEMBERED:
                del _kept[next(iter(_kept))]
            _kept[key] = found
    return found


def created(schema: Schema, obj: Object, skip: frozenset[str] = frozenset()) -> FieldSet:
    """The fields that the creator of an object owns; `skip` are fields the endpoint resets ("status")."""
    spec, node = obj.get("spec"), child(schema, "spec")
    if isinstance(spec, dict) and node.name and "spec" not in skip and node.type == "object" and not node.atomic and _always_there(node):
        out = _into_struct(schema, obj, skip | _NO_FIELDS | {"metadata", "spec"})
        if inner := _spec(node, spec):
            out = dict(sorted({**out, "f:spec": inner}.items()))
    else:
        out = _into_struct(schema, obj, skip | _NO_FIELDS | {"metadata"})
    metadata = _into_struct(child(schema, "metadata"), obj.get("metadata") or {}, _NEVER_CREATED)
    if metadata:
        out["f:metadata"] = metadata
        out = dict(sorted(out.items()))
    return out


# changed ------------------------------------------------------------------------------------------------------------------------

_ABSENT: Any = object()


class _Walk:
    """Two growing sets; `node` returns the parts of one place: (changed, removed), None for nothing."""

    def node(self, schema: Schema, old: Any, new: Any) -> tuple[Object | None, Object | None]:
        if old is _ABSENT:
            return dict(_whole(schema, new)), None
        if new is _ABSENT:
            return None, dict(_whole(schema, old))
        if old == new:
            return None, None
        if isinstance(old, dict | None) and isinstance(new, dict | None) and (old or new) and granular(schema, old or new):
            return self.maps(schema, old or {}, new or {})
        if isinstance(old, list | None) and isinstance(new, list | None) and (old or new) and granular(schema, old or new):
            return self.lists(schema, old or [], new or [])
        if not old and not new and old is not False and new is not False and not isinstance(old, str | int | float):
            return (None, None) if type(old) is type(new) else ({}, None)
        return {}, None

    def maps(
        self, schema: Schema, old: Object, new: Object, skip: frozenset[str] = frozenset()
    ) -> tuple[Object | None, Object | None]:
        changed: Object = {}
        removed: Object = {}
        names = [*new, *(name for name in old if name not in new)]
        for name in names:
            before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
            if before is after or before == after or name in skip:
                continue
            node = child(schema, name)
            if (before is _ABSENT or after is _ABSENT) and schema.type != "map" and _always_there(node):
                before = _zero(node) if before is _ABSENT else before
                after = _zero(node) if after is _ABSENT else after
            self._put(f"f:{name}", self.node(node, before, after), changed, removed)
        return _sorted(changed), _sorted(removed)

    def lists(self, schema: Schema, old: list[Any], new: list[Any]) -> tuple[Object | None, Object | None]:
        changed: Object = {}
        removed: Object = {}
        before, after = items(schema, old), items(schema, new)
        for step, item in after.items():
            self._put(step, self.node(schema.item or ANY, before.get(step, _ABSENT), item), changed, removed)
        for step, item in before.items():
            if step not in after:
                removed[step] = _whole(schema.item or ANY, item)
        return _sorted(changed), _sorted(removed)

    @staticmethod
    def _put(step: str, parts: tuple[Object | None, Object | None], changed: Object, removed: Object) -> None:
        if parts[0] is not None:
            changed[step] = parts[0]
        if parts[1] is not None:
            removed[step] = parts[1]


def _sorted(node: Object) -> Object | None:
    return dict(sorted(node.items())) if node else None


def between(schema: Schema, old: Object, new: Object, skip: frozenset[str] = frozenset()) -> tuple[FieldSet, FieldSet]:
    """(changed or added, removed) from one object to the next; metadata without owners is left out."""
    walk = _Walk()
    changed, removed = walk.maps(schema, old, new, skip | _NO_FIELDS | {"metadata"})
    before, after = old.get("metadata") or {}, new.get("metadata") or {}
    meta = walk.maps(child(schema, "metadata"), before, after, NEVER_OWNED)
    return _with_metadata(changed, meta[0]), _with_metadata(removed, meta[1])


def _with_metadata(fields: Object | None, metadata: Object | None) -> FieldSet:
    if metadata:
        fields = dict(sorted({**(fields or {}), "f:metadata": metadata}.items()))
    return fields or {}
