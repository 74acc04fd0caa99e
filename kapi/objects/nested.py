"""JSON that is nested more deeply than Python and orjson support: deeper parts are kept as text within the parsed value.

Custom objects may be nested as deeply as in stock (10,000 levels). Down to `SHALLOW` levels they are ordinary values. In a deeper one,
each list or object below `KEPT` levels is a leaf: an orjson.Fragment with its text. The text of a leaf begins with a tab, which is nowhere
else in JSON written by kapi, so the bytes show whether `loads` is needed or orjson alone does.
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
"""Levels that orjson writes and Python recurses through with room to spare."""
KEPT = 24
"""Levels above a leaf. orjson reserves as many bytes behind a Fragment as it needs for 32 closing brackets, and writes more beyond its
buffer (seen with 3.13 from 64 on), so a leaf with what is written around an object must stay above that."""
_MARK, _TAB = b"\t", ord("\t")
"""The integer is found in bytes without a detour."""
_LEAF = re.compile(rb"\t[\[{]")
_PASSES = 16
"""Levels that are removed by plain replacements: most texts have fewer."""
_BLOCK = 16 * 1024
_STEPS = [{ord("["): 1, ord("{"): 1}.get(byte, -1) for byte in range(256)]
_REMEMBERED = 64 * 1024
"""Bytes up to which equal texts share one leaf, so that leaves compare equal."""
_BRACKETS = b'[]{}"'
_OTHERS = bytes(byte for byte in range(256) if byte not in _BRACKETS + b"\\")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""Possessive: a long string takes no memory to match."""
_STRUCTURE = re.compile(_STRING + rb"|[][{}]", re.DOTALL)

Parts = dict[str, orjson.Fragment]
"""Placeholder strings -> the leaves they stand for."""


def loads(raw: bytes) -> Any:
    """The value of JSON written by kapi, with leaves."""
    if _TAB not in raw:
        return orjson.loads(raw)
    shallow, parts = _parted(raw, _marked(raw))
    return restored(orjson.loads(shallow), parts)


def plain(raw: bytes) -> Any:
    """The same for encodings other than JSON, which have no leaves. Raises NotAcceptable when there are any."""
    value = loads(raw)
    if _TAB in raw:
        raise NotAcceptable("the object is nested too deeply for this media type")
    return value


def received(raw: bytes) -> Any:
    """The value of JSON from any server."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        if _TAB not in raw:
            raise
        return loads(raw)


def deep(raw: bytes) -> bool:
    """Whether a JSON text has more than SHALLOW levels; a text with few brackets costs one count."""
    if raw.count(b"[") + raw.count(b"{") <= SHALLOW:
        return False
    marks = raw.translate(None, _OTHERS).replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\\", b"")
    left = b"".join(marks.split(b'"')[::2])
    for _ in range(_PASSES):
        left = left.replace(b"[]", b"").replace(b"{}", b"")
        if len(left) <= 2 * (SHALLOW - _PASSES):
            return False
    level = 0
    for start in range(0, len(left), _BLOCK):  # in blocks: a long text does not hold the interpreter
        levels = list(accumulate(map(_STEPS.__getitem__, left[start : start + _BLOCK]), initial=level))
        if max(levels) > SHALLOW - _PASSES:
            return True
        level = levels[-1]
    return False


def cut(raw: bytes) -> tuple[bytes, Parts]:
    """A client's JSON with placeholders for the parts below KEPT levels, and these parts as leaves, encoded as they are stored.

    The text must be valid JSON. Raises ValueError for a number outside the range of a double.
    """
    return _parted(raw, _below(raw))


def restored(value: Any, parts: Parts) -> Any:
    """The value with placeholders replaced by their leaves."""
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
    """SHALLOW levels of a text, with placeholders for the deeper parts."""

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
        """The levels as they are stored, with the texts of the deeper parts. Raises ValueError for a number no double holds."""
        text = orjson.dumps(_normalized(_value(self.text(raw, end))))
        if not self.parts:
            return text
        return re.sub(b'"(%s-[0-9]+)"' % self._token, lambda found: self.parts[found[1]], text)


def _marked(raw: bytes) -> list[tuple[int, int, bytes]]:
    """(start, end, text) of the leaves in JSON written by kapi."""
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
    """(start, end, text) of the parts below KEPT levels, encoded as they are stored: SHALLOW levels at a time, innermost first."""
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
    """JSON as Go decodes it: half a surrogate pair becomes U+FFFD. Raises ValueError for a number outside the range of a double."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        for found in _NUMBER.finditer(text):
            if found[1] and not math.isfinite(float(found[1])):
                raise ValueError(f"json: cannot unmarshal number {found[1].decode()} into Go value of type float64") from None
        return orjson.loads(_LONE.sub(lambda found: b"\\ufffd" if found[1] else found[0], text))


def _normalized(value: Any) -> Any:
    """The value with numbers as Go encodes them."""
    kind = type(value)
    if kind is dict:
        return {key: _normalized(item) for key, item in value.items()}
    if kind is list:
        return [_normalized(item) for item in value]
    if kind is float and value.is_integer() and abs(value) < 2.0**63:
        return int(value)
    return float(value) if kind is int and not -(2**63) <= value < 2**63 else value
