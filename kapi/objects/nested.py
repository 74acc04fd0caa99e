"""JSON that is nested more deeply than Python and orjson go along with: what lies below is kept as text.

Custom objects may be nested as deeply as stock takes them. Down to `SHALLOW` levels they are ordinary values. In one that goes deeper, a
list or object below `KEPT` levels is a leaf, an orjson.Fragment with the text. Such a text begins with a tab, which JSON that is written
here has nowhere else: so bytes show whether they are for `loads` or for orjson alone.
"""

import math
import re
import secrets
from functools import lru_cache
from itertools import accumulate
from typing import Any

import orjson

from kapi.objects.errors import NotAcceptable

SHALLOW = 200
"""Levels: less than orjson writes, and than the stack has frames for."""
KEPT = 24
"""Levels above a leaf. orjson reserves as many bytes behind a Fragment as it needs for 32 closing brackets, and writes more beyond its
buffer (seen with 3.13 from 64 on), so a leaf with what is written around an object must stay above that."""
_MARK, _TAB = b"\t", ord("\t")
"""The integer is found in bytes without a detour."""
_LEAF = re.compile(rb"\t[\[{]")
_PASSES = 16
"""Levels that are taken off quickly: most texts have fewer."""
_BLOCK = 16 * 1024
_STEPS = [{ord("["): 1, ord("{"): 1}.get(byte, -1) for byte in range(256)]
_REMEMBERED = 64 * 1024
"""Bytes of a text of which there is one leaf only, so that it equals itself."""
_BRACKETS = b'[]{}"'
_OTHERS = bytes(byte for byte in range(256) if byte not in _BRACKETS + b"\\")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""Possessive: a long string takes no memory to match."""
_STRUCTURE = re.compile(_STRING + rb"|[][{}]", re.DOTALL)

Parts = dict[str, orjson.Fragment]
"""Leaves by the texts that stand in their place."""


def loads(raw: bytes) -> Any:
    """The value of bytes that were written here."""
    if _TAB not in raw:
        return orjson.loads(raw)
    shallow, parts = _parted(raw, _marked(raw))
    return restored(orjson.loads(shallow), parts)


def plain(raw: bytes) -> Any:
    """The same without leaves, for what writes no JSON. Raises NotAcceptable when there are any."""
    value = loads(raw)
    if _TAB in raw:
        raise NotAcceptable("the object is nested too deeply for this media type")
    return value


def received(raw: bytes) -> Any:
    """The value of bytes from a server, ours or another."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        if _TAB not in raw:
            raise
        return loads(raw)


def deep(raw: bytes) -> bool:
    """Whether a JSON text has more than SHALLOW levels; looks closely only where that may be."""
    if raw.count(b"[") + raw.count(b"{") <= SHALLOW:
        return False
    marks = raw.translate(None, _OTHERS).replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\\", b"")
    left = b"".join(marks.split(b'"')[::2])
    for _ in range(_PASSES):
        left = left.replace(b"[]", b"").replace(b"{}", b"")
        if len(left) <= 2 * (SHALLOW - _PASSES):
            return False
    level = 0
    for start in range(0, len(left), _BLOCK):  # a long text is gone through in turns, between which others run
        levels = list(accumulate(map(_STEPS.__getitem__, left[start : start + _BLOCK]), initial=level))
        if max(levels) > SHALLOW - _PASSES:
            return True
        level = levels[-1]
    return False


def cut(raw: bytes) -> tuple[bytes, Parts]:
    """A client's JSON with texts in the place of what lies too deep, and those parts, written as they are kept.

    The text must be JSON. Raises ValueError for a number that no double holds.
    """
    return _parted(raw, _below(raw))


def restored(value: Any, parts: Parts) -> Any:
    """The value with its leaves."""
    if isinstance(value, dict):
        return {key: restored(item, parts) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item, parts) for item in value]
    return parts.get(value, value) if isinstance(value, str) else value


@lru_cache(maxsize=8)
def _remembered(text: bytes) -> orjson.Fragment:
    return orjson.Fragment(text)


def _leaf(text: bytes) -> orjson.Fragment:
    return _remembered(text) if len(text) <= _REMEMBERED else orjson.Fragment(text)


def _parted(raw: bytes, spans: list[tuple[int, int, bytes]]) -> tuple[bytes, Parts]:
    band, parts = _Band(0, secrets.token_hex(8)), Parts()
    for start, end, text in spans:
        band.put(raw, start, end, text)
    for name, text in band.parts.items():
        parts[name.decode()] = _leaf(text)
    return band.text(raw, len(raw)), parts


class _Band:
    """A stretch of a text with names in the place of what lies deeper."""

    def __init__(self, start: int, token: str) -> None:
        self.start = self._at = start
        self._token = token.encode()
        self._chunks: list[bytes] = []
        self.parts: dict[bytes, bytes] = {}

    def put(self, raw: bytes, start: int, end: int, text: bytes) -> None:
        name = b"%s-%d" % (self._token, len(self.parts))
        self.parts[name] = text
        self._chunks += (raw[self._at : start], b'"%s"' % name)
        self._at = end

    def text(self, raw: bytes, end: int) -> bytes:
        return b"".join([*self._chunks, raw[self._at : end]])

    def written(self, raw: bytes, end: int) -> bytes:
        """The stretch as it is kept, with the texts of what lies deeper. Raises ValueError for a number that no double holds."""
        text = orjson.dumps(_normalized(_value(self.text(raw, end))))
        if not self.parts:
            return text
        return re.sub(b'"(%s-[0-9]+)"' % self._token, lambda found: self.parts[found[1]], text)


def _marked(raw: bytes) -> list[tuple[int, int, bytes]]:
    """(start, end, text) of the leaves in bytes that were written here."""
    spans, start = list[tuple[int, int, bytes]](), _LEAF.search(raw)
    while start:
        level, end = 0, len(raw)
        for found in _STRUCTURE.finditer(raw, start.start()):
            level += (found[0] in (b"[", b"{")) - (found[0] in (b"]", b"}"))
            if not level:
                end = found.end()
                break
        spans.append((start.start(), end, raw[start.start() : end]))
        start = _LEAF.search(raw, end)
    return spans


def _below(raw: bytes) -> list[tuple[int, int, bytes]]:
    """(start, end, text) of what lies below KEPT levels, written as it is kept: worked on SHALLOW levels at a time, from the inside."""
    spans, level, token = list[tuple[int, int, bytes]](), 0, secrets.token_hex(8)
    bands: list[_Band] = []
    for found in _STRUCTURE.finditer(raw):
        if found[0] in (b"[", b"{"):
            level += 1
            if _begins_band(level):
                bands.append(_Band(found.start(), token))
        elif found[0] in (b"]", b"}"):
            if _begins_band(level):
                band = bands.pop()
                text = band.written(raw, found.end())
                if bands:
                    bands[-1].put(raw, band.start, found.end(), text)
                else:
                    spans.append((band.start, found.end(), _MARK + text))
            level -= 1
    return spans


def _begins_band(level: int) -> bool:
    return level > KEPT and (level - KEPT) % SHALLOW == 1


_LONE = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)")
_NUMBER = re.compile(_STRING + rb"|(-?\d[-+.eE\d]*)", re.DOTALL)


def _value(text: bytes) -> Any:
    """JSON as Go reads it: half a surrogate pair is no character. Raises ValueError for a number that no double holds."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        for found in _NUMBER.finditer(text):
            if found[1] and not math.isfinite(float(found[1])):
                raise ValueError(f"json: cannot unmarshal number {found[1].decode()} into Go value of type float64") from None
        return orjson.loads(_LONE.sub(lambda found: b"\\ufffd" if found[1] else found[0], text))


def _normalized(value: Any) -> Any:
    """The value with numbers as Go writes them."""
    kind = type(value)
    if kind is dict:
        return {key: _normalized(item) for key, item in value.items()}
    if kind is list:
        return [_normalized(item) for item in value]
    if kind is float and value.is_integer() and abs(value) < 2.0**63:
        return int(value)
    return float(value) if kind is int and not -(2**63) <= value < 2**63 else value
