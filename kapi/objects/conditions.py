"""The conditions of a status: a list of objects with the key `type`. Lists are returned changed, never changed in place.

Example: `updated([{"type": "Ready", "status": "True", "lastTransitionTime": T0}], {"type": "Ready", "status": "True", "reason": "Up"})`
is `[{"type": "Ready", "status": "True", "reason": "Up", "lastTransitionTime": T0}]`: the status is the same, so the time is kept.
"""

from collections.abc import Iterable

from kapi.objects import time
from kapi.objects.meta import Object


def find(conditions: Iterable[Object], type: str) -> Object | None:
    return next((c for c in conditions if c["type"] == type), None)


def since(old: Object | None, status: str, now: float | None = None) -> str | None:
    """The lastTransitionTime of a condition that replaces `old`: kept while the status is the same, else `now` (default: the clock's)."""
    return old.get("lastTransitionTime") if old is not None and old.get("status") == status else time.stamp(now)


def updated(conditions: Iterable[Object], new: Object) -> list[Object]:
    """With `new` in place of the condition of its type, or appended; sets lastTransitionTime (apimachinery's SetStatusCondition)."""
    listed = list(conditions)
    old = find(listed, new["type"])
    new = {**new, "lastTransitionTime": since(old, new["status"])}
    return [*listed, new] if old is None else [new if c is old else c for c in listed]


def moved(conditions: Iterable[Object], new: Object) -> list[Object]:
    """With `new` appended as it is and the condition of its type removed, as controllers of workloads do."""
    return [*without(conditions, new["type"]), new]


def without(conditions: Iterable[Object], type: str) -> list[Object]:
    return [c for c in conditions if c["type"] != type]
