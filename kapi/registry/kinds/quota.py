"""LimitRange and ResourceQuota."""

import uuid
from typing import Any

from kapi.objects import quantity
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.container_resources import amount, container_resource_name, resource_name
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

COMPUTE = frozenset(("cpu", "memory", "ephemeral-storage"))
COUNTED = frozenset(("pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
                     "services.nodeports", "services.loadbalancers"))  # fmt: skip
QUOTAS = COMPUTE | COUNTED | frozenset(f"{way}.{name}" for way in ("requests", "limits") for name in COMPUTE) | {"requests.storage"}
LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
HUGE = ("hugepages-", "requests.hugepages-")
POD_SCOPES = ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity")
POD_RESOURCES = frozenset(("pods", *COMPUTE, *(f"{w}.{n}" for w in ("requests", "limits") for n in COMPUTE)))
CLASS_SCOPES = ("VolumeAttributesClass",)
SCOPES = (*POD_SCOPES, "BestEffort", *CLASS_SCOPES)
CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
EXISTS_ONLY = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def standard(name: str, known: frozenset[str]) -> bool:
    return name in known or name.startswith(HUGE)


# LimitRange -----------------------------------------------------------------------------------------------------------------------


class LimitRangeStrategy(Strategy):
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

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        seen: set[str] = set()
        for i, limit in enumerate(new["spec"].get("limits") or ()):
            _validate_limit(e, f"spec.limits[{i}]", limit, seen)
        return e


def _default_limit(limit: Object) -> None:
    default = {**(limit.get("max") or {}), **(limit.get("default") or {})}
    request = {**(limit.get("min") or {}), **default, **(limit.get("defaultRequest") or {})}
    for field, value in (("default", default), ("defaultRequest", request)):
        if value:
            limit[field] = value


def _validate_limit(e: Errors, at: str, limit: Object, seen: set[str]) -> None:
    kind = limit.get("type") or ""
    if e.qualified(f"{at}.type", kind) and "/" not in kind and kind not in LIMIT_TYPES:
        e.invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified")
    e.unique(f"{at}.type", kind, seen)
    check = container_resource_name if kind in ("Pod", "Container") else resource_name
    keys: dict[str, None] = {}
    for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        values = limit.get(field) or {}
        if kind == "Pod" and field.startswith("default"):
            if values:
                e.forbidden(f"{at}.{field}", "may not be specified when `type` is 'Pod'")
            continue
        if field == "maxLimitRequestRatio":
            _validate_claim(e, at, kind, limit)
        for name in values:
            check(e, f"{at}.{field}[{name}]", name)
            keys[name] = None
    for name in keys:
        _compare_limits(e, at, limit, name)


def _validate_claim(e: Errors, at: str, kind: str, limit: Object) -> None:
    if kind == "PersistentVolumeClaim" and not any("storage" in (limit.get(f) or ()) for f in ("min", "max")):
        e.required(f"{at}.limits", "either minimum or maximum storage value is required, but neither was provided")


def _compare_limits(e: Errors, at: str, limit: Object, name: str) -> None:
    def get(field: str) -> Any:
        return (limit.get(field) or {}).get(name)

    def ordered(low: str, high: str, field: str, value: str, text: str) -> None:
        small, big = get(low), get(high)
        if small is not None and big is not None and quantity.compare(small, big) > 0:
            e.invalid(f"{at}.{field}[{name}]", get(value), text.format(small, big))

    ordered("min", "max", "min", "min", "min value {} is greater than max value {}")
    ordered("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}")
    ordered("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value {} is greater than max value {}")
    text = "default request value {} is greater than default limit value {}"
    ordered("defaultRequest", "default", "defaultRequest", "defaultRequest", text)
    ordered("min", "default", "default", "min", "min value {} is greater than default value {}")
    ordered("default", "max", "default", "max", "default value {} is greater than max value {}")
    ratio, low, high = get("maxLimitRequestRatio"), get("min"), get("max")
    if ratio is None:
        return
    if quantity.compare(ratio, "1") < 0:
        e.invalid(f"{at}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is less than 1")
    if low is not None and high is not None and quantity.parse(low).nano:
        most = quantity.parse(high).nano / quantity.parse(low).nano
        if quantity.parse(ratio).nano / 1e9 > most:
            e.invalid(f"{at}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is greater than max/min = {most:f}")


# ResourceQuota --------------------------------------------------------------------------------------------------------------------


class ResourceQuotaStrategy(Strategy):
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

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        for name, value in (spec.get("hard") or {}).items():
            _quota_name(e, f"spec.hard[{name}]", name)
            amount(e, f"spec.hard[{name}]", name, value)
        _validate_scopes(e, spec)
        _validate_scope_selector(e, spec)
        if old is not None and set(spec.get("scopes") or ()) != set(old["spec"].get("scopes") or ()):
            e.invalid("spec.scopes", spec.get("scopes"), rules.IMMUTABLE)
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e = Errors()
        for field in ("hard", "used"):
            for name, value in (new.get("status", {}).get(field) or {}).items():
                _quota_name(e, f"status.{field}[{name}]", name)
                amount(e, f"status.{field}[{name}]", name, value)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        status = obj.get("status") or {}
        requests: list[str] = []
        limits: list[str] = []
        for name, hard in sorted((status.get("hard") or {}).items()):
            shown = f"{name}: {(status.get('used') or {}).get(name, '0')}/{hard}"
            (limits if name.startswith("limits") else requests).append(shown)
        return [obj["metadata"]["name"], ", ".join(requests), ", ".join(limits), rules.age(obj, now)]


def _quota_name(e: Errors, field: str, name: str) -> None:
    if resource_name(e, field, name) and "/" not in name and not standard(name, QUOTAS):
        e.invalid(field, name, "must be a standard resource for quotas")


def _fits(scope: str, name: str) -> bool:
    """Whether a scope says anything about a resource."""
    if scope == "BestEffort":
        return name == "pods"
    if scope in CLASS_SCOPES:
        return name in ("persistentvolumeclaims", "requests.storage")
    return name in POD_RESOURCES or name.startswith(HUGE)


def _validate_scopes(e: Errors, spec: Object) -> None:
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in SCOPES:
            e.invalid("spec.scopes", scopes, "unsupported scope")
        for name in spec.get("hard") or ():
            if standard(name, QUOTAS) and not _fits(scope, name):
                e.invalid("spec.scopes", scopes, "unsupported scope applied to resource")
    for pair in CONFLICTS:
        if set(pair) <= set(scopes):
            e.invalid("spec.scopes", scopes, "conflicting scopes")


def _validate_scope_selector(e: Errors, spec: Object) -> None:
    selector = spec.get("scopeSelector")
    if selector is None:
        return
    at = "spec.scopeSelector.matchExpressions"
    for part in selector.get("matchExpressions") or ():
        scope, operator, values = part.get("scopeName") or "", part.get("operator") or "", part.get("values") or []
        if scope not in SCOPES:
            e.invalid(f"{at}.scopeName", scope, "unsupported scope")
        for name in spec.get("hard") or ():
            if standard(name, QUOTAS) and not _fits(scope, name):
                shown = {"MatchExpressions": [{"ScopeName": p.get("scopeName") or "", "Operator": p.get("operator") or "",
                                               "Values": p.get("values")} for p in selector["matchExpressions"]]}  # fmt: skip
                e.invalid(at, shown, "unsupported scope applied to resource")
        if scope not in ("PriorityClass", *CLASS_SCOPES) and scope in SCOPES and operator != "Exists":
            e.invalid(f"{at}.operator", operator, EXISTS_ONLY)
        if operator in ("In", "NotIn"):
            e.need(f"{at}.values", values, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                e.invalid(f"{at}.values", values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
        else:
            e.invalid(f"{at}.operator", operator, "not a valid selector operator")

