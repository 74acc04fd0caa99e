"""Links of what a proxied backend answers, led through the proxy's own path: the Location header, and pages of HTML.

A page is read as it passes: tags whose attributes hold URLs are written anew, all else stays the bytes it is. What is done with a URL
is stock's: only one that begins at the root, of the backend itself or of the server the caller asked, is changed.
"""

import html
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from kapi import limits
from kapi.objects import urls

_ATTRIBUTES: dict[bytes, tuple[bytes, ...]] = {
    **dict.fromkeys((b"a", b"area", b"base", b"link"), (b"href",)),
    **dict.fromkeys((b"audio", b"embed", b"script", b"source"), (b"src",)),
    **dict.fromkeys((b"blockquote", b"del", b"ins", b"q"), (b"cite",)),
    **dict.fromkeys((b"frame", b"iframe"), (b"longdesc", b"src")),
    b"applet": (b"codebase",), b"body": (b"background",), b"button": (b"formaction",), b"command": (b"icon",), b"form": (b"action",),
    b"head": (b"profile",), b"html": (b"manifest",), b"img": (b"longdesc", b"src", b"usemap"),
    b"input": (b"src", b"usemap", b"formaction"), b"object": (b"classid", b"codebase", b"data", b"usemap"), b"video": (b"poster", b"src"),
}  # fmt: skip
"""Tag -> its attributes that hold URLs."""
_RAW = (b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes")
"""Tags whose content has no tags."""
_NAME = re.compile(rb"<([a-zA-Z][^\s/>]*+)")
_ATTRIBUTE = re.compile(rb"""(?<=[\s"'/])([^\s=/>"']++)(\s*+=\s*+)("[^"]*+"|'[^']*+'|[^\s>"']++)""")
_LESS = ord("<")
_BEGIN = re.compile(b"<[a-zA-Z/!?]")
_END = re.compile(rb"""(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_BORING = re.compile(
    rb"""(?:[^<]++|<(?=[^a-zA-Z/!?])|<(?!!--|(?:%s)[\s/]|(?:%s)[\s/>])[a-zA-Z/!?](?:[^>"']++|"[^"]*+"|'[^']*+')*+>)*+"""
    % (b"|".join(_ATTRIBUTES), b"|".join(_RAW)), re.IGNORECASE,
)  # fmt: skip
"""Text, and tags that need no look."""
_COMMENT, _COMMENTED = b"<!--", re.compile(b"-->")
_CLOSED = {name: re.compile(b"</" + name, re.IGNORECASE) for name in _RAW}
_LONGEST_END = max(map(len, _RAW)) + 2


@dataclass(frozen=True, slots=True)
class Links:
    """Where links lead: `prefix` is the path of the proxy, `backend` and `asked` are the hosts that are this side's own."""

    prefix: str
    backend: str
    asked: str

    def url(self, text: str) -> str:
        """A URL through the proxy, or as it is."""
        try:
            parts = urlsplit(text)
        except ValueError:
            return text
        if parts.netloc not in ("", self.backend, self.asked) or not parts.path.startswith("/"):
            return text
        scheme, host = (parts.scheme, parts.netloc) if parts.netloc and parts.netloc == self.asked else ("", "")
        path = parts.path
        if not path.startswith(self.prefix):
            path = self.prefix + urls.joined(path.encode()).decode()
        return urlunsplit((scheme, host, path, parts.query, parts.fragment))

    def tag(self, tag: bytes) -> bytes:
        """A whole start tag with its URLs changed."""
        name = _NAME.match(tag)
        links = _ATTRIBUTES.get(name[1].lower(), ()) if name else ()
        return _ATTRIBUTE.sub(lambda found: self._attribute(found, links), tag) if links else tag

    def _attribute(self, attribute: re.Match[bytes], wanted: tuple[bytes, ...]) -> bytes:
        if attribute[1].lower() not in wanted:
            return attribute[0]
        value = attribute[3][1:-1] if attribute[3][:1] in (b'"', b"'") else attribute[3]
        old = html.unescape(value.decode("utf-8", "surrogateescape"))
        new = self.url(old)
        if new == old:
            return attribute[0]
        return b'%s="%s"' % (attribute[1], html.escape(new).encode("utf-8", "surrogateescape"))


class Page:
    """An HTML page in pieces. A tag that has not yet come whole waits for the next piece; one that is too long passes as it is."""

    def __init__(self, links: Links) -> None:
        self._links, self._rest = links, b""
        self._until: re.Pattern[bytes] | None = None
        """What ends the text without tags that we are in: a comment, or a script."""

    def feed(self, piece: bytes, *, last: bool = False) -> Iterator[bytes]:
        """What can be written now, in steps of some milliseconds at most."""
        for at in range(0, len(piece), _BLOCK):
            yield b"".join(self._parts(piece[at : at + _BLOCK]))
        if last:
            yield b"".join(self._parts(b"", last=True))

    def _parts(self, piece: bytes, *, last: bool = False) -> Iterator[bytes]:
        text, self._rest = self._rest + piece, b""
        at = 0
        while at < len(text):
            end = self._plain(text, at, last)
            yield text[at:end]
            if end >= len(text) - len(self._rest):
                return
            if text[end] != _LESS:  # what follows a comment
                at = end
                continue
            done, out = self._markup(text, end, last)
            if not done:
                self._rest = text[end:]
                return
            yield out
            at = done

    def _plain(self, text: bytes, at: int, last: bool) -> int:
        """The end of what has no tags; keeps what may be the beginning of that end."""
        if self._until is None:
            run = _BORING.match(text, at)
            return run.end() if run else at
        if ending := self._until.search(text, at):
            self._until = None
            return ending.start() if ending[0].startswith(b"<") else ending.end()
        end = len(text) if last else max(at, len(text) - _LONGEST_END)
        self._rest = text[end:]
        return end

    def _markup(self, text: bytes, at: int, last: bool) -> tuple[int, bytes]:
        """(its end, what is written for it) of a tag or a comment's beginning; end 0: more has to come."""
        if not last and len(text) - at < len(_COMMENT):
            return 0, b""
        if not _BEGIN.match(text, at):
            return at + 1, b"<"
        if text.startswith(_COMMENT, at):
            self._until = _COMMENTED
            return at + len(_COMMENT), _COMMENT
        limit = at + limits.LINK_TAG_BYTES
        end = _END.match(text, at + 1, limit)
        if end is None:
            return (0, b"") if not last and len(text) < limit else (min(limit, len(text)), text[at:limit])
        tag = text[at : end.end()]
        name = _NAME.match(tag)
        self._until = _CLOSED.get(name[1].lower()) if name else None
        return end.end(), self._links.tag(tag)


class PackedPage(Page):
    """A page that comes packed and goes on packed."""

    def __init__(self, links: Links, window: int) -> None:
        super().__init__(links)
        self._unpacker, self._packer = zlib.decompressobj(window), zlib.compressobj(1, zlib.DEFLATED, window)

    def feed(self, piece: bytes, *, last: bool = False) -> Iterator[bytes]:
        """What can be written now, a step for each block of the page. Raises zlib.error."""
        while piece:
            block = self._unpacker.decompress(piece, _BLOCK)
            piece = self._unpacker.unconsumed_tail
            yield b"".join(map(self._packer.compress, self._parts(block)))
        if last:
            yield b"".join(map(self._packer.compress, self._parts(b"", last=True))) + self._packer.flush()


_BLOCK = 1 << 12
_WINDOWS = {"gzip": 31, "deflate": -15}
"""Content-Encoding -> zlib's window bits."""


def page(links: Links, encoding: str) -> Page | None:
    """A page that comes in this Content-Encoding; None for one that cannot be read."""
    if not encoding:
        return Page(links)
    return PackedPage(links, _WINDOWS[encoding]) if encoding in _WINDOWS else None
