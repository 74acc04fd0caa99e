"""URLs as Go's net/url parses and formats them, with its error messages: url.Parse, URL.EscapedPath, path.Join."""

import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from kapi.objects.quoting import go_quote

_PIECE = 4096
"""Bytes of a key or value that are unescaped at once."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_BAD_IN_HOST = re.compile(r"""[^A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>"%\x80-\U0010ffff]""")
_ESCAPE_IN_HOST = re.compile(r"%(?!25|[89A-Fa-f][0-9A-Fa-f]).{0,2}", re.DOTALL)
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_PORT = re.compile(r"(:[0-9]*)?")
_PLAIN_IN_PATH = "/$&+,:;=@-_.~"


class Url(NamedTuple):
    """The parts of a URL as written; `user` is None without an "@"."""

    scheme: str
    user: str | None
    host: str
    path: str
    query: str
    fragment: str


def parse(text: str) -> Url:
    """The parts of a URL. Raises ValueError: 'parse "https://a\\x00": net/url: invalid control character in URL'."""
    before, _, fragment = text.partition("#")
    try:
        return _parsed(before, fragment)
    except ValueError as why:
        raise ValueError(f"parse {go_quote(before)}: {why}") from None


def _parsed(text: str, fragment: str) -> Url:
    if _CONTROL.search(text) or _CONTROL.search(fragment):
        raise ValueError("net/url: invalid control character in URL")
    if text.startswith(":"):
        raise ValueError("missing protocol scheme")
    found = _SCHEME.match(text)
    scheme, rest = (found[0][:-1].lower(), text[found.end() :]) if found else ("", text)
    rest, _, query = rest.partition("?")
    user: str | None = None
    host = ""
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, None, "", "", query, fragment)  # opaque, as mailto:somebody
        if ":" in rest.partition("/")[0]:
            raise ValueError("first path segment in URL cannot contain colon")
    elif rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, host = _authority(authority)
    _check(_BAD_ESCAPE, rest)
    _check(_BAD_ESCAPE, fragment)
    return Url(scheme, user, host, rest, query, fragment)


def _authority(text: str) -> tuple[str | None, str]:
    """(user information, host) of the authority."""
    user, at, host = text.rpartition("@")
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise ValueError("missing ']' in host")
        port = host[end + 1 :]
    else:
        port = "".join(host.rpartition(":")[1:]) if ":" in host else ""
    if not _PORT.fullmatch(port):
        raise ValueError(f"invalid port {go_quote(port)} after host")
    _check(_BAD_ESCAPE, host)
    _check(_ESCAPE_IN_HOST, host)
    if wrong := _BAD_IN_HOST.search(host):
        raise ValueError(f"invalid character {go_quote(wrong[0])} in host name")
    if at and not _USERINFO.fullmatch(user):
        raise ValueError("net/url: invalid userinfo")
    _check(_BAD_ESCAPE, user)
    return (user if at else None), host


def _check(wrong: re.Pattern[str], text: str) -> None:
    if found := wrong.search(text):
        raise ValueError(f"invalid URL escape {go_quote(found[0])}")


def escaped(path: bytes | str) -> str:
    """A decoded path, escaped for sending."""
    return quote(path, safe=_PLAIN_IN_PATH)


def joined(path: bytes) -> bytes:
    """A decoded path without empty, '.' and '..' segments; a trailing slash is kept."""
    clean = posixpath.normpath(b"/" + path.lstrip(b"/"))
    return clean + b"/" if path.endswith(b"/") and clean != b"/" else clean


def parameters(query: bytes) -> Iterator[tuple[str, str]]:
    """The query parameters in order, including those without a value."""
    for part in query.split(b"&"):
        if part:
            key, _, value = part.partition(b"=")
            yield _unquoted(key), _unquoted(value)


def _unquoted(text: bytes) -> str:
    """Unescape a key or value. A long one is processed in parts: a list of all its escapes would take 70 times its size."""
    text = text.replace(b"+", b" ")
    if len(text) <= _PIECE:
        return (unquote_to_bytes(text) if b"%" in text else text).decode("utf-8", "replace")
    out, at = bytearray(), 0
    while at < len(text):
        end = at + _PIECE
        if (escape := text.rfind(b"%", end - 2, end)) > at:
            end = escape
        out += unquote_to_bytes(text[at:end])
        at = end
    return out.decode("utf-8", "replace")
