"""Results kept by the text they were made of, where texts come from clients: only short ones, so that what is kept stays small."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

from kapi import limits

Text = TypeVar("Text", str, bytes)
Result = TypeVar("Result")


def kept(most: int) -> Callable[[Callable[[Text], Result]], Callable[[Text], Result]]:
    """A decorator: the results of the last `most` texts are kept; those of long ones are made each time."""

    def decorate(function: Callable[[Text], Result]) -> Callable[[Text], Result]:
        cached, longest = lru_cache(maxsize=most)(function), limits.KEPT_TEXT

        @wraps(function)
        def result(text: Text) -> Result:
            return cached(text) if len(text) <= longest else function(text)

        return result

    return decorate
