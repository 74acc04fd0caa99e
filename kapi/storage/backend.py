"""What keeps the log: a backend numbers changes, makes them durable and hands them back in order.

`Memory` here keeps nothing; `kapi.storage.sqlite` keeps a file. A backend with other writers (etcd) hands their changes to
`apply` as well, between its own, and refuses a change whose expectation failed there. What is visible is the Store's affair.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from kapi.storage.entry import Change

Apply = Callable[[Sequence[Change]], None]
Refuse = Callable[[Sequence[Change], Exception], None]


class Unusable(Exception):
    """The data cannot be opened; the text is for the person who starts the server: what is wrong, and the way on."""

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text
        """Only what is wrong."""


class Loaded(NamedTuple):
    """What a backend holds when it starts."""

    revision: int
    floor: int
    """Steps up to this revision are forgotten."""
    changes: Iterable[Change]
    """Every row kept, oldest first: live states, and all steps after `floor` with the states they replaced."""


class Backend(Protocol):
    """How the log is kept. All methods are called on the event loop, and `apply` and `refuse` are to be called there too."""

    expires: bool
    """Whether it deletes keys past their deadline by itself."""

    async def start(self, apply: Apply, refuse: Refuse) -> Loaded: ...

    def submit(self, change: Change) -> None:
        """Number the change, keep it, then `apply` it (alone or among others); or `refuse` it."""

    def forget(self, dead: list[int], floor: int) -> None:
        """The rows of revisions `dead` are needed no more, no step up to `floor` will be asked for. Need not be durable."""

    def size(self) -> int:
        """Bytes it takes on disk."""

    def damaged(self, error: Exception) -> Unusable:
        """A change that was loaded cannot be understood: what is said of it."""

    async def close(self) -> None: ...


class Memory:
    """Keeps nothing: a change is applied as it comes."""

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

    def forget(self, dead: list[int], floor: int) -> None:
        """Nothing is kept."""

    def size(self) -> int:
        return 0

    def damaged(self, error: Exception) -> Unusable:
        return Unusable(str(error))

    async def close(self) -> None:
        await asyncio.sleep(0)
