"""The /scale face of an object: autoscaling/v1 Scale, read from it and written back to it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from kapi import limits
from kapi.objects import labels
from kapi.objects.errors import InternalError
from kapi.objects.meta import Object
from kapi.objects.patch import go_kind, go_text

Path = tuple[str, ...]


class Paths(NamedTuple):
    """The paths of a Scale's fields in an object. Without a path for the selector it is a LabelSelector or plain map in the spec."""

    replicas: Path = ("spec", "replicas")
    status: Path = ("status", "replicas")
    selector: Path = ()


WORKLOAD = Paths()


def integer(obj: Object, path: Path) -> tuple[int, str]:
    """(the integer at a path, or 0; why there is none where there should be)."""
    value, why = _at(obj, path)
    if why or value is None:
        return 0, why
    if isinstance(value, int) and not isinstance(value, bool):
        return value, ""
    return 0, _accessor(path, value, "int64")


def text(obj: Object, path: Path) -> tuple[str, str]:
    """The same of a text."""
    value, why = _at(obj, path)
    if why or value is None:
        return "", why
    return (value, "") if isinstance(value, str) else ("", _accessor(path, value, "string"))


def _at(obj: Object, path: Path) -> tuple[Any, str]:
    value: Any = obj if path else None
    for depth, name in enumerate(path):
        if value is None:
            return None, ""
        if not isinstance(value, dict):
            return None, _accessor(path[:depth], value, "map[string]interface {}")
        value = value.get(name)
    return value, ""


_GO = {"string": "string", "bool": "bool", "number": "float64", "array": "[]interface {}", "object": "map[string]interface {}"}


def _accessor(path: Path, value: Any, expected: str) -> str:
    shown = go_text(value) if isinstance(value, int | float) or len(orjson.dumps(value)) <= limits.QUOTED_TEXT else "…"
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return f".{'.'.join(path)} accessor error: {shown} is of the type {'int64' if is_integer else _GO[go_kind(value)]}, expected {expected}"


def of(obj: Object, paths: Paths = WORKLOAD) -> Object:
    """The Scale of an object (with kind and apiVersion). Raises InternalError where a custom one has no replicas."""
    meta = {k: v for k, v in obj["metadata"].items() if k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    status: Object = {"replicas": integer(obj, paths.status)[0]}
    selector = text(obj, paths.selector)[0] if paths is not WORKLOAD else selector_text(obj["spec"].get("selector"))
    if selector:
        status["selector"] = selector
    replicas = integer(obj, paths.replicas)[0]
    if paths is not WORKLOAD and _at(obj, paths.replicas)[0] is None:
        why = f'the spec replicas field ".{".".join(paths.replicas)}" does not exist'
        raise InternalError(f"Internal error occurred: {why}", {"causes": [{"message": why}]})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """'a=b' of a LabelSelector or of a ReplicationController's plain map."""
    if not selector:
        return ""
    if "matchLabels" in selector or "matchExpressions" in selector:
        return str(labels.from_object(dict(selector)))
    return str(labels.from_dict(selector))


def put(obj: Object, scale: Object, paths: Paths = WORKLOAD) -> Object:
    """The object with the Scale's replicas; a resourceVersion in the Scale is the one expected."""
    out = wrapped((scale.get("spec") or {}).get("replicas", 0), paths.replicas, obj)
    version, uid = scale["metadata"].get("resourceVersion"), scale["metadata"].get("uid")
    out["metadata"] = {**obj["metadata"], **({"resourceVersion": version} if version else {}), **({"uid": uid} if uid else {})}
    return out


def wrapped(replicas: int, path: Path, obj: Object | None = None) -> Object:
    """An object (or nothing) with a number at a path: {"spec": {"replicas": 3}}."""
    below = (obj or {}).get(path[0])
    inner = replicas if len(path) == 1 else wrapped(replicas, path[1:], below if isinstance(below, dict) else None)
    return {**(obj or {}), path[0]: inner}
