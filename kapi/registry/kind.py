"""A Kind: resource + schema + strategy + subresources, everything the pipeline needs to serve a resource.

Made from the openapi tables for the built-in kinds and from a CustomResourceDefinition for the others; used alike.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from kapi.objects.meta import Object
from kapi.objects.resource import Resource
from kapi.registry.strategy import Strategy
from kapi.schema import decode, protobuf_encoding
from kapi.schema.schema import Schema

MARK = b',"apiVersion":"'
"""Begins the end of a stored body of a custom kind, which says what version it is in."""
_LONGEST_MARK = 400
Encoded = dict[str, tuple[int, bytes]]
"""Key of an entry -> its revision, and its object in protobuf."""


def stored_version(body: bytes) -> str:
    """The apiVersion at the end of a stored body; "" where it does not say."""
    at = body.rfind(MARK, -_LONGEST_MARK)
    version = body[at + len(MARK) : -2]
    return version.decode() if at > 0 and body.endswith(b'"}') and b'"' not in version else ""


@dataclass(frozen=True)
class Kind:
    """One served version of one resource."""

    resource: Resource
    schema_of: Callable[[], Schema]
    """Returns the schema; called once, at first use."""
    strategy: Strategy
    singular: str
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of each subresource -> its verbs, e.g. {"status": ("get", "patch", "update")}."""
    storage: tuple[str, str] = ("", "")
    """(group, plural) under which the objects are kept: shared by all versions, and by Event's two groups."""
    stored: str = ""
    """group/version the objects are stored as, "apps/v1" or "/v1"; "" for kinds that are only answered, never kept."""
    custom: bool = False
    """Made from a CRD: items of a list carry kind and apiVersion, there is no strategic merge patch."""
    discovered: tuple[str, ...] = ()
    """The verbs in discovery, in its order, where they are not `verbs` by name."""
    ending: bool = False
    """Its definition is being deleted: nothing new is created."""
    sign: str = ""
    """Of a custom kind: a hash of this version in its definition."""
    list_kind: str = ""
    """The kind of a list; "" is the kind with "List"."""
    unmarked: str = ""
    """Of a custom kind: what stored bodies are in that do not say so (written before they did)."""

    @cached_property
    def schema(self) -> Schema:
        return self.schema_of()

    @cached_property
    def converts(self) -> bool:
        """Whether what is served may differ from what is stored: always (HPA v1, events.k8s.io), or (custom kinds) in old objects."""
        other = self.custom or self.stored.lstrip("/") != self.resource.api_version
        return other and type(self.strategy).from_storage is not Strategy.from_storage

    def differs(self, stored: bytes) -> bool:
        """Whether this stored body is not what is served."""
        return self.converts and not self.strategy.is_served_form(stored)

    def is_current(self, stored: bytes) -> bool:
        """Whether a stored body is in the version that is stored now: one that is not is written anew even if nothing changed."""
        return not self.custom or stored.endswith(MARK + self.stored.encode() + b'"}')

    @cached_property
    def collection(self) -> str:
        """'/apps/deployments/': what every key of the resource starts with."""
        group, plural = self.storage if self.storage[1] else (self.resource.group, self.resource.plural)
        return f"/{group or 'core'}/{plural}/"

    @cached_property
    def served(self) -> str:
        """The same of what is served: the two APIs of events share a collection."""
        return f"/{self.resource.group or 'core'}/{self.resource.plural}/"

    @cached_property
    def head(self) -> bytes:
        """What an object's bytes start with on the wire, in front of '"metadata":…'."""
        if self.custom:
            return b'{"apiVersion":%s,"kind":%s,' % (orjson.dumps(self.resource.api_version), orjson.dumps(self.resource.kind))
        return b'{"kind":%s,"apiVersion":%s,' % (orjson.dumps(self.resource.kind), orjson.dumps(self.resource.api_version))

    @cached_property
    def protobuf_head(self) -> bytes:
        """What an object's protobuf starts with."""
        return protobuf_encoding.head(self.resource.api_version, self.resource.kind)

    @cached_property
    def protobuf(self) -> Encoded:
        """Objects in protobuf that are kept (kapi.registry.protobuf_cache)."""
        return {}

    @cached_property
    def version_suffix(self) -> bytes:
        """What a stored body ends with that is in this version: those of custom kinds say which version they are in."""
        return MARK + self.resource.api_version.encode() + b'"}' if self.custom else b""

    def blank_status(self) -> Object | None:
        """A new empty status as stock encodes it ({} or with zero values); None where an empty status is omitted."""
        raw = self._blank_status
        return orjson.loads(raw) if raw else None

    @cached_property
    def _blank_status(self) -> bytes:
        status = self.schema.fields.get("status") if self.schema.type == "object" else None
        if status is None or status.omit_zero or status.pointer or status.type != "object":
            return b""
        return orjson.dumps(decode.read({}, status)[0])

    def prefix(self, namespace: str | None) -> str:
        """What the keys of one namespace (or all) start with."""
        return f"{self.collection}{namespace}/" if namespace and self.resource.namespaced else self.collection

    def key(self, namespace: str | None, name: str) -> str:
        return self.prefix(namespace) + name
