"""metadata.managedFields: which manager owns which field. `track` serves every write but apply, which uses the functions below it.

An entry is the field set of a manager; its identity is (manager, operation, version, subresource), without the version for Apply.
Entries are never changed once stored. Rules and order are those of stock's field manager (structured-merge-diff, v1.36).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from kapi.objects.meta import Object
from kapi.schema import difference
from kapi.schema import fieldset as sets
from kapi.schema.fieldset import FieldSet
from kapi.schema.schema import ANY, Schema

Entry = dict[str, Any]
Identity = tuple[str, str, str, str]

UPDATE, APPLY = "Update", "Apply"
MAX_UPDATERS = 10
"""More updaters than this are merged, oldest first, into one entry for each version."""
ANCIENT = "ancient-changes"
BEFORE_APPLY = "before-first-apply"


class Versions(Protocol):
    """The versions that managers of an object wrote in, where a webhook converts between them: their fields have other names there."""

    def schema(self, api_version: str) -> Schema | None:
        """None for a version that is gone."""

    def convert(self, obj: Object, api_version: str) -> Object:
        """The object in another version."""


class Changes:
    """What a write changed and removed: (changed, removed) fields."""

    __slots__ = ("_known", "_new", "_old", "_reset", "changed", "removed", "versions")

    def __init__(
        self, schema: Schema, old: Object | None, new: Object, reset: Sequence[tuple[str, ...]], api_version: str, versions: Versions | None
    ) -> None:
        self.changed, self.removed = changes(schema, old, new, reset)
        self.versions = versions
        if versions is not None:
            self._old, self._new, self._reset = old, new, reset
            self._known: dict[str, tuple[FieldSet, FieldSet] | None] = {api_version: (self.changed, self.removed)}

    def of(self, item: Entry) -> tuple[FieldSet, FieldSet] | None:
        """The same in the version of a manager's entry; None when that version is gone."""
        if self.versions is None or self._old is None:
            return self.changed, self.removed
        version = item["apiVersion"]
        if version not in self._known:
            self._known[version] = self._in(version, self.versions, self._old)
        return self._known[version]

    def _in(self, version: str, versions: Versions, old: Object) -> tuple[FieldSet, FieldSet] | None:
        schema = versions.schema(version)
        if schema is None:
            return None
        return changes(schema, versions.convert(bare(old), version), versions.convert(bare(self._new), version), self._reset)


def bare(obj: Object) -> Object:
    """The object without its managedFields."""
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}


def identity(entry: Entry) -> Identity:
    operation = entry.get("operation", "")
    version = "" if operation == APPLY else entry.get("apiVersion", "")
    return entry.get("manager", ""), operation, version, entry.get("subresource", "")


def entry(owner: Identity, api_version: str, fields: FieldSet, time: str | None) -> Entry:
    """An entry in stock's order of fields."""
    out: Entry = {"manager": owner[0]} if owner[0] else {}
    out |= {"operation": owner[1], "apiVersion": api_version}
    if time:
        out["time"] = time
    out |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    if owner[3]:
        out["subresource"] = owner[3]
    return out


def _valid(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.get("operation") in (UPDATE, APPLY)
        and bool(item.get("apiVersion"))
        and item.get("fieldsType") == "FieldsV1"
        and _valid_fields(item.get("fieldsV1"))
    )


def _valid_fields(node: Any) -> bool:
    """Whether a value is valid fieldsV1; None is the empty set."""
    if node is None:
        return True
    if not isinstance(node, dict):
        return False
    return all((step == "." or step[:2] in ("f:", "k:", "v:", "i:")) and _valid_fields(inner) for step, inner in node.items())


def decode(entries: Any) -> list[Entry]:
    """The entries of managedFields, [] when one of them is invalid."""
    if not isinstance(entries, list) or not all(map(_valid, entries)):
        return []
    merged: dict[Identity, Entry] = {}
    for item in entries:
        merged[identity(item)] = item
    return list(merged.values())


def base_entries(schema: Schema, old: Object | None, new: Object, subresource: str) -> list[Entry]:
    """The entries before a write; removes them from `new`. Clients may send their own, or [] (or [{}]) to reset them."""
    sent = new["metadata"].pop("managedFields", None)
    live = (old or {}).get("metadata", {}).get("managedFields") or []
    if subresource or sent is None or sent == live:
        return reconciled(schema, live) if not schema.name else list(live)
    if sent in ([], [{}]):
        return []
    return reconciled(schema, decode(sent)) or list(live)


def reconciled(schema: Schema, entries: Iterable[Entry]) -> list[Entry]:
    """Entries adapted to the current schema, which may have changed since (custom resources), or which a client sent."""
    out = []
    for item in entries:
        fields: FieldSet = item.get("fieldsV1") or {}
        left = reconcile_field_set(schema, fields)
        out.append(item if left is fields else {**item, "fieldsV1": left})
    return out


def reconcile_field_set(schema: Schema, fields: FieldSet) -> FieldSet:
    """The field set under the current schema: owners of a part of what is atomic now own it as a whole. Itself if nothing changes."""
    out: Object | None = None
    for step, node in fields.items():
        if not node or step == ".":
            continue
        inner = sets.child(schema, step[2:]) if step.startswith("f:") else schema.item or ANY
        atomic = inner.atomic or (inner.type == "list" and inner.list_type == "atomic")
        left = sets.MEMBER if atomic else reconcile_field_set(inner, node)
        if left is not node:
            out = dict(fields) if out is None else out
            out[step] = left
    return fields if out is None else out


def set_entries(new: Object, entries: Iterable[Entry]) -> None:
    """Write the entries into the object: appliers first, then by time, manager, version, subresource."""
    ordered = sorted(
        entries,
        key=lambda e: (e["operation"], e.get("time") or "", e.get("manager", ""), e.get("apiVersion", ""), e.get("subresource", "")),
    )
    if ordered:
        new["metadata"]["managedFields"] = ordered
    else:
        new["metadata"].pop("managedFields", None)


def _without(item: Entry, *gone: FieldSet) -> Entry | None:
    """The entry without some fields; itself if it has none of them, None if nothing is left."""
    fields: FieldSet = item.get("fieldsV1") or {}
    left = fields
    for part in gone:
        if part and left:
            left = sets.difference(left, part)
    if left is fields:
        return item if fields else None
    return {**item, "fieldsV1": left} if left else None


def remove_fields(entries: Iterable[Entry], gone: Changes) -> list[Entry]:
    """The entries without fields that have a new owner or were removed; empty entries are dropped."""
    if gone.versions is None:
        return [left for item in entries if (left := _without(item, gone.changed, gone.removed)) is not None]
    found = ((item, gone.of(item)) for item in entries)
    return [left for item, both in found if both is not None and (left := _without(item, *both)) is not None]


def changes(
    schema: Schema, old: Object | None, new: Object, reset: Sequence[tuple[str, ...]] = ()
) -> tuple[FieldSet, FieldSet]:
    """(changed, removed) fields of a write, without those the endpoint resets."""
    skip = frozenset(path[0] for path in reset if len(path) == 1)
    if old is None:
        changed, removed = difference.created(schema, new, skip), sets.MEMBER
    else:
        changed, removed = difference.between(schema, old, new, skip)
    for path in reset:
        if len(path) > 1 or path[0] == "metadata":
            changed, removed = sets.prune(changed, path), sets.prune(removed, path)
    return changed, removed


def track(
    schema: Schema,
    old: Object | None,
    new: Object,
    *,
    manager: str,
    api_version: str,
    operation: str = UPDATE,
    subresource: str = "",
    reset: Sequence[tuple[str, ...]] = (),
    stamp: str,
    versions: Versions | None = None,
) -> None:
    """Set the managedFields of `new` after this write; an object with list items without keys loses them.

    `old` is None for a create; `stamp` is the time now.
    """
    entries = base_entries(schema, old, new, subresource)
    if old is not None and not entries:
        return
    try:
        made = Changes(schema, old, new, reset, api_version, versions)
        owner: Identity = (manager, operation, api_version, subresource)
        if entries:
            entries = update_entries(entries, owner, api_version, made, stamp)
        elif made.changed:
            entries = [entry(owner, api_version, made.changed, stamp)]
    except sets.MissingKeys:
        return
    set_entries(new, cap_updaters(entries))


def update_entries(
    entries: list[Entry], owner: Identity, api_version: str, made: Changes, stamp: str
) -> list[Entry]:
    """Entries after `owner` changed and removed fields: others lose both, `owner` gets the changed ones."""
    changed = made.changed
    if not changed and not made.removed:
        return entries
    own = next((item for item in entries if identity(item) == owner), None)
    entries = remove_fields(entries, made)
    if not changed:
        return entries
    kept = next((item for item in entries if identity(item) == owner), None)
    fields = changed if own is None or kept is None else sets.union(kept["fieldsV1"], changed)
    return [*(item for item in entries if item is not kept), entry(owner, api_version, fields, stamp)]


def cap_updaters(entries: list[Entry]) -> list[Entry]:
    """At most MAX_UPDATERS updaters: the oldest of a version are folded into one entry."""
    updaters = [item for item in entries if item["operation"] == UPDATE]
    excess = len(updaters) - MAX_UPDATERS
    if excess <= 0:
        return entries
    updaters.sort(key=lambda e: (e.get("time") or "", e.get("manager", ""), e.get("subresource", "")))
    folded: dict[str, list[Entry]] = {item["apiVersion"]: [item] for item in updaters if item.get("manager") == ANCIENT}
    first: dict[str, Entry] = {}
    for item in updaters:
        if excess <= 0:
            break
        version = item["apiVersion"]
        if version not in first:
            first[version] = item
            continue
        folded.setdefault(version, [first[version]]).append(item)
        excess -= 1
    folded = {version: items for version, items in folded.items() if len(items) > 1}
    gone = {id(item) for items in folded.values() for item in items}
    return [item for item in entries if id(item) not in gone] + [_ancient(version, items) for version, items in folded.items()]


def _ancient(version: str, items: list[Entry]) -> Entry:
    """One entry for several updaters, as stock's ancient-changes."""
    fields = sets.union_all([item["fieldsV1"] for item in items])
    return entry((ANCIENT, UPDATE, version, ""), version, fields, items[-1].get("time"))


def unchanged_but_times(new: Object, old: Object) -> bool:
    """Whether two objects differ only in the times of managedFields: such a write is a no-op."""
    mine, theirs = new["metadata"].get("managedFields"), old["metadata"].get("managedFields")
    if mine == theirs:
        return new == old
    if not mine or not theirs or _without_times(mine) != _without_times(theirs):
        return False
    ours = {**new, "metadata": {**new["metadata"], "managedFields": theirs}}
    return ours == old


def _without_times(entries: list[Entry]) -> list[Entry]:
    return sorted(({k: v for k, v in item.items() if k != "time"} for item in entries), key=identity)
