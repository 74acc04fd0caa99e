"""Caches of what clients' texts mean."""

import pytest

from kapi import limits
from kapi.objects.caching import kept


def test_a_text_is_read_once_while_there_is_room() -> None:
    read: list[str] = []

    @kept(2)
    def length(text: str) -> int:
        read.append(text)
        return len(text)

    assert [length(text) for text in ("a", "bb", "a", "bb")] == [1, 2, 1, 2]
    assert read == ["a", "bb"]
    assert [length(text) for text in ("ccc", "a", "ccc")] == [3, 1, 3]
    assert read == ["a", "bb", "ccc", "a"]


def test_long_texts_and_failures_are_not_kept() -> None:
    read: list[int] = []

    @kept(2)
    def number(text: str) -> int:
        read.append(len(text))
        return int(text.lstrip("0") or "0")

    long = "0" * (limits.KEPT_TEXT + 1)
    assert number(long) == number(long) == 0
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            number("x")
    assert read == [len(long), len(long), 1, 1]
