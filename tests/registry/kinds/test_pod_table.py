"""The rows `kubectl get pods` shows."""

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.core.pods.pod_strategy import PodStrategy
from tests.registry.kinds.making import pod

PODS = PodStrategy()
NOW = 1_000_000.0


def row(status: Object, **meta: str) -> list[object]:
    obj = pod(nodeName="n")
    obj["metadata"].update(creationTimestamp=time.stamp(NOW - 300), **meta)
    return PODS.row({**obj, "status": status}, NOW)


def waiting(reason: str) -> Object:
    return {"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}}]}


def ended(code: int, reason: str = "", signal: int = 0) -> Object:
    state = {"terminated": {"exitCode": code, "reason": reason, "signal": signal}}
    return {"phase": "Failed", "containerStatuses": [{"name": "c", "state": state}]}


def starting(state: Object) -> Object:
    return {"phase": "Pending", "initContainerStatuses": [{"name": "x", "state": state}]}


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({}, ""),
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}, "SchedulingGated"),
        (waiting("ContainerCreating"), "ContainerCreating"),
        (waiting("CrashLoopBackOff"), "CrashLoopBackOff"),
        (ended(1, "Error"), "Error"),
        (ended(3), "ExitCode:3"),
        (ended(0, signal=9), "Signal:9"),
        (starting({"waiting": {"reason": "PodInitializing"}}), "Init:0/0"),
        (starting({"waiting": {"reason": "ImagePullBackOff"}}), "Init:ImagePullBackOff"),
        (starting({"terminated": {"exitCode": 1, "reason": "Error"}}), "Init:Error"),
        (starting({"terminated": {"exitCode": 2}}), "Init:ExitCode:2"),
    ],
)
def test_status_word(status: Object, word: str) -> None:
    assert row(status)[2] == word


def test_terminating() -> None:
    assert row({"phase": "Running"}, deletionTimestamp=time.stamp(NOW))[2] == "Terminating"
    assert row({"phase": "Running", "reason": "NodeLost"}, deletionTimestamp=time.stamp(NOW))[2] == "Unknown"


def test_running_pod_with_restarts() -> None:
    status = {
        "phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{
            "name": "c", "ready": True, "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": time.stamp(NOW - 120)}},
        }],
    }  # fmt: skip
    assert row(status) == ["p", "1/1", "Running", "2 (2m ago)", "5m", "10.0.0.1", "n", "<none>", "<none>"]
