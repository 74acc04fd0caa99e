"""HorizontalPodAutoscaler, served as autoscaling/v1 and v2 and kept as v2. Rules are those of v2 for requests of both versions.

v1 knows one metric, the CPU; the others travel in annotations (see `v1_of`).
"""

from typing import Any, NamedTuple

import orjson

from kapi.objects import meta, names, quantity
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy

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


def _is_v1(obj: Object) -> bool:
    spec = obj.get("spec") or {}
    return obj.get("apiVersion") == V1 or "targetCPUUtilizationPercentage" in spec


class AutoscalerStrategy(RuledStrategy):
    """autoscaling HorizontalPodAutoscaler."""

    generation = False
    columns = rules.columns(
        "Name", "Reference=autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef",
        "Targets=autoscaling.v2.HorizontalPodAutoscalerSpec.metrics", "MinPods=autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas",
        "MaxPods#=autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas",
        "Replicas#=autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        spec.setdefault("minReplicas", 1)
        if _is_v1(obj):
            annotations = obj["metadata"].get("annotations") or {}
            if METRICS not in annotations:
                spec.setdefault("targetCPUUtilizationPercentage", CPU_PERCENT)
            return
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        if (behavior := spec.get("behavior")) is not None:
            behavior["scaleUp"] = {**meta.clone(UP), **(behavior.get("scaleUp") or {})}
            behavior["scaleDown"] = {**meta.clone(DOWN), **(behavior.get("scaleDown") or {})}

    def check(self, new: Part, old: Object | None) -> None:
        whole = v2_of(new.obj) if _is_v1(new.obj) else new.obj
        _check_spec(Part(new.e, "spec", whole["spec"]), (old or {}).get("spec") or {})

    def check_status(self, new: Part, old: Object) -> None:
        for field in ("currentReplicas", "desiredReplicas"):
            new.part("status").non_negative(field)

    def to_storage(self, obj: Object, version: str) -> Object:
        return v2_of(obj) if version == V1 else obj

    def from_storage(self, obj: Object, version: str) -> Object:
        return v1_of(obj) if version == V1 else obj

    def cells(self, obj: Object) -> list[Any]:
        if _is_v1(obj):
            obj = v2_of(obj)
        spec, status = obj["spec"], obj.get("status") or {}
        reference = f"{spec['scaleTargetRef'].get('kind')}/{spec['scaleTargetRef'].get('name')}"
        least = str(spec["minReplicas"]) if "minReplicas" in spec else "<unset>"
        targets = _shown_metrics(spec.get("metrics") or [], status.get("currentMetrics") or [])
        return [reference, targets, least, spec["maxReplicas"], status.get("currentReplicas", 0)]


# rules ----------------------------------------------------------------------------------------------------------------------------


def _check_spec(spec: Part, before: Object) -> None:
    least, most = spec.get("minReplicas"), spec.number("maxReplicas")
    if least is not None:
        spec.at_least("minReplicas", 1)
    if spec.need("maxReplicas", "must be set and greater than 0"):
        spec.at_least("maxReplicas", 1)
    if least is not None and most < least:
        spec.invalid("maxReplicas", "must be greater than or equal to `minReplicas`")
    target = spec.part("scaleTargetRef")
    unchanged = bool(before) and (before.get("scaleTargetRef") or {}).get("apiVersion") == target.get("apiVersion")
    _check_reference(target, grouped=not unchanged)
    for metric in spec.parts("metrics"):
        _check_metric(metric)
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in spec.items("metrics")):
        spec.forbidden("metrics", "must specify at least one Object or External metric to support scaling to zero replicas")
    behavior = spec.part("behavior")
    for way in ("scaleUp", "scaleDown"):
        if way in behavior:
            _check_behavior(behavior.part(way))


def _check_reference(ref: Part, *, grouped: bool) -> None:
    for key in ("kind", "name"):
        ref.named(key, names.path_segment)
    version = ref.text("apiVersion")
    if version.count("/") > 1:
        ref.invalid("apiVersion", f"unexpected GroupVersion string: {version}")
    elif grouped and "/" not in version.strip("/") and ref.get("kind") != "ReplicationController":
        ref.e.invalid(ref.path("apiVersion"), version, "apiVersion must specify API group")


def _check_metric(metric: Part) -> None:
    kind = metric.text("type")
    metric.need("type", "must specify a metric source type")
    if kind not in SOURCES:
        metric.unsupported("type", SOURCES)
    present = [source for source in SOURCES.values() if source in metric]
    if present:
        _check_source(metric.part(present[0]), present[0])
    if kind not in SOURCES:
        metric.unsupported("type", SOURCES)
        return
    if SOURCES[kind] not in present:
        metric.required(SOURCES[kind], "must populate information for the given metric source")
    if len(present) != 1:
        for source in present:
            if source != SOURCES[kind]:
                metric.forbidden(source, "must populate the given metric source only")


class _Target(NamedTuple):
    """Which values the target of a source may have."""

    one_of: tuple[str, ...]
    named: str
    """The one reported as missing when there is none."""
    needed: str
    excess: tuple[str, str] = ("", "")
    """Field -> error when there are two."""


_RAW = _Target(
    ("averageUtilization", "averageValue"), "averageUtilization", "must set either a target raw value or a target utilization",
    ("averageValue", "may not set both a target raw value and a target utilization"),
)  # fmt: skip
_TARGETS = {
    "object": _Target(("value", "averageValue"), "averageValue", "must set either a target value or averageValue"),
    "external": _Target(
        ("value", "averageValue"), "averageValue", "must set either a target value for metric or a per-pod target",
        ("value", "may not set both a target value for metric and a per-pod target"),
    ),
    "pods": _Target(("averageValue",), "averageValue", "must specify a positive target averageValue"),
    "resource": _RAW,
    "containerResource": _RAW,
}  # fmt: skip


def _check_source(source: Part, kind: str) -> None:
    if kind == "object":
        _check_reference(source.part("describedObject"), grouped=False)
    if kind == "containerResource":
        source.need("container", "must specify a container")
    if kind in ("resource", "containerResource"):
        source.need("name", "must specify a resource name")
    else:
        source.part("metric").named("name", names.path_segment, "must specify a metric name")
        source.part("metric").selector("selector")
    target, allowed = source.part("target"), _TARGETS[kind]
    _check_target(target)
    given = sum(value in target for value in allowed.one_of)
    if not given:
        target.required(allowed.named, allowed.needed)
    if given > 1 and allowed.excess[0]:
        target.forbidden(*allowed.excess)


def _check_target(target: Part) -> None:
    target.need("type", "must specify a metric target type")
    if target.text("type") not in TARGETS:
        target.e.invalid(target.path("type"), target.text("type"), "must be either Utilization, Value, or AverageValue")
    for field in ("value", "averageValue"):
        if field in target and quantity.parse(target.get(field)).nano <= 0:
            target.invalid(field, "must be positive")
    if "averageUtilization" in target:
        target.at_least("averageUtilization", 1, "must be greater than 0")


def _check_behavior(scaling: Part) -> None:
    scaling.at_least("stabilizationWindowSeconds", 0, "must be greater than or equal to zero")
    scaling.at_most("stabilizationWindowSeconds", LONGEST_WINDOW)
    scaling.choice("selectPolicy", ("Max", "Min", "Disabled"))
    scaling.need("policies", "must specify at least one Policy")
    for policy in scaling.parts("policies"):
        policy.enum("type", ("Pods", "Percent"))
        policy.at_least("value", 1, "must be greater than zero")
        policy.at_least("periodSeconds", 1, "must be greater than zero")
        policy.at_most("periodSeconds", LONGEST_PERIOD)
    if "tolerance" in scaling and quantity.parse(scaling.get("tolerance")).nano < 0:
        scaling.invalid("tolerance", "must be greater than or equal to 0")


# v1 and v2 ------------------------------------------------------------------------------------------------------------------------


def v2_of(obj: Object) -> Object:
    """A v1 autoscaler as v2."""
    metadata, spec, status = dict(obj["metadata"]), dict(obj["spec"]), dict(obj.get("status") or {})
    annotations = dict(metadata.get("annotations") or {})
    metrics, behavior = _pop_annotation(annotations, METRICS), _pop_annotation(annotations, BEHAVIOR)
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}
        metrics = [{"type": "Resource", "resource": cpu}, *(metrics or [])]
    if metrics:
        spec["metrics"] = metrics
    if behavior:
        spec["behavior"] = behavior
    current = status.pop("currentCPUUtilizationPercentage", None)
    status["currentMetrics"] = _pop_annotation(annotations, CURRENT)
    if current is not None:
        cpu = {"name": "cpu", "current": {"averageUtilization": current}}
        status["currentMetrics"] = [{"type": "Resource", "resource": cpu}, *(status["currentMetrics"] or [])]
    if conditions := _pop_annotation(annotations, CONDITIONS):
        status["conditions"] = conditions
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    return {**obj, "metadata": _with_annotations(metadata, annotations), "spec": spec, "status": status}


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
    return {**obj, "metadata": _with_annotations(metadata, annotations), "spec": spec, "status": status}


def _split_cpu(metrics: list[Object], field: str) -> tuple[int | None, list[Object]]:
    """The utilization of the CPU metric, and the metrics that are not it."""
    utilization, others = None, []
    for metric in metrics:
        source = metric.get("resource") or {}
        percent = (source.get(field) or {}).get("averageUtilization")
        if utilization is None and source.get("name") == "cpu" and percent is not None:
            utilization = percent
        else:
            others.append(metric)
    return utilization, others


def _pop_annotation(annotations: dict[str, str], key: str) -> Any:
    try:
        return orjson.loads(annotations.pop(key, "null"))
    except ValueError:
        return None


def _with_annotations(metadata: Object, annotations: dict[str, str]) -> Object:
    metadata.pop("annotations", None)
    return {**metadata, "annotations": annotations} if annotations else metadata


# columns --------------------------------------------------------------------------------------------------------------------------


def _shown_metrics(metrics: list[Object], current: list[Object]) -> str:
    """The first two."""
    shown = [_shown_metric(metric, now) for metric, now in zip(metrics[:2], [*current, {}, {}], strict=False)]
    more = f" + {len(metrics) - 2} more..." if len(metrics) > 2 else ""
    return ", ".join(shown) + more or "<none>"


def _shown_metric(metric: Object, now: Object) -> str:
    source = SOURCES.get(metric.get("type", ""), "")
    spec, target = metric.get(source) or {}, (metric.get(source) or {}).get("target") or {}
    values = (now.get(source) or {}).get("current") or {}
    if source in ("resource", "containerResource"):
        if "averageValue" in target:
            return f"{spec.get('name')}: {values.get('averageValue', '<unknown>')}/{target['averageValue']}"
        percent = f"{values['averageUtilization']}%" if "averageUtilization" in values else "<unknown>"
        target_percent = f"{target['averageUtilization']}%" if "averageUtilization" in target else "<auto>"
        return f"{spec.get('name')}: {percent}/{target_percent}"
    if source == "pods" or "averageValue" in target:
        average = " (avg)" if source != "pods" else ""
        return f"{values.get('averageValue', '<unknown>')}/{target.get('averageValue')}{average}"
    return f"{values.get('value', '<unknown>')}/{target.get('value')}" if source else "<unknown type>"
