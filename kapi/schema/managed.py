"""metadata.managedFields: who owns which field. `track` is what every write but apply does; apply uses the pieces.

An entry is a manager's set of fields; (manager, operation, version, subresource) is its identity, where appliers of all
versions are one. Entries are never changed once stored. Rules and order are those of stock's field manager.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from kapi.objects.meta import Object
from kapi.schema import difference
from kapi.schema import fieldset as sets
from kapi.schema.fieldset import FieldSet
from kapi.schema.schema import ANY, Schema

Entry = dict[str, Any]
Identity = tuple[str, str, str, str]

UPDATE, APPLY = "Update", "Apply"
MAX_UPDATERS = 10
"""More updaters than this are folded, oldest first, into one entry a version."""
ANCIENT = "ancient-changes"
BEFORE_APPLY = "before-first-apply"


def identity(entry: Entry) -> Identity:
    operation = entry.get("operation", "")
    version = "" if operation == APPLY else entry.get("apiVersion", "")
    return entry.get("manager", ""), operation, version, entry.get("subresource", "")


def entry(who: Identity, api_version: str, fields: FieldSet, time: str | None) -> Entry:
    """An entry in stock's order of fields."""
    out: Entry = {"manager": who[0]} if who[0] else {}
    out |= {"operation": who[1], "apiVersion": api_version}
    if time:
        out["time"] = time
    out |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    if who[3]:
        out["subresource"] = who[3]
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
    """Whether it reads as fieldsV1; None is the empty set."""
    if node is None:
        return True
    if not isinstance(node, dict):
        return False
    return all((step == "." or step[:2] in ("f:", "k:", "v:", "i:")) and _valid_fields(inner) for step, inner in node.items())


def decode(entries: Any) -> list[Entry]:
    """The entries, or none at all when one of them makes no sense."""
    if not isinstance(entries, list) or not all(map(_valid, entries)):
        return []
    merged: dict[Identity, Entry] = {}
    for item in entries:
        merged[identity(item)] = item
    return list(merged.values())


def starting(schema: Schema, old: Object | None, new: Object, subresource: str) -> list[Entry]:
    """The entries a write starts from; takes them off `new`. Clients may send their own, or [] (or [{}]) to drop all."""
    sent = new["metadata"].pop("managedFields", None)
    live = (old or {}).get("metadata", {}).get("managedFields") or []
    if subresource or sent is None or sent == live:
        return fitting(schema, live) if not schema.name else list(live)
    if sent in ([], [{}]):
        return []
    return fitting(schema, decode(sent)) or list(live)


def fitting(schema: Schema, entries: Iterable[Entry]) -> list[Entry]:
    """Entries made fit for a type that may have changed since (one from a client, or of a custom resource)."""
    out = []
    for item in entries:
        fields: FieldSet = item.get("fieldsV1") or {}
        left = flattened(schema, fields)
        out.append(item if left is fields else {**item, "fieldsV1": left})
    return out


def flattened(schema: Schema, fields: FieldSet) -> FieldSet:
    """The set for a type that has changed: what is atomic now is owned as a whole by whoever owned a part. The same one if all is well."""
    out: Object | None = None
    for step, node in fields.items():
        if not node or step == ".":
            continue
        inner = sets.child(schema, step[2:]) if step.startswith("f:") else schema.item or ANY
        atomic = inner.atomic or (inner.type == "list" and inner.list_type == "atomic")
        left = sets.MEMBER if atomic else flattened(inner, node)
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
    """The entry less some fields; the same one if it has none of them, None if nothing is left."""
    fields: FieldSet = item.get("fieldsV1") or {}
    left = fields
    for part in gone:
        if part and left:
            left = sets.difference(left, part)
    if left is fields:
        return item if fields else None
    return {**item, "fieldsV1": left} if left else None


def disown(entries: Iterable[Entry], *gone: FieldSet) -> list[Entry]:
    """The entries after fields changed hands or went away; empty ones are dropped."""
    return [left for item in entries if (left := _without(item, *gone)) is not None]


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
) -> None:
    """Set `new`'s managedFields as they are after this write; an object with nameless list items loses them.

    `old` is None for a create; `stamp` is the time now.
    """
    entries = starting(schema, old, new, subresource)
    if old is not None and not entries:
        return
    try:
        changed, removed = changes(schema, old, new, reset)
    except sets.Unkeyed:
        return
    who: Identity = (manager, operation, api_version, subresource)
    if entries:
        entries = record(entries, who, api_version, changed, removed, stamp)
    elif changed:
        entries = [entry(who, api_version, changed, stamp)]
    set_entries(new, cap(entries))


def record(
    entries: list[Entry], who: Identity, api_version: str, changed: FieldSet, removed: FieldSet, stamp: str
) -> list[Entry]:
    """Entries after `who` changed and removed fields: taken from everyone, given to `who`."""
    if not changed and not removed:
        return entries
    own = next((item for item in entries if identity(item) == who), None)
    entries = disown(entries, changed, removed)
    if not changed:
        return entries
    kept = next((item for item in entries if identity(item) == who), None)
    fields = changed if own is None or kept is None else sets.union(kept["fieldsV1"], changed)
    return [*(item for item in entries if item is not kept), entry(who, api_version, fields, stamp)]


def cap(entries: list[Entry]) -> list[Entry]:
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
    """Several updaters as one."""
    fields = sets.union_all([item["fieldsV1"] for item in items])
    return entry((ANCIENT, UPDATE, version, ""), version, fields, items[-1].get("time"))


def unchanged_but_times(new: Object, old: Object) -> bool:
    """Whether two objects differ in nothing but the times of managedFields: such a write keeps the old ones."""
    mine, theirs = new["metadata"].get("managedFields"), old["metadata"].get("managedFields")
    if mine == theirs:
        return new == old
    if not mine or not theirs or _timeless(mine) != _timeless(theirs):
        return False
    ours = {**new, "metadata": {**new["metadata"], "managedFields": theirs}}
    return ours == old


def _timeless(entries: list[Entry]) -> list[Entry]:
    return sorted(({k: v for k, v in item.items() if k != "time"} for item in entries), key=identity)
