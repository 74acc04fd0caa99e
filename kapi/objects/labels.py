"""Label selectors: the text form of `?labelSelector=` and the object form of LabelSelector, matched against a dict of labels.

`labels.parse("app in (x,y),!tier").matches({"app": "x"})` is True. Errors are ValueErrors with the messages of stock's parser.
Requirements are sorted by key, as in stock; `equals` has the part that an index can answer.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kapi.objects import causes, integers, names
from kapi.objects.caching import kept
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote

Labels = Mapping[str, str]

IN, NOT_IN, EXISTS, ABSENT, GREATER, LESS = "in", "notin", "exists", "!", "gt", "lt"
_BINARY = "in, notin, =, ==, !=, gt, lt"
_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": ABSENT}
_SYMBOLS = {"in": IN, "notin": NOT_IN, "=": "=", "==": "==", "!=": "!=", ">": GREATER, "<": LESS}
_PRINTED = {"=": "=", "==": "==", "!=": "!=", GREATER: ">", LESS: "<"}


def _integer(text: str) -> int | None:
    try:
        number = integers.parse(text)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


class Requirement(NamedTuple):
    """One term; `operator` is as written (=, ==, !=, in, notin, exists, !, gt, lt)."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        return self.operator in ("=", "==", IN) and len(self.values) == 1

    def __str__(self) -> str:
        if self.operator in (EXISTS, ABSENT):
            return self.key if self.operator == EXISTS else f"!{self.key}"
        values = ",".join(sorted(self.values))
        if self.operator in (IN, NOT_IN):
            return f"{self.key} {self.operator} ({values})"
        return f"{self.key}{_PRINTED[self.operator]}{values}"


class _Test:
    """All requirements on one key, combined, so that matching costs one look-up per key."""

    __slots__ = ("above", "allowed", "below", "missing", "refused")

    def __init__(self) -> None:
        self.missing: set[bool] = set()
        """{True}: the key must be absent; {False}: it must be present; both: unsatisfiable."""
        self.allowed: frozenset[str] | None = None
        """The allowed values; None: any."""
        self.refused: set[str] = set()
        self.above, self.below = -_ENDLESS, _ENDLESS

    def add(self, requirement: Requirement) -> None:
        operator, values = requirement.operator, requirement.values
        if operator in ("!=", NOT_IN):
            self.refused.update(values)
            return
        self.missing.add(operator == ABSENT)
        if operator in ("=", "==", IN):
            self.allowed = frozenset(values) if self.allowed is None else self.allowed.intersection(values)
        elif operator in (GREATER, LESS):
            limit = _integer(values[0]) or 0
            self.above, self.below = (max(self.above, limit), self.below) if operator == GREATER else (self.above, min(self.below, limit))

    def holds(self, value: str) -> bool:
        """Whether a value of an existing label matches."""
        if True in self.missing or value in self.refused or (self.allowed is not None and value not in self.allowed):
            return False
        if self.above == -_ENDLESS and self.below == _ENDLESS:
            return True
        number = _integer(value)
        return number is not None and self.above < number < self.below


_ENDLESS = 2**64
_MANY = 64
"""From this number of requirements on, tests are compiled when the selector is parsed."""


class Selector:
    """A conjunction of requirements; without any it matches everything. With `nothing` it matches no object.

    The time of a match is linear in the number of the object's labels or of the selector's keys, whichever is smaller.
    """

    __slots__ = ("_needed", "_simple", "_tests", "equals", "nothing", "requirements")

    def __init__(self, requirements: Iterable[Requirement] = (), *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.nothing = nothing
        self.equals: dict[str, str] = {r.key: r.values[0] for r in self.requirements if r.exact}
        """(key, value) pairs required by equality: the part of the selector that an index can answer."""
        self._simple = len(self.equals) == len(self.requirements)
        self._tests: dict[str, _Test] | None = None
        self._needed: list[str] = []
        if len(self.requirements) > _MANY:
            self._compiled()

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Labels | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        if self._simple:
            return all(labels.get(key) == value for key, value in self.equals.items())
        tests = self._compiled()
        if len(self._needed) > len(labels) or not all(key in labels for key in self._needed):
            return False
        if len(tests) < len(labels):
            return all(test.holds(labels[key]) for key, test in tests.items() if key in labels)
        return all(tests[key].holds(value) for key, value in labels.items() if key in tests)

    def _compiled(self) -> dict[str, _Test]:
        """The tests by key, compiled on first use."""
        if self._tests is None:
            tests: dict[str, _Test] = {}
            for requirement in self.requirements:
                tests.setdefault(requirement.key, _Test()).add(requirement)
            self._needed = [key for key, test in tests.items() if False in test.missing]
            self._tests = tests
        return self._tests

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and (self.requirements, self.nothing) == (other.requirements, other.nothing)

    def __hash__(self) -> int:
        return hash((self.requirements, self.nothing))


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)

_token = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+))")
END = ("end", "")

Token = tuple[str, str]


def _tokens(text: str) -> list[Token]:
    """('id', 'app'), ('=', '='), …, ('end', ''); 'in' and 'notin' are words until an operator is wanted."""
    out = [(symbol, symbol) if symbol else ("id", word) for symbol, word in _token.findall(text.rstrip(" \t\r\n"))]
    return [*out, END, END]


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def requirements(self) -> list[Requirement]:
        out: list[Requirement] = []
        while True:
            kind, text = self.peek()
            if kind == "end":
                return out
            if kind not in ("id", "!"):
                raise ValueError(f"found '{text}', expected: !, identifier, or 'end of string'")
            try:
                out.append(self.requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            kind, text = self.take()
            if kind == "end":
                return out
            if kind != ",":
                raise ValueError(f"found '{text}', expected: ',' or 'end of string'")
            if self.peek()[0] not in ("id", "!"):
                raise ValueError(f"found '{self.peek()[1]}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        kind, key = self.take()
        absent = kind == "!"
        if absent:
            kind, key = self.take()
        if kind != "id":
            raise ValueError(f"found '{key}', expected: identifier")
        _check_key(key, "<nil>")
        if absent or self.peek()[0] in ("end", ","):
            return Requirement(key, ABSENT if absent else EXISTS)
        _, symbol = self.take()
        operator = _SYMBOLS.get(symbol)
        if operator is None:
            raise ValueError(f"found '{symbol}', expected: {_BINARY}")
        values = self.several() if operator in (IN, NOT_IN) else (self.single(),)
        return _checked(Requirement(key, operator, tuple(sorted(set(values)))))

    def single(self) -> str:
        if self.peek()[0] in ("end", ","):
            return ""
        kind, text = self.take()
        if kind != "id":
            raise ValueError(f"found '{text}', expected: identifier")
        return text

    def several(self) -> list[str]:
        kind, text = self.take()
        if kind != "(":
            raise ValueError(f"found '{text}' expected: '('")
        kind, text = self.peek()
        if kind == ")":
            self.take()
            return [""]
        if kind not in ("id", ","):
            raise ValueError(f"found '{text}', expected: ',', ')' or identifier")
        out: list[str] = []
        while True:
            kind, text = self.take()
            if kind == "id":
                out.append(text)
                kind, text = self.peek()
                if kind not in (",", ")"):
                    raise ValueError(f"found '{text}', expected: ',' or ')'")
            elif kind == ",":
                if not out or self.peek()[0] in (",", ")"):
                    out.append("")
            else:
                raise ValueError(f"found '{text}', expected: ',', or identifier")
            if self.peek()[0] == ")":
                self.take()
                return out


def _check_key(key: str, path: str) -> None:
    bad = names.label_key(key)
    if bad:
        raise ValueError(f"{path}: {causes.invalid('', key, '; '.join(bad)).message}")


def _checked(requirement: Requirement) -> Requirement:
    """The requirement, after validating its values. Raises ValueError."""
    errors = []
    if requirement.operator in (GREATER, LESS):
        for i, value in enumerate(requirement.values):
            if _integer(value) is None:
                errors.append(f"values[{i}]: {causes.invalid('', value, _NOT_INTEGER).message}")
    for i, value in enumerate(requirement.values):
        bad = names.label_value(value)
        if bad:
            errors.append(f"values[{i}][{requirement.key}]: {causes.invalid('', value, '; '.join(bad)).message}")
    if errors:
        raise ValueError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return requirement


_NOT_INTEGER = "for 'Gt', 'Lt' operators, the value must be an integer"


@kept(1024)
def parse(text: str) -> Selector:
    """Parse a label selector; the empty string selects everything. Raises ValueError."""
    requirements = _Parser(text).requirements() if text else ()
    return Selector(requirements) if requirements else EVERYTHING


def from_dict(labels: Labels | None) -> Selector:
    """The map form (selectors of Services and ReplicationControllers). None and {} select everything."""
    return Selector(Requirement(key, "=", (value,)) for key, value in (labels or {}).items())


def from_object(selector: Object | None) -> Selector:
    """A LabelSelector object; None selects nothing, {} everything. Raises ValueError for an unknown operator."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(key, "=", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise ValueError(f"{go_quote(expression.get('operator', ''))} is not a valid label selector operator")
        requirements.append(Requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ())))
    return Selector(requirements) if requirements else EVERYTHING


def go_text(selector: Object) -> str:
    """A LabelSelector as Go's %v prints it."""
    pairs = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    terms = "".join(
        f"LabelSelectorRequirement{{Key:{e['key']},Operator:{e['operator']},Values:[{' '.join(e.get('values') or ())}],}},"
        for e in selector.get("matchExpressions") or ()
    )
    return f"&LabelSelector{{MatchLabels:map[string]string{{{pairs}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"


def check(labels: Labels | None, path: str) -> list[Cause]:
    """The field errors of a map of labels: each key, then its value."""
    out = Causes()
    for key, value in sorted((labels or {}).items()):
        out += [causes.invalid(path, key, message) for message in names.label_key(key)]
        out += [causes.invalid(path, value, message) for message in names.label_value(value)]
    return out
