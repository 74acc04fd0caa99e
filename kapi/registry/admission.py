"""What admission is asked: one operation on one object. The registry calls the chain through the Admission protocol."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from kapi.objects.meta import Object
from kapi.registry.call import Call, RequestInfo


@dataclass(slots=True, kw_only=True)
class Review(RequestInfo):
    """One operation under review; `new` may be changed in place by `mutate`, `old` never."""

    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    new: Object | None = None
    old: Object | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    """Audit annotations, "plugin/key" -> value."""
    again: bool = False
    """Somebody from outside changed the object: all who mutate are to be asked once more."""
    reinvoked: bool = False
    """This is that second round."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What a plugin keeps between the rounds, by its name."""

    @classmethod
    def of(cls, call: Call, operation: str, new: Object | None = None, old: Object | None = None) -> "Review":
        """The review of an operation that a call asks for."""
        return cls(
            call.kind, call.user, call.namespace, call.name, call.subresource, call.dry_run, call.options, call.warnings, call.long,
            operation=operation, new=new, old=old,
        )  # fmt: skip


class Admission(Protocol):
    """The chain, as the registry sees it; a refusal is a StatusError (mostly Forbidden)."""

    async def mutate(self, review: Review) -> None: ...

    async def validate(self, review: Review) -> None: ...
