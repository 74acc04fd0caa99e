"""The errors of Go's decoder for invalid JSON: `syntax.error(b'{"a":1,}')`.

Only asked once a body has been refused, so it reads plainly and slowly; reading JSON itself is left to orjson and json.
Source of the words: the scanner of Go's encoding/json.
"""

import re

from kapi import limits
from kapi.objects.quoting import go_char

END = "unexpected end of JSON input"
SPACE = re.compile(rb"[ \t\r\n]*")
LITERALS = {b"t": b"true", b"f": b"false", b"n": b"null"}
OPENING = {b"{": b"}", b"[": b"]"}
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
        """A value with all that is in it."""
        opened = bytearray()
        """The closing brackets that are yet to come."""
        while True:
            if (first := self.peek()) in OPENING:
                if len(opened) >= limits.JSON_DEPTH:
                    raise self.fail("exceeded max depth")
                opened += OPENING[first]
                self.at += 1
                if self.peek() != OPENING[first]:
                    self.key(opened)
                    continue
            else:
                self.scalar(first)
            if not self.closed(opened):
                return

    def closed(self, opened: bytearray) -> bool:
        """Goes on to the next value, out of what is at its end; False when there is none."""
        while opened:
            after, close = self.peek(), opened[-1:]
            if after == b",":
                self.at += 1
                self.key(opened)
                return True
            if after != close:
                raise self.fail("after object key:value pair" if close == b"}" else "after array element")
            self.at += 1
            opened.pop()
        return False

    def key(self, opened: bytearray) -> None:
        """Of a member of an object, with its colon."""
        if opened[-1:] != b"}":
            return
        if self.peek() != b'"':
            raise self.fail("looking for beginning of object key string")
        self.text()
        if self.peek() != b":":
            raise self.fail("after object key")
        self.at += 1

    def scalar(self, first: bytes) -> None:
        if first == b'"':
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


def error(raw: bytes) -> str:
    """Go's message for the text; "" when it is JSON."""
    scanner = _Scanner(raw)
    try:
        scanner.value()
        if scanner.peek():
            raise scanner.fail("after top-level value")
    except _Wrong as found:
        return str(found)
    return ""
