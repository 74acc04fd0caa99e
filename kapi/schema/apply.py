"""Server-side apply: a manager sends the fields it wants as a partial object, and owns those and no others.

`apply` merges the configuration into the live object, removes fields the manager applied before that nobody else owns, and raises
Conflict when it would change what others own (unless forced). The result still has to be decoded, defaulted and validated.
Source: KEP-555 and the behaviour of kube-apiserver v1.36.
"""

import contextlib
from collections.abc import Iterator, Sequence

import orjson

from kapi import limits
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import split_api_version
from kapi.schema import builtin, difference, managed, merging
from kapi.schema import fieldset as sets
from kapi.schema.fieldset import FieldSet
from kapi.schema.managed import APPLY, Changes, Entry, Identity, Versions
from kapi.schema.schema import Schema

Conflicts = list[tuple[Entry, FieldSet]]

KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_LAST_APPLIED_LIMIT = 262144
_NEVER_OWNED: FieldSet = {
    "f:apiVersion": {}, "f:kind": {}, "f:metadata": {".": {}, **{f"f:{name}": {} for name in sorted(difference.NEVER_OWNED)}},
}  # fmt: skip
_SYSTEM = frozenset({"name", "namespace", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
                     "deletionGracePeriodSeconds"})  # fmt: skip
"""Metadata that is never removed by an apply."""


def apply(
    schema: Schema,
    live: Object | None,
    applied: Object,
    *,
    manager: str,
    force: bool,
    api_version: str,
    kind: str = "",
    subresource: str = "",
    reset: Sequence[tuple[str, ...]] = (),
    stamp: str,
    versions: Versions | None = None,
) -> Object:
    """The object after `manager` applied `applied` (None as live: it is created). Raises Conflict, BadRequest, StatusError.

    `kind`: what has to be applied.
    """
    _check_configuration(schema, applied, kind)
    before = live or {"metadata": {}}
    with _typed_live_object():
        entries = _entries(schema, live, api_version, subresource, stamp)
    owner: Identity = (manager, APPLY, "", subresource)
    last = next((item for item in entries if managed.identity(item) == owner), None)
    fields = sets.difference(sets.to_field_set(schema, applied), _NEVER_OWNED)
    for path in reset:
        fields = sets.prune(fields, path)
    others = [item for item in entries if item is not last]
    with _typed_live_object():
        wanted = _merged_and_pruned(schema, before, applied, fields, last, others, versions)
        made = managed.Changes(schema, before, wanted, reset, api_version, None if live is None else versions)
        found = [(item, both) for item in others if (both := _conflict(item, made))]
        if found and not force:
            _raise_conflicts(found, _applied_by_client(schema, live, manager, api_version))
        others = managed.remove_fields(others, made)
    same = live is not None and wanted == {**live, "metadata": _bare(live)}
    time = (last or {}).get("time") if same else stamp
    if fields:
        others.append(managed.entry(owner, api_version, fields, time))
    return _finished(wanted, others, applied, manager)


@contextlib.contextmanager
def _typed_live_object() -> Iterator[None]:
    """Turns MissingKeys of a live object into the error of stock: it cannot be applied to."""
    try:
        yield
    except sets.MissingKeys as error:
        raise errors.StatusError(f"failed to create typed live object: {error}", reason="") from error


def _bare(obj: Object) -> Object:
    return {key: value for key, value in obj["metadata"].items() if key != "managedFields"}


def _conflict(item: Entry, made: Changes) -> FieldSet:
    """The fields of another manager that would change."""
    both = (made.changed,) if made.versions is None else made.of(item)
    return sets.intersection(item.get("fieldsV1") or {}, both[0]) if both is not None else {}


def _merged_and_pruned(
    schema: Schema, live: Object, applied: Object, fields: FieldSet, last: Entry | None, others: list[Entry], versions: Versions | None
) -> Object:
    """Live and applied merged, without what this manager no longer applies. Shares values with both; metadata is a copy."""
    merged: Object = merging.merge(schema, {**live, "metadata": _bare(live)}, applied)
    before: FieldSet = (last or {}).get("fieldsV1") or {}
    if last is not None and before != fields and sets.difference(before, fields):
        if versions is None:
            merged = _pruned(schema, merged, before, [fields, *(item.get("fieldsV1") or {} for item in others)])
        else:
            merged = _pruned_in(versions, merged, last, [{"apiVersion": merged["apiVersion"], "fieldsV1": fields}, *others])
    system = {key: value for key, value in live["metadata"].items() if key in _SYSTEM}
    return {**merged, "metadata": {**system, **(merged.get("metadata") or {})}}


def _pruned(schema: Schema, merged: Object, last: FieldSet, owned: list[FieldSet]) -> Object:
    """Remove the fields of `last` that nobody owns now."""
    rest = merging.remove(schema, merged, merging.with_structs(schema, last)) or {}
    return _without_dangling(schema, merged, _owned_back(schema, merged, rest, owned), last)


def _pruned_in(versions: Versions, merged: Object, last: Entry, owned: list[Entry]) -> Object:
    """The same where managers wrote in several versions: what is removed, and what comes back, is looked at in the version of each."""
    version, own_version = last["apiVersion"], merged["apiVersion"]
    schema = versions.schema(version)
    if schema is None:
        return merged
    by_version: dict[str, list[FieldSet]] = {version: []}
    for item in owned:
        by_version.setdefault(item["apiVersion"], []).append(item.get("fieldsV1") or {})
    whole = versions.convert(merged, version)
    rest = merging.remove(schema, whole, merging.with_structs(schema, last["fieldsV1"])) or {}
    for other, fields in by_version.items():
        if (its := versions.schema(other)) is not None:
            rest = _owned_back(its, versions.convert(whole, other), versions.convert(rest, other), fields)
    return versions.convert(_without_dangling(schema, whole, versions.convert(rest, version), last["fieldsV1"]), own_version)


def _owned_back(schema: Schema, merged: Object, rest: Object, owned: list[FieldSet]) -> Object:
    """What is left of `merged` with what somebody owns."""
    structs = merging.with_structs
    all_owned = sets.union_all(owned) if owned else {}
    whole = structs(schema, sets.to_field_set(schema, merged))
    kept = sets.union(structs(schema, sets.to_field_set(schema, rest)), structs(schema, all_owned))
    return merging.remove(schema, merged, sets.difference(whole, kept)) or {}


def _without_dangling(schema: Schema, merged: Object, rest: Object, last: FieldSet) -> Object:
    """`merged` without what is missing in `rest` and was in `last`."""
    structs = merging.with_structs
    whole = structs(schema, sets.to_field_set(schema, merged))
    dangling = sets.difference(whole, structs(schema, sets.to_field_set(schema, rest)))
    return merging.remove(schema, merged, sets.intersection(dangling, structs(schema, last))) or {}


def _entries(schema: Schema, live: Object | None, api_version: str, subresource: str, stamp: str) -> list[Entry]:
    """The live entries; fields of an object without any belong to 'before-first-apply'."""
    if live is None:
        return []
    entries = managed.decode(live["metadata"].get("managedFields") or [])
    if not schema.name:  # the schema of a custom kind may have changed
        entries = managed.reconciled(schema, entries)
    if entries:
        return entries
    fields = difference.created(schema, live)
    owner: Identity = (managed.BEFORE_APPLY, managed.UPDATE, api_version, subresource)
    return [managed.entry(owner, api_version, fields, stamp)] if fields else []


# errors -------------------------------------------------------------------------------------------------------------------------


def _check_configuration(schema: Schema, applied: Object, kind: str) -> None:
    meta = applied.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise errors.BadRequest("metadata.managedFields must be nil")
    other = schema if not kind or not schema.name or applied.get("kind") == kind else _other(applied)
    wrong = merging.check(other, applied)
    if not wrong and other is not schema:
        text = f"failed to merge config: expected objects of the same type, but got {schema.name} and {other.name}"
        raise errors.StatusError(text, reason="")
    if wrong:
        shown = wrong[0] if len(wrong) == 1 else "errors:\n" + "\n".join(f"  {text}" for text in wrong)
        raise errors.StatusError(f"failed to create typed patch object {described(applied)}: {shown}", reason="")


def _other(applied: Object) -> Schema:
    """The type of an applied configuration of another kind. Raises StatusError where there is none."""
    group, version = split_api_version(applied["apiVersion"])
    kind = applied.get("kind")
    name = builtin.named(group, version, kind) if isinstance(kind, str) else ""
    if not name:
        text = f"failed to create typed patch object {described(applied)}: no corresponding type for {_kind(applied)}"
        raise errors.StatusError(text, reason="")
    return builtin.schema(name)


def described(applied: Object) -> str:
    """An applied configuration as in messages: '(default/web; apps/v1, Kind=Deployment)'."""
    meta = applied.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    return f"({meta.get('namespace') or ''}/{meta.get('name') or ''}; {_kind(applied)})"


def _kind(applied: Object) -> str:
    """The kind as Go prints it: 'apps/v1, Kind=Deployment', and '/v1, Kind=Pod'."""
    group, version = split_api_version(applied.get("apiVersion") or "")
    kind = applied.get("kind")
    return f"{group}/{version}, Kind={kind if isinstance(kind, str) else ''}"


def _owner(item: Entry) -> str:
    """A manager as in the messages of conflicts: '"edit" with subresource "status" using apps/v1'."""
    out = orjson.dumps(item.get("manager", "")).decode()
    if item.get("subresource"):
        out += f" with subresource {orjson.dumps(item['subresource']).decode()}"
    return out if item["operation"] == APPLY else f"{out} using {item['apiVersion']}"


def _listed(fields: FieldSet, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The paths of a set as text: at each level its members first."""
    steps = sorted((step, node) for step, node in fields.items() if step != ".")
    for step, node in steps:
        if sets.is_member(node):
            yield sets.path_text((*path, step))
    for step, node in steps:
        yield from _listed(node, (*path, step))


def _raise_conflicts(found: Conflicts, allowed: FieldSet) -> None:
    if allowed:
        found = [(item, left) for item, fields in found if (left := sets.difference(fields, allowed))]
        if not found:
            return
    by_owner: dict[str, list[str]] = {}
    count = 0
    for item, fields in found:
        for path in _listed(fields):
            count += 1
            if count <= limits.CAUSES:
                by_owner.setdefault(_owner(item), []).append(path)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path}
        for owner, paths in by_owner.items()
        for path in paths
    ]
    if count == 1:
        text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        parts = [f"conflicts with {owner}:\n" + "\n".join(f"- {path}" for path in by_owner[owner]) for owner in sorted(by_owner)]
        text = f"Apply failed with {count} conflicts: " + "\n".join(parts)
    raise errors.Conflict(text, {"causes": causes})


# coming from client-side apply --------------------------------------------------------------------------------------------------


def _applied_by_client(schema: Schema, live: Object | None, manager: str, api_version: str) -> FieldSet:
    """Fields of kubectl's client-side apply that nobody changed since: its server-side apply may take them over."""
    text = ((live or {}).get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    if manager != KUBECTL or not text or live is None:
        return {}
    try:
        before = orjson.loads(text)
    except ValueError:
        return {}
    if not isinstance(before, dict) or before.get("apiVersion") != api_version or merging.check(schema, before):
        return {}
    changed, removed = difference.between(schema, before, live)
    return sets.difference(sets.difference(sets.to_field_set(schema, before), changed), removed)


def _finished(wanted: Object, entries: list[Entry], applied: Object, manager: str) -> Object:
    """Write the entries; keep kubectl's client-side annotation in step, so that going back to it works."""
    annotations = wanted["metadata"].get("annotations") or {}
    if manager == KUBECTL and annotations.get(LAST_APPLIED):
        text = _configuration(applied)
        if len(text) <= _LAST_APPLIED_LIMIT:
            wanted["metadata"]["annotations"] = {**annotations, LAST_APPLIED: text}
    managed.set_entries(wanted, entries)
    return wanted


def _configuration(applied: Object) -> str:
    meta = {key: value for key, value in (applied.get("metadata") or {}).items() if key != "managedFields"}
    if LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
    return orjson.dumps({**applied, "metadata": meta}, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()
