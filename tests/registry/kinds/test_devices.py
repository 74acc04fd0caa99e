"""Who may have administrative access to devices, and how much a slice may hold."""

import pytest

from kapi.objects.errors import Cause
from kapi.registry.kinds.resource.devices import ResourceClaimStrategy, ResourceClaimTemplateStrategy
from kapi.registry.kinds.resource.slices import ResourceSliceStrategy
from kapi.registry.strategy import Strategy
from tests.registry.kinds.changing import causes

Object = dict[str, object]

MARKED = {"resource.kubernetes.io/admin-access": "true"}
DENIED = (
    "Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
)


def spec(*wanted: bool | None) -> Object:
    requests: list[Object] = [{"name": f"r{i}", "exactly": {"adminAccess": flag}} for i, flag in enumerate(wanted)]
    return {"devices": {"requests": [*requests, {"name": "first", "firstAvailable": [{"name": "s"}]}]}}


def lines(found: list[Cause]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in found]


@pytest.mark.parametrize(
    ("strategy", "obj"),
    [
        (ResourceClaimStrategy(), {"spec": spec(None, True)}),
        (ResourceClaimTemplateStrategy(), {"spec": {"spec": spec(False, True)}}),
    ],
)
def test_admin_access_needs_the_label_of_the_namespace(strategy: Strategy, obj: Object) -> None:
    assert lines(strategy.validate_within(obj, None, dict)) == [f"spec.devices.requests[1].adminAccess: {DENIED}"]
    assert strategy.validate_within(obj, None, lambda: MARKED) == []
    assert strategy.validate_within(obj, obj, dict) == []  # a spec never changes


def test_nobody_asks_for_labels_without_need() -> None:
    assert ResourceClaimStrategy().validate_within({"spec": spec(False)}, None, lambda: pytest.fail("asked")) == []


def test_an_allocation_with_admin_access_needs_the_label_once() -> None:
    plain: Object = {"spec": spec(False), "status": {}}
    granted: Object = {"spec": spec(False), "status": {"allocation": {"devices": {"results": [{}, {"adminAccess": True}]}}}}
    strategy = ResourceClaimStrategy()
    assert lines(strategy.validate_within(granted, plain, dict)) == [f"status.allocation.devices.results[1].adminAccess: {DENIED}"]
    assert strategy.validate_within(granted, granted, dict) == []


def slice_of(devices: list[Object], **spec: object) -> Object:
    return {"spec": {"driver": "a.b", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}, "devices": devices, **spec}}


def test_lists_that_are_too_long_are_not_looked_into() -> None:
    plain: list[Object] = [{"name": f"d{i}"} for i in range(65)]
    assert causes(ResourceSliceStrategy(), slice_of(plain)) == []
    tainted: list[Object] = [*plain[:-1], {"name": "A", "taints": [{"key": "k", "effect": "NoSchedule"}]}]
    assert causes(ResourceSliceStrategy(), slice_of(tainted)) == ["spec.devices: Too many: 65: must have at most 64 items"]


def test_a_device_has_at_most_32_attributes_and_capacities() -> None:
    device: Object = {"name": "d", "attributes": {f"a{i}": {"int": i} for i in range(32)}, "capacity": {"c": {"value": "1"}}}
    fault = "spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32"
    assert causes(ResourceSliceStrategy(), slice_of([device])) == [fault]


def test_devices_that_choose_their_nodes() -> None:
    device: Object = {"name": "d", "nodeName": "", "nodeSelector": {"nodeSelectorTerms": [{}, {}]}}
    obj = slice_of([device], perDeviceNodeSelection=True, nodeName=None)
    assert causes(ResourceSliceStrategy(), obj) == ['spec.devices[0].nodeName: Invalid value: "": must not be empty']
