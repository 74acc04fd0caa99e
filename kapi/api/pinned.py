"""What answers under way keep of the store's past: the states they list stay in memory until they are written, however old they become.

That counts among what waits for connections (`kapi.http.allowance`), so that clients that do not read cannot keep the past for ever.
"""

from collections.abc import Sequence
from types import TracebackType

from kapi.api.request import Request
from kapi.http import server
from kapi.storage.store import Entry, Store


class PinnedEntries:
    """`with PinnedEntries(request, store, entries)`: they are written meanwhile."""

    def __init__(self, request: Request, store: Store, entries: Sequence[Entry]) -> None:
        self._connection = (request.scope.get("extensions") or {}).get(server.CONNECTION)
        self._store, self._entries, self._since = store, entries, store.forgotten
        self._size = -1

    def __enter__(self) -> None:
        if self._connection is not None:
            self._connection.set_pinned(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.set_pinned(None)

    @property
    def forgotten(self) -> int:
        """Bytes that the store itself has forgotten since."""
        return self._store.forgotten - self._since

    @property
    def size(self) -> int:
        """Bytes of what is kept, forgotten or not."""
        if self._size < 0:
            self._size = sum(len(entry.body) for entry in self._entries)
        return self._size
