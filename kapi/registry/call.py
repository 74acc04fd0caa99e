"""A call: who wants which verb on which object, with the options that every write shares."""

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
class Call:
    """One request on one kind, as the registry sees it."""

    kind: Kind
    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    manager: str = "unknown"
    """Field manager: the fieldManager parameter, else the user agent up to the first '/'."""
    validation: str = "Warn"
    """fieldValidation: Ignore, Warn or Strict."""
    tracked: bool = True
    """Whether the pipeline keeps managedFields; an apply has done so itself, a binding has no field manager."""
    options: Object = field(default_factory=dict)
    """CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, as admission sees them."""
    warnings: list[str] = field(default_factory=list)
    """Texts for Warning headers, filled while the call runs."""
    empties: Empties = field(default_factory=Empties)
    """The empty lists and maps of the body."""
    long: bool = False
    """Working on the object may hold the event loop too long: that is done beside it."""

    @property
    def key(self) -> str:
        return self.kind.key(self.namespace, self.name)

    def weigh(self, body: bytes) -> None:
        """Take notice of a body, or of the object it is about."""
        if len(body) >= limits.OFFLOAD_BYTES:
            self.long = True

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """What a function on the object gives; beside the event loop where it may be long."""
        return await offload.run(function, *args) if self.long else function(*args)
