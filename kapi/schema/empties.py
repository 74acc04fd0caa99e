"""Empty lists and maps of a body: stock's rules see them, its stored form does not have them.

Go tells `{}` from nothing: a default or a message may ("Invalid value: {}" is not "null"). But what is stored has been through
protobuf, which cannot tell, so an empty list or map is left out, or is null where Go writes the field always. Objects
are decoded without what is left out (kapi.schema.reading notes its places here), and have it while they are defaulted and judged.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from kapi.objects.meta import Object


class Place(NamedTuple):
    """Where an empty value stood: the steps to what holds it ([".spec", "[0]"]) and the field's name."""

    steps: Sequence[str]
    name: str
    empty: Any
    """[] or {}."""
    written: bool
    """Go writes the field always: as null."""

    def holder(self, obj: Any) -> Object | None:
        """The object that has, or had, the field; None where it has gone."""
        for step in self.steps:
            try:
                obj = obj[step[1:] if step[0] == "." else int(step[1:-1])]
            except (KeyError, IndexError, TypeError):
                return None
        return obj if isinstance(obj, dict) else None

    def filled(self, obj: Object) -> bool:
        """Whether another object has something there."""
        return bool((self.holder(obj) or {}).get(self.name))


class Empties(list[Place]):
    """The empty lists and maps of one body; nearly always none."""

    def shown(self, obj: Object, old: Object | None = None) -> AbstractContextManager[None]:
        """Within, `obj` has them, but for those that change nothing in `old`."""
        return self._shown(obj, old) if self else nullcontext()

    @contextmanager
    def _shown(self, obj: Object, old: Object | None) -> Iterator[None]:
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
        """The form that is stored: null for an empty list or map that Go always writes."""
        for place in self:
            holder = place.holder(obj)
            if place.written and holder is not None and holder.get(place.name) == place.empty:
                holder[place.name] = None
