"""Field selectors: the text form of `?fieldSelector=`, e.g. "spec.nodeName=n1,status.phase!=Running".

Which fields a kind has is the registry's knowledge; here is only parsing, matching and printing.
A backslash keeps a comma, an equals sign or another backslash as part of a value. Errors are ValueErrors worded as stock's.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from kapi import limits

_ESCAPED = frozenset("\\,=")


class Term(NamedTuple):
    """`field` must be (or, negated, must not be) `value`."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{escape(self.value)}"


class Selector:
    """All terms must hold. A field an object lacks is the empty text."""

    __slots__ = ("equals", "terms")

    def __init__(self, terms: tuple[Term, ...] = ()) -> None:
        self.terms = terms
        self.equals: dict[str, str] = {t.field: t.value for t in terms if not t.negated}
        """What a field must be for an object to match: the part an index can answer."""

    @property
    def empty(self) -> bool:
        return not self.terms

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all((fields.get(t.field, "") == t.value) is not t.negated for t in self.terms)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


EVERYTHING = Selector()


def escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def _unescape(value: str) -> str:
    """Raises ValueError for a lone backslash and for a bare comma or equals sign."""
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
    """At the commas that no backslash keeps."""
    return [part for part in re.findall(r"((?:[^\\,]|\\.|\\$)*)(?:,|$)", text, re.DOTALL) if part]


def _term(part: str) -> tuple[str, str, str] | None:
    """(field, operator, value) at the first operator that no backslash keeps."""
    found = re.match(r"((?:[^\\=!]|\\.|!(?!=))*)(!=|==|=)(.*)\Z", part, re.DOTALL)
    return (found[1], found[2], found[3]) if found else None


def parse(text: str) -> Selector:
    """The selector a text stands for; the empty text matches everything. Raises ValueError."""
    return _parse(text) if len(text) <= limits.CACHED_TEXT else _parse.__wrapped__(text)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Selector:
    terms = []
    for part in _split(text):
        found = _term(part)
        if found is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = found
        terms.append(Term(field, _unescape(value), operator == "!="))
    return Selector(tuple(terms)) if terms else EVERYTHING
