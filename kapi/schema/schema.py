"""A node of a type: its fields or items, how its lists and maps merge, how Go encodes it.

Nodes are resolved lazily, so types may contain themselves. They come from the built-in table (kapi.schema.builtin), from a
CustomResourceDefinition, or are made by hand: `Schema("object", fields={"a": Schema("string")})`. Reading objects by them
is the work of kapi.schema.decode, merging that of kapi.schema.apply and kapi.objects.patch.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Fields = Mapping[str, "Schema"]
ZEROS: dict[str, Any] = {
    **{"string": "", "int32": 0, "int64": 0, "number": 0, "boolean": False},
    **{"quantity": "0", "intstr": 0, "duration": "0s"},
}
"""The zero values of Go."""


class Schema:
    """One field, item or whole object. `fields` may be a callable, which is called once, when first needed."""

    __slots__ = (
        "_make", "atomic", "default", "embedded", "enum", "extra", "fields", "go", "item", "keys", "list_type", "name", "omit_empty",
        "omit_zero", "order", "patch_key", "patch_strategy", "pointer", "required", "type",
    )  # fmt: skip

    def __init__(
        self, type: str, *, name: str = "", fields: Fields | Callable[[], Fields] | None = None, required: Iterable[str] = (),
        item: "Schema | None" = None, list_type: str = "atomic", keys: Iterable[str] = (), atomic: bool = False,
        patch_strategy: Iterable[str] = (), patch_key: str = "", default: Any = None, enum: tuple[Any, ...] = (), go: str = "",
        pointer: bool = False, omit_empty: bool = True, omit_zero: bool = False, embedded: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.type = type
        """object, map, list, any, string, int32, int64, number, boolean, bytes, quantity, time, microtime, duration, intstr."""
        self.name = name
        """Definition name of an object: 'io.k8s.api.core.v1.PodSpec'; also of quantities, times and the like."""
        self._make = fields if callable(fields) else None
        if self._make is None:
            self.fields = fields or {}  # type: ignore[assignment]
        self.required = frozenset(required)
        self.item = item
        """The schema of a list's items or a map's values."""
        self.list_type = list_type
        """atomic, set or map."""
        self.keys = tuple(keys)
        """Key fields of a list of type map (x-kubernetes-list-map-keys)."""
        self.atomic = atomic
        """A map or object that merges and is owned as a whole (lists: see list_type)."""
        self.patch_strategy = frozenset(patch_strategy)
        """merge, replace, retainKeys (strategic merge patch)."""
        self.patch_key = patch_key
        self.default = default
        self.enum = enum
        self.go = go
        """The Go type in messages, where it differs from the definition's name: 'v1.Protocol'."""
        self.pointer = pointer
        """Absent and zero differ: a zero value is kept."""
        self.omit_empty = omit_empty
        """Absent from output when nil or zero (structs never are, unless omit_zero)."""
        self.omit_zero = omit_zero
        self.embedded = embedded
        """The embedded Go struct a field lies in, which paths in messages show: 'VolumeSource'."""
        self.order: tuple[Mapping[str, int], frozenset[str]] | None = None
        """Places of the fields, and those that are written though unset; made when an object is first read (kapi.schema.reading)."""
        self.extra = extra or {}
        """Further facts (a CRD's validation keywords)."""

    fields: Fields
    """Fields of an object in Go's order; empty for everything else."""

    def __getattr__(self, name: str) -> Any:
        """Makes `fields` when they are first needed: only then is the slot empty."""
        if name != "fields":
            raise AttributeError(name)
        if (make := self._make) is not None:  # otherwise another thread has made them since
            self.fields = make()
            self._make = None
        return self.fields

    @property
    def open(self) -> bool:
        """Whether an object may have fields that are not named."""
        return False

    def at(self, *path: str) -> "Schema | None":
        """The node under field names; list and map items are passed through: at("spec", "containers", "image")."""
        node: Schema | None = self
        for name in path:
            while node is not None and node.type == "list":
                node = node.item
            if node is None:
                return None
            node = node.item if node.type == "map" else node.fields.get(name)
        return node

    @property
    def go_type(self) -> str:
        """The type as a JSON error names it: '[]v1.Container', 'map[string]string', 'int32', 'v1.Protocol'."""
        if self.go:
            return self.go
        if self.name:
            return ".".join(self.name.rsplit(".", 2)[1:])
        if self.type == "list" and self.item is not None:
            return "[]" + self.item.pointed
        if self.type == "map" and self.item is not None:
            return "map[string]" + self.item.pointed
        return {"number": "float64", "boolean": "bool", "bytes": "[]uint8", "any": "interface {}"}.get(self.type, self.type)

    @property
    def pointed(self) -> str:
        return ("*" if self.pointer else "") + self.go_type

    def __repr__(self) -> str:
        return f"Schema({self.type!r}, name={self.name!r})"


ANY = Schema("any")
