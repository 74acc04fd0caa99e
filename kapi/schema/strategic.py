"""Strategic merge patch: a merge patch that knows the types, so that lists of objects merge by key.

Directives: $patch (replace, delete, merge), $retainKeys, $deleteFromPrimitiveList/F, $setElementOrder/F.
`apply` changes the object it is given, which is the caller's own copy. Order of merged lists, from strong to weak:
$setElementOrder, the patch, the live list. Source: "Strategic Merge Patch" of the Kubernetes community's API documents.
"""

from collections import deque
from typing import Any

from kapi.objects import errors
from kapi.objects.meta import Object, clone, hashed
from kapi.objects.patch import go_text, refused
from kapi.schema.fieldset import child
from kapi.schema.schema import ANY, Schema

_PATCH, _RETAIN = "$patch", "$retainKeys"
_DELETE_ITEMS, _ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"
BAD_RETAIN = "invalid patch format of retainKeys"
BAD_ITEMS = "invalid patch format of primitive list"


def apply(schema: Schema, obj: Object, patch: Object) -> Object:
    """`obj` with the patch applied. Raises BadRequest, Invalid or (as stock: 500) StatusError for a patch that makes no sense."""
    return _merge(schema, obj, dict(patch))


def _error(message: str) -> errors.StatusError:
    return errors.StatusError(message, reason="")


def _no_key(item: Any, key: str) -> errors.StatusError:
    return _error(f"map: {go_text(item)} does not contain declared merge key: {key}")


def _merge(schema: Schema, obj: Object, patch: Object) -> Object:
    if _PATCH in patch:
        return _directed(patch)
    _retain(obj, patch)
    for key in [key for key in patch if key.startswith(_ORDER)]:
        _ordered(schema, obj, patch, key)
    for key, value in patch.items():
        deleting = key.startswith(_DELETE_ITEMS[:-1])
        if deleting:
            if not key.startswith(_DELETE_ITEMS):
                raise errors.BadRequest(BAD_ITEMS)
            key = key[len(_DELETE_ITEMS) :]
        if value is None:
            obj.pop(key, None)
        elif key not in obj or type(obj[key]) is not type(value):
            if not deleting:
                obj[key] = _fresh(value)
        else:
            obj[key] = _merged(child(schema, key), obj[key], value, deleting)
    return obj


def _fresh(value: Any) -> Any:
    """A copy of a patch value that meets nothing to merge with: directives and nulls do not belong to the object."""
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items() if item is not None and not key.startswith("$")}
    if isinstance(value, list):
        return [_fresh(item) for item in value if not (isinstance(item, dict) and _PATCH in item)]
    return value


def _merged(schema: Schema, current: Any, value: Any, deleting: bool) -> Any:
    """Two values of one JSON type."""
    if isinstance(value, dict):
        return clone(value) if "replace" in schema.patch_strategy else _merge(schema, current, dict(value))
    if isinstance(value, list) and "merge" in schema.patch_strategy:
        return _merge_lists(schema, current, value, deleting)
    return clone(value)


def _directed(patch: Object) -> Object:
    directive = patch[_PATCH]
    if directive == "replace":
        return {key: clone(value) for key, value in patch.items() if key != _PATCH}
    if directive == "delete":
        return {}
    raise _error(f"unknown patch type: {go_text(directive)} in map: {go_text(patch)}")


def _retain(obj: Object, patch: Object) -> None:
    """$retainKeys: fields it does not list are removed; the patch may set only those it lists."""
    keys = patch.pop(_RETAIN, None)
    if keys is None:
        return
    if not isinstance(keys, list):
        raise errors.BadRequest(BAD_RETAIN)
    named = {key for key in keys if isinstance(key, str)}
    for key, value in patch.items():
        if value is not None and key not in named and not key.startswith((_DELETE_ITEMS, _ORDER)):
            raise errors.BadRequest(BAD_RETAIN)
    for key in [key for key in obj if key not in named]:
        del obj[key]


# lists --------------------------------------------------------------------------------------------------------------------------


def _check_items(*lists: list[Any]) -> str:
    """'' when there are no items, else 'map' or 'scalar'; all items must be of one type and none a list."""
    kinds = {type(item) for items in lists for item in items}
    if list in kinds:
        raise refused()
    if len(kinds) > 1:
        raise _error(f"list element types are not identical: [{' '.join(map(go_text, lists))}]")
    return "" if not kinds else "map" if dict in kinds else "scalar"


def _merge_lists(schema: Schema, current: list[Any], patch: list[Any], deleting: bool) -> list[Any]:
    if not current and not patch:
        return current
    if _check_items(current, patch) != "map":
        if deleting:
            gone = set(map(hashed, patch))
            return [item for item in current if hashed(item) not in gone]
        return _interleave(_unique(current + patch), patch, current, "")
    key = schema.patch_key
    if not key:
        raise _error("cannot merge lists without merge key for type struct")
    live, changes = _directed_items(current, patch, key)
    merged = _merge_items(schema.item or ANY, list(live), changes, key)
    return _interleave(merged, changes, live, key)


def _directed_items(current: list[Object], patch: list[Object], key: str) -> tuple[list[Object], list[Object]]:
    """Carry out the $patch items of a list: (live items left, items to merge)."""
    plain: list[Object] = []
    gone: set[Any] = set()
    replace = False
    for item in patch:
        directive = item.get(_PATCH)
        if directive is None:
            plain.append(item)
        elif directive == "delete":
            gone.add(_identity(item, key))
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _error("merging lists cannot yet be specified in the patch")
        else:
            raise _error(f"unknown patch type: {go_text(directive)} in map: {go_text(item)}")
    if replace:
        return clone(plain), []
    return [have for have in current if key not in have or hashed(have[key]) not in gone] if gone else current, plain


def _merge_items(schema: Schema, live: list[Object], patch: list[Object], key: str) -> list[Object]:
    """`live` with the patch's items merged in by key; of duplicates the first one is merged."""
    places: dict[Any, int] = {}
    for at, have in enumerate(live):
        if key in have:
            places.setdefault(hashed(have[key]), at)
    for item in patch:
        identity = _identity(item, key)
        place = places.get(identity)
        if place is None:
            live.append(_fresh(item))
            if key in live[-1]:
                places[identity] = len(live) - 1
        else:
            live[place] = _merge(schema, live[place], dict(item))
    return live


def _identity(item: Any, key: str) -> Any:
    """What a list item is known by: its merge key, or (no key) itself."""
    if not key:
        return hashed(item)
    if key not in item:
        raise _no_key(item, key)
    return hashed(item[key])


def _unique(items: list[Any]) -> list[Any]:
    out: dict[Any, Any] = {}
    for item in items:
        out.setdefault(hashed(item), item)
    return list(out.values())


def _places(items: list[Any], key: str) -> dict[Any, int]:
    """Where each identity stands first."""
    out: dict[Any, int] = {}
    for at, item in enumerate(items):
        out.setdefault(_identity(item, key), at)
    return out


def _interleave(items: list[Any], wanted: list[Any], live: list[Any], key: str) -> list[Any]:
    """Items named in `wanted` in its order, the others in live order, each of these before the first wanted item it preceded."""
    order, before = _places(wanted, key), _places(live, key)
    known = [(_identity(item, key), item) for item in items]
    ours = deque(sorted((pair for pair in known if pair[0] in order), key=lambda pair: order[pair[0]]))
    others = deque(sorted((pair for pair in known if pair[0] not in order), key=lambda pair: before.get(pair[0], len(live))))
    out: list[Any] = []
    while ours and others:
        a, b = before.get(others[0][0]), before.get(ours[0][0])
        first = a is not None and b is not None and a < b
        out.append((others if first else ours).popleft()[1])
    return out + [item for _, item in (*ours, *others)]


def _ordered(schema: Schema, obj: Object, patch: Object, directive: str) -> None:
    """$setElementOrder/F together with F's own patch: both are taken out of the patch."""
    order = patch.pop(directive)
    name = directive[len(_ORDER) :]
    if not isinstance(order, list):
        raise _error(f"expected a []interface {{}}, but received a {go_text(type(order).__name__)}")
    field, changes, current = child(schema, name), patch.pop(name, None), obj.get(name)
    if changes is None and current is None:
        return
    key = field.patch_key
    _check_order(changes or [], order, key)
    merged = current if changes is None else _fresh(changes) if current is None else _merged(field, list(current), changes, False)
    obj[name] = _interleave(merged or [], order, current or [], key)


def _check_order(changes: list[Any], order: list[Any], key: str) -> None:
    """The patch's items must appear in the order list, in the same order."""
    if not order:
        return
    left = deque(_identity(item, key) for item in order)
    for item in changes:
        if isinstance(item, dict) and _PATCH in item:
            continue
        identity = _identity(item, key)
        while left and left[0] != identity:
            left.popleft()
        if not left:
            shown = f"The order in patch list:\n{go_text(changes)}\n doesn't match $setElementOrder list:\n{go_text(order)}\n"
            raise _error(shown)
        left.popleft()
