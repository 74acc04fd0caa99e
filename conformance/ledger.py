"""Records changes by revision as many watchers received them, and checks that each received all of its own, once and in order.

The history of a watcher consists of segments, from the revision where a list or watch began to the last revision received. In a segment it
must have received exactly the changes in its view. Numbers and sums of hashes are compared, so changes are stored once.
"""

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple


class View(NamedTuple):
    """The scope of a watch: everything, a namespace, a label, or one name."""

    namespace: str = ""
    part: str = ""
    name: str = ""

    def shows(self, change: "Change") -> bool:
        return (
            self.namespace in ("", change.namespace) and self.part in ("", change.name[0]) and self.name in ("", change.name)
        )  # fmt: skip


class Change(NamedTuple):
    """An event; the first letter of an object's name is its part."""

    type: str
    namespace: str
    name: str


class Segment:
    """The events received in (since, until]: their number and the sum of their hashes."""

    __slots__ = ("count", "digest", "since", "until")

    def __init__(self, since: int) -> None:
        self.since = self.until = since
        self.count = self.digest = 0

    def add(self, revision: int, change: Change) -> None:
        self.until = revision
        self.count += 1
        self.digest += hash((revision, change))


class Ledger:
    """All changes that were received or acknowledged, and the faults found."""

    def __init__(self) -> None:
        self.changes: dict[int, Change] = {}
        self.acknowledged: dict[int, Change] = {}
        self.deletes = 0
        """Acknowledged deletions; their responses have no revision."""
        self.delivered = 0
        self.faults: list[str] = []

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def record(self, revision: int, change: Change) -> None:
        """Record one received event."""
        self.delivered += 1
        known = self.changes.setdefault(revision, change)
        if known != change:
            self.fault(f"revision {revision} was {known} for one watcher and {change} for another")

    def check(self, histories: list[tuple[str, View, list[Segment]]]) -> None:
        """Compare the segments of every watcher with all changes."""
        indexes: dict[View, _Index] = {}
        for name, view, segments in histories:
            index = indexes[view] = indexes.get(view) or _Index(self.changes, view)
            for segment in segments:
                count, digest = index.between(segment.since, segment.until)
                if (count, digest) != (segment.count, segment.digest):
                    what = f"saw {segment.count} changes of {count} in ({segment.since}, {segment.until}]"
                    self.fault(f"{name} {view}: {what}{'' if count != segment.count else ', but others'}")
        self._check_acknowledged([segment for _, view, segments in histories if view == View() for segment in segments])

    def _check_acknowledged(self, complete: list[Segment]) -> None:
        """Every acknowledged write was received, where a watcher watched everything."""
        for revision, change in self.acknowledged.items():
            if self.changes.get(revision) not in (change, None):
                self.fault(f"{change} was acknowledged at {revision}, seen was {self.changes[revision]}")
            elif revision not in self.changes and any(s.since < revision <= s.until for s in complete):
                self.fault(f"{change} was acknowledged at {revision} and seen by nobody")
        if (seen := sum(change.type == "DELETED" for change in self.changes.values())) < self.deletes and len(complete) == 1:
            self.fault(f"{self.deletes} deletes were acknowledged, {seen} seen")


class _Index:
    """The changes of one view in order, with running counts and sums."""

    def __init__(self, changes: dict[int, Change], view: View) -> None:
        self._revisions = sorted(revision for revision, change in changes.items() if view.shows(change))
        self._sums = [0, *accumulate(hash((revision, changes[revision])) for revision in self._revisions)]

    def between(self, since: int, until: int) -> tuple[int, int]:
        first, last = bisect_right(self._revisions, since), bisect_right(self._revisions, until)
        return last - first, self._sums[last] - self._sums[first]
