"""A part of an object under its rules: where it is, what it holds, and the list its faults go into.

`part.named("name", names.dns_label)` judges the field `name` of what lies at `spec.devices[0]`, say. An absent text counts as "", a list
as [], a number as 0; `"limited" in part` tells whether a pointer is set. Rules of bare values are in kapi.registry.kinds.rules.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from kapi.cel.types import Environment, Type
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]
Rule = ParamSpec("Rule")
Found = TypeVar("Found")


def _on(rule: Callable[Concatenate[Errors, str, Any, Rule], Found], empty: Any = None) -> Callable[Concatenate["Part", str, Rule], Found]:
    """A rule of Errors for a field of a part; `empty` is what an absent one counts as."""

    def judge(part: "Part", field: str, /, *args: Rule.args, **words: Rule.kwargs) -> Found:
        value = part.obj.get(field)
        return rule(part.e, part.path(field), empty if value is None else value, *args, **words)

    return judge


def _at(rule: Callable[Concatenate[Errors, str, Rule], Found]) -> Callable[Concatenate["Part", str, Rule], Found]:
    """The same of a rule that does not look at the value."""

    def judge(part: "Part", field: str, /, *args: Rule.args, **words: Rule.kwargs) -> Found:
        return rule(part.e, part.path(field), *args, **words)

    return judge


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
        """The objects in a list; none at all where there are more than `most`."""
        at, listed = self.path(field), self.items(field)
        if most is not None and len(listed) > most:
            self.e.too_many(at, len(listed), most)
            return
        for i, item in enumerate(listed):
            yield Part(self.e, f"{at}[{i}]", item)

    def values(self, field: str) -> Iterator[tuple[str, Any]]:
        """Each value of a list with its path."""
        at = self.path(field)
        return ((f"{at}[{i}]", value) for i, value in enumerate(self.items(field)))

    def limit(self, field: str, most: int) -> None:
        """A list of at most so many."""
        if (count := len(self.items(field))) > most:
            self.e.too_many(self.path(field), count, most)

    def each(self, field: str, check: Callable[[str], list[str]] | None = None, seen: set[Any] | None = None) -> None:
        """Each value of a list is checked, and unlike the others where `seen` is given."""
        for at, value in self.values(field):
            if check is not None:
                self.e.text(at, value, check)
            if seen is not None:
                self.e.unique(at, value, seen)

    # rules ------------------------------------------------------------------------------------------------------------------------

    required = _at(Errors.required)
    forbidden = _at(Errors.forbidden)
    invalid = _on(Errors.invalid)
    unsupported = _on(Errors.unsupported, "")
    need = _on(Errors.need)
    enum = _on(Errors.enum)
    at_least = _on(Errors.at_least, 0)
    unique = _on(Errors.unique, "")
    checked = _on(Errors.text, "")
    named = _on(Errors.named, "")

    def choice(self, field: str, allowed: Sequence[str]) -> None:
        """One of `allowed` if it is set at all."""
        if field in self:
            self.enum(field, allowed)

    def filled(self, field: str, check: Callable[[str], list[str]]) -> None:
        """Checked unless it is empty."""
        if self.obj.get(field):
            self.checked(field, check)

    def selector(self, field: str) -> None:
        """A metav1.LabelSelector."""
        rules.label_selector(self.e, self.path(field), self.obj.get(field))

    def expression(self, field: str, environment: Environment | dict[str, Type], *returns: str, need: str = "") -> Type | None:
        """A CEL expression, see Errors; nothing but blanks is "Required value: <need>" and has no type."""
        if not self.e.need(self.path(field), self.text(field).strip(), need):
            return None
        return self.e.expression(self.path(field), self.text(field), environment, *returns)

    def immutable(self, old: Object, *fields: str) -> None:
        """Fields that must be as they were in `old`."""
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


class PlainStrategy(RuledStrategy):
    """A kind without /status, whose generation nobody counts."""

    status = False
    generation = False
