"""The Store: one numbered log of all objects, and the state it leads to.

Reads are look-ups in memory. A commit goes through the backend; it becomes visible, and watchers are told, once it is durable.
What an object means is not known here: the registry gives labels and fields with each commit, and `describe` for those on disk.
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


def home(key: str) -> str:
    """The collection of a key: '/core/pods/' of '/core/pods/default/web'."""
    return key[: key.index("/", key.index("/", 1) + 1) + 1]


def _shared(new: Mapping[str, str], old: Mapping[str, str]) -> Mapping[str, str]:
    """`new` made of what `old` is made of: what stays the same is kept once, however many states are remembered."""
    if new == old:
        return old
    return {name: old[name] if old.get(name) == value else value for name, value in new.items()}


class Store:
    """All objects. Keys look like '/core/pods/default/web' or '/core/nodes/n1'."""

    def __init__(self, backend: Backend) -> None:
        self.revision = 0
        """The revision of the newest visible commit."""
        self.healthy = True
        """Whether the backend took the newest commits."""
        self.describe: Callable[[str, Object], dict[str, str]] = lambda key, obj: {}
        """Makes the fields of an object that was read from disk or written by somebody else. Set it before `start`."""
        self._backend = backend
        self._collections: dict[str, Collection] = {}
        self._loaded_floor = 0
        self._floor = 0
        """The newest revision whose step is forgotten, anywhere."""
        self._turns: dict[str, list[asyncio.Future[None]]] = {}
        """Keys with a commit under way -> who waits for the next turn."""
        self._watchers = Turns()
        self._history: deque[tuple[Collection, Event]] = deque()
        self._history_bytes = 0
        self._due: list[tuple[float, str, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    async def start(self) -> None:
        """Read what is kept. Raises backend.Unusable."""
        loaded = await self._backend.start(self._apply, self._refuse)
        self._floor = self._loaded_floor = loaded.floor
        now = time.now()
        for change in loaded.changes:
            try:
                self._take(change, now)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                why = self._backend.damaged(error)
                await self._backend.close()
                raise why from error
        self.revision = max(loaded.revision, self.revision)
        self._trim()
        self._set_timer()

    def size(self) -> int:
        """Bytes the objects take on disk."""
        return self._backend.size()

    async def close(self) -> None:
        """Stop; what was acknowledged is kept."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        await self._backend.close()

    # --- reading

    def get(self, key: str) -> Entry | None:
        collection = self._collections.get(home(key))
        return collection.get(key) if collection else None

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
        """Entries below `prefix` in key order, with all of the labels `equals` and for which `where` holds.

        `after`: only keys behind this one; `limit`: as many at most; `at`: as it was at that revision (raises Expired).
        """
        collection = self._collection(prefix)
        if at and at < self.revision:
            if at < self._floor:
                raise Expired(CONTINUE_EXPIRED if after else LIST_EXPIRED)
            return collection.page_at(at, prefix, after, limit, equals, where)
        return collection.page(prefix, after, limit, equals, where, self.revision)

    def count(self, prefix: str) -> int:
        return self._collection(prefix).count(prefix)

    def version(self, prefix: str) -> int:
        """A number that grows with every step of the collection: whoever derives something from it sees when to do so anew."""
        return self._collection(prefix).steps

    def counter(self, prefix: str) -> Callable[[], int]:
        """The version, made ready to be asked for on every request."""
        collection = self._collection(prefix)
        return lambda: collection.steps

    def watch(self, prefix: str, since: int, field: str = "", value: str = "") -> Watch:
        """The steps below `prefix` after revision `since`; too old a one shows at the first `next`.

        The prefix is a collection, a namespace in it, or a whole key. With `field`, only steps of what has (or had) that value there:
        watchers of others are not even woken, which is what keeps a thousand kubelets apart.
        """
        collection = self._collection(prefix)
        if field:
            collection.waiting.fields.add(field)
        return Watch(collection, (prefix, field, value), since, lambda: self.revision)

    # --- writing

    def rouse(self, prefix: str) -> None:
        """Wake all watchers of a collection, though nothing happened: they are to look up from their waiting."""
        collection = self._collection(prefix)
        collection.waiting.rouse(collection.end)

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
        """Write (or with body None delete) one key; returns when that is durable.

        `expect`: the revision the key must be at, 0 for absent, None for any. `ttl`: seconds until the key goes by itself.
        Of a deletion the last state is returned, at the revision of the deletion. Raises Mismatch.
        """
        while (waiting := self._turns.get(key)) is not None:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await turn
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
        self._turns[change.key] = []
        self._backend.submit(change)

    def _apply(self, changes: Sequence[Change]) -> None:
        """The backend's news, durable and in order: make them visible, then tell who waits."""
        if not self.healthy:
            self.healthy = True
            log.info("Commits are taken again")
        now = time.now()
        for change in changes:
            entry = self._take(change, now)
            self._release(change.key)
            if change.done and not change.done.done():
                change.done.set_result(entry)
        self._trim()
        self._set_timer()

    def _refuse(self, changes: Sequence[Change], error: Exception) -> None:
        self.healthy = isinstance(error, Mismatch)
        if not self.healthy:
            log.error("Commits are refused", extra=logs.once(str(error), reason=error, commits=len(changes), key=changes[0].key))
        for change in changes:
            self._release(change.key)
            if change.done and not change.done.done():
                change.done.set_exception(error)

    def _release(self, key: str) -> None:
        for turn in self._turns.pop(key, ()):
            if not turn.done():
                turn.set_result(None)

    # --- state

    def _collection(self, prefix: str) -> Collection:
        name = home(prefix)
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = Collection(name, self._loaded_floor, self._watchers)
        return found

    def _take(self, change: Change, now: float) -> Entry:
        """Make one change the state, and a step its watchers are told of unless it is older than what is remembered."""
        collection = self._collection(change.key)
        entry = self._entry(change, collection)
        self.revision = revision = change.revision
        if change.deadline and change.body is not None:
            heapq.heappush(self._due, (change.deadline, change.key, revision))
        if revision <= self._floor:
            collection.place(entry, change.body is None)
        else:
            event = collection.step(entry, change.body is None, now)
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
            key, labels, fields = last.key, _shared(labels, last.labels), _shared(fields, last.fields)
        return Entry(key, revision, change.created or revision, splice(change.body, revision), labels, fields)

    # --- forgetting

    def compact(self, revision: int) -> None:
        """Forget the steps up to `revision`; watching from there or listing as of there is then too old."""
        self._forget(lambda event: event.revision <= revision)

    def _trim(self) -> None:
        oldest = time.now() - limits.HISTORY_SECONDS
        self._forget(
            lambda event: event.time < oldest or len(self._history) > limits.HISTORY_EVENTS or self._history_bytes > limits.HISTORY_BYTES
        )

    def _forget(self, old: Callable[[Event], bool]) -> None:
        dead: list[int] = []
        while self._history and old(self._history[0][1]):
            collection, event = self._history.popleft()
            collection.forget_oldest()
            self._floor = event.revision
            if event.previous:
                dead.append(event.previous.revision)
                self._history_bytes -= len(event.previous.body)
            if event.type == "DELETED":
                dead.append(event.revision)
        if dead:
            self._backend.forget(dead, self._floor)

    # --- deadlines

    def _set_timer(self) -> None:
        """Be there when the next deadline is due."""
        if not self._due or self._backend.expires:
            return
        first = self._due[0][0]
        if self._timer and self._timer_at <= first:
            return
        if self._timer:
            self._timer.cancel()
        self._timer_at = first
        self._timer = asyncio.get_running_loop().call_later(max(0.0, first - time.now()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        while self._due and self._due[0][0] <= time.now():
            _, key, revision = heapq.heappop(self._due)
            entry = self.get(key)
            if entry is None or entry.revision != revision:
                continue
            if key in self._turns:
                heapq.heappush(self._due, (time.now() + 0.1, key, revision))
            else:
                self._submit(Change(key, None, expect=revision, created=entry.created))
        self._set_timer()
