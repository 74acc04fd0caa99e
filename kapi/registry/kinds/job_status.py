"""The status of a Job: what it may say of itself, and the word for it in tables."""

from typing import Any

from kapi.objects import time
from kapi.objects.errors import Cause
from kapi.registry.kinds.job_policies import count_indexes
from kapi.registry.kinds.rules import Errors

Object = dict[str, Any]

_NUMBERS = ("active", "succeeded", "failed", "ready", "terminating")
_LASTING = ("Failed", "Complete", "FailureTarget", "SuccessCriteriaMet")
_EXCLUSIVE = (("Complete", "Failed"), ("Complete", "FailureTarget"), ("SuccessCriteriaMet", "Failed"),
              ("SuccessCriteriaMet", "FailureTarget"))
_WORDS = (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"))


def has(status: Object, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def word(obj: Object) -> str:
    """The STATUS column."""
    status = obj.get("status") or {}
    for kind in ("Complete", "Failed"):
        if has(status, kind):
            return kind
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((text for kind, text in _WORDS if has(status, kind)), "Running")


def _both(e: Errors, detail: str) -> None:
    e.append(Cause("FieldValueInvalid", f"Invalid value: {detail}", "status.conditions"))


def _uncounted(e: Errors, part: Object) -> None:
    seen: set[str] = set()
    for kind in ("succeeded", "failed"):
        for i, uid in enumerate(part.get(kind) or ()):
            at = f"status.uncountedTerminatedPods.{kind}[{i}]"
            if not uid:
                e.invalid(at, uid, "must not be empty")
            elif uid in seen:
                e.invalid(at, uid, "duplicate")
            seen.add(uid)


def _conditions(e: Errors, status: Object, before: Object) -> None:
    for one, other in _EXCLUSIVE:
        if has(status, one) and has(status, other):
            _both(e, f"cannot set {one}=True and {other}=true conditions")
    for kind, needed in (("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")):
        if has(status, kind) and not has(before, kind) and not has(status, needed):
            _both(e, f"cannot set {kind}=True condition without the {needed}=true condition")
    for kind in _LASTING:
        if has(before, kind) and not has(status, kind):
            _both(e, f"cannot disable the terminal {kind}=True condition")


def _times(e: Errors, status: Object) -> None:
    start, end, complete = status.get("startTime"), status.get("completionTime"), has(status, "Complete")
    if complete and not end:
        e.required("status.completionTime", "completionTime is required for Complete jobs")
    if end and not complete:
        e.invalid("status.completionTime", end, "cannot set completionTime when there is no Complete=True condition")
    if start and end and time.parse(end) < time.parse(start):
        e.invalid("status.completionTime", end, "completionTime cannot be set before startTime")


def _finished(e: Errors, status: Object) -> None:
    if status.get("active"):
        e.invalid("status.active", status["active"], "active>0 is invalid for finished job")
    if not status.get("startTime"):
        e.required("status.startTime", "startTime is required for finished job")
    left = status.get("uncountedTerminatedPods") or {}
    if left.get("succeeded") or left.get("failed"):
        e.append(Cause("FieldValueInvalid", "Invalid value: uncountedTerminatedPods needs to be empty for finished job",
                       "status.uncountedTerminatedPods"))
    if status.get("terminating"):
        e.invalid("status.terminating", status["terminating"], "terminating>0 is invalid for finished job")


def _indexes(e: Errors, name: str, status: Object, spec: Object) -> None:
    text = status.get(name)
    if not text:
        return
    if spec.get("completionMode") != "Indexed":
        e.invalid(f"status.{name}", text, f"cannot set non-empty {name} when non-indexed completion mode")
        return
    try:
        count_indexes(text, spec.get("completions") or 0)
    except ValueError as bad:
        e.invalid(f"status.{name}", text, f"error parsing {name}: {bad}")


def check(e: Errors, new: Object, old: Object) -> None:
    """The new status against itself and against the old one; what did not change was right before."""
    status, before, spec = new.get("status") or {}, old.get("status") or {}, new.get("spec") or {}
    if status == before:
        return
    for name in _NUMBERS:
        e.non_negative(f"status.{name}", status.get(name))
    _uncounted(e, status.get("uncountedTerminatedPods") or {})
    _conditions(e, status, before)
    _times(e, status)
    if has(status, "Complete") or has(status, "Failed"):
        _finished(e, status)
    if (status.get("ready") or 0) > (status.get("active") or 0):
        e.invalid("status.ready", status.get("ready") or 0, "cannot set more ready pods than active")
    _indexes(e, "completedIndexes", status, spec)
    _indexes(e, "failedIndexes", status, spec)
