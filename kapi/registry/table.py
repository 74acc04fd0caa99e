"""Tables and PartialObjectMetadata: the shapes `kubectl get` and metadata clients ask for."""

from collections.abc import Iterable
from functools import lru_cache

from kapi.objects import duration, time
from kapi.objects.meta import Object
from kapi.registry.kind import Kind
from kapi.registry.strategy import AGE_COLUMN, NAME_COLUMN, Column
from kapi.schema import texts


def partial(obj: Object, version: str = "v1") -> Object:
    """Only the metadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}


def columns(kind: Kind) -> list[Object]:
    return _defined(tuple(kind.strategy.columns))


@lru_cache(maxsize=512)
def _defined(definitions: tuple[Column, ...]) -> list[Object]:
    descriptions = texts.of(c.source for c in definitions)
    return [
        {
            "name": c.name, "type": c.type, "format": c.format,
            "description": descriptions.get(c.source, c.description), "priority": c.priority,
        }
        for c in definitions
    ]  # fmt: skip


def row(kind: Kind, obj: Object, include: str, now: float) -> Object:
    """One row; `include` is None, Metadata or Object."""
    out: Object = {"cells": kind.strategy.row(obj, now)}
    if conditions := kind.strategy.row_conditions(obj):
        out["conditions"] = conditions
    out["object"] = _shown(obj, include)
    return out


def _shown(obj: Object, include: str) -> Object | None:
    return obj if include == "Object" else partial(obj) if include != "None" else None


def table(kind: Kind, objects: Iterable[Object], meta: Object, include: str, *, version: str = "v1", headed: bool = True) -> Object:
    """A Table; a watch sends the column definitions only with its first event (`headed`)."""
    now = time.now()
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
        "columnDefinitions": columns(kind) if headed else None,
        "rows": [row(kind, obj, include, now) for obj in objects],
    }


_REPLICAS = (
    Column("Desired", "integer", source="autoscaling.v1.ScaleSpec.replicas"),
    Column("Available", "integer", source="autoscaling.v1.ScaleStatus.replicas"),
)
_CUSTOM_REPLICAS = (
    Column("Desired", "integer", "Number of desired replicas"), Column("Available", "integer", "Number of actual replicas"),
)  # fmt: skip
_SCALE_COLUMNS = (NAME_COLUMN, *_REPLICAS, AGE_COLUMN)
_CUSTOM_SCALE_COLUMNS = (NAME_COLUMN, *_CUSTOM_REPLICAS, AGE_COLUMN._replace(type="date"))


def scale(kind: Kind, obj: Object, include: str, version: str = "v1") -> Object:
    """The Table of a Scale of this kind."""
    meta, replicas = obj["metadata"], obj["spec"].get("replicas", None if kind.custom else 0)
    cells = [meta["name"], replicas, obj["status"]["replicas"], duration.since(meta.get("creationTimestamp"), time.now())]
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {"resourceVersion": meta.get("resourceVersion", "")},
        "columnDefinitions": _defined(_CUSTOM_SCALE_COLUMNS if kind.custom else _SCALE_COLUMNS),
        "rows": [{"cells": cells, "object": _shown(obj, include)}],
    }
