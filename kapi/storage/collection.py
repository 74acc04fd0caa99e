"""The live state of one resource: its entries in key order, an index of the labels that are selected by, and a ring of recent events.

Keys are a plain sorted list: at 50,000 keys an insertion moves 200 KB, about 10 µs, and slices are as fast as can be.
A label key is indexed from the first list that selects by it.

The ring is a list with a moving start. An event is addressed by its sequence number in the collection, so a watcher is only an integer
(`kapi.storage.watch`). Worked example, with five events of which the two oldest were dropped:

    _events   [dropped, dropped, e2, e3, e4]
    _head     2       index of the oldest event that is kept
    start     2       its sequence number
    end       5       sequence number of the next event

Event n is `_events[n - start + _head]`. `append` adds e5 at the end. `drop_oldest` replaces e2 by a placeholder and moves `_head` and
`start`; the placeholders are cut off once they are the larger half of a long list, so dropping costs constant time on average.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from kapi import limits
from kapi.objects.errors import Expired
from kapi.storage.entry import ADDED, DELETED, MODIFIED, Entry, Event, Page
from kapi.storage.turns import Interest, Turns
from kapi.storage.waiting import Waiting, field_values

SHARE = 72 * 1024
"""Bytes of events that a batch stays below, unless it is one large event."""
_SCANNED = 256
"""The most events that are scanned for one batch."""
KEPT_LINES = 64
"""The newest events whose encoded forms are kept, for watchers that are a little behind."""

Where = Callable[[Entry], bool]
_FEW = 4
"""Sorting the keys an index names takes less time than looking through all of them where they are this part of them at most."""
_DROPPED = Event(DELETED, Entry("", 0, 0, b"", {}, {}), None, 0.0)
"""Placeholder of dropped events until the list is cut."""


def upper(prefix: str) -> str:
    """The first text that sorts behind everything starting with `prefix` (the end of its range)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Share:
    """A batch of events: those that match `interest` among the sequence numbers from `start` to before `end`.

    All watchers of the same interest at the same cursor get the same object, so that its lines are encoded once.
    """

    __slots__ = ("blocks", "end", "events", "interest", "seen", "size", "start")

    def __init__(self, interest: Interest, start: int, end: int, seen: int, events: list[Event], size: int) -> None:
        self.interest, self.start, self.end, self.seen, self.events, self.size = interest, start, end, seen, events, size
        """`seen`: the collection's `end` when the batch was made; `size`: bytes of the bodies."""
        self.blocks: dict[bytes, bytes] = {}
        """The encoded events where they are short, by encoding; kept by the API, which encodes them."""

    def __bool__(self) -> bool:
        return bool(self.events)


class Collection:
    """All objects of one resource, e.g. of '/core/pods/'."""

    def __init__(self, name: str, compacted: int, turns: Turns) -> None:
        self.name = name
        self.compacted = compacted
        """The compact revision: that of the newest event that was dropped."""
        self.start = 0
        """The sequence number of the oldest event that is kept."""
        self.version = 0
        """How many events were appended since the server started: equal to `end`, but a plain attribute, which is read on every request."""
        self.waiting = Waiting(name, turns)
        self._entries: dict[str, Entry] = {}
        self.get: Callable[[str], Entry | None] = self._entries.get
        self._keys: list[str] = []
        self._events: list[Event] = []
        self._head = 0
        self._share: Share | None = None
        """The last batch, unless it is large."""
        self._index: dict[str, dict[str, set[str]]] = {}

    # --- events

    @property
    def end(self) -> int:
        """The sequence number of the next event."""
        return self.start + len(self._events) - self._head

    def append(self, entry: Entry, deleted: bool, time: float) -> Event:
        """Make `entry` the state of its key, or delete the key, and append the event."""
        self.version += 1
        previous = self.set_state(entry, deleted)
        event = Event(DELETED if deleted else MODIFIED if previous else ADDED, entry, previous, time)
        events = self._events
        events.append(event)
        if len(events) - self._head > KEPT_LINES:
            events[-KEPT_LINES - 1].lines = None
        return event

    def drop_oldest(self) -> None:
        event, self._events[self._head] = self._events[self._head], _DROPPED
        self.compacted = event.revision
        self._head += 1
        self.start += 1
        if self._head > 1024 and self._head * 2 > len(self._events):
            del self._events[: self._head]
            self._head = 0

    def since(self, number: int, interest: Interest) -> list[Event]:
        """The events that match, from sequence number `number` on."""
        return [e for e in self._events[number - self.start + self._head :] if self._matches(interest, e)]

    def some(self, number: int, interest: Interest) -> Share:
        """The first batch of these events. Made once for all watchers that are at the same cursor."""
        last = self._share
        if last is None or last.start != number or last.seen != self.end or last.interest != interest:
            last = self._scan(number, interest)
            self._share = last if last.size < SHARE else None
        return last

    def _scan(self, number: int, interest: Interest) -> Share:
        found: list[Event] = []
        at, end, size = number - self.start + self._head, number, 0
        for event in self._events[at : at + _SCANNED]:
            if self._matches(interest, event):
                more = len(event.entry.body)
                if found and size + more >= SHARE:  # so that the batch is short, and made once for all who watch
                    break
                found.append(event)
                size += more
            end += 1
        return Share(interest, number, end, self.end, found, size)

    def _matches(self, interest: Interest, event: Event) -> bool:
        prefix, field, value = interest
        if prefix != self.name:
            key = event.entry.key
            if not (key.startswith(prefix) if prefix[-1] == "/" else key == prefix):
                return False
        return not field or value in field_values(event, field)

    def number(self, revision: int) -> int:
        """The sequence number of the first event after `revision`. Raises Expired when that one may be dropped."""
        if revision < self.compacted:
            raise Expired(f"too old resource version: {revision} ({self.compacted})")
        at = bisect_right(self._events, revision, lo=self._head, key=lambda e: e.revision)
        return self.start + at - self._head

    # --- states

    def set_state(self, entry: Entry, deleted: bool) -> Entry | None:
        """Change the state without an event. Returns the previous state."""
        key = entry.key
        previous = self._entries.get(key)
        if deleted:
            if previous:
                del self._entries[key]
                del self._keys[bisect_left(self._keys, key)]
        else:
            self._entries[key] = entry
            if previous is None:
                self._add_key(key)
        if self._index:
            self._reindex(key, previous.labels if previous else {}, {} if deleted else entry.labels)
        return previous

    def _add_key(self, key: str) -> None:
        keys = self._keys
        if not keys or key > keys[-1]:
            keys.append(key)
        else:
            keys.insert(bisect_left(keys, key), key)

    def count(self, prefix: str) -> int:
        return bisect_left(self._keys, upper(prefix)) - bisect_left(self._keys, prefix)

    def page(self, prefix: str, after: str, limit: int, equals: Mapping[str, str] | None, where: Where | None, revision: int) -> Page:
        """The entries below `prefix` with keys greater than `after`, in key order: all that match, or the first `limit`."""
        keys, entries = self._keys, self._entries
        low = max(bisect_left(keys, prefix), bisect_right(keys, after))
        high = bisect_left(keys, upper(prefix), lo=low)
        if not equals and where is None:
            cut = min(high, low + limit) if limit else high
            found = [entries[key] for key in keys[low:cut]]
            return Page(found, cut < high, high - cut, revision)
        candidates = self._candidates(low, high, equals) if equals else keys[low:high]
        found = _matching(map(entries.__getitem__, candidates), limit, equals, where)
        rest = high - bisect_right(keys, found[-1].key) if limit and len(found) == limit else 0
        return Page(found, rest > 0, rest, revision)

    def page_at(self, at: int, prefix: str, after: str, limit: int, equals: Mapping[str, str] | None, where: Where | None) -> Page:
        """The same at revision `at`: the events since are taken back from the live state. Raises Expired when they are not kept."""
        before: dict[str, Entry | None] = {}
        for event in self._events[self.number(at) - self.start + self._head :]:
            before.setdefault(event.entry.key, event.previous)
        keys = self._keys[bisect_left(self._keys, prefix) : bisect_left(self._keys, upper(prefix))]
        past = {key: self._entries[key] for key in keys if key > after and key not in before}
        past.update({key: e for key, e in before.items() if e and key > after and key.startswith(prefix)})
        found = _matching((past[key] for key in sorted(past)), limit, equals, where)
        rest = sum(key > found[-1].key for key in past) if limit and len(found) == limit else 0
        return Page(found, rest > 0, rest, at)

    # --- label index

    def _candidates(self, low: int, high: int, equals: Mapping[str, str]) -> Iterable[str]:
        """The keys between two places that may have these labels, in order; many are not looked at before they are asked for."""
        keys, named = self._keys, self._indexed(equals)
        if named is not None and len(named) <= (high - low) // _FEW:
            return sorted(key for key in named if keys[low] <= key <= keys[high - 1])
        keys = keys[low:high]
        return keys if named is None else filter(named.__contains__, keys)

    def _indexed(self, equals: Mapping[str, str]) -> set[str] | None:
        """The keys with one of these labels, that with the fewest; None when none of the labels is, or may be, indexed."""
        best: set[str] | None = None
        for label, value in equals.items():
            values = self._index.get(label)
            if values is None and len(self._index) < limits.INDEXED_LABELS:
                values = self._index[label] = self._build(label)
            if values is not None:
                keys = values.get(value, set())
                best = keys if best is None or len(keys) < len(best) else best
        return best

    def _build(self, label: str) -> dict[str, set[str]]:
        values: dict[str, set[str]] = {}
        for key, entry in self._entries.items():
            if (value := entry.labels.get(label)) is not None:
                values.setdefault(value, set()).add(key)
        return values

    def _reindex(self, key: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        for label, values in self._index.items():
            was, now = old.get(label), new.get(label)
            if was == now:
                continue
            if was is not None and (keys := values.get(was)) is not None:
                keys.discard(key)
                if not keys:
                    del values[was]
            if now is not None:
                values.setdefault(now, set()).add(key)


def _matching(entries: Iterable[Entry], limit: int, equals: Mapping[str, str] | None, where: Where | None) -> list[Entry]:
    """The first `limit` that match, or all."""
    if equals:
        wanted = equals.items()
        entries = (entry for entry in entries if wanted <= entry.labels.items())
    return list(islice(filter(where, entries) if where else entries, limit or None))
