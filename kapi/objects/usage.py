"""Usage of objects for ResourceQuota, and whether a quota's scopes match an object. Pure.

Used by the quota admission plugin for a single object, and by the quota controller for all of them.
"""

from collections.abc import Iterable
from typing import Any

from kapi.objects import quantity
from kapi.objects.meta import Object
from kapi.objects.quantity import Quantity
from kapi.objects.resource import Resource

Usage = dict[str, Quantity]
Amounts = dict[str, Any]
"""Quantities by resource name, as text."""

_ONE = quantity.parse("1")
_BY_NAME = frozenset({"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"})
_STORAGE_CLASS = ".storageclass.storage.k8s.io/"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def counted(resource: Resource) -> Usage:
    """The resource names that count an object: 'pods' and 'count/pods', or 'count/deployments.apps'."""
    out = {f"count/{resource.qualified}": _ONE}
    if not resource.group and resource.plural in _BY_NAME:
        out[resource.plural] = _ONE
    return out


def of(resource: Resource, obj: Object) -> Usage:
    """The complete usage of an object."""
    spec, out = obj.get("spec") or {}, counted(resource)
    if resource.group:
        return out
    if resource.plural == "pods":
        out |= _pod(spec)
    elif resource.plural == "services":
        out |= _service(spec)
    elif resource.plural == "persistentvolumeclaims":
        out |= _claim(obj, spec)
    return out


def _pod(spec: Object) -> Usage:
    out: Usage = {}
    overhead = spec.get("overhead") or {}
    for name, amount in sum_of(spec, "requests").items():
        total = quantity.parse(amount)
        if name in overhead:
            total = total.plus(quantity.parse(overhead[name]))
        if name in _COMPUTE or name.startswith("hugepages-"):
            out[name] = total
        out[f"requests.{name}"] = total
    for name, amount in sum_of(spec, "limits").items():
        if name in _COMPUTE:
            out[f"limits.{name}"] = quantity.parse(amount)
    return out


def _service(spec: Object) -> Usage:
    ports = spec.get("ports") or []
    if spec.get("type") == "NodePort":
        return {"services.nodeports": quantity.parse(str(len(ports)))}
    if spec.get("type") != "LoadBalancer":
        return {}
    explicit = sum(1 for port in ports if port.get("nodePort"))
    nodes = explicit if spec.get("allocateLoadBalancerNodePorts") is False else len(ports)
    return {"services.loadbalancers": _ONE, "services.nodeports": quantity.parse(str(nodes))}


def _claim(claim: Object, spec: Object) -> Usage:
    annotations = claim["metadata"].get("annotations") or {}
    chosen = annotations.get("volume.beta.kubernetes.io/storage-class") or spec.get("storageClassName") or ""
    out: Usage = {f"{chosen}{_STORAGE_CLASS}persistentvolumeclaims": _ONE} if chosen else {}
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is not None:
        out["requests.storage"] = quantity.parse(asked)
        if chosen:
            out[f"{chosen}{_STORAGE_CLASS}requests.storage"] = quantity.parse(asked)
    return out


# scopes -------------------------------------------------------------------------------------------------------------------------


def best_effort(spec: Object) -> bool:
    """Whether no container has requests or limits of CPU or memory."""
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        for field in ("requests", "limits"):
            amounts = resources.get(field) or {}
            if any(quantity.parse(amounts.get(name)).nano for name in ("cpu", "memory")):
                return False
    return True


def _affinity_across(spec: Object) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(kind) or {}
        terms = list(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        terms += [t.get("podAffinityTerm") or {} for t in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False


def _in_scope(requirement: Object, spec: Object) -> bool:
    match requirement.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return best_effort(spec)
        case "NotBestEffort":
            return not best_effort(spec)
        case "CrossNamespacePodAffinity":
            return _affinity_across(spec)
        case "PriorityClass":
            name, values = spec.get("priorityClassName") or "", requirement.get("values") or ()
            operator = requirement.get("operator")
            tests = {"In": name in values, "NotIn": name not in values, "Exists": bool(name), "DoesNotExist": not name}
            return tests.get(operator or "", False)
    return False


def scopes(quota: Object) -> list[Object]:
    """All scope requirements of a quota, `scopes` converted to requirements."""
    spec = quota.get("spec") or {}
    out = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return [*out, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def matches_scopes(quota: Object, resource: Resource, obj: Object) -> bool:
    """Whether the quota's scopes match the object; scopes apply to pods only."""
    wanted = scopes(quota)
    if not wanted:
        return True
    pod = resource.plural == "pods" and not resource.group
    return pod and all(_in_scope(requirement, obj.get("spec") or {}) for requirement in wanted)


def unspecified(hard: Object, spec: Object) -> str:
    """Compute resources in the quota that a container does not specify: 'limits.cpu for: a,b; …', or ""."""
    missing: dict[str, list[str]] = {}
    for name in hard:
        way, _, what = name.rpartition(".") if name.startswith(("requests.", "limits.")) else ("requests", "", name)
        if what not in _COMPUTE:
            continue
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
            if what not in ((container.get("resources") or {}).get(way) or {}):
                missing.setdefault(name, []).append(container.get("name", ""))
    return "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


# sums ---------------------------------------------------------------------------------------------------------------------------


def _plus(total: dict[str, Quantity], more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total[name].plus(quantity.parse(amount)) if name in total else quantity.parse(amount)


def _largest(amounts: Iterable[Amounts]) -> dict[str, Quantity]:
    out: dict[str, Quantity] = {}
    for one in amounts:
        for name, amount in one.items():
            value = quantity.parse(amount)
            if name not in out or value.nano > out[name].nano:
                out[name] = value
    return out


def sum_of(spec: Object, field: str) -> Amounts:
    """The effective requests or limits of a pod: the sum over containers, or the largest init container."""
    total: dict[str, Quantity] = {}
    for container in spec.get("containers") or ():
        _plus(total, (container.get("resources") or {}).get(field) or {})
    inits = spec.get("initContainers") or ()
    for container in inits:
        if container.get("restartPolicy") == "Always":
            _plus(total, (container.get("resources") or {}).get(field) or {})
    peak = _largest((c.get("resources") or {}).get(field) or {} for c in inits if c.get("restartPolicy") != "Always")
    for name, amount in peak.items():
        if name not in total or amount.nano > total[name].nano:
            total[name] = amount
    return {name: str(amount) for name, amount in total.items()}
