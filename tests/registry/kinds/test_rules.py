"""Good objects are accepted, bad ones answered as stock answers: the pairs are in rules/, a file per group of kinds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kapi.objects.meta import Object
from kapi.registry.kinds import STRATEGIES
from kapi.registry.kinds.core.config import ConfigMapStrategy, SecretStrategy
from kapi.registry.kinds.core.endpoints import EndpointSliceStrategy
from kapi.registry.kinds.networking.ingress import IngressStrategy
from kapi.registry.kinds.policy import PodDisruptionBudgetStrategy
from kapi.registry.strategy import Strategy
from tests.registry.kinds.changing import ABSENT, causes, changed, ready

FILES = sorted(Path(__file__).with_name("rules").glob("*.yaml"))


def kinds() -> Iterator[tuple[str, Strategy, Object]]:
    known = {strategy.__name__: strategy for strategy in STRATEGIES.values()}
    for file in FILES:
        for name, pairs in yaml.load(file.read_text(), yaml.CSafeLoader).items():
            yield name, known[name](), pairs


def pairs(group: str) -> Iterator[Any]:
    for name, strategy, given in kinds():
        for pair in given.get(group, ()):
            value = ABSENT if pair.get("absent") else pair.get("value")
            yield pytest.param(strategy, given["good"], pair["at"], value, pair["causes"], id=f"{name}-{pair['at']}")


@pytest.mark.parametrize(("strategy", "good"), [pytest.param(s, given["good"], id=name) for name, s, given in kinds()])
def test_good(strategy: Strategy, good: Object) -> None:
    assert causes(strategy, good) == []


@pytest.mark.parametrize(("strategy", "good", "at", "value", "wanted"), [*pairs("bad")])
def test_bad(strategy: Strategy, good: Object, at: str, value: object, wanted: list[str]) -> None:
    assert causes(strategy, good, at, value) == wanted


@pytest.mark.parametrize(("strategy", "good", "at", "value", "wanted"), [*pairs("bad_change")])
def test_bad_change(strategy: Strategy, good: Object, at: str, value: object, wanted: list[str]) -> None:
    assert changed(strategy, good, at, value) == wanted


def test_too_much_data() -> None:
    assert causes(ConfigMapStrategy(), {"data": {"k": "x" * (1 << 20), "l": "y"}}) == [": Too long: may not be more than 1048576 bytes"]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ("e30=", ""),
        ("bnVsbA==", ""),
        ("", "unexpected end of JSON input"),
        ("e2E=", "invalid character 'a' looking for beginning of object key string"),
        ("WzFd", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ("InMi", "json: cannot unmarshal string into Go value of type map[string]interface {}"),
    ],
)
def test_credentials_of_a_registry_are_an_object(data: str, fault: str) -> None:
    wanted = [f'data[.dockercfg]: Invalid value: "<secret contents redacted>": {fault}'] if fault else []
    assert causes(SecretStrategy(), {"type": "kubernetes.io/dockercfg", "data": {".dockercfg": data}}) == wanted


@pytest.mark.parametrize(
    ("changes", "generation"),
    [
        ({}, 1),
        ({"metadata": {"annotations": {"a": "b"}}}, 1),
        ({"metadata": {"labels": {}}}, 1),
        ({"metadata": {"labels": {"a": "b"}}}, 2),
        ({"ports": []}, 2),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "deprecatedTopology": {"zone": "z"}}]}, 2),
    ],
)
def test_what_counts_as_a_new_generation_of_a_slice(changes: Object, generation: int) -> None:
    slices, good = EndpointSliceStrategy(), {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}
    old = ready(slices, good)
    assert old["metadata"]["generation"] == 1
    changed_to = {**good, **changes, "metadata": {"generation": 1, **changes.get("metadata", {})}}
    assert ready(slices, changed_to, old)["metadata"]["generation"] == generation


@pytest.mark.parametrize(("annotation", "wanted"), [("c", []), ("d", ["must match `ingressClassName` when both are specified"])])
def test_class_of_an_ingress_named_twice(annotation: str, wanted: list[str]) -> None:
    wanted = [f'annotations.kubernetes.io/ingress.class: Invalid value: "{annotation}": {text}' for text in wanted]
    good = {"spec": {"ingressClassName": "c", "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}
    assert causes(IngressStrategy(), {**good, "metadata": {"annotations": {"kubernetes.io/ingress.class": annotation}}}) == wanted


def test_conditions_of_a_budget() -> None:
    good = {"type": "DisruptionAllowed", "status": "True", "reason": "Enough", "lastTransitionTime": "2026-01-01T00:00:00Z"}

    def told(*conditions: Object, **status: int) -> list[str]:
        obj = ready(PodDisruptionBudgetStrategy(), {"spec": {"minAvailable": 1}})
        found = PodDisruptionBudgetStrategy().validate_status({**obj, "status": {"conditions": list(conditions), **status}}, obj)
        return [f"{c.field}: {c.message}".removeprefix("status.conditions") for c in found]

    assert told(good, currentHealthy=1) == []
    assert told({"type": "A", "observedGeneration": -1}, currentHealthy=-1) == [
        '[0].status: Unsupported value: "": supported values: "False", "True", "Unknown"',
        "[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
        "[0].lastTransitionTime: Required value: must be set",
        "[0].reason: Required value: must be set",
        "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
    ]
    assert told(good, {**good, "reason": "r" * 1025}) == [
        '[1].type: Duplicate value: "DisruptionAllowed"', "[1].reason: Too long: may not be more than 1024 bytes"
    ]
    assert [text[:70] for text in told({**good, "reason": "no reason"})] == [
        '[0].reason: Invalid value: "no reason": a condition reason must start '
    ]
