"""Caches keyed by clients' texts: only short texts are cached, so that the memory is bounded."""

from collections.abc import Callable
from typing import Generic, TypeVar

from kapi import limits

Text = TypeVar("Text", str, bytes)
Result = TypeVar("Result")


class _Kept(dict[Text, Result], Generic[Text, Result]):
    """Results by text, worked out when they are missing; when there are too many, all are forgotten."""

    def __init__(self, function: Callable[[Text], Result], most: int) -> None:
        self._function: Callable[[Text], Result] = function
        self._most = most

    def __missing__(self, text: Text) -> Result:
        result: Result = self._function(text)
        if len(text) <= limits.KEPT_TEXT:
            if len(self) >= self._most:
                self.clear()
            self[text] = result
        return result


def kept(most: int) -> Callable[[Callable[[Text], Result]], Callable[[Text], Result]]:
    """A decorator that caches the results of up to `most` short texts; results of long texts are not cached."""

    def decorate(function: Callable[[Text], Result]) -> Callable[[Text], Result]:
        return _Kept(function, most).__getitem__

    return decorate
