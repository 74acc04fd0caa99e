"""Caches keyed by clients' texts: only short texts are cached, so that the memory is bounded."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

from kapi import limits

Text = TypeVar("Text", str, bytes)
Result = TypeVar("Result")


def kept(most: int) -> Callable[[Callable[[Text], Result]], Callable[[Text], Result]]:
    """A decorator that caches the results of the last `most` short texts; results of long texts are not cached."""

    def decorate(function: Callable[[Text], Result]) -> Callable[[Text], Result]:
        cached, longest = lru_cache(maxsize=most)(function), limits.KEPT_TEXT

        @wraps(function)
        def result(text: Text) -> Result:
            return cached(text) if len(text) <= longest else function(text)

        return result

    return decorate
