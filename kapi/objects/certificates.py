"""The user of a client certificate: CN is the user name, each O a group (Kubernetes docs, "X.509 client certificates").

TLS has verified the certificate when the connection was opened. A minimal DER parser reads it, so that servers with client certificates do
not have to load the cryptography library (17 MB).
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from kapi import limits
from kapi.objects import time
from kapi.objects.user import AUTHENTICATED, User

CREDENTIAL = "authentication.kubernetes.io/credential-id"
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_UID = b"\x2b\x06\x01\x04\x01\x83\xc2\x51\x02"
"""1.3.6.1.4.1.57683.2: the subject attribute from which stock reads the uid."""
_WIDE = {0x1E: "utf-16-be", 0x1C: "utf-32-be", 0x14: "latin-1"}
"""BMPString, UniversalString, TeletexString; the others are ASCII or UTF-8."""


class Certified(NamedTuple):
    """The parts of a client certificate that authentication needs."""

    user: User | None
    """None: the subject has no common name."""
    issuer: str
    """The common name of the CA that signed it."""
    begin: float
    end: float
    """Validity in seconds since the epoch."""

    def valid(self) -> bool:
        """Whether it is valid now; a connection may outlive its certificate."""
        return self.begin <= time.now() <= self.end


@lru_cache(maxsize=limits.CERTIFICATES_REMEMBERED)
def read(der: bytes) -> Certified:
    """Parse a DER certificate. Raises ValueError."""
    fields = _fields(der)
    issuer = next((value for oid, value in _name(der, fields[2]) if oid == _COMMON_NAME), "")
    begin, end = (_time(der, *time) for time in list(_children(der, *fields[3][1:]))[:2])
    return Certified(_user(der, list(_name(der, fields[4]))), issuer, begin, end)


def _user(der: bytes, found: list[tuple[bytes, str]]) -> User | None:
    names = [value for oid, value in found if oid == _COMMON_NAME]
    if not names or not names[-1]:
        return None
    groups = dict.fromkeys(value for oid, value in found if oid == _ORGANIZATION)
    uid = next((value for oid, value in found if oid == _UID), "")
    extra = {CREDENTIAL: [f"X509SHA256={hashlib.sha256(der).hexdigest()}"]}
    return User(names[-1], (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))), uid, extra)


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, start, end) of the contents of the DER element at `at`."""
    if at + 2 > len(data):
        raise ValueError("certificate ends early")
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        width = length & 0x7F
        length, at = int.from_bytes(data[at : at + width], "big"), at + width
    if at + length > len(data):
        raise ValueError("certificate ends early")
    return tag, at, at + length


def _children(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    while start < end:
        tag, low, high = _element(data, start)
        yield tag, low, high
        start = high


def _fields(der: bytes) -> list[tuple[int, int, int]]:
    """The elements of Certificate > tbsCertificate without the version: serial, signature, issuer, validity, subject, …"""
    _, low, _ = _element(der, 0)
    _, low, high = _element(der, low)
    fields = [field for field in _children(der, low, high) if field[0] != _VERSION]
    if len(fields) < 5 or any(field[0] != _SEQUENCE for field in fields[2:5]):
        raise ValueError("not a certificate")
    return fields


def _name(der: bytes, field: tuple[int, int, int]) -> Iterator[tuple[bytes, str]]:
    """(OID, text) of each attribute of a name. Raises ValueError for an invalid string."""
    for _, set_low, set_high in _children(der, *field[1:]):
        for _, low, high in _children(der, set_low, set_high):
            (_, oid_low, oid_high), (tag, text_low, text_high) = list(_children(der, low, high))[:2]
            yield der[oid_low:oid_high], der[text_low:text_high].decode(_WIDE.get(tag, "utf-8"))


def _time(der: bytes, tag: int, low: int, high: int) -> float:
    """UTCTime (two digits of the year, from 1950 on) or GeneralizedTime, as RFC 5280 allows them."""
    text = der[low:high].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
