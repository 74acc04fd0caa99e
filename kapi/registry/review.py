"""What admission is asked: one operation on one object. The registry calls the chain through the Admission protocol."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from kapi.objects.user import User
from kapi.registry.kind import Kind

Object = dict[str, Any]


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


class Admission(Protocol):
    """The chain, as the registry sees it; a refusal is a StatusError (mostly Forbidden)."""

    async def mutate(self, review: Review) -> None: ...

    async def validate(self, review: Review) -> None: ...
