"""Base classes of admission plugins, their errors, and the reader through which they look up other objects.

A plugin overrides `handles`, and `mutate`, `check` or `validate`. `mutate` and `validate` may be coroutines; plain functions cost
nothing to await.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, Protocol

from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import PODS, Resource
from kapi.objects.user import Attributes, Decision
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import Catalogue
from kapi.storage.store import Entry, Store

_PARSED_OBJECTS = 256
"""Most single objects that are kept parsed."""
_SHORT_LIST = 64
"""Most objects of a list that is kept parsed: classes, limits, quotas; not pods."""
CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


class Authorizer(Protocol):
    """Who may do what (kapi.access.authorization)."""

    def authorize(self, attributes: Attributes) -> Decision: ...


class Plugin:
    """One plugin of the chain."""

    name = ""
    handled: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Operation -> resources it handles: "pods", "pods/resize", "ingresses.networking.k8s.io"."""

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        """Whether the plugin handles such requests; called once per operation, resource and subresource."""
        return (f"{resource.qualified}/{subresource}" if subresource else resource.qualified) in self.handled.get(operation, ())

    def mutate(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        """Change `attrs.new` in place. Raises StatusError to reject the request."""
        return None

    def check(self, attrs: AdmissionAttributes) -> None:
        """Check the result of all mutations, before the kind's own validation. Raises StatusError."""

    def validate(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        """Check the request after the kind's own validation; changes nothing. Raises StatusError."""
        return None

    def waits(self, attrs: AdmissionAttributes) -> bool:
        """Whether it may wait for a webhook or an expression; before the objects of the request are known."""
        return False


class Reader:
    """Looks up current objects in the store. Parsed objects are kept until the stored ones change."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self.store = store
        self._prefixes: dict[Resource, str] = {}
        self._catalogue = catalogue
        self._objects: dict[str, tuple[int, Object]] = {}
        self._lists: dict[str, tuple[int, list[Object]]] = {}

    def prefix(self, resource: Resource, namespace: str = "") -> str:
        """The prefix of the resource's keys."""
        known = self._prefixes.get(resource)
        if known is None:
            kind = self._catalogue.get(resource.group, resource.version, resource.plural)
            known = kind.collection if kind is not None else f"/{resource.group or 'core'}/{resource.plural}/"
            self._prefixes[resource] = known
        return f"{known}{namespace}/" if namespace else known

    def entry(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The stored entry; for objects that are many and looked up once."""
        return self.store.get(self.prefix(resource, namespace) + name)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None. Callers must not change it."""
        entry = self.entry(resource, namespace, name)
        if entry is None:
            return None
        key = entry.key
        known = self._objects.get(key)
        if known is None or known[0] != entry.revision:
            if len(self._objects) >= _PARSED_OBJECTS:
                self._objects.clear()
            known = self._objects[key] = (entry.revision, entry.obj)
        return known[1]

    def lister(self, resource: Resource) -> Callable[[], list[Object]]:
        """A function that returns all objects of the resource: the same list until one changes. For lists every request reads."""
        prefix = self.prefix(resource)
        version, seen, objects = self.store.counter(prefix), -1, list[Object]()

        def now() -> list[Object]:
            nonlocal seen, objects
            if (newest := version()) != seen:
                seen, objects = newest, [entry.obj for entry in self.store.list(prefix).entries]
            return objects

        return now

    def entries(self, resource: Resource, namespace: str) -> Sequence[Entry]:
        """The stored entries in a namespace; for those that are many and looked at in turns."""
        return self.store.list(self.prefix(resource, namespace)).entries

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All objects of the resource (in a namespace); callers must not change them. Short lists are kept until one of them changes."""
        prefix = self.prefix(resource, namespace)
        version = self.store.version(prefix)
        known = self._lists.get(prefix)
        if known is not None and known[0] == version:
            return known[1]
        found = [entry.obj for entry in self.store.list(prefix).entries]
        if len(self._lists) > 256:
            self._lists.clear()
        if len(found) <= _SHORT_LIST:
            self._lists[prefix] = (version, found)
        else:
            self._lists.pop(prefix, None)
        return found


class ReadingPlugin(Plugin):
    """A plugin that looks up other objects."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader


def display_name(attrs: AdmissionAttributes) -> str:
    """The name in an error: the request's, else the object's, else its generateName."""
    meta = (attrs.new or {}).get("metadata") or {}
    return attrs.name or meta.get("name") or meta.get("generateName") or "Unknown"


def forbidden(attrs: AdmissionAttributes, why: str) -> errors.Forbidden:
    """The error of a plugin: 'pods "p" is forbidden: …'."""
    resource = attrs.kind.resource
    return errors.forbidden(resource.plural, resource.group, display_name(attrs), why)


def is_pod(resource: Resource) -> bool:
    return resource.plural == PODS.plural and resource.group == ""


def spec_containers(spec: Object) -> list[Object]:
    """Init containers, then containers: the order stock visits them in."""
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


class OutOfBudget(Exception):
    """The cost budget of expressions is used up; nothing more is evaluated."""

    def __init__(self) -> None:
        super().__init__("validation failed due to running out of cost budget, no further validation rules will be run")
