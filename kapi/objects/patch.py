"""JSON patch (RFC 6902) and merge patch (RFC 7386), as kube-apiserver applies them.

Both modify the document that is passed, a copy of the caller's, and return the result. A malformed patch raises BadRequest, one that does
not apply Invalid without details. Strategic merge patch needs types: kapi.schema.strategic.
"""

from typing import Any

import orjson

from kapi import limits
from kapi.objects import errors, integers, nested, sizes
from kapi.objects.meta import Object, clone

_REFUSED = "the server rejected our request due to an error in our request"
_TEXT_FIELDS = ("op", "path", "from")


class _DoesNotApply(Exception):
    """An operation does not apply. Clients get no reason; for a webhook's patch the library's message is shown."""


def refused() -> errors.Invalid:
    """Stock's response to a well-formed patch that does not apply."""
    return errors.Invalid(_REFUSED, {})


def go_kind(value: Any) -> str:
    """Go's name of a value's JSON type: object, array, string, number, bool."""
    if isinstance(value, bool):
        return "bool"
    names = {dict: "object", list: "array", str: "string", int: "number", float: "number"}
    return names.get(type(value), "null")


def go_text(value: Any) -> str:
    """A JSON value as Go's %v prints it: map[a:1 b:[x y]]."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# JSON patch ---------------------------------------------------------------------------------------------------------------------


def check(operations: Any, validation: str = "Warn") -> list[str]:
    """Strict-decoding messages of a JSON patch (unknown fields). Raises BadRequest if it is not a list of operations."""
    if not isinstance(operations, list):
        target = "[]handlers.jsonPatchOp" if validation != "Ignore" else "jsonpatch.Patch"
        prefix = "error decoding patch: " if validation != "Ignore" else ""
        raise errors.BadRequest(f"{prefix}json: cannot unmarshal {go_kind(operations)} into Go value of type {target}")
    strict: list[str] = []
    for i, operation in enumerate(operations):
        if operation is not None and not isinstance(operation, dict):
            message = f"json: cannot unmarshal {go_kind(operation)} into Go value of type handlers.jsonPatchOp"
            raise errors.BadRequest(f"error decoding patch: {message}")
        for key, value in (operation or {}).items():
            if key in _TEXT_FIELDS and value is not None and not isinstance(value, str):
                message = f"json: cannot unmarshal {go_kind(value)} into Go struct field jsonPatchOp.{key} of type string"
                raise errors.BadRequest(f"error decoding patch: {message}")
            if key not in _TEXT_FIELDS and key != "value":
                strict.append(f'json patch unknown field "[{i}].{key}"')
    if len(operations) > limits.PATCH_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {limits.PATCH_OPERATIONS}, got {len(operations)}"
        raise errors.RequestEntityTooLarge(message)
    return strict


def json_patch(document: Object, operations: list[Object]) -> Any:
    """The document after all operations (validated by `check`). Raises Invalid; the document is then partly changed and must be
    discarded."""
    copies = _Copies()
    try:
        for operation in operations:
            document = _operate(document, operation or {}, copies)
    except _DoesNotApply as error:
        raise refused() from error
    return document


class _Copies:
    """The total size of values copied by one patch, which is bounded."""

    def __init__(self) -> None:
        self.bytes = self.values = 0

    def copy(self, value: Any) -> Any:
        """A deep copy. Raises _DoesNotApply when the bound is exceeded."""
        try:
            raw = orjson.dumps(value)
        except TypeError:
            raise _DoesNotApply("exceeded max depth") from None
        self.bytes += len(raw)
        if self.bytes > limits.PATCH_COPY_BYTES:
            reason = f"the accumulated size increase of copy is {self.bytes}, exceeding the limit {limits.PATCH_COPY_BYTES}"
            raise _DoesNotApply(f"Unable to complete the copy, {reason}")
        self.values += sizes.values(raw)
        if self.values > limits.BODY_VALUES:
            raise _DoesNotApply(f"Unable to complete the copy, it makes more than {limits.BODY_VALUES} values")
        return nested.loads(raw)


def _operate(document: Any, operation: Object, copies: _Copies) -> Any:
    op, path = operation.get("op"), operation.get("path")
    if path is None:
        raise _DoesNotApply("no path")
    value = operation.get("value")
    if path == "":
        return _operate_on_root(document, op, value)
    match op:
        case "add":
            _add(*_parent(document, path, op), value)
        case "remove":
            _remove(*_parent(document, path, op), path)
        case "replace":
            _replace(*_parent(document, path, op), value)
        case "move":
            source = operation.get("from")
            moved = _remove(*_parent(document, source, op), source)
            _add(*_parent(document, path, op), moved)
        case "copy":
            copied = copies.copy(_get(*_parent(document, operation.get("from"), op)))
            _add(*_parent(document, path, op), copied)
        case "test":
            if not _same(_get(*_parent(document, path, op)), value):
                raise _DoesNotApply(f"testing value {path} failed: test failed")
        case _:
            raise _DoesNotApply(f"Unexpected kind: {op}")
    return document


def _operate_on_root(document: Any, op: Any, value: Any) -> Any:
    if op == "replace" and isinstance(value, dict | list):
        return value
    if op == "test" and _same(document, value):
        return document
    raise _DoesNotApply("the whole document can only be replaced or tested")


def _parent(document: Any, path: str | None, op: str) -> tuple[Any, str]:
    """(container, last step) of a pointer."""
    steps = (path or "").split("/", limits.POINTER_STEPS + 1)
    missing = _DoesNotApply(f'{op} operation does not apply: doc is missing path: "{path}": missing value')
    if not 2 <= len(steps) <= limits.POINTER_STEPS + 1:
        raise missing
    decoded = [step.replace("~1", "/").replace("~0", "~") if "~" in step else step for step in steps[1:]]
    for step in decoded[:-1]:
        document = _get(document, step)
        if not isinstance(document, dict | list):
            raise missing
    return document, decoded[-1]


def _index(length: int, step: str) -> int:
    """A list index; negative ones count from the end."""
    try:
        index = integers.parse(step)
    except ValueError:
        raise _DoesNotApply("not an index") from None
    if not -length <= index < length:
        raise _DoesNotApply("no such index")
    return index % length


def _get(container: Any, step: str) -> Any:
    """A missing key is null, as in stock; a missing index is an error."""
    return container[_index(len(container), step)] if isinstance(container, list) else container.get(step)


def _add(container: Any, step: str, value: Any) -> None:
    if isinstance(container, dict):
        container[step] = value
    elif step == "-":
        container.append(value)
    else:
        container.insert(_index(len(container) + 1, step), value)


def _remove(container: Any, step: str, path: str | None) -> Any:
    if isinstance(container, list):
        return container.pop(_index(len(container), step))
    if step not in container:
        raise _DoesNotApply(f"error in remove for path: '{path}': Unable to remove nonexistent key: {step}: missing value")
    return container.pop(step)


def _replace(container: Any, step: str, value: Any) -> None:
    """In an object the key need not exist: stock sets it."""
    container[_index(len(container), step) if isinstance(container, list) else step] = value


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return go_kind(a) == go_kind(b) and bool(a == b)


# merge patch --------------------------------------------------------------------------------------------------------------------


def merge_patch(document: Object, patch: Object) -> Object:
    """The document with the merge patch applied: null removes, objects are merged, other values replace."""
    for key, value in patch.items():
        if value is None:
            document.pop(key, None)
        elif isinstance(value, dict):
            current = document.get(key)
            document[key] = merge_patch(current if isinstance(current, dict) else {}, value)
        else:
            document[key] = clone(value)
    return document
