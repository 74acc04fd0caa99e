from collections.abc import Callable

import pytest

from kapi import limits
from kapi.objects import causes, quoting


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain text", '"plain text"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\0\x01\x1f\x7f", r'"\x00\x01\x1f\x7f"'),
        ("ü€\N{GRINNING FACE}", '"ü€\N{GRINNING FACE}"'),
        ("\x80\xa0\u200b\u2028\ufeff", r'"\u0080\u00a0\u200b\u2028\ufeff"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("\udc80", '"\N{REPLACEMENT CHARACTER}"'),
        ("", '""'),
    ],
)
def test_strings_as_strconv_quotes_them(text: str, quoted: str) -> None:
    assert quoting.go_quote(text) == quoted


@pytest.mark.parametrize(
    ("char", "quoted"), [("a", "'a'"), ("'", r"'\''"), ('"', "'\"'"), ("\0", r"'\x00'"), ("\\", r"'\\'"), ("\xad", r"'\u00ad'")]
)
def test_characters(char: str, quoted: str) -> None:
    assert quoting.go_char(char) == quoted


def test_times_show_bytes() -> None:
    assert quoting.time_quote('a"\n\x7fü') == '"a\\"\\x0a\x7f\\xc3\\xbc"'


def test_cel_escapes_only_what_has_a_short_escape() -> None:
    assert quoting.plain_quote('a"\v\0\u200b') == '"a\\"\\v\0\u200b"'


def test_a_field_error_shows_control_characters_as_go_does() -> None:
    assert causes.invalid("f", "a\0b", "no").message == r'Invalid value: "a\x00b": no'
    assert causes.not_supported("f", "\v", ["x"]).message == r'Unsupported value: "\v": supported values: "x"'
    assert causes.invalid("f", ["<\u2028\0"], "no").message == r'Invalid value: ["\u003c\u2028\u0000"]: no'


@pytest.mark.parametrize("quote", [quoting.go_quote, quoting.time_quote, quoting.plain_quote])
@pytest.mark.parametrize("char", ["a", "é", "\x01", "\u200b"])
def test_a_long_text_is_cut(quote: Callable[[str], str], char: str) -> None:
    ellipsis = r"\xe2\x80\xa6" if quote is quoting.time_quote else "…"
    assert quote(char * 3_000_000) == f'{quote(char * limits.QUOTED_TEXT)[:-1]}{ellipsis}"'
