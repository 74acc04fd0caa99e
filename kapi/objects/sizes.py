"""How many values a JSON text holds: it is their number, not the bytes of the text, that says what they cost as Python objects."""

_MARKS = b",[{"
"""Every value but the first stands behind one of these; objects and lists are one more, as they cost more."""
_OTHERS = bytes(byte for byte in range(256) if byte not in _MARKS + b'"\\')
_BLOCK = 64 * 1024


def values(raw: bytes) -> int:
    """As many values as the text holds (objects and lists count twice), or more: marks within strings are counted as well."""
    return 1 + sum(raw.count(mark) for mark in _MARKS)


def exceeds(raw: bytes, most: int) -> bool:
    """Whether a text holds more values than `most`; looks closely only where that may be."""
    return len(raw) > most and values(raw) > most and _outside(raw, most) > most


def _outside(raw: bytes, most: int) -> int:
    """The values of a text, marks in strings left out; stops counting soon after `most`."""
    marks = raw.translate(None, _OTHERS).replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\\", b"")
    found, within = 1, 0
    for start in range(0, len(marks), _BLOCK):
        segments = marks[start : start + _BLOCK].split(b'"')
        found += sum(map(len, segments[within::2]))
        within = (within + len(segments) - 1) % 2
        if found > most:
            break
    return found
