"""Names of fields in expressions: names that are not identifiers are escaped, '__dot__' for '.', '__if__' for 'if'. Source: KEP-2876."""

import re

from kapi.cel.syntax import RESERVED

_WORDS = RESERVED | {"true", "false", "null", "in"}
_MARKS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_SOURCES = {escaped: plain for plain, escaped in _MARKS.items()}
_ESCAPED = re.compile("|".join(_SOURCES))


def escape(name: str) -> str | None:
    """The identifier for a field; None for one that expressions cannot reach."""
    if name in _WORDS:
        return f"__{name}__"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.\-/]*", name):
        return None
    return re.sub(r"__|[.\-/]", lambda found: _MARKS[found[0]], name)


def unescape(name: str) -> str:
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _WORDS:
        return name[2:-2]
    return _ESCAPED.sub(lambda found: _SOURCES[found[0]], name)
