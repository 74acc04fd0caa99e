"""Quotes strings in messages as Go does: strconv.Quote (%q and %#v), and the plainer quoting of package time."""

import re

from kapi import limits

_ESCAPED = re.compile(r'[^ !#-\[\]-~]')
"""What may need an escape: all but the printable ASCII characters, and of these the quotation mark and the backslash."""
_SHORT = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_TIME = re.compile(r'["\\\x00-\x1f]|[^\x00-\x7f]+')


def go_quote(text: str) -> str:
    """A string as strconv.Quote has it: `"a\\x00\\n\\u200b"`."""
    return f'"{_shortened(text).translate(_ESCAPES) if _ESCAPED.search(text) else _shortened(text)}"'


def go_char(char: str) -> str:
    """A character as strconv.QuoteRune has it: `'\\x00'`."""
    return f"'{char}'" if char == '"' else "'\\''" if char == "'" else f"'{char.translate(_ESCAPES)}'"


def time_quote(text: str) -> str:
    """A string as errors of Go's package time have it: every byte that is not ASCII as \\xNN."""
    return f'"{_TIME.sub(_bytes, _shortened(text))}"'


def plain_quote(text: str) -> str:
    """A string as cel-go's strings.quote has it: only what has a short escape is escaped."""
    return f'"{_shortened(text).translate(_PLAIN)}"'


def _shortened(text: str) -> str:
    """The text, truncated to limits.QUOTED_TEXT characters."""
    return text if len(text) <= limits.QUOTED_TEXT else text[: limits.QUOTED_TEXT] + "…"


class _Escapes(dict[int, str]):
    """Code point -> the character as strconv.Quote writes it; cached, so that a long text costs some nanoseconds a character."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if short := _SHORT.get(char):
            written = short
        elif char.isprintable():
            written = char
        elif 0xD800 <= code < 0xE000:  # half of a surrogate pair: Go has U+FFFD for it
            written = "\N{REPLACEMENT CHARACTER}"
        else:
            written = f"\\x{code:02x}" if code < 0x20 or code == 0x7F else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
        if len(self) < _REMEMBERED:
            self[code] = written
        return written


_REMEMBERED = 4096
_ESCAPES = _Escapes()
_PLAIN = str.maketrans(_SHORT)


def _bytes(found: re.Match[str]) -> str:
    if (text := found[0]) in ('"', "\\"):
        return "\\" + text
    return "".join(f"\\x{byte:02x}" for byte in text.encode("utf-8", "replace"))
