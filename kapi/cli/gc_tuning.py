"""Thresholds of Python's garbage collector in the process of a component: it runs rarely, since cached and stored objects live long.

Only for processes of our own, and reset afterwards: a server inside another program does not change the collector of that.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CLIENT = (50_000, 20, 50)
"""Thresholds of a client with informers (collections took a quarter of the scheduler's time)."""
_SERVER = (10_000, 20, 20)
"""Thresholds of a server: collecting 10,000 young objects takes 4 ms."""


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
    """While the block runs. The yielded function must be called when the server has started."""
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
    """Exempt all present objects from later collections (gc.freeze)."""
    gc.collect()
    gc.freeze()


def _keep_old(phase: str, info: dict[str, int]) -> None:
    """Exempt what survived a full collection: stored objects are many (30 ms for 10,000) and never in cycles."""
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
