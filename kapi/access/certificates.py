"""Who a client certificate speaks for: CN is the user, each O a group (X.509 authentication of the Kubernetes docs).

The certificate was verified by TLS already. It is read here by hand, a few DER elements deep, which spares every API server
that knows its clients by certificates the cryptography library (17 MB).
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

from kapi.objects.user import AUTHENTICATED, User

CREDENTIAL = "authentication.kubernetes.io/credential-id"
_SEQUENCE, _VERSION = 0x30, 0xA0
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_UID = b"\x2b\x06\x01\x04\x01\x83\xc2\x51\x02"
"""1.3.6.1.4.1.57683.2, the subject attribute stock reads a uid from."""
_WIDE = {0x1E: "utf-16-be", 0x1C: "utf-32-be", 0x14: "latin-1"}
"""BMPString, UniversalString, TeletexString; the others are ASCII or UTF-8."""


@lru_cache(maxsize=4096)
def issuer(der: bytes) -> str:
    """The common name of the CA that signed it. Raises ValueError."""
    return next((value for oid, value in _name(der, 2) if oid == _COMMON_NAME), "")


@lru_cache(maxsize=4096)
def user(der: bytes) -> User | None:
    """The user of a DER certificate; None when it names none. Raises ValueError."""
    found = list(_name(der, 4))
    names = [value for oid, value in found if oid == _COMMON_NAME]
    if not names or not names[-1]:
        return None
    groups = dict.fromkeys(value for oid, value in found if oid == _ORGANIZATION)
    uid = next((value for oid, value in found if oid == _UID), "")
    extra = {CREDENTIAL: [f"X509SHA256={hashlib.sha256(der).hexdigest()}"]}
    return User(names[-1], (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))), uid, extra)


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the content of the DER element at `at`."""
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


def _name(der: bytes, field: int) -> Iterator[tuple[bytes, str]]:
    """(OID, text) of each attribute of a name: Certificate > tbsCertificate > 2, the issuer, or 4, the subject (without the version)."""
    _, low, _ = _element(der, 0)
    _, low, high = _element(der, low)
    fields = [field for field in _children(der, low, high) if field[0] != _VERSION]
    if len(fields) < 5 or fields[field][0] != _SEQUENCE:
        raise ValueError("not a certificate")
    for _, set_low, set_high in _children(der, *fields[field][1:]):
        for _, low, high in _children(der, set_low, set_high):
            (_, oid_low, oid_high), (tag, text_low, text_high) = list(_children(der, low, high))[:2]
            yield der[oid_low:oid_high], der[text_low:text_high].decode(_WIDE.get(tag, "utf-8"))
