"""Who may have administrative access to devices: namespaces that carry the label."""

import pytest

from kapi.objects.errors import Cause
from kapi.registry.kinds.devices import ResourceClaimStrategy, ResourceClaimTemplateStrategy
from kapi.registry.strategy import Strategy

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
