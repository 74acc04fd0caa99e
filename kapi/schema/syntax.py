"""What Go's decoder says of text that is not JSON: `syntax.error(b'{"a":1,}')`.

Only asked once a body has been refused, so it reads plainly and slowly; reading JSON itself is left to orjson and json.
Source of the words: the scanner of Go's encoding/json.
"""

import re
from collections.abc import Callable

from kapi.objects.quoting import go_char

END = "unexpected end of JSON input"
SPACE = re.compile(rb"[ \t\r\n]*")
LITERALS = {b"t": b"true", b"f": b"false", b"n": b"null"}
HEX = b"0123456789abcdefABCDEF"


class _Wrong(Exception):
    """Carries the message."""


class _Scanner:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def fail(self, context: str) -> _Wrong:
        if self.at >= len(self.raw):
            return _Wrong(END)
        return _Wrong(f"invalid character {go_char(chr(self.raw[self.at]))} {context}")

    def peek(self) -> bytes:
        """The next byte behind white space; b"" at the end."""
        found = SPACE.match(self.raw, self.at)
        self.at = found.end() if found else self.at
        return self.raw[self.at : self.at + 1]

    def value(self) -> None:
        first = self.peek()
        if first == b"{":
            self.container(b"}", self.member, "after object key:value pair")
        elif first == b"[":
            self.container(b"]", self.value, "after array element")
        elif first == b'"':
            self.text()
        elif first in LITERALS:
            self.literal(LITERALS[first])
        elif first and first in b"-0123456789":
            self.number()
        else:
            raise self.fail("looking for beginning of value")

    def literal(self, word: bytes) -> None:
        for place, byte in enumerate(word):
            if self.raw[self.at : self.at + 1] != bytes([byte]):
                raise self.fail(f"in literal {word.decode()} (expecting {go_char(chr(word[place]))})")
            self.at += 1

    def digits(self, context: str) -> None:
        found = re.compile(rb"\d+").match(self.raw, self.at)
        if not found:
            raise self.fail(context)
        self.at = found.end()

    def number(self) -> None:
        if self.raw[self.at : self.at + 1] == b"-":
            self.at += 1
        if self.raw[self.at : self.at + 1] == b"0":
            self.at += 1
        else:
            self.digits("in numeric literal")
        if self.raw[self.at : self.at + 1] == b".":
            self.at += 1
            self.digits("after decimal point in numeric literal")
        if self.raw[self.at : self.at + 1] in (b"e", b"E"):
            self.at += 1
            if self.raw[self.at : self.at + 1] in (b"+", b"-"):
                self.at += 1
            self.digits("in exponent of numeric literal")

    def text(self) -> None:
        self.at += 1
        while (byte := self.raw[self.at : self.at + 1]) != b'"':
            if not byte or byte < b" ":
                raise self.fail("in string literal")
            self.at += 1
            if byte == b"\\":
                self.escape()
        self.at += 1

    def escape(self) -> None:
        code = self.raw[self.at : self.at + 1]
        if not code or code not in b'bfnrt\\/"u':
            raise self.fail("in string escape code")
        self.at += 1
        for _ in range(4 if code == b"u" else 0):
            if self.at >= len(self.raw) or self.raw[self.at] not in HEX:
                raise self.fail("in \\u hexadecimal character escape")
            self.at += 1

    def container(self, close: bytes, item: Callable[[], None], context: str) -> None:
        """An object's members or an array's items, up to the closing bracket."""
        self.at += 1
        after = self.peek()
        while after != close:
            item()
            after = self.peek()
            if after not in (b",", close):
                raise self.fail(context)
            self.at += after == b","
        self.at += 1

    def member(self) -> None:
        if self.peek() != b'"':
            raise self.fail("looking for beginning of object key string")
        self.text()
        if self.peek() != b":":
            raise self.fail("after object key")
        self.at += 1
        self.value()


def error(raw: bytes) -> str:
    """Go's message for the text; "" when it is JSON."""
    scanner = _Scanner(raw)
    try:
        scanner.value()
        if scanner.peek():
            raise scanner.fail("after top-level value")
    except _Wrong as found:
        return str(found)
    except RecursionError:
        return "exceeded max depth"
    return ""
