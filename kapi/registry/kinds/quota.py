"""LimitRange and ResourceQuota."""

import uuid
from typing import Any

from kapi.objects import quantity
from kapi.registry.kinds import container_resources, rules
from kapi.registry.kinds.container_resources import amount, container_resource_name, resource_name
from kapi.registry.kinds.rules import Checked, Errors, each
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

COMPUTE = container_resources.OF_CONTAINERS
HUGE = ("hugepages-", "requests.hugepages-")
LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
LIMITS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
ORDERED = (
    # (small, large, field that is told of, whose value is shown, words), in stock's order
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)
POD_RESOURCES = frozenset(("pods", *COMPUTE, *(f"{w}.{n}" for w in ("requests", "limits") for n in COMPUTE)))
WITHOUT_VALUES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
CLASS_SCOPES = ("VolumeAttributesClass",)
SCOPES = (*WITHOUT_VALUES, "PriorityClass", *CLASS_SCOPES)
CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
EXISTS_ONLY = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


# LimitRange -----------------------------------------------------------------------------------------------------------------------


class LimitRangeStrategy(Checked):
    """core/v1 LimitRange."""

    status = False
    generation = False
    columns = (*rules.columns("Name"), Strategy.columns[1])

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("limits", None)
        for limit in spec["limits"] or ():
            limit.setdefault("type", "")
            if limit["type"] == "Container":
                _default_limit(limit)

    def prepare(self, new: Object, old: Object | None) -> None:
        new["spec"]["limits"] = new["spec"].get("limits") or None
        if not new["metadata"].get("name"):
            new["metadata"]["name"] = str(uuid.uuid4())

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        seen: set[str] = set()
        for at, limit in each("spec", new["spec"], "limits"):
            _limit(e, at, limit, seen)


def _default_limit(limit: Object) -> None:
    default = {**(limit.get("max") or {}), **(limit.get("default") or {})}
    request = {**(limit.get("min") or {}), **default, **(limit.get("defaultRequest") or {})}
    for field, value in (("default", default), ("defaultRequest", request)):
        if value:
            limit[field] = value


def _limit(e: Errors, at: str, limit: Object, seen: set[str]) -> None:
    kind = limit.get("type") or ""
    if e.qualified(f"{at}.type", kind) and "/" not in kind and kind not in LIMIT_TYPES:
        e.invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified")
    e.unique(f"{at}.type", kind, seen)
    check = container_resource_name if kind in ("Pod", "Container") else resource_name
    amounts: dict[str, dict[str, str]] = {}
    for field in LIMITS:
        values = limit.get(field) or {}
        if kind == "Pod" and field.startswith("default"):
            if values:
                e.forbidden(f"{at}.{field}", "may not be specified when `type` is 'Pod'")
            continue
        if field == LIMITS[-1] and kind == "PersistentVolumeClaim" and not any("storage" in (limit.get(f) or ()) for f in ("min", "max")):
            e.required(f"{at}.limits", "either minimum or maximum storage value is required, but neither was provided")
        for name, value in values.items():
            check(e, f"{at}.{field}[{name}]", name)
            amounts.setdefault(name, {})[field] = value
    for name, given in amounts.items():
        _compared(e, at, name, given)


def _compared(e: Errors, at: str, name: str, given: dict[str, str]) -> None:
    """The limits of one resource among themselves."""
    for small, large, field, shown, text in ORDERED:
        if small in given and large in given and quantity.compare(given[small], given[large]) > 0:
            e.invalid(f"{at}.{field}[{name}]", given[shown], text.format(given[small], given[large]))
    ratio, low, high = given.get("maxLimitRequestRatio"), given.get("min"), given.get("max")
    if ratio is not None and quantity.compare(ratio, "1") < 0:
        e.invalid(f"{at}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is less than 1")
    if ratio is not None and low is not None and high is not None and quantity.parse(low).nano:
        most = quantity.parse(high).nano / quantity.parse(low).nano
        if quantity.parse(ratio).nano / 1e9 > most:
            e.invalid(f"{at}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is greater than max/min = {most:f}")
    default, request = given.get("default"), given.get("defaultRequest")
    if default is None or request is None or container_resources.overcommits(name) or not quantity.compare(default, request):
        return
    e.invalid(f"{at}.defaultRequest[{name}]", request, f"default value {default} must equal to defaultRequest value {request} in {name}")


# ResourceQuota --------------------------------------------------------------------------------------------------------------------


class ResourceQuotaStrategy(Checked):
    """core/v1 ResourceQuota."""

    returns_deleted = True
    generation = False
    columns = rules.columns(
        "Name", "Request: Request represents a minimum amount of cpu/memory that a container may consume.",
        "Limit: Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec = new["spec"]
        _amounts(e, "spec.hard", spec.get("hard"))
        _scopes(e, spec)
        if spec.get("scopeSelector") is not None:
            _scope_selector(e, spec)
        if old is not None and set(spec.get("scopes") or ()) != set(old["spec"].get("scopes") or ()):
            e.invalid("spec.scopes", spec.get("scopes"), rules.IMMUTABLE)

    def check_status(self, e: Errors, new: Object, old: Object) -> None:
        for field in ("hard", "used"):
            _amounts(e, f"status.{field}", (new.get("status") or {}).get(field))

    def row(self, obj: Object, now: float) -> list[Any]:
        status = obj.get("status") or {}
        requests: list[str] = []
        limits: list[str] = []
        for name, hard in sorted((status.get("hard") or {}).items()):
            shown = f"{name}: {(status.get('used') or {}).get(name, '0')}/{hard}"
            (limits if name.startswith("limits") else requests).append(shown)
        return [obj["metadata"]["name"], ", ".join(requests), ", ".join(limits), rules.age(obj, now)]


def standard(name: str) -> bool:
    """Whether a quota of Kubernetes' own knows the resource."""
    return name in container_resources.OF_QUOTAS or name.startswith(HUGE)


def _amounts(e: Errors, field: str, amounts: dict[str, str] | None) -> None:
    for name, value in (amounts or {}).items():
        at = f"{field}[{name}]"
        if resource_name(e, at, name) and "/" not in name and not standard(name):
            e.invalid(at, name, "must be a standard resource for quota")
        amount(e, at, name, value)


def _fits(scope: str, name: str) -> bool:
    """Whether a scope says anything about a resource."""
    if scope == "BestEffort":
        return name == "pods"
    if scope in CLASS_SCOPES:
        return name in ("persistentvolumeclaims", "requests.storage")
    return name in POD_RESOURCES or name.startswith(HUGE)


def _scope(e: Errors, field: str, scope: str, named: tuple[str, Any], whole: Any, spec: Object) -> None:
    """One scope at `field`, which must be known (`named`: where that is told, and what is shown) and fit all that is counted."""
    if scope not in SCOPES:
        e.invalid(*named, "unsupported scope")
    for name in spec.get("hard") or ():
        if standard(name) and not _fits(scope, name):
            e.invalid(field, whole, "unsupported scope applied to resource")


def _conflicts(e: Errors, field: str, scopes: set[str], spec: Object) -> None:
    for pair in CONFLICTS:
        if pair <= scopes:
            e.invalid(field, spec.get("scopes"), "conflicting scopes")


def _scopes(e: Errors, spec: Object) -> None:
    at, scopes = "spec.scopes", spec.get("scopes") or []
    for scope in scopes:
        _scope(e, at, scope, (at, scopes), scopes, spec)
    _conflicts(e, at, set(scopes), spec)


def _scope_selector(e: Errors, spec: Object) -> None:
    at, parts = "spec.scopeSelector.matchExpressions", spec["scopeSelector"].get("matchExpressions") or ()
    whole = {"MatchExpressions": [{"ScopeName": p.get("scopeName") or "", "Operator": p.get("operator") or "",
                                   "Values": p.get("values")} for p in parts]}  # fmt: skip
    for part in parts:
        scope, operator, values = part.get("scopeName") or "", part.get("operator") or "", part.get("values") or []
        _scope(e, at, scope, (f"{at}.scopeName", scope), whole, spec)
        if scope in WITHOUT_VALUES and operator != "Exists":
            e.invalid(f"{at}.operator", operator, EXISTS_ONLY)
        if operator in ("In", "NotIn"):
            e.need(f"{at}.values", values, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                e.invalid(f"{at}.values", values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
        else:
            e.invalid(f"{at}.operator", operator, "not a valid selector operator")
    _conflicts(e, at, {part.get("scopeName") or "" for part in parts}, spec)
