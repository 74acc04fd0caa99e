"""What the server says of a CustomResourceDefinition: which names it got, whether it may be served, whether its group may be used.

Pure functions on the object. Source: apiextensions-apiserver's naming, establishing and approval controllers (v1.36).
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from kapi.objects import time, urls
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote

APPROVED = "api-approved.kubernetes.io"
PROTECTED = ("k8s.io", "kubernetes.io")
PROPOSAL = "see https://github.com/kubernetes/enhancements/pull/1111"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
ESTABLISHED = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"}
REFUSED = {"type": "Established", "status": "False", "reason": "NotAccepted", "message": "not all names are accepted"}
ACCEPTED = {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"}
_REASONS = {"plural": "PluralConflict", "singular": "SingularConflict", "shortNames": "ShortNamesConflict", "kind": "KindConflict",
            "listKind": "ListKindConflict"}  # fmt: skip


def holds(definition: Object, condition: str) -> bool:
    """Whether a condition is True."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == condition and c.get("status") == "True" for c in conditions)


def put(status: Object, condition: Object) -> None:
    """Set a condition; its time changes with its status only."""
    listed = status["conditions"] = list(status.get("conditions") or ())
    at = next((i for i, c in enumerate(listed) if c["type"] == condition["type"]), None)
    if at is None:
        listed.append({"lastTransitionTime": time.stamp(), **condition})
    else:
        same = listed[at]["status"] == condition["status"]
        listed[at] = {"lastTransitionTime": listed[at].get("lastTransitionTime") if same else time.stamp(), **condition}


def claimed(names: Object) -> tuple[set[str], set[str]]:
    """(names of resources, kinds) that accepted names take."""
    resources = {names.get("plural"), names.get("singular"), *(names.get("shortNames") or ())}
    return {str(name) for name in resources if name}, {str(kind) for kind in (names.get("kind"), names.get("listKind")) if kind}


def settle(definition: Object, others: Iterable[Object]) -> Object:
    """The status with names, and the conditions that follow from them; `others` are the accepted names of the group's definitions."""
    spec, status = definition["spec"], {**(definition.get("status") or {})}
    wanted, got = spec["names"], status.get("acceptedNames") or {"plural": "", "kind": ""}
    resources: set[str] = set()
    kinds: set[str] = set()
    for names in (*others, got):
        taken = claimed(names)
        resources |= taken[0]
        kinds |= taken[1]
    conflict: Object = {}
    accepted: Object = {}
    for field, used in (("plural", resources), ("singular", resources), ("shortNames", resources), ("kind", kinds), ("listKind", kinds)):
        why = _conflict(wanted.get(field), got.get(field), used)
        if why:
            conflict = {"type": "NamesAccepted", "status": "False", "reason": _REASONS[field], "message": why}
        value = got.get(field) if why else wanted.get(field)
        if value or field in ("plural", "kind"):
            accepted[field] = value or ""
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    status["acceptedNames"] = accepted
    put(status, conflict or ACCEPTED)
    if not holds(definition, "Established"):
        put(status, REFUSED if conflict else ESTABLISHED)
    _approve(status, definition)
    return status


def _conflict(wanted: Any, got: Any, used: set[str]) -> str:
    """Why a name cannot be had."""
    if wanted == got:
        return ""
    if isinstance(wanted, list):
        why = [f"{go_quote(name)} is already in use" for name in wanted if name not in (got or ()) and name in used]
        return why[0] if len(why) == 1 else f"[{', '.join(why)}]" if why else ""
    return f"{go_quote(wanted)} is already in use" if wanted in used else ""


# groups of the project itself -------------------------------------------------------------------------------------------------------


def protected(group: str) -> bool:
    return group in PROTECTED or group.endswith(tuple(f".{name}" for name in PROTECTED))


def approval(definition: Object) -> tuple[str, str, str]:
    """(status, reason, message) of the approval of a protected group's definition."""
    text = (definition["metadata"].get("annotations") or {}).get(APPROVED) or ""
    if not text:
        return "False", "MissingAnnotation", f"protected groups must have approval annotation {go_quote(APPROVED)}, {PROPOSAL}"
    if text.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f"not approved: {go_quote(text)}"
    with suppress(ValueError):
        parsed = urls.parse(text)
        if parsed.scheme and parsed.host:
            return "True", "ApprovedAnnotation", f"approved in {text}"
    why = f'annotation {go_quote(APPROVED)} with either a URL or a reason starting with "unapproved"'
    return "False", "InvalidAnnotation", f"protected groups must have approval {why}, {PROPOSAL}"


def _approve(status: Object, definition: Object) -> None:
    kind = "KubernetesAPIApprovalPolicyConformant"
    if protected(definition["spec"]["group"]):
        value, reason, message = approval(definition)
        put(status, {"type": kind, "status": value, "reason": reason, "message": message})
    elif status.get("conditions"):
        status["conditions"] = [c for c in status["conditions"] if c["type"] != kind]
