"""Patches at the edge: bodies read before they are applied, results read as the type after. The merging itself is elsewhere.

JSON and merge patch: kapi.objects.patch; strategic merge patch: kapi.schema.strategic. A result that does not fit its type
is an Invalid that names no object, with the text of Go's JSON decoder or, for strategic patches, of its map converter.
"""

import re
from typing import Any

import orjson

from kapi.objects import causes, errors, nested, patch
from kapi.objects.meta import Object
from kapi.schema import decode, parsing, reading, strategic, syntax
from kapi.schema.empties import Empties
from kapi.schema.schema import Schema

JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"

_GO_KINDS = {"string": "string", "bool": "bool", "number": "int64", "array": "slice", "object": "map"}
_TYPE_ERROR = re.compile(r"json: cannot unmarshal (\w+) into Go (?:struct field|value)(?: \S+)? of type (\S+)")


def parse(raw: bytes, media: str, validation: str = "Warn") -> tuple[Any, list[str]]:
    """The patch of a body, and what a strict reading refuses. Raises BadRequest, RequestEntityTooLarge."""
    parsing.check_size(raw)
    prefix = "error decoding patch: " if media != STRATEGIC and validation != "Ignore" else ""
    try:
        value = _carefully(raw, prefix) if nested.deep(raw) else orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = _carefully(raw, prefix)
    if media == JSON:
        return value, patch.check(value, validation)
    if not isinstance(value, dict):
        message = f"json: cannot unmarshal {patch.go_kind(value)} into Go value of type map[string]interface {{}}"
        raise errors.BadRequest(prefix + message)
    if media == MERGE and validation != "Ignore" and parsing.may_repeat(raw, value):
        return value, reading.repeated(parsing.exact(raw, "json", []))
    return value, []


def _carefully(raw: bytes, prefix: str) -> Any:
    """The patch of a text that the usual parser does not take. Raises BadRequest for what Go does not take either."""
    if why := syntax.error(raw):
        raise errors.BadRequest(prefix + why)
    try:
        shallow, parts = nested.cut(raw)
        return nested.restored(reading.plain(parsing.exact(shallow, "json", [])), parts)
    except ValueError as found:
        raise errors.BadRequest(f"{prefix}{found}") from None


def apply(schema: Schema, obj: Object, parsed: Any, media: str) -> Any:
    """`obj` (the caller's own copy) with a parsed patch applied."""
    if media == JSON:
        return patch.json_patch(obj, parsed)
    return patch.merge_patch(obj, parsed) if media == MERGE else strategic.apply(schema, obj, parsed)


def result(
    schema: Schema, merged: Any, parsed: Any, media: str, *, api_version: str, kind: str, validation: str,
    empties: Empties | None = None, deep: bool = True,
) -> tuple[Object, list[str]]:
    """A patched object read as its type: (object, warnings). Raises Invalid, and BadRequest for what is nested too deeply.

    `deep`: whether the patch is, so that there may be leaves in it (kapi.objects.nested) that are not written as they are kept.
    """  # fmt: skip
    if media == STRATEGIC:  # goes straight into the type: what kind the patch names is not read
        merged |= {key: value for key, value in (("kind", kind), ("apiVersion", api_version)) if isinstance(merged.get(key), str)}
    if media != JSON and not deep and (obj := decode.compiled_form(merged, schema, api_version, kind)) is not None:
        return obj, []
    try:
        raw = orjson.dumps(merged)
    except TypeError as too_deep:
        raise errors.BadRequest(f"the patched object cannot be encoded: {too_deep}") from None
    try:
        return decode.decode(raw, "json", schema, api_version=api_version, kind=kind, validation=validation, empties=empties)
    except errors.BadRequest as found:
        why = found.message.partition(" cannot be handled as a ")[2].partition(": ")[2] or found.message
        shown = patch.go_text(parsed) if media == STRATEGIC else _shown(schema, merged)
        raise refused(shown, _converted(why) if media == STRATEGIC else why) from found


def _shown(schema: Schema, merged: Object) -> str:
    """A patched object as stock shows it: top level sorted, metadata in the order of its type."""
    meta = merged.get("metadata")
    if isinstance(meta, dict) and "metadata" in schema.fields:
        order = [name for name in schema.fields["metadata"].fields if name in meta]
        merged = {**merged, "metadata": {**{name: meta[name] for name in order}, **meta}}
    return orjson.dumps(dict(sorted(merged.items()))).decode()


def refused(shown: str, why: str) -> errors.Invalid:
    """The 422 of a patch: its one cause is the patch."""
    cause = causes.invalid("patch", shown, why)
    details = {"causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field}]}
    return errors.Invalid(f' "" is invalid: patch: {cause.message}', details, [cause])


def _converted(why: str) -> str:
    """Go's map converter has its own words for a value of the wrong type."""
    found = _TYPE_ERROR.match(why)
    if not found:
        return why
    source, target = _GO_KINDS.get(found[1], found[1]), found[2].lstrip("*")
    for start, name in (("[]", "slice"), ("map[", "map")):
        if target.startswith(start):
            return f"cannot restore {name} from {source}"
    if "." in target:
        return f"cannot restore struct from: {source}"
    return f"cannot convert {source} to string" if (source, target) == ("int64", "string") else f"unrecognized type: {target}"
