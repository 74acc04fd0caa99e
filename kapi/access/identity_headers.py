"""Headers that name a user: those of an authenticating proxy (X-Remote-*) and of somebody who acts as another (Impersonate-*)."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case, in the order they came."""
_BROKEN = re.compile("%(?![0-9a-fA-F]{2})")


def headers_of(headers: Headers, prefix: bytes) -> list[tuple[str, str]]:
    """(name, value) of those that begin so. Bytes that are no UTF-8 become U+FFFD, as they do where stock writes the name into JSON."""
    return [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in headers if name.startswith(prefix)]


def extra_of(said: list[tuple[str, str]], prefix: str) -> dict[str, list[str]]:
    """The extra fields of a user, of headers whose name is this prefix and the key, percent-encoded."""
    out: dict[str, list[str]] = {}
    for header, value in said:
        if header.startswith(prefix):
            out.setdefault(_key(header.removeprefix(prefix)), []).append(value)
    return out


def _key(encoded: str) -> str:
    """A key with a broken escape in it is taken as it stands."""
    return encoded if _BROKEN.search(encoded) else unquote(encoded)
