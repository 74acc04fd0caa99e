"""Autoscalers in both versions: v1 is kept as v2 and comes back the same."""

from typing import Any

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.autoscaling import V1, AutoscalerStrategy, v1_of, v2_of
from tests.registry.kinds.changing import ready

STRATEGY = AutoscalerStrategy()
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}


def v1(**spec: Any) -> Object:
    return {"apiVersion": V1, "metadata": {"name": "a"}, "spec": {"scaleTargetRef": dict(TARGET), "maxReplicas": 3, **spec}}


def test_v1_defaults() -> None:
    assert ready(STRATEGY, v1())["spec"]["targetCPUUtilizationPercentage"] == 80
    assert ready(STRATEGY, v1())["status"] == {"currentReplicas": 0, "desiredReplicas": 0}


def test_v2_defaults() -> None:
    obj = ready(STRATEGY, {**v1(behavior={"scaleDown": {"selectPolicy": "Min"}}), "apiVersion": "autoscaling/v2"})
    spec = obj["spec"]
    target = {"type": "Utilization", "averageUtilization": 80}
    assert spec["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert spec["behavior"]["scaleDown"] == {"selectPolicy": "Min", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


def test_v1_is_kept_as_v2() -> None:
    stored = STRATEGY.to_storage(ready(STRATEGY, v1(targetCPUUtilizationPercentage=50)), V1)
    assert stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert "targetCPUUtilizationPercentage" not in stored["spec"]
    assert STRATEGY.from_storage(stored, V1)["spec"]["targetCPUUtilizationPercentage"] == 50
    assert STRATEGY.from_storage(stored, "autoscaling/v2") is stored


def test_what_v1_has_no_field_for_travels_in_annotations() -> None:
    pods = {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "1"}}}
    behavior = {"scaleUp": {"selectPolicy": "Max"}}
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 3, "metrics": [pods], "behavior": behavior}
    stored: Object = {"metadata": {"name": "a"}, "spec": spec, "status": {"desiredReplicas": 1, "currentMetrics": None}}
    shown = v1_of(stored)
    assert "metrics" not in shown["spec"]
    assert set(shown["metadata"]["annotations"]) == {
        "autoscaling.alpha.kubernetes.io/metrics", "autoscaling.alpha.kubernetes.io/behavior",
    }  # fmt: skip
    assert v2_of(shown) == stored


def test_row() -> None:
    obj = ready(STRATEGY, {**v1(minReplicas=2), "apiVersion": "autoscaling/v2"})
    obj["metadata"]["creationTimestamp"] = time.stamp(0)
    assert STRATEGY.row(obj, 60.0) == ["a", "Deployment/d", "cpu: <unknown>/80%", "2", 3, 0, "60s"]
