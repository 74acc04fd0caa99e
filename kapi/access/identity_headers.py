"""Headers that name a user: those of an authenticating proxy (X-Remote-*) and of impersonation (Impersonate-*)."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

Headers = Iterable[tuple[bytes, bytes]]
"""Headers as in an ASGI scope: lower-case names, in the order received."""
_BROKEN = re.compile("%(?![0-9a-fA-F]{2})")


def headers_of(headers: Headers, prefix: bytes) -> list[tuple[str, str]]:
    """(name, value) of the headers with this prefix. Invalid UTF-8 becomes U+FFFD, as in stock when it writes the name into JSON."""
    return [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in headers if name.startswith(prefix)]


def extra_of(found: list[tuple[str, str]], prefix: str) -> dict[str, list[str]]:
    """The extra fields of a user, from headers whose name is the prefix and a percent-encoded key."""
    out: dict[str, list[str]] = {}
    for header, value in found:
        if header.startswith(prefix):
            out.setdefault(_key(header.removeprefix(prefix)), []).append(value)
    return out


def _key(encoded: str) -> str:
    """The decoded key; one with an invalid escape is used as it is, as in stock."""
    return encoded if _BROKEN.search(encoded) else unquote(encoded)
