"""The status of a CustomResourceDefinition: accepted names, and the conditions NamesAccepted, Established and approval.

Pure functions on the object. Source: apiextensions-apiserver's naming, establishing and approval controllers (v1.36).
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from kapi.http.webhook_client import Target
from kapi.objects import conditions, urls
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote

APPROVED_ANNOTATION = "api-approved.kubernetes.io"
PROTECTED_GROUPS = ("k8s.io", "kubernetes.io")
PROPOSAL = "see https://github.com/kubernetes/enhancements/pull/1111"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
ESTABLISHED_CONDITION = {
    "type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted",
}  # fmt: skip
INVALID_CA_CONDITION = {
    "type": "Established", "status": "False", "reason": "InvalidCABundle", "message": "The conversion webhook CABundle is invalid",
}  # fmt: skip
NOT_ESTABLISHED_CONDITION = {"type": "Established", "status": "False", "reason": "NotAccepted", "message": "not all names are accepted"}
NAMES_ACCEPTED_CONDITION = {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"}
_REASONS = {"plural": "PluralConflict", "singular": "SingularConflict", "shortNames": "ShortNamesConflict", "kind": "KindConflict",
            "listKind": "ListKindConflict"}  # fmt: skip


def is_condition_true(definition: Object, condition: str) -> bool:
    """Whether a condition is True."""
    entry = conditions.find((definition.get("status") or {}).get("conditions") or (), condition)
    return entry is not None and entry.get("status") == "True"


def set_condition(status: Object, condition: Object) -> None:
    """Set a condition in place; see kapi.objects.conditions.updated."""
    status["conditions"] = conditions.updated(status.get("conditions") or (), condition)


def taken_names(names: Object) -> tuple[set[str], set[str]]:
    """(resource names, kinds) of acceptedNames."""
    resources = {names.get("plural"), names.get("singular"), *(names.get("shortNames") or ())}
    return {str(name) for name in resources if name}, {str(kind) for kind in (names.get("kind"), names.get("listKind")) if kind}


def calculate_status(definition: Object, others: Iterable[Object]) -> Object:
    """The status with acceptedNames and conditions; `others` are the acceptedNames of the other definitions of the group."""
    spec, status = definition["spec"], {**(definition.get("status") or {})}
    requested, got = spec["names"], status.get("acceptedNames") or {"plural": "", "kind": ""}
    resources: set[str] = set()
    kinds: set[str] = set()
    for names in (*others, got):
        taken = taken_names(names)
        resources |= taken[0]
        kinds |= taken[1]
    conflict: Object = {}
    accepted: Object = {}
    for field, used in (("plural", resources), ("singular", resources), ("shortNames", resources), ("kind", kinds), ("listKind", kinds)):
        why = _conflict(requested.get(field), got.get(field), used)
        if why:
            conflict = {"type": "NamesAccepted", "status": "False", "reason": _REASONS[field], "message": why}
        value = got.get(field) if why else requested.get(field)
        if value or field in ("plural", "kind"):
            accepted[field] = value or ""
    if requested.get("categories"):
        accepted["categories"] = requested["categories"]
    status["acceptedNames"] = accepted
    set_condition(status, conflict or NAMES_ACCEPTED_CONDITION)
    if not is_condition_true(definition, "Established"):
        established = INVALID_CA_CONDITION if ca_fault(spec) else ESTABLISHED_CONDITION
        set_condition(status, NOT_ESTABLISHED_CONDITION if conflict else established)
    _set_approval_condition(status, definition)
    return status


def ca_fault(spec: Object) -> str:
    """Why the CA of a definition's conversion webhook cannot be used, '' when it can or there is none."""
    client = ((spec.get("conversion") or {}).get("webhook") or {}).get("clientConfig") or {}
    return Target.of(client).ca_fault if client.get("caBundle") else ""


def _conflict(requested: Any, accepted: Any, used: set[str]) -> str:
    """Why a name is not accepted, '' when it is."""
    if requested == accepted:
        return ""
    if isinstance(requested, list):
        why = [f"{go_quote(name)} is already in use" for name in requested if name not in (accepted or ()) and name in used]
        return why[0] if len(why) == 1 else f"[{', '.join(why)}]" if why else ""
    return f"{go_quote(requested)} is already in use" if requested in used else ""


# protected groups: *.k8s.io --------------------------------------------------------------------------------------------------------


def is_protected_group(group: str) -> bool:
    return group in PROTECTED_GROUPS or group.endswith(tuple(f".{name}" for name in PROTECTED_GROUPS))


def approval_state(definition: Object) -> tuple[str, str, str]:
    """(status, reason, message) of the approval condition of a definition in a protected group."""
    text = (definition["metadata"].get("annotations") or {}).get(APPROVED_ANNOTATION) or ""
    if not text:
        return "False", "MissingAnnotation", f"protected groups must have approval annotation {go_quote(APPROVED_ANNOTATION)}, {PROPOSAL}"
    if text.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f"not approved: {go_quote(text)}"
    with suppress(ValueError):
        parsed = urls.parse(text)
        if parsed.scheme and parsed.host:
            return "True", "ApprovedAnnotation", f"approved in {text}"
    why = f'annotation {go_quote(APPROVED_ANNOTATION)} with either a URL or a reason starting with "unapproved"'
    return "False", "InvalidAnnotation", f"protected groups must have approval {why}, {PROPOSAL}"


def _set_approval_condition(status: Object, definition: Object) -> None:
    kind = "KubernetesAPIApprovalPolicyConformant"
    if is_protected_group(definition["spec"]["group"]):
        value, reason, message = approval_state(definition)
        set_condition(status, {"type": kind, "status": value, "reason": reason, "message": message})
    elif status.get("conditions"):
        status["conditions"] = conditions.without(status["conditions"], kind)
