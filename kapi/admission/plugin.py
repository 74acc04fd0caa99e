"""What a plugin of the chain is, how it refuses, and how it reads other objects.

A plugin overrides `handles`, and `mutate`, `check` or `validate`; the first and the last may be coroutines,
plain ones cost nothing to await.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Protocol

from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import PODS, Resource
from kapi.objects.user import Attributes, Decision
from kapi.registry.admission import Review
from kapi.registry.catalogue import Catalogue
from kapi.storage.store import Entry, Store

_KEPT = 256
"""Parsed forms kept of single objects."""
_SHORT = 64
"""Objects in a list that is worth keeping parsed: classes, limits, quotas; not pods."""
CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


class Authorizer(Protocol):
    """Who may do what (kapi.access.authorization)."""

    def authorize(self, asked: Attributes) -> Decision: ...


class Plugin:
    """One link of the chain."""

    name = ""
    about: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What it cares for, by operation: "pods", "pods/resize", "ingresses.networking.k8s.io"."""

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        """Whether the plugin cares at all; asked once per kind of request and remembered."""
        return (f"{resource.qualified}/{subresource}" if subresource else resource.qualified) in self.about.get(operation, ())

    def mutate(self, review: Review) -> Awaitable[None] | None:
        """Change `review.new` in place, or refuse."""
        return None

    def check(self, review: Review) -> None:
        """Refuse what all who mutate have left, or let pass: before the object is validated as its kind."""

    def validate(self, review: Review) -> Awaitable[None] | None:
        """Refuse, or let pass; nothing is changed any more."""
        return None


class Reader:
    """Other objects, as they are now: plain look-ups. Parsed forms are kept as long as the stored ones live."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self.store = store
        self._prefixes: dict[Resource, str] = {}
        self._catalogue = catalogue
        self._objects: dict[str, tuple[int, Object]] = {}
        self._lists: dict[str, tuple[int, list[Object]]] = {}

    def prefix(self, resource: Resource, namespace: str = "") -> str:
        """What the resource's keys start with."""
        known = self._prefixes.get(resource)
        if known is None:
            kind = self._catalogue.get(resource.group, resource.version, resource.plural)
            known = kind.collection if kind is not None else f"/{resource.group or 'core'}/{resource.plural}/"
            self._prefixes[resource] = known
        return f"{known}{namespace}/" if namespace else known

    def entry(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The object as it is stored; for what is many and asked for once."""
        return self.store.get(self.prefix(resource, namespace) + name)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, not to be changed; None when there is none."""
        entry = self.entry(resource, namespace, name)
        if entry is None:
            return None
        key = entry.key
        known = self._objects.get(key)
        if known is None or known[0] != entry.revision:
            if len(self._objects) >= _KEPT:
                self._objects.clear()
            known = self._objects[key] = (entry.revision, entry.obj)
        return known[1]

    def listing(self, resource: Resource) -> Callable[[], list[Object]]:
        """What tells all objects of the resource: the same list until something in it changes. For what every request looks at."""
        prefix = self.prefix(resource)
        version, seen, found = self.store.counter(prefix), -1, list[Object]()

        def now() -> list[Object]:
            nonlocal seen, found
            if (newest := version()) != seen:
                seen, found = newest, [entry.obj for entry in self.store.list(prefix).entries]
            return found

        return now

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All objects of the resource (in a namespace), not to be changed. Short lists are kept until something in them changes."""
        prefix = self.prefix(resource, namespace)
        version = self.store.version(prefix)
        known = self._lists.get(prefix)
        if known is not None and known[0] == version:
            return known[1]
        found = [entry.obj for entry in self.store.list(prefix).entries]
        if len(self._lists) > 256:
            self._lists.clear()
        if len(found) <= _SHORT:
            self._lists[prefix] = (version, found)
        else:
            self._lists.pop(prefix, None)
        return found


class ReadingPlugin(Plugin):
    """A plugin that looks at other objects."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader


def subject(review: Review) -> str:
    """The name a refusal shows: the request's, else the object's, else the prefix it asked for."""
    meta = (review.new or {}).get("metadata") or {}
    return review.name or meta.get("name") or meta.get("generateName") or "Unknown"


def forbidden(review: Review, why: str) -> errors.Forbidden:
    """A refusal as stock words it: 'pods "p" is forbidden: …'."""
    resource = review.kind.resource
    return errors.forbidden(resource.plural, resource.group, subject(review), why)


def is_pod(resource: Resource) -> bool:
    return resource.plural == PODS.plural and resource.group == ""


def spec_containers(spec: Object) -> list[Object]:
    """Init containers, then containers: the order stock visits them in."""
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


class OutOfBudget(Exception):
    """Nothing more is evaluated."""

    def __init__(self) -> None:
        super().__init__("validation failed due to running out of cost budget, no further validation rules will be run")
