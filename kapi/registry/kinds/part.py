"""A part of an object under its rules: where it is, what it holds, and the list its faults go into.

`part.named("name", names.dns_label)` judges the field `name` of what lies at `spec.devices[0]`, say. An absent text counts as "", a list
as [], a number as 0; `"limited" in part` tells whether a pointer is set. Rules of values that have no part are in
kapi.registry.kinds.rules.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy
from kapi.schema.cel.types import Environment, Type

Object = dict[str, Any]


class Part:
    """An object at a path. Rules that answer say whether there was nothing to find."""

    __slots__ = ("at", "e", "obj")

    def __init__(self, e: Errors, at: str, obj: Object | None) -> None:
        self.e = e
        self.at = at
        """Its path: 'spec.rules[0]', '' for a whole object."""
        self.obj = obj or {}

    # what is there ----------------------------------------------------------------------------------------------------------------

    def __contains__(self, field: str) -> bool:
        return self.obj.get(field) is not None

    def path(self, field: str) -> str:
        return f"{self.at}.{field}" if self.at else field

    def get(self, field: str) -> Any:
        """The value, None when it is not set."""
        return self.obj.get(field)

    def text(self, field: str) -> str:
        return self.obj.get(field) or ""

    def number(self, field: str) -> int:
        return self.obj.get(field) or 0

    def items(self, field: str) -> list[Any]:
        return self.obj.get(field) or []

    def part(self, field: str) -> "Part":
        """The object in a field; an empty one when it is not set."""
        return Part(self.e, self.path(field), self.obj.get(field))

    def parts(self, field: str, most: int | None = None) -> Iterator["Part"]:
        """The objects in a list, of which there are too many beyond `most` (the others are not looked at)."""
        at, listed = self.path(field), self.items(field)
        for i, item in enumerate(listed[:most]):
            yield Part(self.e, f"{at}[{i}]", item)
        if most is not None and len(listed) > most:
            self.e.too_many(at, len(listed), most)

    def values(self, field: str) -> Iterator[tuple[str, Any]]:
        """Each value of a list with its path."""
        at = self.path(field)
        return ((f"{at}[{i}]", value) for i, value in enumerate(self.items(field)))

    # rules ------------------------------------------------------------------------------------------------------------------------

    def required(self, field: str, detail: str = "") -> None:
        self.e.required(self.path(field), detail)

    def invalid(self, field: str, detail: str) -> None:
        self.e.invalid(self.path(field), self.obj.get(field), detail)

    def forbidden(self, field: str, detail: str) -> None:
        self.e.forbidden(self.path(field), detail)

    def unsupported(self, field: str, allowed: Iterable[str], *, sort: bool = True) -> None:
        self.e.unsupported(self.path(field), self.text(field), allowed, sort=sort)

    def need(self, field: str, detail: str = "") -> bool:
        return self.e.need(self.path(field), self.obj.get(field), detail)

    def checked(self, field: str, check: Callable[[str], list[str]]) -> bool:
        """A check of kapi.objects.names."""
        return self.e.text(self.path(field), self.text(field), check)

    def named(self, field: str, check: Callable[[str], list[str]], detail: str = "") -> bool:
        """Required and checked."""
        return self.e.named(self.path(field), self.text(field), check, detail)

    def enum(self, field: str, allowed: Sequence[str], need: str | None = None) -> bool:
        return self.e.enum(self.path(field), self.obj.get(field), allowed, need)

    def choice(self, field: str, allowed: Sequence[str]) -> None:
        """One of `allowed` if it is set at all."""
        if field in self:
            self.enum(field, allowed)

    def at_least(self, field: str, low: int, detail: str = "") -> bool:
        return self.e.at_least(self.path(field), self.number(field), low, detail)

    def unique(self, field: str, seen: set[Any]) -> bool:
        return self.e.unique(self.path(field), self.text(field), seen)

    def selector(self, field: str) -> None:
        """A metav1.LabelSelector."""
        rules.label_selector(self.e, self.path(field), self.obj.get(field))

    def expression(self, field: str, environment: Environment | dict[str, Type], *returns: str) -> Type:
        """A CEL expression; see Errors."""
        return self.e.expression(self.path(field), self.text(field), environment, *returns)

    def immutable(self, old: Object, *fields: str) -> None:
        """Fields that are as they were in `old`; nothing and empty are the same."""
        for field in fields:
            self.e.immutable(self.path(field), self.obj.get(field), old.get(field))


class RuledStrategy(Strategy):
    """A kind whose rules are one walk over the object."""

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        whole = Part(Errors(), "", new)
        self.check(whole, old)
        return whole.e

    def check(self, new: Part, old: Object | None) -> None:
        """Judge the object (and the change from `old`), in stock's order."""

    def row(self, obj: Object, now: float) -> list[Any]:
        name, created = super().row(obj, now)
        return [name, *self.cells(obj), rules.age(obj, now) if self.columns[-1].name == "Age" else created]

    def cells(self, obj: Object) -> list[Any]:
        """The cells between the name and the age."""
        return []
