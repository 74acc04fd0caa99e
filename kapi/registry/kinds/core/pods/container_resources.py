"""Requests, limits and claims of containers and pods: names, quantities, and how the two lists fit together."""

from collections.abc import Callable, Collection

from kapi.objects import names, quantity
from kapi.objects.causes import NON_NEGATIVE
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry.validation.part import Part
from kapi.registry.validation.rules import Errors

OF_CONTAINERS = frozenset({"cpu", "memory", "ephemeral-storage"})
OF_PODS = ("cpu", "memory", "hugepages-")
_WHOLE = frozenset({"pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
                    "services.nodeports", "services.loadbalancers"})
OF_QUOTAS = OF_CONTAINERS | _WHOLE | {f"{way}.{name}" for way in ("requests", "limits") for name in OF_CONTAINERS} | {"requests.storage"}
_HUGE = "hugepages-"

NameCheck = Callable[[Errors, str, str], None]


def native(name: str) -> bool:
    """Resources of Kubernetes' own: without a prefix, or with kubernetes.io/."""
    return "/" not in name or "kubernetes.io/" in name


def extended(name: str) -> bool:
    return not native(name) and not name.startswith("requests.") and not names.qualified_name(f"requests.{name}")


def resource_name(e: Errors, field: str, name: str) -> bool:
    if not e.qualified(field, name):
        return False
    if "/" not in name and name not in OF_QUOTAS and name != "storage" and not name.startswith((_HUGE, "requests.hugepages-")):
        e.invalid(field, name, "must be a standard resource type or fully qualified")
        return False
    return True


def container_resource_name(e: Errors, field: str, name: str) -> None:
    resource_name(e, field, name)
    if "/" not in name:
        if name not in OF_CONTAINERS and not name.startswith(_HUGE):
            e.invalid(field, name, "must be a standard resource for containers")
    elif not native(name) and not extended(name):
        e.invalid(field, name, "doesn't follow extended resource name standard")


def pod_resource_name(e: Errors, field: str, name: str) -> None:
    if resource_name(e, field, name) and not name.startswith(OF_PODS):
        e.unsupported(field, name, ("cpu", "hugepages-", "memory"))


def amount(e: Errors, field: str, name: str, value: str) -> None:
    """No resource is negative, and what can only be counted is whole."""
    parsed = quantity.parse(value)
    if parsed.nano < 0:
        e.invalid(field, str(parsed), NON_NEGATIVE)
    if (name in _WHOLE or extended(name)) and parsed.nano % 1_000_000_000:
        e.invalid(field, str(parsed), "must be an integer")


def overcommits(name: str) -> bool:
    """Whether requests may be below the limit: not for huge pages and extended resources."""
    return native(name) and not name.startswith(_HUGE)


def _huge(e: Errors, field: str, name: str, value: str) -> None:
    """Huge pages come in whole pages."""
    if not name.startswith(_HUGE):
        return
    try:
        unit = quantity.value(name[len(_HUGE) :])
    except ValueError:
        unit = 0
    if not unit or quantity.value(value) % unit:
        text = quantity.canonical(value)
        e.invalid(field, text, f"{text} is not positive integer multiple of {name}")


def _simple(limits: Object, requests: Object) -> bool:
    """The common case, decided without building a path: cpu and memory only, positive, requests within limits."""
    for listed in (limits, requests):
        for name, value in listed.items():
            if name not in OF_CONTAINERS or quantity.parse(value).nano < 0:
                return False
    return all(name not in limits or quantity.parse(v).nano <= quantity.parse(limits[name]).nano for name, v in requests.items())


def requirements(resources: Part, claims: Collection[str], check: NameCheck = container_resource_name) -> None:
    """A ResourceRequirements; `claims` are the names in spec.resourceClaims."""
    e, limits, requests = resources.e, resources.get("limits") or {}, resources.get("requests") or {}
    if check is not container_resource_name or not _simple(limits, requests):
        for at, name, value in resources.entries("limits"):
            _amount(e, at, name, value, check)
            _huge(e, at, name, value)
        for at, name, value in resources.entries("requests"):
            _amount(e, at, name, value, check)
            _within(resources, name, value, limits)
            _huge(e, at, name, value)
        used = {*limits, *requests}
        if any(name.startswith(_HUGE) for name in used) and not used & {"cpu", "memory"}:
            e.forbidden(resources.at, "HugePages require cpu or memory")
    if resources.get("claims"):
        _claims(resources, claims)


def _amount(e: Errors, field: str, name: str, value: str, check: NameCheck) -> None:
    check(e, field, name)
    amount(e, field, name, value)


def _within(resources: Part, name: str, value: str, limits: Object) -> None:
    """A request against the limit of the same resource."""
    if name in limits:
        order, exact = quantity.compare(value, limits[name]), not overcommits(name)
        if order > 0 or (order and exact):
            words = "equal" if exact else "less than or equal"
            text = f"must be {words} to {name} limit of {quantity.canonical(limits[name])}"
            resources.e.invalid(resources.path("requests"), quantity.canonical(value), text)
    elif not overcommits(name):
        resources.required("limits", "Limit must be set for non overcommitable resources")


def _claims(resources: Part, known: Collection[str]) -> None:
    seen: set[str] = set()
    for claim in resources.parts("claims"):
        e, at, name, request = claim.e, claim.at, claim.text("name"), claim.text("request")
        if not e.need(at, name):
            continue
        if name in seen:
            e.duplicate(at, name)
        else:
            claim.filled("request", names.dns_label)
            if e.unique(at, f"{name}/{request}" if request else name, seen) and not request:
                for _ in (k for k in seen if k.startswith(f"{name}/")):
                    e.duplicate(at, name)
        if name not in known:
            tail = f": {', '.join(sorted(known))}" if known else " which is empty"
            text = f"Not found: {go_quote(name)}: must be one of the names in pod.spec.resourceClaims{tail}"
            e.append(Cause("FieldValueNotFound", text, at))


def total(spec: Object, kind: str) -> dict[str, quantity.Quantity]:
    """What the containers of a pod ask for together: sidecars run all along, other init containers one at a time."""
    out: dict[str, quantity.Quantity] = {}
    for part in spec.get("containers") or ():
        _add(out, part, kind)
    sidecars: dict[str, quantity.Quantity] = {}
    most: dict[str, quantity.Quantity] = {}
    for part in spec.get("initContainers") or ():
        if part.get("restartPolicy") == "Always":
            _add(out, part, kind)
            _add(sidecars, part, kind)
            running = dict(sidecars)
        else:
            running = dict(sidecars)
            _add(running, part, kind)
        for name, value in running.items():
            if name not in most or most[name].nano < value.nano:
                most[name] = value
    for name, value in most.items():
        if name not in out or out[name].nano < value.nano:
            out[name] = value
    return out


def _add(into: dict[str, quantity.Quantity], part: Object, kind: str) -> None:
    for name, value in ((part.get("resources") or {}).get(kind) or {}).items():
        parsed = quantity.parse(value)
        into[name] = into[name].plus(parsed) if name in into else parsed


def pod_level(spec: Part, claims: Collection[str]) -> None:
    """spec.resources, and how it fits with those of the containers."""
    resources = spec.part("resources")
    if spec.part("os").get("name") == "windows":
        spec.forbidden("resources", "may not be set for a windows pod")
        return
    if "claims" in resources:
        resources.forbidden("claims", "claims may not be set for Resources at pod-level")
    requirements(resources, claims, pod_resource_name)
    for kind in ("requests", "limits"):
        have = resources.get(kind) or {}
        for name, value in total(spec.obj, kind).items():
            if name in have and (kind == "requests" or name.startswith(_HUGE)) and value.nano > quantity.parse(have[name]).nano:
                text = f"must be greater than or equal to aggregate container {kind} of {value}"
                spec.e.invalid(f"{resources.path(kind)}[{name}]", quantity.canonical(have[name]), text)
    limits = resources.get("limits") or {}
    for i, container in enumerate(spec.items("containers")):
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and quantity.compare(value, limits[name]) > 0:
                text = f"must be less than or equal to pod limits of {quantity.canonical(limits[name])}"
                spec.e.invalid(f"{resources.at}.containers[{i}][{name}].limits", quantity.canonical(value), text)
