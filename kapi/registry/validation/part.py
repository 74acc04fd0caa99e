"""Validation of kinds: a `Part` is an object with its field path and the list of its errors.

Adding a kind takes a strategy with columns and a `check`, in stock's order of rules, and a line in kapi.registry.kinds:

    class GateStrategy(RuledStrategy):
        immutable = ("spec.road",)
        columns = rules.columns("Name", "Width#@spec.width: How wide it opens", "Age")
        defaults = {"spec.side": "Left"}

        def check(self, new: Part, old: Object | None) -> None:
            spec = new.part("spec")
            spec.named("road", names.dns_label)  # required, and a label
            spec.choice("side", ("Left", "Right"))  # one of these, if set at all
            for lock in spec.parts("locks", most=8):  # a list of objects; lock.at is 'spec.locks[0]'
                lock.need("key", "must have a key")

An absent text counts as "", a list as [], a number as 0; `"side" in spec` tells whether a pointer is set. For an item of a list or a key
of a map, call `part.e` directly: `part.e.invalid(at, value, "must be even")`, see rules.py.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import orjson

from kapi import limits
from kapi.cel.types import Environment, Type
from kapi.objects import meta, names
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.strategy import Strategy
from kapi.registry.validation import rules
from kapi.registry.validation.rules import Errors


class Part:
    """An object at a path. Rules that return a bool return True when they found no error."""

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
        return Part(self.e, f"{self.at}.{field}" if self.at else field, self.obj.get(field))

    def parts(self, field: str, most: int | None = None) -> Sequence["Part"]:
        """The objects in a list; none at all where there are more than `most`."""
        listed = self.obj.get(field)
        if not listed:
            return ()
        at = self.path(field)
        if most is not None and len(listed) > most:
            self.e.too_many(at, len(listed), most)
            return ()
        return [Part(self.e, f"{at}[{i}]", item) for i, item in enumerate(listed)]

    def entries(self, field: str) -> Iterable[tuple[str, str, Any]]:
        """Each key and value of a map, after its path: ("spec.limits[cpu]", "cpu", "1")."""
        listed = self.obj.get(field)
        return [(f"{self.path(field)}[{key}]", key, value) for key, value in listed.items()] if listed else ()

    def values(self, field: str) -> Iterable[tuple[str, Any]]:
        """Each value of a list with its path."""
        listed = self.obj.get(field)
        return [(f"{self.path(field)}[{i}]", value) for i, value in enumerate(listed)] if listed else ()

    def each(self, field: str, check: Callable[[str], list[str]] | None = None, seen: set[Any] | None = None) -> None:
        """Check each value of a list, and with `seen` that they are unique."""
        for at, value in self.values(field):
            if check is not None:
                self.e.text(at, value, check)
            if seen is not None:
                self.e.unique(at, value, seen)

    # rules ------------------------------------------------------------------------------------------------------------------------

    def required(self, field: str, detail: str = "") -> None:
        self.e.required(self.path(field), detail)

    def forbidden(self, field: str, detail: str = "") -> None:
        self.e.forbidden(self.path(field), detail)

    def invalid(self, field: str, detail: str) -> None:
        self.e.invalid(self.path(field), self.obj.get(field), detail)

    def duplicate(self, field: str) -> None:
        self.e.duplicate(self.path(field), self.text(field))

    def not_found(self, field: str) -> None:
        self.e.not_found(self.path(field), self.text(field))

    def unsupported(self, field: str, allowed: Iterable[str], *, sort: bool = True) -> None:
        self.e.unsupported(self.path(field), self.text(field), allowed, sort=sort)

    def qualified(self, field: str) -> bool:
        return self.checked(field, names.qualified_name)

    # called many times for every pod: paths are only made for errors

    def need(self, field: str, detail: str = "") -> bool:
        return bool(self.obj.get(field)) or self.e.need(self.path(field), None, detail)

    def enum(self, field: str, allowed: Sequence[str], need: str | None = None, *, sort: bool = True) -> bool:
        value = self.obj.get(field)
        return value in allowed or self.e.enum(self.path(field), value, allowed, need, sort=sort)

    def at_least(self, field: str, low: int, detail: str = "") -> bool:
        value = self.number(field)
        if value < low:
            self.e.invalid(self.path(field), value, detail or f"must be greater than or equal to {low}")
        return value >= low

    def non_negative(self, field: str) -> bool:
        return self.at_least(field, 0)

    def at_most(self, field: str, high: int, detail: str = "") -> None:
        if self.number(field) > high:
            self.invalid(field, detail or f"must be less than or equal to {high}")

    def between(self, field: str, low: int, high: int) -> bool:
        return self.e.between(self.path(field), self.number(field), low, high)

    def port(self, field: str) -> bool:
        return self.between(field, 1, 65535)

    def checked(self, field: str, check: Callable[[str], list[str]]) -> bool:
        """A check of kapi.objects.names."""
        messages = check(self.obj.get(field) or "")
        for message in messages:
            self.e.invalid(self.path(field), self.text(field), message)
        return not messages

    def named(self, field: str, check: Callable[[str], list[str]], detail: str = "") -> bool:
        """Required and checked."""
        return self.need(field, detail) and self.checked(field, check)

    def unique(self, field: str, seen: set[Any]) -> bool:
        """Unlike those seen before."""
        value = self.text(field)
        if value in seen:
            self.duplicate(field)
            return False
        seen.add(value)
        return True

    def port_or_name(self, field: str) -> bool:
        return self.checked(field, names.port_name) if isinstance(self.obj.get(field), str) else self.port(field)

    def count_or_percent(self, field: str) -> bool:
        """3 or "30%", not below nothing."""
        return self.checked(field, names.percent) if isinstance(self.obj.get(field), str) else self.non_negative(field)

    def at_most_all(self, field: str) -> None:
        """Not more than 100% of something."""
        value = self.obj.get(field)
        if isinstance(value, str) and value.endswith("%") and rules.amount(value) > 100:
            self.invalid(field, "must not be greater than 100%")

    def longest(self, field: str, limit: int) -> bool:
        """At most `limit` characters."""
        if len(self.text(field)) > limit:
            self.e.too_long(self.path(field), limit)
        return len(self.text(field)) <= limit

    def limit(self, field: str, most: int) -> None:
        """At most so many items."""
        if (count := len(self.items(field))) > most:
            self.e.too_many(self.path(field), count, most)

    def choice(self, field: str, allowed: Sequence[str], *, sort: bool = True) -> None:
        """One of `allowed` if it is set at all."""
        if field in self:
            self.enum(field, allowed, sort=sort)

    def labels(self, field: str) -> None:
        """A map of labels."""
        rules.labels(self.e, self.path(field), self.obj.get(field))

    def filled(self, field: str, check: Callable[[str], list[str]]) -> bool:
        """Checked unless it is empty."""
        return not self.obj.get(field) or self.checked(field, check)

    def optional(self, field: str, check: Callable[[str], list[str]]) -> bool:
        """Checked if it is set at all."""
        return field not in self or self.checked(field, check)

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


def validate_cached(rule: Callable[[Part], object], part: Part) -> None:
    """A rule that looks at nothing but the part, for what most pods have in common (tolerations, the token's volume): a value
    that was found valid is not validated again."""
    raw = orjson.dumps(part.obj)
    if len(raw) > limits.KEPT_TEXT or not _passes(rule, raw):
        rule(part)


@lru_cache(maxsize=256)
def _passes(rule: Callable[[Part], object], raw: bytes) -> bool:
    copy = Part(Errors(), "", orjson.loads(raw))
    rule(copy)
    return not copy.e


_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_NO_REASON = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', "
    "and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  "
    f"or 'ReasonA:ReasonB', regex used for validation is '{_REASON}')"
)


def conditions(status: Part) -> None:
    """The metav1.Conditions of a status."""
    seen: set[str] = set()
    for part in status.parts("conditions"):
        part.unique("type", seen)
        part.qualified("type")
        part.enum("status", ("False", "True", "Unknown"))
        part.at_least("observedGeneration", 0, "must be greater than or equal to zero")
        part.need("lastTransitionTime", "must be set")
        if part.need("reason", "must be set") and not re.fullmatch(_REASON, part.text("reason")):
            part.invalid("reason", _NO_REASON)
        part.longest("reason", 1024)
        part.longest("message", 32 * 1024)


class RuledStrategy(Strategy):
    """A kind whose rules are one walk over the object. Tables hold the rest: defaults, cells that show a field, fields that selectors
    may name (`fields = rules.selectable("spec.nodeName")`), fields that no update may change."""

    immutable: ClassVar[Sequence[str]] = ()
    """Paths of fields that stay as they were created; stock reports these changes behind all other errors."""
    initial_status: ClassVar[Object | None] = None
    """The status of an object that has none, where stock writes one; None: no status is written."""

    def prepare(self, new: Object, old: Object | None) -> None:
        if self.initial_status is not None:
            new["status"] = (old or {}).get("status") or meta.clone(self.initial_status)

    def check(self, new: Part, old: Object | None) -> None:
        """Validate the object (and the change from `old`), in stock's order."""

    def check_status(self, new: Part, old: Object) -> None:
        """The same for what /status may change."""

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        whole = Part(Errors(), "", new)
        self.check(whole, old)
        for path in self.immutable if old is not None else ():
            whole.e.immutable(path, rules.value_at(new, path), rules.value_at(old or {}, path))
        return whole.e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        whole = Part(Errors(), "", new)
        self.check_status(whole, old)
        return whole.e

    def row(self, obj: Object, now: float) -> list[Any]:
        name, created = super().row(obj, now)
        usual, others = {"Name": name, "Created At": created}, iter(self.cells(obj))
        return [
            rules.field_cell(column, obj) if column.path
            else rules.age(obj, now) if column.name == "Age"
            else usual[column.name] if column.name in usual
            else next(others)
            for column in self.columns
        ]  # fmt: skip

    def cells(self, obj: Object) -> list[Any]:
        """The cells of the columns that have no path; name and age are known."""
        return []


class PlainStrategy(RuledStrategy):
    """A kind without /status and metadata.generation."""

    status = False
    generation = False
