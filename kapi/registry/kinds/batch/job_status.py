"""The status of a Job: validation of its changes, and its STATUS column."""


from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.batch.job_policies import indexes
from kapi.registry.validation.part import Part
from kapi.registry.validation.rules import same

_NUMBERS = ("active", "succeeded", "failed", "ready", "terminating")
_KINDS = ("Failed", "Complete", "FailureTarget", "SuccessCriteriaMet")
_AT = "status.conditions"
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


def check(status: Part, before: Object, spec: Object) -> None:
    """The new status against itself and against the old one. Of most rules what did not change is let be."""
    now, changed = status.obj, _changed(status.obj, before)
    for name in _NUMBERS:
        status.non_negative(name)
    _uncounted(status.part("uncountedTerminatedPods"))
    for other in ("Failed", "FailureTarget"):
        if {"Complete", other} & changed:
            _exclusive(status, "Complete", other)
    _times(status, changed)
    for kind, needed in (("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")):
        if {kind, needed} & changed and has(now, kind) and not has(now, needed):
            status.e.omitted(_AT, f"cannot set {kind}=True condition without the {needed}=true condition")
    if _finished(now):
        _validate_finished(status, spec, changed)
    _indexes(status, spec, changed)
    if {"finished", "terminating"} & changed and _finished(now) and status.number("terminating") > 0:
        status.invalid("terminating", "terminating>0 is invalid for finished job")
    if {"ready", "active"} & changed and "ready" in status and status.number("ready") > status.number("active"):
        status.invalid("ready", "cannot set more ready pods than active")
    for other in ("Failed", "FailureTarget"):
        _exclusive(status, "SuccessCriteriaMet", other)
    if spec.get("successPolicy") is not None and has(now, "Complete") and not has(now, "SuccessCriteriaMet"):
        status.e.omitted(_AT, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
    _validate_not_reverted(status, before, spec)


def _finished(status: Object) -> bool:
    return has(status, "Complete") or has(status, "Failed")


def _changed(status: Object, before: Object) -> set[str]:
    """Names of fields and of conditions that are not as they were."""
    changed = {name for name in {*status, *before} if not same(status.get(name), before.get(name))}
    changed |= {kind for kind in _KINDS if has(status, kind) != has(before, kind)}
    return changed | ({"finished"} if _finished(status) != _finished(before) else set())


def _uncounted(part: Part) -> None:
    seen: set[str] = set()
    for kind in ("succeeded", "failed"):
        for at, uid in part.values(kind):
            if not uid:
                part.e.invalid(at, uid, "must not be empty")
            else:
                part.e.unique(at, uid, seen)


def _exclusive(status: Part, one: str, other: str) -> None:
    if has(status.obj, one) and has(status.obj, other):
        status.e.omitted(_AT, f"cannot set {one}=True and {other}=true conditions")


def _times(status: Part, changed: set[str]) -> None:
    start, end, complete = status.get("startTime"), status.get("completionTime"), has(status.obj, "Complete")
    if {"Complete", "completionTime"} & changed:
        if end and not complete:
            status.invalid("completionTime", "cannot set completionTime when there is no Complete=True condition")
        if complete:
            status.need("completionTime", "completionTime is required for Complete jobs")
    if {"startTime", "completionTime"} & changed and start and end and time.parse(end) < time.parse(start):
        status.invalid("completionTime", "completionTime cannot be set before startTime")


def _validate_finished(status: Part, spec: Object, changed: set[str]) -> None:
    """A finished Job has begun and has nothing left to do."""
    if {"finished", "active"} & changed and status.number("active") > 0:
        status.invalid("active", "active>0 is invalid for finished job")
    idle = spec.get("suspend") and spec.get("completions") == 0
    if {"finished", "startTime"} & changed and not idle:
        status.need("startTime", "startTime is required for finished job")
    uncounted = status.part("uncountedTerminatedPods")
    if {"finished", "uncountedTerminatedPods"} & changed and (uncounted.items("succeeded") or uncounted.items("failed")):
        shown = {"Succeeded": uncounted.get("succeeded"), "Failed": uncounted.get("failed")}
        status.e.invalid(uncounted.at, shown, "uncountedTerminatedPods needs to be empty for finished job")


def _indexes(status: Part, spec: Object, changed: set[str]) -> None:
    """completedIndexes and failedIndexes: sound, of a Job that counts them, and of no index both."""
    done, failed = status.text("completedIndexes"), status.get("failedIndexes")
    parsed = {"completedIndexes": list[range](), "failedIndexes": list[range]()}
    counted = {"completedIndexes": done, "failedIndexes": failed if "backoffLimitPerIndex" in spec else None}
    for name, text in counted.items() if "completions" in spec else ():
        try:
            parsed[name] = indexes(text or "", spec["completions"])
        except ValueError as bad:
            if name in changed:
                status.e.invalid(status.path(name), text, f"error parsing {name}: {bad}")
    if done and spec.get("completionMode") != "Indexed" and "completedIndexes" in changed:
        status.invalid("completedIndexes", "cannot set non-empty completedIndexes when non-indexed completion mode")
    if failed is not None and "backoffLimitPerIndex" not in spec and "failedIndexes" in changed:
        status.invalid("failedIndexes", "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
    both = [max(a[0], b[0]) for a in parsed["completedIndexes"] for b in parsed["failedIndexes"] if a[0] <= b[-1] and b[0] <= a[-1]]
    if both and {"completedIndexes", "failedIndexes"} & changed:
        status.invalid("failedIndexes", f"failedIndexes and completedIndexes overlap at index: {min(both)}")


def _validate_not_reverted(status: Part, before: Object, spec: Object) -> None:
    """Counters, conditions and times that an update may not take back."""
    now = status.obj
    lost = [kind for kind in _KINDS if has(before, kind) and not has(now, kind)]
    for kind in lost:
        if kind != "SuccessCriteriaMet":
            status.e.omitted(_AT, f"cannot disable the terminal {kind}=True condition")
    scaled = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for name in ("failed",) if scaled else ("failed", "succeeded"):
        status.at_least(name, before.get(name) or 0, f"cannot decrease the {name} counter")
    end, start = status.get("completionTime"), before.get("startTime")
    if end and before.get("completionTime") not in (None, end):
        status.invalid("completionTime", "completionTime cannot be mutated")
    if start and status.get("startTime") != start and not spec.get("suspend"):
        status.required("startTime", "startTime cannot be removed for unsuspended job")
    if "SuccessCriteriaMet" in lost:
        status.e.omitted(_AT, "cannot disable the SuccessCriteriaMet=True condition")
    if has(before, "Complete") and has(now, "SuccessCriteriaMet") and not has(before, "SuccessCriteriaMet"):
        status.e.omitted(_AT, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
