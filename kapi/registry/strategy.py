"""Strategy: the rules of one kind. The pipeline in kapi.registry.rest is the same for all kinds.

A kind overrides what it needs; the defaults here are those of a plain namespaced object with a spec.
Objects are changed in place only in `default`, `prepare` and `prepare_status`, always on the pipeline's own copy.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.objects.user import User
from kapi.registry import defaults
from kapi.registry.defaults import Defaults
from kapi.registry.scale import WORKLOAD, Paths


class NameCheck(Protocol):
    """Returns the errors of a name; `prefix`: it is a generateName."""

    def __call__(self, name: str, prefix: bool, /) -> list[str]: ...


class Column(NamedTuple):
    """A column of the Table that `kubectl get` prints; priority 0 shows always, 1 with `-o wide`."""

    name: str
    type: str = "string"
    description: str = ""
    priority: int = 0
    format: str = ""
    source: str = ""
    """The field whose documentation describes the column (see kapi.schema.texts), instead of a description."""
    path: str = ""
    """The field that the cell shows, "spec.nodeName"; without one, `cells` of the Strategy makes the cell."""
    absent: str = ""
    """What the cell shows where the field is absent or empty."""


_CREATED = "ObjectMeta.creationTimestamp"
NAME_COLUMN = Column("Name", format="name", source="ObjectMeta.name")
AGE_COLUMN = Column("Age", source=_CREATED)


class Strategy:
    """The variation of one kind. Method arguments are whole objects; `old` is None when the object is being created."""

    name_check: ClassVar[NameCheck] = staticmethod(names.dns_subdomain)
    """Messages on a bad metadata.name; the flag: it is a generateName prefix."""
    deprecated: str = ""
    """The warning that every request for this resource is answered with."""
    loose_finalizers: ClassVar[bool] = False
    """Whether any qualified name does as a finalizer: stock's rules of a few kinds leave out the check for a domain."""
    error_group: ClassVar[str | None] = None
    """The group that an Invalid names, where it is not the served one."""
    status: bool = True
    """Whether there is a /status endpoint: then the main endpoint leaves `status` alone and the other one all else."""
    generation: ClassVar[bool] = True
    """Whether metadata.generation counts changes of the spec."""
    create_on_update: ClassVar[bool] = False
    """Whether PUT to an absent name creates."""
    unconditional_update: ClassVar[bool] = True
    """Whether PUT may leave out metadata.resourceVersion."""
    defaults: Defaults = {}
    """Values of fields that are absent, by path, e.g. {"spec.replicas": 1}; see kapi.registry.defaults."""
    defaults_of_empty: Defaults = {}
    """The same for fields that are not pointers in stock: "", 0 and [] are absent as well."""
    columns: Sequence[Column] = (NAME_COLUMN, Column("Created At", "date", source=_CREATED))
    fields: Mapping[str, Callable[[Object], str]] = {}
    """Field selectors beyond metadata.name and metadata.namespace, e.g. {"spec.nodeName": lambda pod: ...}."""
    indexed: Mapping[str, Callable[[Object], str]] | None = None
    """Fields that are kept with an entry, where they are not `fields`: those of all versions, of the stored object.

    Where a webhook converts, only those of the version that is stored.
    """
    selected_as: Mapping[str, str] = {}
    """Name in a selector -> name in `fields`, where a version of the kind has other names; those are then all it has."""
    selects_namespace: bool = True
    """Whether metadata.namespace is a field to select by."""
    reset_fields: ClassVar[Sequence[tuple[str, ...]]] = ()
    """Paths the main endpoint resets besides status: never owned by its field managers, e.g. (("spec", "x"),)."""
    status_reset_fields: ClassVar[Sequence[tuple[str, ...]]] = (("spec",),)
    """Paths the /status endpoint resets."""
    graceful: ClassVar[bool] = False
    """Whether a delete request first marks the object and gives it `grace` seconds (pods)."""
    returns_deleted: ClassVar[bool] = False
    """Whether DELETE answers with the object that is gone rather than with a Status."""
    scale: Paths = WORKLOAD
    """Where a Scale finds its fields."""
    converter: object | None = None
    """Of a custom kind: the webhook that converts between its versions (kapi.registry.conversion)."""
    withdrawn: bool = False
    """No longer served, or served by another schema: watches end."""
    ending: bool = False
    """Of a custom kind: its definition is being deleted, so nothing more is created, whenever the request came."""
    long: bool = False
    """Checking an object may take long however small it is: that is done beside the event loop."""

    def default(self, obj: Object) -> None:
        """Set what stock's defaulting functions set, in place. Runs on all that is to be written, before anything looks at it."""
        if self.defaults or self.defaults_of_empty:
            defaults.fill(obj, self.defaults, self.defaults_of_empty)

    def prepare(self, new: Object, old: Object | None) -> None:
        """Set what the client may not choose on the main endpoint (beyond status and generation, done by the pipeline)."""

    def set_user(self, new: Object, user: User) -> None:
        """Set the creator of the object, for kinds that record it."""

    def prepare_status(self, new: Object, old: Object) -> None:
        """The same for /status, after the pipeline has put back everything but status and (ordinary) metadata."""

    def prepare_subresource(self, subresource: str, new: Object, old: Object) -> None:
        """The same for every subresource that updates the object: status, approval, finalize, ephemeralcontainers, resize.

        Fields that the subresource may not change are restored here; for status the pipeline has done so.
        """
        self.prepare_status(new, old)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        """Every field error of the object (and of the change, when `old` is not None)."""
        return []

    def validate_within(self, new: Object, old: Object | None, labels: Callable[[], Mapping[str, str]]) -> list[Cause]:
        """Field errors that depend on the labels of the object's namespace; `labels` looks them up. They come first."""
        return []

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        return []

    def validate_subresource(self, subresource: str, new: Object, old: Object) -> list[Cause]:
        return self.validate_status(new, old)

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        """Texts for Warning headers (deprecated fields and the like)."""
        return []

    def grace(self, obj: Object, seconds: int | None) -> int:
        """Seconds a graceful object lives on after a delete request with gracePeriodSeconds `seconds` (None: without)."""
        return seconds or 0

    def blocks_deletion(self, obj: Object) -> bool:
        """Whether something besides metadata.finalizers keeps a deleted object (a namespace's spec.finalizers)."""
        return False

    def mark_deleted(self, obj: Object) -> None:
        """What else changes when the object is first marked for deletion (a namespace becomes Terminating)."""

    @property
    def index(self) -> Mapping[str, Callable[[Object], str]]:
        """What is kept with an entry for field selectors."""
        return self.fields if self.indexed is None else self.indexed

    def row(self, obj: Object, now: float) -> list[Any]:
        """The cells of the object under `columns`; `now` is seconds since the epoch."""
        meta = obj.get("metadata") or {}
        return [meta.get("name", ""), meta.get("creationTimestamp")]

    def row_conditions(self, obj: Object) -> list[Object]:
        """The conditions of a Table row: Completed, for finished pods and Jobs."""
        return []

    def to_storage(self, obj: Object, version: str) -> Object:
        """From the served version (an apiVersion, e.g. "autoscaling/v1") to the stored one; most kinds have one shape for all."""
        return obj

    def from_storage(self, obj: Object, version: str) -> Object:
        return obj

    def pruned(self, obj: Object) -> Object:
        """Of a custom kind: the object without what this version does not know."""
        return obj

    def openapi(self) -> Object:
        """The schema of a custom kind as its definition has it, read anew each time; {} for the others."""
        return {}

    def is_served_form(self, stored: bytes) -> bool:
        """Of a kind that converts: whether this stored body needs no conversion."""
        return False

    def changed(self, new: Object, old: Object) -> bool:
        """Whether an update counts as a new generation: anything but metadata and status differs."""
        return any(new.get(k) != old.get(k) for k in {*new, *old} if k not in ("metadata", "status"))
