"""Kubernetes' own libraries: regular expressions, quantities, semantic versions, named formats, JSON patches."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from kapi import limits
from kapi.cel import costs, values
from kapi.cel.network import succeeds
from kapi.cel.standard import Add, pattern
from kapi.cel.values import HIGHEST, LOWEST, EvaluationError, Optional
from kapi.objects import names, quantity
from kapi.objects.quoting import go_quote

_NANO = 10**9


@values.opaque("kubernetes.Quantity")
@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity: billionths."""

    nano: int


@values.opaque("kubernetes.Semver")
@dataclass(frozen=True, slots=True)
class Semver:
    numbers: tuple[int, ...]
    pre: tuple[str, ...]

    def order(self) -> tuple[Any, ...]:
        """Numbers, then releases after prereleases, whose numbers stand before words."""
        parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in self.pre)
        return (self.numbers, not self.pre, parts)


_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


def _semver(raw: str, normalize: bool = False) -> Semver:
    found = _VERSION.fullmatch(_normal(raw) if normalize else raw)
    pre = tuple(found[4].split(".")) if found and found[4] else ()
    if found is None or not all(pre) or any(part.isdecimal() and len(part) > 1 and part[0] == "0" for part in pre):
        if raw.count(".") < 2:
            raise EvaluationError("No Major.Minor.Patch elements found")
        raise EvaluationError(f"Invalid character(s) found in version {go_quote(raw)}")
    return Semver(tuple(map(int, found.group(1, 2, 3))), pre)


def _normal(raw: str) -> str:
    parts = [re.sub(r"^0+(?=\d)", "", part) for part in raw.removeprefix("v").split(".", 2)]
    if len(parts) < 3 and re.search(r"[+-]", parts[-1]):
        raise EvaluationError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][:3])


def _quantity(raw: str) -> Amount:
    try:
        if raw != raw.strip() or not raw:
            raise ValueError(quantity.BAD_FORMAT)
        return Amount(quantity.parse(raw).nano)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _integer(held: Amount) -> int:
    if _is_integer(held):
        return held.nano // _NANO
    raise EvaluationError("cannot convert value to integer")


def _is_integer(held: Amount) -> bool:
    return held.nano % _NANO == 0 and LOWEST <= held.nano // _NANO <= HIGHEST


def _compare(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


@values.opaque("kubernetes.NamedFormat")
@dataclass(frozen=True, slots=True)
class Format:
    name: str
    check: Callable[[str], list[str]]


def _unless(text: str, good: Callable[[str], Any]) -> Callable[[str], list[str]]:
    def check(value: str) -> list[str]:
        try:
            return [] if good(value) else [text]
        except (ValueError, EvaluationError):
            return [text]

    return check


_UUID = re.compile(r"(?i)[0-9A-F]{8}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{12}")
FORMATS = {
    known.name: known
    for known in (
        Format("dns1123Label", names.dns_label),
        Format("dns1123Subdomain", names.dns_subdomain),
        Format("dns1035Label", names.dns1035_label),
        Format("qualifiedName", names.qualified_name),
        Format("dns1123LabelPrefix", partial(names.dns_label, prefix=True)),
        Format("dns1123SubdomainPrefix", partial(names.dns_subdomain, prefix=True)),
        Format("dns1035LabelPrefix", partial(names.dns1035_label, prefix=True)),
        Format("labelValue", names.label_value),
        Format("uri", _unless("invalid URI for request", lambda text: re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/", text))),
        Format("uuid", _unless("does not match the UUID format", _UUID.fullmatch)),
        Format("byte", _unless("invalid base64", lambda text: base64.b64decode(text, validate=True) is not None)),
        Format("date", _unless("invalid date", date.fromisoformat)),
        Format("datetime", _unless("invalid datetime", values.parse_timestamp)),
    )
}


def _validate(held: Format, text: str) -> Optional:
    found = held.check(text)
    return Optional(True, found) if found else values.NONE


def _found(text: str, expression: str, limit: int = -1) -> list[str]:
    """The matches in a text. Raises EvaluationError for more than there may be."""
    if _PLAIN.fullmatch(expression):
        count = text.count(expression)
        return [expression] * (count if limit < 0 else min(count, limit))
    out: list[str] = []
    raw = text.encode()  # the library counts the characters before each match in a str
    for found in pattern(expression).finditer(raw):
        start, end = found.span()
        if start == end and raw[start : start + 1] in _CONTINUATIONS:
            continue  # within a character
        if len(out) == limit:
            break
        if len(out) == limits.MATCHES:
            raise EvaluationError(f"more than {limits.MATCHES} matches")
        out.append(raw[start:end].decode())
    return out


_PLAIN = re.compile(r"[A-Za-z0-9 _,:;/@=<>-]+")
"""Patterns that match themselves only."""
_CONTINUATIONS = frozenset(bytes([byte]) for byte in range(0x80, 0xC0))
"""Bytes within a character of UTF-8."""


def _named(name: str) -> Optional:
    return Optional(True, FORMATS[name]) if name in FORMATS else values.NONE


def declare(add: Add) -> None:
    add("string.find(string) string", lambda a, b: next(iter(_found(a, b, 1)), ""), costs.search, costs.size)
    add("string.findAll(string) list(string)", _found, costs.search, costs.size)
    add("string.findAll(string, int) list(string)", _found, costs.search, costs.size)
    add("quantity(string) kubernetes.Quantity", _quantity, costs.traversal)
    add("isQuantity(string) bool", lambda raw: succeeds(_quantity, raw), costs.traversal)
    add("sign(kubernetes.Quantity) int", lambda held: _compare(held.nano, 0))
    add("kubernetes.Quantity.isInteger() bool", _is_integer)
    add("kubernetes.Quantity.asInteger() int", _integer)
    add("kubernetes.Quantity.asApproximateFloat() double", lambda held: held.nano / _NANO)
    add("kubernetes.Quantity.add(kubernetes.Quantity) kubernetes.Quantity", lambda a, b: Amount(a.nano + b.nano))
    add("kubernetes.Quantity.add(int) kubernetes.Quantity", lambda a, b: Amount(a.nano + b * _NANO))
    add("kubernetes.Quantity.sub(kubernetes.Quantity) kubernetes.Quantity", lambda a, b: Amount(a.nano - b.nano))
    add("kubernetes.Quantity.sub(int) kubernetes.Quantity", lambda a, b: Amount(a.nano - b * _NANO))
    add("semver(string) kubernetes.Semver", _semver, costs.traversal)
    add("semver(string, bool) kubernetes.Semver", _semver, costs.traversal)
    add("isSemver(string) bool", lambda raw: succeeds(_semver, raw), costs.traversal)
    add("isSemver(string, bool) bool", lambda raw, normalize: succeeds(_semver, raw, normalize), costs.traversal)
    for place, name in enumerate(("major", "minor", "patch")):
        add(f"kubernetes.Semver.{name}() int", lambda version, place=place: version.numbers[place])
    for kind, key in (("kubernetes.Quantity", lambda held: held.nano), ("kubernetes.Semver", Semver.order)):
        add(f"{kind}.isGreaterThan({kind}) bool", lambda a, b, key=key: key(a) > key(b))
        add(f"{kind}.isLessThan({kind}) bool", lambda a, b, key=key: key(a) < key(b))
        add(f"{kind}.compareTo({kind}) int", lambda a, b, key=key: _compare(key(a), key(b)))
    add("format.named(string) optional_type(kubernetes.NamedFormat)", _named)
    for name, known in FORMATS.items():
        add(f"format.{name}() kubernetes.NamedFormat", lambda known=known: known)
    add("kubernetes.NamedFormat.validate(string) optional_type(list(string))", _validate, costs.search)
    add("jsonpatch.escapeKey(string) string", lambda key: key.replace("~", "~0").replace("/", "~1"), costs.traversal)
