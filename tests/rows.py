"""Rows of the visible lists, one behaviour each: a test that holds with the row and breaks without it (see the rooms' test_rows.py)."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kapi.objects.errors import StatusError


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


_MISSED = (AssertionError, LookupError, ValueError, StatusError, pytest.fail.Exception)


@contextmanager
def missed() -> Iterator[None]:
    """What is done in the block does not hold: an assertion fails, or something that it looks for is not there."""
    with pytest.raises((*_MISSED, BaseExceptionGroup)) as caught:
        yield
    for error in _leaves(caught.value):
        assert isinstance(error, _MISSED)
