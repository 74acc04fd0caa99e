"""Requests to the registry: RequestInfo is what a Call and its AdmissionAttributes share; a Call adds the options of writes.

kapi.api.writing.call makes the Call of an HTTP request, AdmissionAttributes.of the attributes of a Call.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kapi import limits
from kapi.objects import offload
from kapi.objects.meta import Object
from kapi.objects.user import User
from kapi.registry.kind import Kind
from kapi.schema.empties import Empties
from kapi.schema.managed import Versions

Result = TypeVar("Result")


@dataclass(slots=True)
class RequestInfo:
    """User, kind, namespace, name and subresource of one request."""

    kind: Kind
    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    """CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, as admission sees them."""
    warnings: list[str] = field(default_factory=list)
    """Texts for Warning headers, added while the request is handled."""
    long: bool = False
    """Work on the object may block the event loop too long: it is done in a worker thread."""
    without_turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """Within it, the request waits for somebody else, and others may have its turn to work on a large body."""

    async def run(self, function: Callable[..., Result], *args: Any, long: bool = False, rules: bool = False) -> Result:
        """The result of a function on the object; in a worker thread where the object, or the function (`long`), may take long.

        `rules`: it evaluates expressions of clients.
        """
        if not (long or self.long):
            return function(*args)
        return await (offload.run_rules if rules else offload.run)(function, *args)


@dataclass(slots=True)
class Call(RequestInfo):
    """One request on one kind, as the pipeline sees it."""

    manager: str = "unknown"
    """Field manager: the fieldManager parameter, else the user agent up to the first '/'."""
    validation: str = "Warn"
    """fieldValidation: Ignore, Warn or Strict."""
    tracked: bool = True
    """Whether the pipeline updates managedFields; an apply has done so itself, a binding has no field manager."""
    versions: Versions | None = None
    """Where a webhook converts: the object in the versions of its managers."""
    namespace_existed: bool = False
    """Whether the namespace of what is created was there when the request came."""
    empties: Empties = field(default_factory=Empties)
    """The empty lists and maps of the body (see kapi.schema.empties)."""

    @property
    def key(self) -> str:
        return self.kind.key(self.namespace, self.name)

    def weigh(self, body: bytes) -> None:
        """Set `long` for a large body, of the request or of the stored object."""
        if len(body) >= limits.OFFLOAD_BYTES:
            self.long = True
