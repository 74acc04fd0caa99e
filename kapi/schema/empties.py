"""Empty lists and maps of a body: defaulting and validation see them, the stored form does not have them.

Go distinguishes `{}` from an absent field: in defaults, and in messages ("Invalid value: {}" is not "null"). Stored objects have been
through protobuf, which does not: an empty list or map is left out, or is null where Go always writes the field. So objects are decoded
without empty values, kapi.schema.reading records their places here, and `restored` puts them back for defaulting and validation.

Example: of {"spec": {"ports": [], "selector": {}}} the decoder returns {"spec": {}} and
Empties([Place([".spec"], "ports", [], False), Place([".spec"], "selector", {}, False)]). Within `restored(obj)` obj is the body again.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from kapi.objects.meta import Object


class Place(NamedTuple):
    """The place of an empty value: the steps to its parent ([".spec", "[0]"]) and the field's name."""

    steps: Sequence[str]
    name: str
    empty: Any
    """[] or {}."""
    written: bool
    """Go always writes the field, as null."""

    def holder(self, obj: Any) -> Object | None:
        """The parent object of the field; None where it does not exist any more."""
        for step in self.steps:
            try:
                obj = obj[step[1:] if step[0] == "." else int(step[1:-1])]
            except (KeyError, IndexError, TypeError):
                return None
        return obj if isinstance(obj, dict) else None

    def filled(self, obj: Object) -> bool:
        """Whether another object has a non-empty value there."""
        return bool((self.holder(obj) or {}).get(self.name))


class Empties(list[Place]):
    """The empty lists and maps of one body; nearly always none."""

    def restored(self, obj: Object, old: Object | None = None) -> AbstractContextManager[None]:
        """Context in which `obj` has its empty values, except where `old` has none either."""
        return self._restored(obj, old) if self else nullcontext()

    @contextmanager
    def _restored(self, obj: Object, old: Object | None) -> Iterator[None]:
        for place in self:
            holder = place.holder(obj)
            if holder is None or holder.get(place.name):
                continue
            if old is None or place.filled(old):
                holder.setdefault(place.name, place.empty.copy())
            elif place.written:
                holder[place.name] = None
        yield
        for place in self:
            holder = place.holder(obj)
            if holder is not None and not place.written and holder.get(place.name) == place.empty:
                del holder[place.name]

    def has(self, *path: str) -> bool:
        """Whether a field of the body was empty: has("metadata", "labels")."""
        return any((*place.steps, f".{place.name}") == tuple(f".{name}" for name in path) for place in self)

    def write_nulls(self, obj: Object) -> None:
        """Convert to the stored form: null for an empty list or map that Go always writes."""
        for place in self:
            holder = place.holder(obj)
            if place.written and holder is not None and holder.get(place.name) == place.empty:
                holder[place.name] = None
