"""Tables and PartialObjectMetadata: the shapes `kubectl get` and metadata clients ask for."""

from collections.abc import Iterable
from functools import lru_cache

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kind import Kind
from kapi.registry.strategy import Column
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
    shown: Object | None = None
    if include == "Object":
        shown = obj
    elif include != "None":
        shown = partial(obj)
    out: Object = {"cells": kind.strategy.row(obj, now)}
    if conditions := kind.strategy.row_conditions(obj):
        out["conditions"] = conditions
    out["object"] = shown
    return out


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
