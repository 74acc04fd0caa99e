"""What makes one kind different from another. The pipeline in kapi.registry.rest is the same for all of them.

A kind overrides what it needs; the defaults here are those of a plain namespaced object with a spec.
Objects are changed in place only in `default`, `prepare` and `prepare_status`, always on the pipeline's own copy.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from kapi.objects import names
from kapi.objects.errors import Cause

Object = dict[str, Any]


class Column(NamedTuple):
    """A column of the Table that `kubectl get` prints; priority 0 shows always, 1 with `-o wide`."""

    name: str
    type: str = "string"
    description: str = ""
    priority: int = 0
    format: str = ""


NAME_COLUMN = Column("Name", format="name", description="Name must be unique within its namespace.")
AGE_COLUMN = Column("Age", description="Time since the object was created.")


class Strategy:
    """The variation of one kind. Method arguments are whole objects; `old` is None when the object is being created."""

    name_check: ClassVar[Callable[[str, bool], list[str]]] = staticmethod(names.dns_subdomain)
    """Messages on a bad metadata.name; the flag says the text is a generateName prefix."""
    status: ClassVar[bool] = True
    """Whether there is a /status endpoint: then the main endpoint leaves `status` alone and the other one all else."""
    generation: ClassVar[bool] = True
    """Whether metadata.generation counts changes of the spec."""
    create_on_update: ClassVar[bool] = False
    """Whether PUT to an absent name creates."""
    unconditional_update: ClassVar[bool] = True
    """Whether PUT may leave out metadata.resourceVersion."""
    columns: ClassVar[Sequence[Column]] = (NAME_COLUMN, Column("Created At", "date", "CreationTimestamp is a timestamp ..."))
    fields: ClassVar[dict[str, Callable[[Object], str]]] = {}
    """Field selectors beyond metadata.name and metadata.namespace, e.g. {"spec.nodeName": lambda pod: ...}."""
    reset_fields: ClassVar[Sequence[tuple[str, ...]]] = ()
    """Paths the main endpoint resets besides status: never owned by its field managers, e.g. (("spec", "x"),)."""
    status_reset_fields: ClassVar[Sequence[tuple[str, ...]]] = (("spec",),)
    """Paths the /status endpoint resets."""
    default_grace: ClassVar[int | None] = None
    """Seconds of graceful deletion when the request names none; None: this kind is deleted at once."""

    def default(self, obj: Object) -> None:
        """Fill in what stock's defaulting functions fill in. Runs on every decoded object, before anything looks at it."""

    def prepare(self, new: Object, old: Object | None) -> None:
        """Set what the client may not choose on the main endpoint (beyond status and generation, done by the pipeline)."""

    def prepare_status(self, new: Object, old: Object) -> None:
        """The same for /status, after the pipeline has put back everything but status and (ordinary) metadata."""

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        """Every field error of the object (and of the change, when `old` is given)."""
        return []

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        return []

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        """Texts for Warning headers (deprecated fields and the like)."""
        return []

    def grace(self, obj: Object, seconds: int | None) -> int | None:
        """Seconds the object lives on after a delete request asked for `seconds`; None or 0: it goes at once."""
        return self.default_grace if seconds is None else (seconds if self.default_grace is not None else None)

    def row(self, obj: Object, now: float) -> list[Any]:
        """The cells of the object under `columns`; `now` is seconds since the epoch."""
        meta = obj.get("metadata") or {}
        return [meta.get("name", ""), meta.get("creationTimestamp")]

    def to_storage(self, obj: Object, version: str) -> Object:
        """From the served version to the stored one; most kinds have one shape for all their versions."""
        return obj

    def from_storage(self, obj: Object, version: str) -> Object:
        return obj
