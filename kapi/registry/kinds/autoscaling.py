"""HorizontalPodAutoscaler, served as autoscaling/v1 and v2 and kept as v2. Rules are those of v2, whatever the request spoke.

v1 knows one metric, the CPU; the others travel in annotations (see `v1_of`).
"""

from typing import Any

import orjson

from kapi.objects import meta, names, quantity
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

V1 = "autoscaling/v1"
SOURCES = {"Object": "object", "External": "external", "Pods": "pods", "Resource": "resource", "ContainerResource": "containerResource"}
TARGETS = ("Utilization", "Value", "AverageValue")
CPU_PERCENT = 80
METRICS, BEHAVIOR = "autoscaling.alpha.kubernetes.io/metrics", "autoscaling.alpha.kubernetes.io/behavior"
CURRENT, CONDITIONS = "autoscaling.alpha.kubernetes.io/current-metrics", "autoscaling.alpha.kubernetes.io/conditions"
UP: Object = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}],
}
DOWN: Object = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800


def _speaks_v1(obj: Object) -> bool:
    spec = obj.get("spec") or {}
    return obj.get("apiVersion") == V1 or "targetCPUUtilizationPercentage" in spec


class AutoscalerStrategy(Strategy):
    """autoscaling HorizontalPodAutoscaler."""

    generation = False
    columns = rules.columns(
        "Name", "Reference=autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef",
        "Targets=autoscaling.v2.HorizontalPodAutoscalerSpec.metrics", "MinPods=autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas",
        "MaxPods#=autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas",
        "Replicas#=autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        _zero(spec)
        spec.setdefault("minReplicas", 1)
        if _speaks_v1(obj):
            annotations = obj["metadata"].get("annotations") or {}
            if METRICS not in annotations:
                spec.setdefault("targetCPUUtilizationPercentage", CPU_PERCENT)
            return
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        for metric in spec["metrics"]:
            _zero_metric(metric)
        if (behavior := spec.get("behavior")) is not None:
            behavior["scaleUp"] = {**meta.clone(UP), **(behavior.get("scaleUp") or {})}
            behavior["scaleDown"] = {**meta.clone(DOWN), **(behavior.get("scaleDown") or {})}

    def prepare(self, new: Object, old: Object | None) -> None:
        if old and "status" in old:
            new["status"] = old["status"]
        elif _speaks_v1(new):
            new["status"] = {"currentReplicas": 0, "desiredReplicas": 0}
        else:
            new["status"] = {"desiredReplicas": 0, "currentMetrics": None}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        before = (old or {}).get("spec") or {}
        spec = v2_of(new)["spec"] if _speaks_v1(new) else new["spec"]
        _validate_spec(e, spec, before)
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e = Errors()
        for field in ("currentReplicas", "desiredReplicas"):
            e.non_negative(f"status.{field}", new.get("status", {}).get(field))
        return e

    def to_storage(self, obj: Object, version: str) -> Object:
        return v2_of(obj) if version == V1 else obj

    def from_storage(self, obj: Object, version: str) -> Object:
        return v1_of(obj) if version == V1 else obj

    def row(self, obj: Object, now: float) -> list[Any]:
        if _speaks_v1(obj):
            obj = v2_of(obj)
        spec, status = obj["spec"], obj.get("status") or {}
        reference = f"{spec['scaleTargetRef'].get('kind')}/{spec['scaleTargetRef'].get('name')}"
        least = str(spec["minReplicas"]) if "minReplicas" in spec else "<unset>"
        targets = _shown_metrics(spec.get("metrics") or [], status.get("currentMetrics") or [])
        replicas = status.get("currentReplicas", 0)
        return [obj["metadata"]["name"], reference, targets, least, spec["maxReplicas"], replicas, rules.age(obj, now)]


def _zero(spec: Object) -> None:
    """Fields stock always writes, empty or not."""
    target = spec.setdefault("scaleTargetRef", {})
    target.setdefault("kind", "")
    target.setdefault("name", "")
    spec.setdefault("maxReplicas", 0)


def _zero_metric(metric: Object) -> None:
    metric.setdefault("type", "")
    for field in SOURCES.values():
        source = metric.get(field)
        if source is None:
            continue
        source.setdefault("target", {}).setdefault("type", "")
        if field in ("object", "external", "pods"):
            source.setdefault("metric", {}).setdefault("name", "")
        else:
            source.setdefault("name", "")
        if field == "object":
            described = source.setdefault("describedObject", {})
            described.setdefault("kind", "")
            described.setdefault("name", "")


# rules ----------------------------------------------------------------------------------------------------------------------------


def _validate_spec(e: Errors, spec: Object, before: Object) -> None:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None:
        e.at_least("spec.minReplicas", least, 1)
    if not most:
        e.required("spec.maxReplicas", "must be set and greater than 0")
    else:
        e.at_least("spec.maxReplicas", most, 1)
    if least is not None and most < least:
        e.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    target = spec.get("scaleTargetRef") or {}
    unchanged = bool(before) and (before.get("scaleTargetRef") or {}).get("apiVersion") == target.get("apiVersion")
    _validate_reference(e, "spec.scaleTargetRef", target, grouped=not unchanged)
    metrics = spec.get("metrics") or []
    for i, metric in enumerate(metrics):
        _validate_metric(e, f"spec.metrics[{i}]", metric)
    if least == 0 and not any(m.get("type") in ("Object", "External") for m in metrics):
        e.forbidden("spec.metrics", "must specify at least one Object or External metric to support scaling to zero replicas")
    behavior = spec.get("behavior") or {}
    for way in ("scaleUp", "scaleDown"):
        if way in behavior:
            _validate_behavior(e, f"spec.behavior.{way}", behavior[way])


def _validate_reference(e: Errors, field: str, ref: Object, *, grouped: bool) -> None:
    for key in ("kind", "name"):
        e.named(f"{field}.{key}", ref.get(key) or "", names.path_segment)
    version = ref.get("apiVersion") or ""
    if version.count("/") > 1:
        e.invalid(f"{field}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    elif grouped and "/" not in version.strip("/") and ref.get("kind") != "ReplicationController":
        e.invalid(f"{field}.apiVersion", version, "apiVersion must specify API group")


def _validate_metric(e: Errors, field: str, metric: Object) -> None:
    kind = metric.get("type") or ""
    e.need(f"{field}.type", kind, "must specify a metric source type")
    if kind not in SOURCES:
        e.unsupported(f"{field}.type", kind, SOURCES)
    present = [source for source in SOURCES.values() if metric.get(source) is not None]
    if present:
        _VALIDATORS[present[0]](e, f"{field}.{present[0]}", metric[present[0]])
    if kind not in SOURCES:
        e.unsupported(f"{field}.type", kind, SOURCES)
        return
    if SOURCES[kind] not in present:
        e.required(f"{field}.{SOURCES[kind]}", "must populate information for the given metric source")
    if len(present) != 1:
        for source in present:
            if source != SOURCES[kind]:
                e.forbidden(f"{field}.{source}", "must populate the given metric source only")


def _identifier(e: Errors, field: str, metric: Object) -> None:
    e.named(f"{field}.name", metric.get("name") or "", names.path_segment, "must specify a metric name")
    rules.label_selector(e, f"{field}.selector", metric.get("selector"))


def _target(e: Errors, field: str, target: Object) -> None:
    kind = target.get("type") or ""
    e.need(f"{field}.type", kind, "must specify a metric target type")
    if kind not in TARGETS:
        e.invalid(f"{field}.type", kind, "must be either Utilization, Value, or AverageValue")
    for key in ("value", "averageValue"):
        if key in target and quantity.parse(target[key]).nano <= 0:
            e.invalid(f"{field}.{key}", target[key], "must be positive")
    if "averageUtilization" in target:
        e.at_least(f"{field}.averageUtilization", target["averageUtilization"], 1, "must be greater than 0")


def _object_source(e: Errors, field: str, source: Object) -> None:
    _validate_reference(e, f"{field}.describedObject", source.get("describedObject") or {}, grouped=False)
    _identifier(e, f"{field}.metric", source.get("metric") or {})
    target = source.get("target") or {}
    _target(e, f"{field}.target", target)
    if "value" not in target and "averageValue" not in target:
        e.required(f"{field}.target.averageValue", "must set either a target value or averageValue")


def _external_source(e: Errors, field: str, source: Object) -> None:
    _identifier(e, f"{field}.metric", source.get("metric") or {})
    target = source.get("target") or {}
    _target(e, f"{field}.target", target)
    if "value" not in target and "averageValue" not in target:
        e.required(f"{field}.target.averageValue", "must set either a target value for metric or a per-pod target")
    if "value" in target and "averageValue" in target:
        e.forbidden(f"{field}.target.value", "may not set both a target value for metric and a per-pod target")


def _pods_source(e: Errors, field: str, source: Object) -> None:
    _identifier(e, f"{field}.metric", source.get("metric") or {})
    target = source.get("target") or {}
    _target(e, f"{field}.target", target)
    if "averageValue" not in target:
        e.required(f"{field}.target.averageValue", "must specify a positive target averageValue")


def _resource_source(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.name", source.get("name"), "must specify a resource name")
    target = source.get("target") or {}
    _target(e, f"{field}.target", target)
    if "averageUtilization" not in target and "averageValue" not in target:
        e.required(f"{field}.target.averageUtilization", "must set either a target raw value or a target utilization")
    if "averageUtilization" in target and "averageValue" in target:
        e.forbidden(f"{field}.target.averageValue", "may not set both a target raw value and a target utilization")


def _container_source(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.container", source.get("container"), "must specify a container")
    _resource_source(e, field, source)


_VALIDATORS = {
    "object": _object_source,
    "external": _external_source,
    "pods": _pods_source,
    "resource": _resource_source,
    "containerResource": _container_source,
}


def _validate_behavior(e: Errors, field: str, scaling: Object) -> None:
    window = scaling.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        e.invalid(f"{field}.stabilizationWindowSeconds", window, "must be greater than or equal to zero")
    if window is not None and window > LONGEST_WINDOW:
        e.invalid(f"{field}.stabilizationWindowSeconds", window, f"must be less than or equal to {LONGEST_WINDOW}")
    if "selectPolicy" in scaling:
        e.enum(f"{field}.selectPolicy", scaling["selectPolicy"], ("Max", "Min", "Disabled"))
    policies = scaling.get("policies") or []
    e.need(f"{field}.policies", policies, "must specify at least one Policy")
    for i, policy in enumerate(policies):
        at = f"{field}.policies[{i}]"
        e.enum(f"{at}.type", policy.get("type"), ("Pods", "Percent"))
        e.at_least(f"{at}.value", policy.get("value", 0), 1, "must be greater than zero")
        period = policy.get("periodSeconds", 0)
        e.at_least(f"{at}.periodSeconds", period, 1, "must be greater than zero")
        if period > LONGEST_PERIOD:
            e.invalid(f"{at}.periodSeconds", period, f"must be less than or equal to {LONGEST_PERIOD}")
    tolerance = scaling.get("tolerance")
    if tolerance is not None and quantity.parse(tolerance).nano < 0:
        e.invalid(f"{field}.tolerance", tolerance, "must be greater than or equal to 0")


# v1 and v2 ------------------------------------------------------------------------------------------------------------------------


def v2_of(obj: Object) -> Object:
    """A v1 autoscaler as v2."""
    metadata, spec, status = dict(obj["metadata"]), dict(obj["spec"]), dict(obj.get("status") or {})
    annotations = dict(metadata.get("annotations") or {})
    metrics, behavior = _taken(annotations, METRICS), _taken(annotations, BEHAVIOR)
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}
        metrics = [{"type": "Resource", "resource": cpu}, *(metrics or [])]
    if metrics:
        spec["metrics"] = metrics
    if behavior:
        spec["behavior"] = behavior
    current = status.pop("currentCPUUtilizationPercentage", None)
    status["currentMetrics"] = _taken(annotations, CURRENT)
    if current is not None:
        cpu = {"name": "cpu", "current": {"averageUtilization": current}}
        status["currentMetrics"] = [{"type": "Resource", "resource": cpu}, *(status["currentMetrics"] or [])]
    if conditions := _taken(annotations, CONDITIONS):
        status["conditions"] = conditions
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    return {**obj, "metadata": _annotated(metadata, annotations), "spec": spec, "status": status}


def v1_of(obj: Object) -> Object:
    """A v2 autoscaler as v1."""
    metadata, spec, status = dict(obj["metadata"]), dict(obj["spec"]), dict(obj.get("status") or {})
    annotations = dict(metadata.get("annotations") or {})
    cpu, others = _split_cpu(spec.pop("metrics", None) or [], "target")
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu
    current, rest = _split_cpu(status.pop("currentMetrics", None) or [], "current")
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    kept = {METRICS: others, BEHAVIOR: spec.pop("behavior", None), CURRENT: rest, CONDITIONS: status.pop("conditions", None)}
    annotations.update((key, orjson.dumps(value).decode()) for key, value in kept.items() if value)
    status.setdefault("currentReplicas", 0)
    return {**obj, "metadata": _annotated(metadata, annotations), "spec": spec, "status": status}


def _split_cpu(metrics: list[Object], field: str) -> tuple[int | None, list[Object]]:
    """The utilization of the CPU metric, and the metrics that are not it."""
    found, others = None, []
    for metric in metrics:
        source = metric.get("resource") or {}
        percent = (source.get(field) or {}).get("averageUtilization")
        if found is None and source.get("name") == "cpu" and percent is not None:
            found = percent
        else:
            others.append(metric)
    return found, others


def _taken(annotations: dict[str, str], key: str) -> Any:
    try:
        return orjson.loads(annotations.pop(key, "null"))
    except ValueError:
        return None


def _annotated(metadata: Object, annotations: dict[str, str]) -> Object:
    metadata.pop("annotations", None)
    return {**metadata, "annotations": annotations} if annotations else metadata


# columns --------------------------------------------------------------------------------------------------------------------------


def _shown_metrics(metrics: list[Object], current: list[Object]) -> str:
    if not metrics:
        return "<none>"
    shown = []
    for i, metric in enumerate(metrics[:2] if len(metrics) > 2 else metrics):
        now = current[i] if i < len(current) else {}
        shown.append(_shown_metric(metric, now))
    more = f" + {len(metrics) - 2} more..." if len(metrics) > 2 else ""
    return ", ".join(shown) + more


def _shown_metric(metric: Object, now: Object) -> str:
    source = SOURCES.get(metric.get("type", ""), "")
    spec, target = metric.get(source) or {}, (metric.get(source) or {}).get("target") or {}
    values = (now.get(source) or {}).get("current") or {}
    if source in ("resource", "containerResource"):
        if "averageValue" in target:
            return f"{spec.get('name')}: {values.get('averageValue', '<unknown>')}/{target['averageValue']}"
        percent = f"{values['averageUtilization']}%" if "averageUtilization" in values else "<unknown>"
        wanted = f"{target['averageUtilization']}%" if "averageUtilization" in target else "<auto>"
        return f"{spec.get('name')}: {percent}/{wanted}"
    if source == "pods" or "averageValue" in target:
        average = " (avg)" if source != "pods" else ""
        return f"{values.get('averageValue', '<unknown>')}/{target.get('averageValue')}{average}"
    return f"{values.get('value', '<unknown>')}/{target.get('value')}" if source else "<unknown type>"
