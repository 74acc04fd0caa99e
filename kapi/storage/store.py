"""The Store: one log of revisions over all objects, and the live state it leads to (etcd's data model, in this process).

Reads are look-ups in memory. A commit goes through the backend; once it is durable it becomes visible and watchers are woken. The store
does not interpret objects: the registry passes labels and fields with each commit, and sets `describe` for objects read from disk.

Worked example. A pod is created, changed and deleted, and a node is created in between:

    revision  key                      Collection '/core/pods/'              Collection '/core/nodes/'
    1         /core/pods/default/web   state web@1, event 0 ADDED
    2         /core/nodes/n1                                                 state n1@2, event 0 ADDED
    3         /core/pods/default/web   state web@3, event 1 MODIFIED (was web@1)
    4         /core/pods/default/web   no state,    event 2 DELETED (was web@3)

Revisions count all commits; events are numbered per collection. `list(at=3)` starts from the live state and takes event 2 back.
`compact(3)` drops the events up to revision 3, and the backend deletes row 1, which no event refers to any more. Row 3 stays until
revision 4 is compacted, because the event of revision 4 still needs it as its previous state.
"""

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kapi import limits, logs
from kapi.objects import nested, time
from kapi.objects.errors import Expired
from kapi.objects.meta import Object
from kapi.storage.backend import Backend
from kapi.storage.collection import Collection, Where
from kapi.storage.entry import HEAD, Change, Entry, Event, Mismatch, Page, respliced, splice
from kapi.storage.turns import Turns
from kapi.storage.watch import Watch

__all__ = ["Change", "Entry", "Event", "Mismatch", "Page", "Store", "Watch"]

CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted "
    "between the time the first chunk was returned and now may show up in the list."
)
LIST_EXPIRED = "The resourceVersion for the provided list is too old."

log = logging.getLogger(__name__)


def collection_of(key: str) -> str:
    """The collection of a key or prefix: '/core/pods/' of '/core/pods/default/web'. Raises ValueError for less than a collection."""
    return key[: key.index("/", key.index("/", 1) + 1) + 1]


def _reuse(new: Mapping[str, str], old: Mapping[str, str]) -> Mapping[str, str]:
    """`new`, with the strings of `old` where they are equal: unchanged values are kept once, however many states are in the history."""
    if new == old:
        return old
    return {name: old[name] if old.get(name) == value else value for name, value in new.items()}


class Store:
    """All objects. Keys look like '/core/pods/default/web' or '/core/nodes/n1'."""

    def __init__(self, backend: Backend) -> None:
        self.revision = 0
        """The revision of the newest visible commit."""
        self.healthy = True
        """Whether the backend accepted the newest commits."""
        self.describe: Callable[[str, Object], dict[str, str]] = lambda key, obj: {}
        """Returns the selectable fields of an object that was read from disk or written by another server. Set it before `start`."""
        self._backend = backend
        self._collections: dict[str, Collection] = {}
        self._loaded_compacted = 0
        self._compacted = 0
        """The compact revision: events up to it are dropped, in every collection."""
        self._key_locks: dict[str, list[asyncio.Future[None]]] = {}
        """Keys with a commit in progress -> commits that wait for it."""
        self._watchers = Turns()
        self._history: deque[tuple[Collection, Event]] = deque()
        self._history_bytes = 0
        self.forgotten = 0
        """Bytes of all states that were dropped so far, which may be kept by those who read them before."""
        self._expiries: list[tuple[float, str, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    async def start(self) -> None:
        """Load the log. Raises backend.Unusable."""
        loaded = await self._backend.start(self._apply, self._refuse)
        self._compacted = self._loaded_compacted = loaded.compacted
        now = time.now()
        for change in loaded.changes:
            try:
                self._apply_change(change, now)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                why = self._backend.damaged(error)
                await self._backend.close()
                raise why from error
        self.revision = max(loaded.revision, self.revision)
        self._compact_history()
        self._set_timer()

    def size(self) -> int:
        """Bytes of the database on disk."""
        return self._backend.size()

    async def close(self) -> None:
        """Stop. Commits in progress are finished first."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        await self._backend.close()

    # --- reading

    def get(self, key: str) -> Entry | None:
        collection = self._collections.get(key[: key.index("/", key.index("/", 1) + 1) + 1])  # collection_of, many times a request
        return collection.get(key) if collection is not None else None

    def list(
        self,
        prefix: str,
        *,
        after: str = "",
        limit: int = 0,
        at: int = 0,
        equals: Mapping[str, str] | None = None,
        where: Where | None = None,
    ) -> Page:
        """The entries below `prefix` in key order that have all of the labels `equals` and for which `where` returns true.

        `after`: only keys greater than this one. `limit`: the most entries, 0 for all. `at`: the state at that revision, 0 for the newest.
        Raises Expired for an `at` that is compacted.
        """
        collection = self._collection(prefix)
        if at and at < self.revision:
            if at < self._compacted:
                raise Expired(CONTINUE_EXPIRED if after else LIST_EXPIRED)
            return collection.page_at(at, prefix, after, limit, equals, where)
        return collection.page(prefix, after, limit, equals, where, self.revision)

    def count(self, prefix: str) -> int:
        return self._collection(prefix).count(prefix)

    def version(self, prefix: str) -> int:
        """A number that grows with every event of the collection, so that what is computed from its objects can be cached by it."""
        return self._collection(prefix).version

    def counter(self, prefix: str) -> Callable[[], int]:
        """A function that returns the version, for callers that need it on every request."""
        collection = self._collection(prefix)
        return lambda: collection.version

    def watch(self, prefix: str, since: int, field: str = "", value: str = "") -> Watch:
        """The events below `prefix` after revision `since`. A compacted revision raises Expired at the first `next`, not here.

        The prefix is a collection, a namespace in it, or a whole key. With `field`, only events of objects that have, or had before the
        event, `value` in that field. Watchers of other values are not even woken: a thousand kubelets each watch their own pods.
        """
        collection = self._collection(prefix)
        if field:
            collection.waiting.fields.add(field)
        return Watch(collection, (prefix, field, value), since, lambda: self.revision)

    # --- writing

    def wake_watchers(self, prefix: str) -> None:
        """Wake all watchers of a collection without an event, so that they check whether they are to end."""
        collection = self._collection(prefix)
        collection.waiting.wake_watchers(collection.end)

    async def commit(
        self,
        key: str,
        body: bytes | None,
        *,
        expect: int | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Entry:
        """Write one key, or delete it with body None. Returns the new entry when it is durable; of a deletion the last state, at the
        revision of the deletion.

        `expect`: the revision the key must be at, 0 for absent, None for any (compare-and-swap). `ttl`: seconds until the key expires.
        Raises Mismatch, InternalError when the disk is full or failed, ValueError for a body that does not begin with HEAD.
        """
        while (waiters := self._key_locks.get(key)) is not None:
            unlocked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters.append(unlocked)
            await unlocked
        current = self.get(key)
        if (expect is not None and expect != (current.revision if current else 0)) or (body is None and current is None):
            raise Mismatch(current)
        if body is not None and not body.startswith(HEAD):
            raise ValueError("a body starts with its metadata")
        done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        deadline = time.now() + ttl if ttl else 0.0
        created = current.created if current else 0
        change = Change(key, body, expect=expect, created=created, deadline=deadline, labels=labels or {}, fields=fields or {}, done=done)
        self._submit(change)
        return await done

    def _submit(self, change: Change) -> None:
        self._key_locks[change.key] = []
        self._backend.submit(change)

    def _apply(self, changes: Sequence[Change]) -> None:
        """Called by the backend with a durable group, in order of revision: make it visible, then return from the commits."""
        if not self.healthy:
            self.healthy = True
            log.info("Commits are taken again")
        now = time.now()
        for change in changes:
            entry = self._apply_change(change, now)
            self._unlock(change.key)
            if change.done and not change.done.done():
                change.done.set_result(entry)
        self._compact_history()
        self._set_timer()

    def _refuse(self, changes: Sequence[Change], error: Exception) -> None:
        self.healthy = isinstance(error, Mismatch)
        if not self.healthy:
            log.error("Commits are refused", extra=logs.once(str(error), reason=error, commits=len(changes), key=changes[0].key))
        for change in changes:
            self._unlock(change.key)
            if change.done and not change.done.done():
                change.done.set_exception(error)

    def _unlock(self, key: str) -> None:
        for waiter in self._key_locks.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    # --- state

    def _collection(self, prefix: str) -> Collection:
        name = collection_of(prefix)
        collection = self._collections.get(name)
        if collection is None:
            collection = self._collections[name] = Collection(name, self._loaded_compacted, self._watchers)
        return collection

    def _apply_change(self, change: Change, now: float) -> Entry:
        """Apply one change to the live state, and append its event unless that is compacted."""
        collection = self._collection(change.key)
        entry = self._entry(change, collection)
        self.revision = revision = change.revision
        if change.deadline and change.body is not None:
            heapq.heappush(self._expiries, (change.deadline, change.key, revision))
        if revision <= self._compacted:
            collection.set_state(entry, change.body is None)
        else:
            event = collection.append(entry, change.body is None, now)
            self._history.append((collection, event))
            self._history_bytes += len(event.previous.body) if event.previous else 0
            collection.waiting.wake(collection.end - 1, event)
        return entry

    def _entry(self, change: Change, collection: Collection) -> Entry:
        revision = change.revision
        if change.body is None:
            last = collection.get(change.key)
            if last is None:
                return Entry(change.key, revision, 0, splice(HEAD + b"}}", revision), {}, {})
            return Entry(change.key, revision, last.created, respliced(last.body, last.revision, revision), last.labels, last.fields)
        labels, fields = change.labels, change.fields
        if labels is None or fields is None:
            obj: dict[str, Any] = nested.loads(change.body)
            labels, fields = obj["metadata"].get("labels") or {}, self.describe(change.key, obj)
        key, last = change.key, collection.get(change.key)
        if last is not None:
            key, labels, fields = last.key, _reuse(labels, last.labels), _reuse(fields, last.fields)
        return Entry(key, revision, change.created or revision, splice(change.body, revision), labels, fields)

    # --- compaction

    def compact(self, revision: int) -> None:
        """Drop the events up to `revision`. Watches and lists from an earlier one then raise Expired."""
        self._drop_while(lambda event: event.revision <= revision)

    def _compact_history(self) -> None:
        oldest = time.now() - limits.HISTORY_SECONDS
        self._drop_while(
            lambda event: event.time < oldest or len(self._history) > limits.HISTORY_EVENTS or self._history_bytes > limits.HISTORY_BYTES
        )

    def _drop_while(self, old: Callable[[Event], bool]) -> None:
        obsolete: list[int] = []
        while self._history and old(self._history[0][1]):
            collection, event = self._history.popleft()
            collection.drop_oldest()
            self._compacted = event.revision
            if event.previous:
                obsolete.append(event.previous.revision)
                self._history_bytes -= len(event.previous.body)
                self.forgotten += len(event.previous.body)
            if event.type == "DELETED":
                obsolete.append(event.revision)
        if obsolete:
            self._backend.compact(obsolete, self._compacted)

    # --- expiry

    def _set_timer(self) -> None:
        """Set the timer to the next deadline."""
        if not self._expiries or self._backend.expires:
            return
        first = self._expiries[0][0]
        if self._timer and self._timer_at <= first:
            return
        if self._timer:
            self._timer.cancel()
        self._timer_at = first
        self._timer = asyncio.get_running_loop().call_later(max(0.0, first - time.now()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        while self._expiries and self._expiries[0][0] <= time.now():
            _, key, revision = heapq.heappop(self._expiries)
            entry = self.get(key)
            if entry is None or entry.revision != revision:
                continue
            if key in self._key_locks:
                heapq.heappush(self._expiries, (time.now() + 0.1, key, revision))
            else:
                self._submit(Change(key, None, expect=revision, created=entry.created))
        self._set_timer()
