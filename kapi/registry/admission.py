"""The attributes of a request that admission plugins see, and the Admission protocol through which the registry calls the chain."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from kapi.objects.meta import Object
from kapi.registry.call import Call, RequestInfo


@dataclass(slots=True, kw_only=True)
class AdmissionAttributes(RequestInfo):
    """One operation on one object, as stock's admission.Attributes. `mutate` may change `new` in place, nothing changes `old`."""

    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    new: Object | None = None
    old: Object | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    """Audit annotations, "plugin/key" -> value."""
    should_reinvoke: bool = False
    """A webhook or policy changed the object: all mutating plugins run once more."""
    is_reinvoke: bool = False
    """This is that second run."""
    reinvocation_values: dict[str, Any] = field(default_factory=dict)
    """Plugin name -> what it keeps between the two runs."""

    @classmethod
    def of(cls, call: Call, operation: str, new: Object | None = None, old: Object | None = None) -> "AdmissionAttributes":
        """The attributes of one operation of a call."""
        return cls(
            call.kind, call.user, call.namespace, call.name, call.subresource, call.dry_run, call.options, call.warnings, call.long,
            call.without_turn, operation=operation, new=new, old=old,
        )  # fmt: skip


class Admission(Protocol):
    """The admission chain. Both methods raise a StatusError, mostly Forbidden, to reject the request."""

    async def mutate(self, attrs: AdmissionAttributes) -> None: ...

    async def validate(self, attrs: AdmissionAttributes) -> None: ...

    def waits(self, attrs: AdmissionAttributes) -> bool:
        """Whether the request may have to wait for a webhook, or for expressions of policies. Its objects need not be known yet."""
        ...
