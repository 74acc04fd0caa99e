"""A backend of the store: it assigns revisions to changes, makes them durable and passes them back in order.

`Memory` here keeps nothing; `kapi.storage.sqlite` keeps a file. A backend with other writers (etcd) passes their changes to
`apply` as well, between its own, and refuses a change whose expectation failed there. Making them visible is the Store's task.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from kapi.storage.entry import Change

Apply = Callable[[Sequence[Change]], None]
Refuse = Callable[[Sequence[Change], Exception], None]


class Unusable(Exception):
    """The data cannot be opened. The text is for the person who starts the server: what is wrong, and what to do."""

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text
        """Only what is wrong, without what to do."""


class Loaded(NamedTuple):
    """What a backend loads when it starts."""

    revision: int
    compacted: int
    """The compact revision: events up to it are dropped."""
    changes: Iterable[Change]
    """Every row, oldest first: live states, and all revisions after `compacted` with the states they replaced."""


class Backend(Protocol):
    """How the log is stored. All methods are called on the event loop, where `apply` and `refuse` must be called too."""

    expires: bool
    """Whether it deletes expired keys itself."""

    async def start(self, apply: Apply, refuse: Refuse) -> Loaded: ...

    def submit(self, change: Change) -> None:
        """Assign a revision, make the change durable, then `apply` it, alone or in a group; or `refuse` it."""

    def compact(self, obsolete: list[int], compacted: int) -> None:
        """The rows of the revisions `obsolete` are not needed any more, nor any event up to `compacted`. Need not be durable."""

    def size(self) -> int:
        """Bytes it takes on disk."""

    def damaged(self, error: Exception) -> Unusable:
        """The error for a loaded change that cannot be parsed."""

    async def close(self) -> None: ...


class Memory:
    """Keeps nothing: a change is applied when it is submitted."""

    expires = False

    def __init__(self) -> None:
        self._revision = 0
        self._apply: Apply = lambda changes: None

    async def start(self, apply: Apply, refuse: Refuse) -> Loaded:
        self._apply = apply
        return Loaded(0, 0, ())

    def submit(self, change: Change) -> None:
        self._revision += 1
        change.revision = self._revision
        self._apply((change,))

    def compact(self, obsolete: list[int], compacted: int) -> None:
        """Nothing is kept."""

    def size(self) -> int:
        return 0

    def damaged(self, error: Exception) -> Unusable:
        return Unusable(str(error))

    async def close(self) -> None:
        await asyncio.sleep(0)
