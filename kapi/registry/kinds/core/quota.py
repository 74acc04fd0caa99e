"""LimitRange and ResourceQuota."""

import uuid
from typing import Any

from kapi.objects import quantity
from kapi.objects.meta import Object
from kapi.registry.kinds.core.pods import container_resources
from kapi.registry.kinds.core.pods.container_resources import amount, container_resource_name, resource_name
from kapi.registry.strategy import Strategy
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy
from kapi.registry.validation.rules import Errors

COMPUTE = container_resources.OF_CONTAINERS
HUGE = ("hugepages-", "requests.hugepages-")
LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
LIMITS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
ORDERED = (
    # (small, large, field reported, field whose value is shown, text), in stock's order
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


class LimitRangeStrategy(PlainStrategy):
    """core/v1 LimitRange."""

    columns = (*rules.columns("Name"), Strategy.columns[1])
    defaults = {"spec": {}, "spec.limits": None, "spec.limits[].type": ""}

    def default(self, obj: Object) -> None:
        super().default(obj)
        for limit in obj["spec"]["limits"] or ():
            if limit["type"] == "Container":
                _default_limit(limit)

    def prepare(self, new: Object, old: Object | None) -> None:
        new["spec"]["limits"] = new["spec"].get("limits") or None
        if not new["metadata"].get("name"):
            new["metadata"]["name"] = str(uuid.uuid4())

    def check(self, new: Part, old: Object | None) -> None:
        seen: set[str] = set()
        for limit in new.part("spec").parts("limits"):
            _limit(limit, seen)


def _default_limit(limit: Object) -> None:
    default = {**(limit.get("max") or {}), **(limit.get("default") or {})}
    request = {**(limit.get("min") or {}), **default, **(limit.get("defaultRequest") or {})}
    for field, value in (("default", default), ("defaultRequest", request)):
        if value:
            limit[field] = value


def _limit(limit: Part, seen: set[str]) -> None:
    kind = limit.text("type")
    if limit.qualified("type") and "/" not in kind and kind not in LIMIT_TYPES:
        limit.invalid("type", "must be a standard limit type or fully qualified")
    limit.unique("type", seen)
    check = container_resource_name if kind in ("Pod", "Container") else resource_name
    amounts: dict[str, dict[str, str]] = {}
    for field in LIMITS:
        if kind == "Pod" and field.startswith("default"):
            if limit.get(field):
                limit.forbidden(field, "may not be specified when `type` is 'Pod'")
            continue
        if field == LIMITS[-1] and kind == "PersistentVolumeClaim" and not any("storage" in (limit.get(f) or ()) for f in ("min", "max")):
            limit.required("limits", "either minimum or maximum storage value is required, but neither was provided")
        for at, name, value in limit.entries(field):
            check(limit.e, at, name)
            amounts.setdefault(name, {})[field] = value
    for name, given in amounts.items():
        _compared(limit.e, limit.at, name, given)


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


class ResourceQuotaStrategy(RuledStrategy):
    """core/v1 ResourceQuota."""

    returns_deleted = True
    generation = False
    columns = rules.columns(
        "Name", "Request: Request represents a minimum amount of cpu/memory that a container may consume.",
        "Limit: Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.", "Age",
    )  # fmt: skip
    defaults = {"spec": {}, "status": {}}
    initial_status = {}

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        _amounts(spec, "hard")
        for scope in spec.items("scopes"):
            _scope(spec, "scopes", scope, ("spec.scopes", spec.get("scopes")), spec.get("scopes"))
        _conflicts(spec, "scopes", set(spec.items("scopes")))
        if "scopeSelector" in spec:
            _scope_selector(spec)
        if old is not None and set(spec.items("scopes")) != set(old["spec"].get("scopes") or ()):
            spec.invalid("scopes", rules.IMMUTABLE)

    def check_status(self, new: Part, old: Object) -> None:
        for field in ("hard", "used"):
            _amounts(new.part("status"), field)

    def cells(self, obj: Object) -> list[Any]:
        status = obj.get("status") or {}
        requests: list[str] = []
        limits: list[str] = []
        for name, hard in sorted((status.get("hard") or {}).items()):
            shown = f"{name}: {(status.get('used') or {}).get(name, '0')}/{hard}"
            (limits if name.startswith("limits") else requests).append(shown)
        return [", ".join(requests), ", ".join(limits)]


def standard(name: str) -> bool:
    """Whether a quota of Kubernetes' own knows the resource."""
    return name in container_resources.OF_QUOTAS or name.startswith(HUGE)


def _amounts(part: Part, field: str) -> None:
    for at, name, value in part.entries(field):
        if resource_name(part.e, at, name) and "/" not in name and not standard(name):
            part.e.invalid(at, name, "must be a standard resource for quota")
        amount(part.e, at, name, value)


def _applies_to(scope: str, name: str) -> bool:
    """Whether a scope applies to a resource."""
    if scope == "BestEffort":
        return name == "pods"
    if scope in CLASS_SCOPES:
        return name in ("persistentvolumeclaims", "requests.storage")
    return name in POD_RESOURCES or name.startswith(HUGE)


def _scope(spec: Part, field: str, scope: str, named: tuple[str, Any], whole: Any) -> None:
    """One scope in `field`: it must be known (`named`: path and value of that error) and apply to all counted resources."""
    if scope not in SCOPES:
        spec.e.invalid(*named, "unsupported scope")
    for name in spec.get("hard") or ():
        if standard(name) and not _applies_to(scope, name):
            spec.e.invalid(spec.path(field), whole, "unsupported scope applied to resource")


def _conflicts(spec: Part, field: str, scopes: set[str]) -> None:
    for pair in CONFLICTS:
        if pair <= scopes:
            spec.e.invalid(spec.path(field), spec.get("scopes"), "conflicting scopes")


def _scope_selector(spec: Part) -> None:
    """Stock reports errors of the selector at the list, without the index."""
    listed, field = spec.part("scopeSelector").items("matchExpressions"), "scopeSelector.matchExpressions"
    parts = [Part(spec.e, spec.path(field), item) for item in listed]
    whole = {"MatchExpressions": [{"ScopeName": p.text("scopeName"), "Operator": p.text("operator"), "Values": p.get("values")}
                                  for p in parts]}  # fmt: skip
    for part in parts:
        scope, operator = part.text("scopeName"), part.text("operator")
        _scope(spec, field, scope, (part.path("scopeName"), scope), whole)
        if scope in WITHOUT_VALUES and operator != "Exists":
            part.e.invalid(part.path("operator"), operator, EXISTS_ONLY)
        if operator in ("In", "NotIn"):
            part.need("values", "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
        elif operator not in ("Exists", "DoesNotExist"):
            part.e.invalid(part.path("operator"), operator, "not a valid selector operator")
        elif part.items("values"):
            part.invalid("values", "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
    _conflicts(spec, field, {part.text("scopeName") for part in parts})
