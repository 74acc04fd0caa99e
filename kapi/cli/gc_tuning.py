"""Python's garbage collector in a process of a component: it looks seldom, since what informers and stores hold lives long.

Only for processes of our own, and set back afterwards: a server inside somebody's program leaves their collector alone.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CLIENT = (50_000, 20, 50)
"""Thresholds of a component that watches (a quarter of the scheduler's time went into collections)."""
_SERVER = (10_000, 20, 20)
"""Thresholds of one that answers: a look at 10,000 young objects takes 4 ms."""


@contextmanager
def of_client() -> Iterator[None]:
    """While the block runs."""
    before = gc.get_threshold()
    gc.set_threshold(*_CLIENT)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def of_server() -> Iterator[Callable[[], None]]:
    """While the block runs; what it gives is to be called when the server has started."""
    before = gc.get_threshold()
    gc.set_threshold(*_SERVER)
    gc.callbacks.append(_keep_old)
    try:
        yield _keep_all
    finally:
        gc.callbacks.remove(_keep_old)
        gc.unfreeze()
        gc.set_threshold(*before)


def _keep_all() -> None:
    """What a server starts with is not looked at again."""
    gc.collect()
    gc.freeze()


def _keep_old(phase: str, info: dict[str, int]) -> None:
    """What survived a whole collection is not looked at again: stored objects are many (30 ms for 10,000) and in no cycles."""
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
