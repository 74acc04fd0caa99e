"""What admission is asked: one operation on one object. The registry calls the chain through the Admission protocol."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from kapi.objects import offload
from kapi.objects.meta import Object
from kapi.objects.user import User
from kapi.registry.kind import Kind

Result = TypeVar("Result")


@dataclass(slots=True)
class Review:
    """One operation under review; `new` may be changed in place by `mutate`, `old` never."""

    kind: Kind
    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    new: Object | None = None
    old: Object | None = None
    options: Object = field(default_factory=dict)
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    """Texts a plugin adds for Warning headers."""
    annotations: dict[str, str] = field(default_factory=dict)
    """Audit annotations, "plugin/key" -> value."""
    again: bool = False
    """Somebody from outside changed the object: all who mutate are to be asked once more."""
    reinvoked: bool = False
    """This is that second round."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What a plugin keeps between the rounds, by its name."""
    long: bool = False
    """Looking closely at the object may take long."""

    async def run(self, function: Callable[..., Result], *args: Any, long: bool) -> Result:
        """What a function on the object gives; beside the event loop where the object, or the function, may be long."""
        return await offload.run(function, *args) if long or self.long else function(*args)


class Admission(Protocol):
    """The chain, as the registry sees it; a refusal is a StatusError (mostly Forbidden)."""

    async def mutate(self, review: Review) -> None: ...

    async def validate(self, review: Review) -> None: ...
