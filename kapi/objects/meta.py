"""Accessors of object metadata, and the deep copy used everywhere. Functions do not change their arguments."""

from typing import Any

import orjson

Object = dict[str, Any]


def clone(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {k: clone(v) if isinstance(v, dict | list) else v for k, v in value.items()}
    if isinstance(value, list):
        return [clone(v) if isinstance(v, dict | list) else v for v in value]
    return value


def hashed(value: Any) -> Any:
    """A hashable form of a JSON value, equal for equal values.

    A str, not the bytes that orjson returns: these keep their whole output buffer of some kilobytes.
    """
    return value if isinstance(value, str) else (orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode(),)


def metadata(obj: Object) -> Object:
    return obj.get("metadata") or {}


def name(obj: Object) -> str:
    return metadata(obj).get("name") or ""


def namespace(obj: Object) -> str:
    return metadata(obj).get("namespace") or ""


def key(obj: Object) -> str:
    """'namespace/name', or 'name' for a cluster-scoped object: the key in work queues."""
    space = namespace(obj)
    return f"{space}/{name(obj)}" if space else name(obj)


def split_key(text: str) -> tuple[str, str]:
    """(namespace, name) of a key."""
    space, _, tail = text.rpartition("/")
    return space, tail


def uid(obj: Object) -> str:
    return metadata(obj).get("uid") or ""


def resource_version(obj: Object) -> str:
    return metadata(obj).get("resourceVersion") or ""


def labels(obj: Object) -> dict[str, str]:
    return metadata(obj).get("labels") or {}


def annotations(obj: Object) -> dict[str, str]:
    return metadata(obj).get("annotations") or {}


def finalizers(obj: Object) -> list[str]:
    return metadata(obj).get("finalizers") or []


def deleting(obj: Object) -> bool:
    return bool(metadata(obj).get("deletionTimestamp"))


def owners(obj: Object) -> list[Object]:
    return metadata(obj).get("ownerReferences") or []


def controller_of(obj: Object) -> Object | None:
    """The owner reference of the controller that manages the object."""
    return next((ref for ref in owners(obj) if ref.get("controller")), None)


def controlled_by(obj: Object, owner: Object) -> bool:
    ref = controller_of(obj)
    return ref is not None and ref.get("uid") == uid(owner)


def owner_reference(owner: Object, *, api_version: str, kind: str, controller: bool = True) -> Object:
    """A reference to `owner` for a dependent; it blocks foreground deletion if `controller`."""
    ref: Object = {"apiVersion": api_version, "kind": kind, "name": name(owner), "uid": uid(owner)}
    if controller:
        ref |= {"controller": True, "blockOwnerDeletion": True}
    return ref


def path(obj: Object, *keys: str) -> Any:
    """The value at nested keys, None if one is missing: path(pod, "spec", "nodeName")."""
    value: Any = obj
    for item in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(item)
    return value


def condition(obj: Object, type: str) -> Object | None:
    """The entry of status.conditions with that type."""
    return next((c for c in path(obj, "status", "conditions") or () if c.get("type") == type), None)
