"""Field selectors: the text form of `?fieldSelector=`, e.g. "spec.nodeName=n1,status.phase!=Running".

The fields of a kind are defined in kapi.registry; this module parses, matches and prints selectors. A backslash escapes a comma, an equals
sign or a backslash in a value. Errors are ValueErrors with stock's messages.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kapi.objects.caching import kept

_ESCAPED = frozenset("\\,=")


class Term(NamedTuple):
    """`field` must equal (or, negated, must not equal) `value`."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{escape(self.value)}"


class Test(NamedTuple):
    """All terms on one field, combined."""

    field: str
    allowed: frozenset[str] | None
    """The values that the field must equal, all of them, so at most one is satisfiable; None: no such term."""
    refused: frozenset[str] = frozenset()

    def holds(self, value: str) -> bool:
        return (self.allowed is None or self.allowed == {value}) and value not in self.refused


class Selector:
    """A conjunction of terms. A field that an object lacks is the empty string."""

    __slots__ = ("equals", "terms", "tests")

    def __init__(self, terms: tuple[Term, ...] = ()) -> None:
        self.terms = terms
        self.equals: dict[str, str] = {t.field: t.value for t in terms if not t.negated}
        """(field, value) pairs required by equality: the part of the selector that an index can answer."""
        self.tests = _tests(terms)

    @property
    def empty(self) -> bool:
        return not self.terms

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all(test.holds(fields.get(test.field, "")) for test in self.tests)

    def renamed(self, table: Mapping[str, str]) -> "Selector":
        """The same of fields that have other names."""
        return Selector(tuple(term._replace(field=table.get(term.field, term.field)) for term in self.terms))

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def _tests(terms: Iterable[Term]) -> list[Test]:
    """One test per field, regardless of the number of terms."""
    wanted: dict[str, tuple[set[str], set[str]]] = {}
    for term in terms:
        wanted.setdefault(term.field, (set(), set()))[term.negated].add(term.value)
    return [Test(field, frozenset(allowed) or None, frozenset(refused)) for field, (allowed, refused) in wanted.items()]


EVERYTHING = Selector()


def escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def _unescape(value: str) -> str:
    """Unescape a value. Raises ValueError for an invalid escape, or an unescaped comma or equals sign."""
    out, escaped = [], False
    for char in value:
        if escaped and char not in _ESCAPED:
            raise ValueError(f"invalid field selector: invalid escape sequence: \\{char}")
        if not escaped and char == "\\":
            escaped = True
            continue
        if not escaped and char in _ESCAPED:
            raise ValueError(f"invalid field selector: unescaped character in value: {char}")
        escaped = False
        out.append(char)
    if escaped:
        raise ValueError("invalid field selector: invalid escape sequence: \\")
    return "".join(out)


def _split(text: str) -> list[str]:
    """Split at unescaped commas."""
    return [part for part in re.findall(r"((?:[^\\,]|\\.|\\$)*)(?:,|$)", text, re.DOTALL) if part]


def _term(part: str) -> tuple[str, str, str] | None:
    """(field, operator, value), split at the first unescaped operator."""
    found = re.match(r"((?:[^\\=!]|\\.|!(?!=))*)(!=|==|=)(.*)\Z", part, re.DOTALL)
    return (found[1], found[2], found[3]) if found else None


@kept(1024)
def parse(text: str) -> Selector:
    """Parse a field selector; the empty string selects everything. Raises ValueError."""
    terms = []
    for part in _split(text):
        found = _term(part)
        if found is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = found
        terms.append(Term(field, _unescape(value), operator == "!="))
    return Selector(tuple(terms)) if terms else EVERYTHING
