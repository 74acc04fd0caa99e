"""The `format` of a text in an OpenAPI schema: whether it is one. Unknown formats are not checked.

Source: kube-openapi's strfmt, and the formats that apiextensions-apiserver leaves in a schema (v1.36).
"""

import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime

from kapi.objects import names, urls

_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_UUID = "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?%s[0-9a-fA-F]{3}-?[%s][0-9a-fA-F]{3}-?[0-9a-fA-F]{12}"
PATTERNS = {
    "bsonobjectid": "[0-9a-fA-F]{24}",
    "byte": "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    "creditcard": r"(?:\d[ -]*?){13,19}",
    "duration": r"[-+]?\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w|[a-z]+)?(\s*\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w|[a-z]+))*",
    "email": r"[^@\s<>]+@[^@\s<>]+",
    "hexcolor": "#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})",
    "hostname": rf"{_LABEL}(\.{_LABEL})*\.?",
    "isbn": r"(?:[\d-]{9,12}[\dXx]|[\d-]{13,17})",
    "isbn10": r"[\d -]{9,12}[\dXx]",
    "isbn13": r"[\d -]{13,17}",
    "mac": r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}|([0-9a-fA-F]{2}[:-]){7}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}",
    "rgbcolor": r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)",
    "ssn": r"\d{3}[- ]?\d{2}[- ]?\d{4}",
    "uuid": _UUID % ("[0-9a-fA-F]", "0-9a-fA-F"),
    "uuid3": _UUID % ("3", "0-9a-fA-F"),
    "uuid4": _UUID % ("4", "89abAB"),
    "uuid5": _UUID % ("5", "89abAB"),
}
_COMPILED = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?([Zz]|[+-]\d\d:?\d\d)?")


def _parses(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return check


def _date_time(text: str) -> bool:
    return bool(_DATE_TIME.fullmatch(text)) and _parses(datetime.fromisoformat)(text.upper().replace(",", "."))


def _uri(text: str) -> bool:
    """A URI of a request: absolute, or a path from the root."""
    try:
        parsed = urls.parse(text)
    except ValueError:
        return False
    return bool(parsed.scheme) or text.startswith("/")


CHECKS: dict[str, Callable[[str], bool]] = {
    "cidr": lambda text: "/" in text and _parses(lambda t: ipaddress.ip_network(t, strict=False))(text),
    "date": lambda text: len(text) == 10 and _parses(date.fromisoformat)(text),
    "date-time": _date_time,
    "datetime": _date_time,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "k8s-long-name": lambda text: not names.dns_subdomain(text),
    "k8s-short-name": lambda text: not names.dns_label(text),
    "password": lambda text: True,
    "uri": _uri,
}


def check(name: str) -> Callable[[str], bool] | None:
    """The check of a format; None for one that is unknown or not for strings."""
    if (pattern := _COMPILED.get(name)) is not None:
        return lambda text: pattern.fullmatch(text) is not None
    return CHECKS.get(name)
