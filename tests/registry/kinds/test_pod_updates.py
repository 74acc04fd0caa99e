"""Changes of pods: the few fields that may change, gated pods, status, resize, ephemeral containers."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from kapi.objects.meta import Object
from kapi.registry.kinds.core.pods.pod_strategy import PodStrategy
from tests.registry.kinds.making import change_faults, container, made, pod

PODS = PodStrategy()
FROZEN = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"


def to(**fields: Any) -> Callable[[Object], None]:
    return lambda obj: obj["spec"].update(fields)


def image(obj: Object) -> None:
    obj["spec"]["containers"][0]["image"] = "other:1"


@pytest.mark.parametrize(
    "change",
    [image, to(activeDeadlineSeconds=5), to(tolerations=[{"key": "k", "operator": "Exists"}]), lambda obj: None],
    ids=["image", "deadline", "toleration", "nothing"],
)
def test_may_change(change: Callable[[Object], None]) -> None:
    assert change_faults(PODS, pod(), change) == []


@pytest.mark.parametrize(
    "change",
    [to(nodeName="n"), to(restartPolicy="Never"), to(hostNetwork=True), to(nodeSelector={"a": "b"}), to(priority=5),
     to(volumes=[{"name": "v", "emptyDir": {}}]), to(containers=container(command=["x"]))],
    ids=["node", "restart", "network", "selector", "priority", "volumes", "command"],
)  # fmt: skip
def test_may_not_change(change: Callable[[Object], None]) -> None:
    found = change_faults(PODS, pod(), change)
    assert len(found) == 1
    assert found[0].startswith(FROZEN)
    assert "\n@@ " in found[0]


def test_number_of_containers_is_fixed() -> None:
    found = change_faults(PODS, pod(), lambda obj: obj["spec"]["containers"].append({"name": "d", "image": "i"}))
    assert found == ["spec.containers: Forbidden: pod updates may not add or remove containers"]


def test_deadline_only_shrinks() -> None:
    found = change_faults(PODS, pod(activeDeadlineSeconds=5), to(activeDeadlineSeconds=6))
    assert found == ["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"]


def test_tolerations_are_only_added() -> None:
    old = pod(tolerations=[{"key": "k", "operator": "Exists"}])
    found = change_faults(PODS, old, to(tolerations=[]))
    assert found == ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]


def test_gates_are_only_taken_away() -> None:
    old = pod(schedulingGates=[{"name": "a"}])
    assert change_faults(PODS, deepcopy(old), to(schedulingGates=[])) == []
    found = change_faults(PODS, old, to(schedulingGates=[{"name": "a"}, {"name": "b"}]))
    assert found == ["spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"]


def test_gated_pod_may_narrow_its_nodes() -> None:
    assert change_faults(PODS, pod(schedulingGates=[{"name": "a"}], nodeSelector={"a": "b"}), to(nodeSelector={"a": "b", "c": "d"})) == []
    found = change_faults(PODS, pod(schedulingGates=[{"name": "a"}], nodeSelector={"a": "b"}), to(nodeSelector={"a": "x"}))
    assert [line.split(":")[0] for line in found] == ["spec.nodeSelector"]


def status_faults(before: Object, after: Object, **spec: Any) -> list[str]:
    old = made(PODS, pod(**spec))
    old["status"].update(before)
    new = deepcopy(old)
    new["status"].update(after)
    PODS.prepare_subresource("status", new, old)
    return [f"{c.field}: {c.message}" for c in PODS.validate_subresource("status", new, old)]


def test_status_rules() -> None:
    ended = {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]}
    running: Object = {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}
    assert status_faults(ended, running) == []
    assert status_faults(ended, running, restartPolicy="Never") == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]
    assert status_faults({}, {"qosClass": "Guaranteed"}) == ['status.qosClass: Invalid value: "Guaranteed": field is immutable']
    assert status_faults({}, {"podIPs": [{"ip": "x"}]})[0].startswith("status.podIPs[0]")


RANGE = "must be between 0 and 2147483647, inclusive"


@pytest.mark.parametrize(
    ("linux", "spec", "expected"),
    [
        ({"uid": 0, "gid": 1}, {}, []),
        ({"uid": -1, "gid": 1}, {}, [f"linux.uid: Invalid value: -1: {RANGE}"]),
        ({"uid": 0, "gid": 2**31, "supplementalGroups": [3, -4]}, {},
         [f"linux.gid: Invalid value: 2147483648: {RANGE}", f"linux.supplementalGroups[1]: Invalid value: -4: {RANGE}"]),
        ({"uid": -1, "gid": 0}, {"os": {"name": "windows"}}, ["linux: Forbidden: cannot be set for a windows pod"]),
    ],
)  # fmt: skip
def test_whom_a_container_runs_as(linux: Object, spec: Object, expected: list[str]) -> None:
    found = status_faults({}, {"containerStatuses": [{"name": "c", "user": {"linux": linux}}]}, **spec)
    assert found == [f"status.containerStatuses[0].{text}" for text in expected]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("cpu", ""),
        ("claim:x/r", ""),
        ("claim:y", ""),
        ("memory", "must match one of the container's resource requests"),
        ("claim:x", "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' "
         "or 'claim:<claimName>' if request is empty"),
    ],
)  # fmt: skip
def test_what_a_container_was_given_is_what_it_asked_for(name: str, fault: str) -> None:
    given = {"name": name, "resources": [{"resourceID": "a", "health": "Healthy"}]}
    wanted = {"requests": {"cpu": "1"}, "claims": [{"name": "x", "request": "r"}, {"name": "y"}]}
    parts = [{"name": "c", "image": "i", "resources": wanted}]
    found = status_faults({}, {"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [given]}]}, containers=parts)
    at = "status.containerStatuses[0].allocatedResourcesStatus[0].name"
    assert found == ([f'{at}: Invalid value: "{name}": {fault}'] if fault else [])


def test_what_a_status_may_not_say() -> None:
    twice = {"name": "x", "resources": [{"resourceID": "a", "health": "Healthy"}, {"resourceID": "a", "health": "Fine"}]}
    assert status_faults({}, {"containerStatuses": [{"name": "gone", "allocatedResourcesStatus": [twice]}]}) == [
        'status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].health: Unsupported value: "Fine": '
        'supported values: "Healthy", "Unhealthy", "Unknown"',
        'status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "a"',
    ]
    assert status_faults({}, {"ephemeralContainerStatuses": [{"name": "e", "allocatedResourcesStatus": [twice]}]}) == [
        "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status"
    ]
    claimed = status_faults({}, {"resourceClaimStatuses": [{"name": "x", "resourceClaimName": "A"}]}, resourceClaims=[{"name": "x"}])
    assert [text.split(":")[0] for text in claimed] == ["status.resourceClaimStatuses[0].name"]
    assert status_faults({}, {"observedGeneration": -1}) == [
        "status.observedGeneration: Invalid value: -1: must be a non-negative integer"
    ]


def through(subresource: str, old: Object, change: Callable[[Object], None]) -> tuple[Object, list[str]]:
    made(PODS, old)
    new = deepcopy(old)
    change(new)
    PODS.default(new)
    PODS.prepare_subresource(subresource, new, old)
    return new, [f"{c.field}: {c.message}" for c in PODS.validate_subresource(subresource, new, old)]


def test_ephemeral_containers_are_added_and_stay() -> None:
    new, found = through("ephemeralcontainers", pod(), lambda obj: obj["spec"].update(
        ephemeralContainers=[{"name": "e", "image": "i"}], restartPolicy="Never"))  # fmt: skip
    assert found == []
    assert new["spec"]["ephemeralContainers"][0]["name"] == "e"
    assert new["spec"]["restartPolicy"] == "Always"
    _, found = through("ephemeralcontainers", new, lambda obj: obj["spec"].pop("ephemeralContainers"))
    assert found == ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"]


@pytest.mark.parametrize(
    ("resources", "fault"),
    [
        ({"requests": {"cpu": "2", "memory": "1Gi"}}, ""),
        ({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2"}}, ""),
        ({"requests": {"cpu": "2"}}, "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"),
    ],
)
def test_resize(resources: Object, fault: str) -> None:
    old = pod(containers=container(resources={"requests": {"cpu": "1", "memory": "1Gi"}}))
    new, found = through("resize", old, lambda obj: obj["spec"]["containers"][0].update(resources=resources, image="other"))
    assert found == ([fault] if fault else [])
    assert new["spec"]["containers"][0]["image"] == "i"


@pytest.mark.parametrize("policy", ["", "NotRequired", "RestartContainer"])
@pytest.mark.parametrize("before", [{"memory": "2Gi"}, {}])
def test_memory_limits_may_go_down_and_come(before: Object, policy: str) -> None:
    """Whether there is room is for the kubelet to see."""
    policies = {"resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]} if policy else {}
    old = pod(containers=container(resources={"requests": {"memory": "1Gi"}, **({"limits": before} if before else {})}, **policies))
    wanted = {"requests": {"memory": "1Gi"}, "limits": {"memory": "1500Mi"}}
    _, found = through("resize", old, lambda obj: obj["spec"]["containers"][0].update(resources=wanted))
    assert found == []
    gone = {"requests": {"memory": "1Gi"}, "limits": {"cpu": "1"}}
    _, found = through("resize", old, lambda obj: obj["spec"]["containers"][0].update(resources=gone))
    assert found == (["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"] if before else [])
