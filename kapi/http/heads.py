"""Checks of a request line and header block that Go's net/http makes beyond those of the parser (llhttp), with its status lines.

Two Host headers get a bare 400, like everything that net/http refuses while it parses; only its later checks have a message.
"""

import re

import httptools

from kapi import limits

BAD = "400 Bad Request"
TOO_LARGE = "431 Request Header Fields Too Large"
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"[\w!$%&'()*+,\-.:;=\[\]~]*\Z", re.ASCII)


class Refused(Exception):
    """A request that is answered with only this status line."""


def check_host(host: bytes) -> None:
    """Raises Refused for a malformed Host header."""
    if not _HOST.match(host):
        raise Refused(f"{BAD}: malformed Host header")


def check(version: str, hosts: int, headers: int) -> None:
    """Raises Refused for an unsupported version, a missing Host header, and too many headers."""
    if version not in ("1.1", "1.0"):
        raise Refused("505 HTTP Version Not Supported: unsupported protocol version")
    if headers > limits.HEADER_LINES:
        raise Refused(TOO_LARGE)
    if not hosts and version != "1.0":
        raise Refused(f"{BAD}: missing required Host header")


def target(method: str, url: bytes) -> bytes:
    """Path and query of a request target. Raises Refused for one that is not a URL, or too long."""
    if len(url) > limits.TARGET_BYTES:
        raise Refused("414 Request URI Too Long")
    if not url.startswith(b"/"):
        url = _whole(method, url)
    url = url.partition(b"#")[0]
    path = url.partition(b"?")[0]
    if len(path) > limits.PATH_BYTES:
        raise Refused("414 Request URI Too Long")
    if _BAD_ESCAPE.search(path):
        raise Refused(BAD)
    if url.count(b"&") >= limits.QUERY_PARAMETERS:
        raise Refused(BAD)
    return url


def _whole(method: str, url: bytes) -> bytes:
    """Path and query of a target in absolute form (http://host/path), or the * of OPTIONS. Raises Refused."""
    if url == b"*" and method == "OPTIONS":
        return url
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise Refused(BAD) from None
    if not parsed.schema:
        raise Refused(BAD)
    return (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
