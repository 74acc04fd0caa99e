"""Headers that name a user: those of an authenticating proxy (X-Remote-*) and of impersonation (Impersonate-*)."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

from kapi.objects.user import User

Headers = Iterable[tuple[bytes, bytes]]
"""Headers as in an ASGI scope: lower-case names, in the order received."""
_BROKEN = re.compile("%(?![0-9a-fA-F]{2})")
_TOKEN = re.compile(rb"[^0-9A-Za-z!#$&'*+.^_`|~-]")
"""What the name of a header may not hold, and "%", which escapes it."""
_CONTROL = re.compile("[\\x00-\\x08\\x0a-\\x1f\\x7f]")


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


def of_user(user: User) -> tuple[tuple[bytes, bytes], ...]:
    """Headers by which this server, as an authenticating proxy, tells another one who asks. Raises ValueError with net/http's text."""
    said = [("X-Remote-User", user.name), ("X-Remote-Uid", user.uid), *(("X-Remote-Group", group) for group in user.groups)]
    for key, values in user.extra.items():
        name = "X-Remote-Extra-" + _TOKEN.sub(lambda found: b"%%%02X" % found[0][0], key.encode()).decode()
        said += [(name, value) for value in values]
    for name, value in said:
        if _CONTROL.search(value):
            raise ValueError(f'net/http: invalid header field value for "{name}"')
    return tuple((name.lower().encode(), value.encode("utf-8", "replace")) for name, value in said if value or name != "X-Remote-Uid")
