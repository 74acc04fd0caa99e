"""Counts the values in a JSON text: their number, not the bytes, determines the memory of the parsed objects."""

_MARKS = b",[{"
"""Bytes before every value but the first; objects and lists count twice because they cost more."""
_OTHERS = bytes(byte for byte in range(256) if byte not in _MARKS + b'"\\')
_BLOCK = 64 * 1024


def values(raw: bytes) -> int:
    """An upper bound of the number of values (objects and lists count twice): these bytes in strings are counted as well."""
    return 1 + sum(raw.count(mark) for mark in _MARKS)


def exceeds(raw: bytes, most: int) -> bool:
    """Whether a text has more values than `most`; strings are excluded only if the upper bound exceeds it."""
    return len(raw) > most and values(raw) > most and _outside(raw, most) > most


def _outside(raw: bytes, most: int) -> int:
    """The number of values, not counting bytes in strings; stops counting shortly after `most`."""
    marks = raw.translate(None, _OTHERS).replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\\", b"")
    found, within = 1, 0
    for start in range(0, len(marks), _BLOCK):
        segments = marks[start : start + _BLOCK].split(b'"')
        found += sum(map(len, segments[within::2]))
        within = (within + len(segments) - 1) % 2
        if found > most:
            break
    return found
