"""LimitRanger: applies the default requests and limits of a namespace's LimitRanges, and enforces their bounds."""

from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, ReadingPlugin, forbidden, is_pod
from kapi.objects import quantity
from kapi.objects.meta import Object
from kapi.objects.resource import LIMIT_RANGES
from kapi.objects.usage import sum_of
from kapi.registry.admission import AdmissionAttributes

ANNOTATION = "kubernetes.io/limit-ranger"
Amounts = dict[str, Any]


class LimitRanger(ReadingPlugin):
    name = "LimitRanger"
    handled = {CREATE: ("pods", "persistentvolumeclaims"), UPDATE: ("pods/resize", "persistentvolumeclaims")}

    def _items(self, attrs: AdmissionAttributes) -> list[list[Object]]:
        return [(r.get("spec") or {}).get("limits") or [] for r in self.reader.list(LIMIT_RANGES, attrs.namespace)]

    def mutate(self, attrs: AdmissionAttributes) -> None:
        if attrs.operation == CREATE and is_pod(attrs.kind.resource):
            for items in self._items(attrs):
                set_defaults(attrs.new or {}, items)

    def validate(self, attrs: AdmissionAttributes) -> None:
        new = attrs.new or {}
        wrong: list[str] = []
        for items in self._items(attrs):
            for item in items:
                wrong += check_pod(new["spec"], item) if is_pod(attrs.kind.resource) else check_claim(new.get("spec") or {}, item)
        if wrong:
            wrong = list(dict.fromkeys(wrong))
            raise forbidden(attrs, wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")


# defaults -----------------------------------------------------------------------------------------------------------------------


def set_defaults(pod: Object, items: list[Object]) -> None:
    """Set missing requests and limits, and list them in an annotation."""
    requests: Amounts = {}
    limits: Amounts = {}
    for item in items:
        if item.get("type") == "Container":
            requests |= item.get("defaultRequest") or {}
            limits |= item.get("default") or {}
    spec = pod["spec"]
    notes: list[str] = []
    for kind, field in (("container", "containers"), ("init container", "initContainers")):
        for container in spec.get(field) or ():
            notes += _fill(container, requests, limits, kind)
    if notes:
        meta = pod["metadata"]
        meta["annotations"] = {**(meta.get("annotations") or {}), ANNOTATION: "LimitRanger plugin set: " + "; ".join(notes)}


def _fill(container: Object, requests: Amounts, limits: Amounts, kind: str) -> list[str]:
    resources = dict(container.get("resources") or {})
    notes = []
    for field, word, amounts in (("requests", "request", requests), ("limits", "limit", limits)):
        missing = {name: amount for name, amount in amounts.items() if name not in (resources.get(field) or {})}
        if missing:
            resources[field] = {**(resources.get(field) or {}), **missing}
            notes.append(f"{', '.join(sorted(missing))} {word} for {kind} {container.get('name')}")
    container["resources"] = resources
    return notes


# bounds -------------------------------------------------------------------------------------------------------------------------


def check_pod(spec: Object, item: Object) -> list[str]:
    """Violations of one limit item, as stock's texts."""
    if item.get("type") == "Container":
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        return [text for container in containers for text in _check(item, container.get("resources") or {}, "Container")]
    if item.get("type") == "Pod":
        return _check(item, {field: sum_of(spec, field) for field in ("requests", "limits")}, "Pod")
    return []


def check_claim(spec: Object, item: Object) -> list[str]:
    if item.get("type") != "PersistentVolumeClaim":
        return []
    requests = (spec.get("resources") or {}).get("requests") or {}
    out = []
    for field, word, below in (("min", "minimum", True), ("max", "maximum", False)):
        for name, bound in (item.get(field) or {}).items():
            request = requests.get(name)
            head = f"{word} {name} usage per PersistentVolumeClaim is {bound}"
            if request is None:
                out.append(f"{head}.  No request is specified")
            elif (quantity.compare(request, bound) < 0) if below else (quantity.compare(request, bound) > 0):
                out.append(f"{head}, but request is {request}")
    return out


def _check(item: Object, resources: Object, kind: str) -> list[str]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    out = []
    for name, bound in sorted((item.get("min") or {}).items()):
        out += _below(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted((item.get("max") or {}).items()):
        out += _above(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        out += _ratio(kind, name, bound, requests.get(name), limits.get(name))
    return out


def _below(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> list[str]:
    head = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        return [f"{head}.  No request is specified"]
    if quantity.compare(request, bound) < 0:
        return [f"{head}, but request is {request}"]
    return [f"{head}, but limit is {limit}"] if limit is not None and quantity.compare(limit, bound) < 0 else []


def _above(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> list[str]:
    head = f"maximum {name} usage per {kind} is {bound}"
    if limit is None:
        return [f"{head}.  No limit is specified"]
    if quantity.compare(limit, bound) > 0:
        return [f"{head}, but limit is {limit}"]
    return [f"{head}, but request is {request}"] if request is not None and quantity.compare(request, bound) > 0 else []


def _ratio(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> list[str]:
    head = f"{name} max limit to request ratio per {kind} is {bound}"
    if request is None or quantity.parse(request).nano == 0:
        return [f"{head}, but no request is specified or request is 0"]
    if limit is None or quantity.parse(limit).nano == 0:
        return [f"{head}, but no limit is specified or limit is 0"]
    ratio = quantity.parse(limit).nano / quantity.parse(request).nano
    return [f"{head}, but provided ratio is {ratio:f}"] if ratio > quantity.parse(bound).nano / 10**9 else []
