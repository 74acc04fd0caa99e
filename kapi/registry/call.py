"""What a request asks of the registry: RequestInfo is what its Call and the Reviews of it share; a Call has the options of writes.

The rest is built from it: a Call of an HTTP request by kapi.api.writing.call, a Review of a Call by Review.of.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kapi import limits
from kapi.objects import offload
from kapi.objects.meta import Object
from kapi.objects.user import User
from kapi.registry.kind import Kind
from kapi.schema.empties import Empties

Result = TypeVar("Result")


@dataclass(slots=True)
class RequestInfo:
    """Who asks for what: the facts of one request on one kind."""

    kind: Kind
    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    """CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, as admission sees them."""
    warnings: list[str] = field(default_factory=list)
    """Texts for Warning headers, filled while the request is worked on."""
    long: bool = False
    """Working on the object may hold the event loop too long: that is done beside it."""

    async def run(self, function: Callable[..., Result], *args: Any, long: bool = False) -> Result:
        """What a function on the object gives; beside the event loop where the object, or the function, may be long."""
        return await offload.run(function, *args) if long or self.long else function(*args)


@dataclass(slots=True)
class Call(RequestInfo):
    """One request on one kind, as the pipeline sees it."""

    manager: str = "unknown"
    """Field manager: the fieldManager parameter, else the user agent up to the first '/'."""
    validation: str = "Warn"
    """fieldValidation: Ignore, Warn or Strict."""
    tracked: bool = True
    """Whether the pipeline keeps managedFields; an apply has done so itself, a binding has no field manager."""
    empties: Empties = field(default_factory=Empties)
    """The empty lists and maps of the body."""

    @property
    def key(self) -> str:
        return self.kind.key(self.namespace, self.name)

    def weigh(self, body: bytes) -> None:
        """Take notice of a body, or of the object it is about."""
        if len(body) >= limits.OFFLOAD_BYTES:
            self.long = True
