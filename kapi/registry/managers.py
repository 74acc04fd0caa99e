"""Managers of one object in several versions, between which a webhook converts: what a write changed is looked at in the version of each.

The functions of kapi.schema that do so do not wait. They ask for an object in another version; where it is not known yet they are left
(`Needed`), the webhook is asked, and they begin anew.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from kapi import limits
from kapi.objects.meta import Object
from kapi.registry import conversion
from kapi.registry.call import Call
from kapi.registry.conversion_review import ConversionFailed
from kapi.registry.kind import Kind
from kapi.schema.schema import Schema

Result = TypeVar("Result")


class Needed(Exception):
    """An object has to be converted first."""

    def __init__(self, raw: bytes, source: str, target: str) -> None:
        super().__init__(target)
        self.raw, self.source, self.target = raw, source, target


class ManagerVersions:
    """The Versions of kapi.schema.managed, of one request."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.known: dict[tuple[bytes, str], Object] = {}
        """(the object's JSON, apiVersion) -> it in that version."""

    def schema(self, api_version: str) -> Schema | None:
        found = conversion.versions(self._kind).get(api_version.rpartition("/")[2])
        return found.schema if found is not None else None

    def convert(self, obj: Object, api_version: str) -> Object:
        """Raises Needed."""
        if obj["apiVersion"] == api_version:
            return obj
        raw = orjson.dumps(obj)
        found = self.known.get((raw, api_version))
        if found is None:
            raise Needed(raw, obj["apiVersion"], api_version)
        return found


async def with_versions(call: Call, function: Callable[..., Result], *args: Any) -> Result:
    """The result of a function that looks at the versions of a call. Raises ConversionFailed."""
    versions = call.versions = ManagerVersions(call.kind)
    for _ in range(limits.CONVERSIONS_OF_A_WRITE):
        try:
            return await call.run(function, *args)
        except Needed as needed:
            source, target = (conversion.sibling(call.kind, name.rpartition("/")[2]) for name in (needed.source, needed.target))
            obj = await conversion.to(target, source, orjson.loads(needed.raw), call)
            versions.known[needed.raw, needed.target] = obj
    raise ConversionFailed("the object has managers in too many versions")
