"""The status of a pod from what was seen of it, and the patch that brings the API there."""

from dataclasses import replace
from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kubelet import runtime, status
from kubelet.observed_state import Backoff, Failure, ProbeState
from kubelet.status import Facts
from tests.kubelet.build import NOW, deleted, observed, one, pod, run, sandbox

EXITED = runtime.EXITED
FACTS = Facts(("192.168.0.1",), "containerd")


def computed(of: Object, what: Any, facts: Facts = FACTS) -> Object:
    return status.compute(of, what, facts, NOW)


def conditions(of: Object) -> dict[str, str]:
    return {c["type"]: c["status"] for c in of["conditions"]}


def test_a_new_pod_is_pending() -> None:
    out = computed(pod(), observed(boxes=()))
    assert (out["phase"], out["hostIP"], out["startTime"]) == ("Pending", "192.168.0.1", time.stamp(NOW))
    assert out["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(out) == {
        "PodReadyToStartContainers": "False", "Initialized": "True", "Ready": "False", "ContainersReady": "False", "PodScheduled": "True",
    }  # fmt: skip
    ready = next(c for c in out["conditions"] if c["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("ContainersNotReady", "containers with unready status: [web]")
    assert "podIP" not in out


def test_a_running_pod() -> None:
    of = pod(one(resources={"requests": {"cpu": "1"}}, volumeMounts=[{"name": "v", "mountPath": "/v", "readOnly": True}]))
    out = computed(of, observed(run()))
    assert (out["phase"], out["podIP"], out["podIPs"], out["observedGeneration"]) == ("Running", "10.0.0.5", [{"ip": "10.0.0.5"}], 1)
    assert set(conditions(out).values()) == {"True"}
    assert out["containerStatuses"] == [
        {
            "name": "web", "state": {"running": {"startedAt": time.stamp(NOW - 50)}}, "lastState": {}, "ready": True, "restartCount": 0,
            "image": "busybox:1", "imageID": "sha256:web", "started": True, "containerID": "containerd://web-0",
            "resources": {"requests": {"cpu": "1"}}, "allocatedResources": {"cpu": "1"},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "Disabled"}],
        }
    ]  # fmt: skip


def test_containers_are_sorted_by_name_init_containers_are_not() -> None:
    out = computed(pod(one("z"), one("a"), initContainers=[one("y"), one("b")]), observed())
    assert [s["name"] for s in out["containerStatuses"]] == ["a", "z"]
    assert [s["name"] for s in out["initContainerStatuses"]] == ["y", "b"]


def test_readiness_is_the_probes_word() -> None:
    of = pod(one(readinessProbe={"exec": {}}))
    assert conditions(computed(of, observed(run())))["Ready"] == "False"
    assert conditions(computed(of, observed(run(), probe_states={"web-0": ProbeState(ready=True)})))["Ready"] == "True"


def test_a_readiness_gate_holds_the_pod_back() -> None:
    of = pod(readinessGates=[{"conditionType": "x/y"}])
    ready = next(c for c in computed(of, observed(run()))["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    assert ready["message"] == 'corresponding condition of pod readiness gate "x/y" does not exist.'
    of["status"]["conditions"] = [{"type": "x/y", "status": "True"}]
    assert conditions(computed(of, observed(run())))["Ready"] == "True"


def test_waiting_for_init_containers() -> None:
    out = computed(pod(initContainers=[one("i")]), observed(run("i")))
    assert (out["phase"], conditions(out)["Initialized"]) == ("Pending", "False")
    assert out["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    initialized = next(c for c in out["conditions"] if c["type"] == "Initialized")
    assert initialized["message"] == "containers with incomplete status: [i]"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        ("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded"), ("OnFailure", 1, "Running"),
        ("Always", 0, "Running"),
    ],
)
def test_the_phase_after_an_exit(policy: str, code: int, phase: str) -> None:
    assert computed(pod(restartPolicy=policy), observed(run(state=EXITED, code=code)))["phase"] == phase


def test_the_phase_never_leaves_a_terminal_one() -> None:
    of = pod(restartPolicy="Never")
    of["status"]["phase"] = "Failed"
    assert computed(of, observed(run(state=EXITED)))["phase"] == "Failed"


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    failed = observed(run("i", EXITED, code=2))
    assert computed(pod(initContainers=[one("i")], restartPolicy="Never"), failed)["phase"] == "Failed"
    assert computed(pod(initContainers=[one("i")]), failed)["phase"] == "Pending"


def test_a_crash_loop_shows_after_a_while() -> None:
    def state(ago: float) -> Object:
        runs = run(state=EXITED, code=1, attempt=1, ago=ago), run(state=EXITED, code=1, ago=60)
        what = observed(*runs, backoffs={"web": Backoff(80, NOW - 60)})
        found: Object = computed(pod(), what, Facts(waiting={"web": NOW + 20}))["containerStatuses"][0]
        return found

    assert state(1)["state"]["terminated"]["exitCode"] == 1
    assert state(9)["state"]["waiting"] == {
        "reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting failed container=web pod=web_default(u1)",
    }  # fmt: skip
    assert state(9)["lastState"]["terminated"]["containerID"] == "containerd://web-1"
    assert state(9)["restartCount"] == 1


def test_why_a_container_does_not_start() -> None:
    out = computed(pod(), observed(failures={"web": Failure("ErrImagePull", "no such host")}))
    assert out["containerStatuses"][0]["state"] == {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}
    assert out["phase"] == "Pending"


def test_a_container_that_was_lost() -> None:
    of = deleted(pod())
    of["status"] = computed(pod(), observed(run()))
    state = computed(of, observed(boxes=()))["containerStatuses"][0]["state"]
    assert (state["terminated"]["exitCode"], state["terminated"]["reason"]) == (137, "ContainerStatusUnknown")


def test_an_outcome_is_told() -> None:
    out = computed(pod(), observed(run(), outcome=Failure("Evicted", "The node was low on resource: memory.")))
    assert (out["phase"], out["reason"], conditions(out)["Ready"]) == ("Failed", "Evicted", "False")
    assert conditions(out)["DisruptionTarget"] == "True"


def test_a_pod_on_the_hosts_network_has_its_address() -> None:
    out = computed(pod(hostNetwork=True), observed(run()))
    assert (out["podIP"], out["podIPs"]) == ("192.168.0.1", [{"ip": "192.168.0.1"}])


def test_transition_times_stay_while_nothing_changes() -> None:
    of = pod()
    of["status"] = computed(pod(), observed(run()))
    later = status.compute(of, observed(run()), FACTS, NOW + 60)
    assert status.patch(of, later) is None


def test_the_patch_says_only_what_changed() -> None:
    of = pod()
    of["status"] = {**computed(pod(), observed(boxes=())), "qosClass": "BestEffort"}
    of["status"]["conditions"].append({"type": "x/y", "status": "True"})
    change = status.patch(of, computed(of, observed(run())))
    assert change is not None
    assert change["metadata"] == {"uid": "u1"}
    assert sorted(change["status"]) == ["$setElementOrder/conditions", "conditions", "containerStatuses", "phase", "podIP", "podIPs"]
    assert {c["type"]: c.get("reason", "kept") for c in change["status"]["conditions"]} == {
        "PodReadyToStartContainers": "kept", "Ready": None, "ContainersReady": None,
    }  # fmt: skip
    assert change["status"]["$setElementOrder/conditions"][-1] == {"type": "x/y"}


def test_a_new_address_takes_the_old_one_away() -> None:
    of = pod()
    of["status"] = computed(pod(), observed(run()))
    what = observed(run(box="box1", attempt=1), boxes=(replace(sandbox(1), ips=("10.0.0.9",)),))
    change = status.patch(of, computed(of, what))
    assert change is not None
    assert change["status"]["podIPs"] == [{"ip": "10.0.0.9"}, {"$patch": "delete", "ip": "10.0.0.5"}]


def test_termination_messages_share_their_room() -> None:
    ended = [replace(run(name, EXITED), message="x" * 4096) for name in "abcd"]
    statuses = computed(pod(*(one(name) for name in "abcd")), observed(*ended))["containerStatuses"]
    assert [len(s["state"]["terminated"]["message"]) for s in statuses] == [3072] * 4
    (alone,) = computed(pod(one("a")), observed(ended[0]))["containerStatuses"]
    assert len(alone["state"]["terminated"]["message"]) == 4096
