"""Nodes: taints, address ranges, what stays once set, rows."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.core.node_strategy import NodeStrategy
from tests.registry.kinds.making import change_faults, faults, made

NODES = NodeStrategy()
NOW = 1_000_000.0


def node(status: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": "n"}, "spec": spec, **({"status": status} if status else {})}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (node(taints=[{"key": "k"}]), ["metadata.taints[0].effect: Required value"]),
        (node(taints=[{"key": "k", "effect": "x"}]),
         ['metadata.taints[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"']),
        (node(taints=[{"key": "k", "effect": "NoSchedule"}] * 2),
         ['metadata.taints[1]: Duplicate value: {"Key":"k","Value":"","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key'
          " and effect pair"]),
        (node(podCIDR="x"), ['spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)']),
        (node(podCIDRs=["10.0.0.0/24", "10.0.1.0/24"]),
         ['spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family']),
        (node(podCIDRs=["10.0.0.0/24", "fd00::/64"]), []),
        (node({"capacity": {"cpu": "-1"}, "allocatable": {}}),
         ['status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0']),
    ],
)  # fmt: skip
def test_refused(obj: Object, expected: list[str]) -> None:
    assert faults(NODES, obj) == expected


def test_ranges_and_allocatable_are_filled_in() -> None:
    assert made(NODES, node(podCIDRs=["10.0.0.0/24"]))["spec"]["podCIDR"] == "10.0.0.0/24"
    assert made(NODES, node(podCIDR="10.0.0.0/24"))["spec"]["podCIDRs"] == ["10.0.0.0/24"]
    assert made(NODES, node({"capacity": {"cpu": "4"}}))["status"]["allocatable"] == {"cpu": "4"}


def put(**fields: Any) -> Callable[[Object], None]:
    return lambda obj: obj["spec"].update(fields)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (put(unschedulable=True, taints=[]), []),
        (put(podCIDRs=["10.9.0.0/24"], podCIDR="10.9.0.0/24"),
         ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid']),
        (put(providerID="y"), ['spec.providerID: Forbidden: node updates may not change providerID except from "" to valid']),
        (put(externalID="y"), ["spec.externalID: Forbidden: may not be updated"]),
    ],
)  # fmt: skip
def test_change(change: Callable[[Object], None], expected: list[str]) -> None:
    assert change_faults(NODES, node(podCIDR="10.0.0.0/24", providerID="x"), change) == expected


def test_each_range_stays() -> None:
    change = put(podCIDR="10.9.0.0/24", podCIDRs=["10.9.0.0/24", "fd01::/64"])
    fixed = 'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    assert change_faults(NODES, node(podCIDRs=["10.0.0.0/24", "fd00::/64"]), change) == [fixed, fixed]


def test_status_is_kept_by_the_main_endpoint_and_checked_by_its_own() -> None:
    old = made(NODES, node({"phase": "x"}))
    new = {**deepcopy(old), "status": {"phase": "y"}}
    NODES.prepare(new, old)
    assert new["status"] == {"phase": "x"}
    address = {"type": "InternalIP", "address": "10.0.0.1"}
    new["status"] = {"addresses": [address, address]}
    assert [c.message for c in NODES.validate_status(new, old)] == ['Duplicate value: {"Type":"InternalIP","Address":"10.0.0.1"}']


@pytest.mark.parametrize(
    ("spec", "status", "labels", "expected"),
    [
        ({}, {}, {}, ["n", "Unknown", "<none>", "60s", "", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"]),
        ({"unschedulable": True},
         {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
          "nodeInfo": {"kubeletVersion": "v1", "osImage": "o", "kernelVersion": "k", "containerRuntimeVersion": "r"}},
         {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"},
         ["n", "Ready,SchedulingDisabled", "edge,worker", "60s", "v1", "10.0.0.1", "<none>", "o", "k", "r"]),
    ],
)  # fmt: skip
def test_row(spec: Object, status: Object, labels: dict[str, str], expected: list[str]) -> None:
    obj = {"metadata": {"name": "n", "labels": labels, "creationTimestamp": time.stamp(NOW - 60)}, "spec": spec, "status": status}
    assert NODES.row(obj, NOW) == expected


def test_warnings() -> None:
    assert NODES.warnings(node(externalID="x"), None) == ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]
