"""Texts of clients inside messages, as Go prints them: strconv.Quote (%q and %#v), and the plainer quoting of package time."""

import re

_ESCAPED = re.compile(r'[^ !#-\[\]-~]')
"""What may need an escape: all but the printable ASCII characters, and of these the quotation mark and the backslash."""
_SHORT = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_TIME = re.compile(r'["\\\x00-\x1f]|[^\x00-\x7f]+')


def go_quote(text: str) -> str:
    """A string as strconv.Quote has it: `"a\\x00\\n\\u200b"`."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


def go_char(char: str) -> str:
    """A character as strconv.QuoteRune has it: `'\\x00'`."""
    return f"'{char}'" if char == '"' else "'\\''" if char == "'" else f"'{_ESCAPED.sub(_escape, char)}'"


def time_quote(text: str) -> str:
    """A string as errors of Go's package time have it: every byte that is no ASCII as \\xNN."""
    return f'"{_TIME.sub(_bytes, text)}"'


def plain_quote(text: str) -> str:
    """A string as cel-go's strings.quote has it: only what has a short escape is escaped."""
    return f'"{"".join(_SHORT.get(char, char) for char in text)}"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if short := _SHORT.get(char):
        return short
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code < 0xE000:  # half of a pair, which is the replacement character to Go
        return "\N{REPLACEMENT CHARACTER}"
    return f"\\x{code:02x}" if code < 0x20 or code == 0x7F else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _bytes(found: re.Match[str]) -> str:
    if (text := found[0]) in ('"', "\\"):
        return "\\" + text
    return "".join(f"\\x{byte:02x}" for byte in text.encode("utf-8", "replace"))
