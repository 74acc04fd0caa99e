"""Pods on simulated nodes, from their creation to their end: the whole kubelet but containers."""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import LEASES, NODES, PODS
from kubelet import assembly, plan
from kubelet.pod_setup import PodSetup
from kubelet.runtime import Change, RuntimeFailure
from kubelet.settings import Settings
from kubelet.simulated import SimulatedRuntime, simulated_exit
from tests.kubelet.build import one, pod
from tests.kubelet.story import Story, condition, state, story
from tests.logged import logged
from tests.moments import later


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (["sleep", "5"], (5.0, 0)),
        (["sh", "-c", "exit 3"], (0.0, 3)),
        (["sh", "-c", "sleep 2; exit 1"], (2.0, 1)),
        (["/bin/false"], (0.0, 1)),
        (["sh", "-c", "while true; do sleep 1; done"], (None, 0)),
        (["httpd", "-f"], (None, 0)),
        ([], (None, 0)),
    ],
)
def test_what_a_command_does(command: list[str], wanted: tuple[float | None, int]) -> None:
    assert simulated_exit(command) == wanted


@story
async def test_the_node_registers_and_is_ready(told: Story) -> None:
    await told.start()
    node = told.node()
    assert condition(node, "Ready") == "True"
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
    assert told.api.get(LEASES, "kube-node-lease/n1") is not None


@story
async def test_a_pod_runs_and_is_ready(told: Story) -> None:
    await told.start()
    found = await told.run()
    status = found["status"]
    assert (status["phase"], condition(found, "Ready"), status["qosClass"]) == ("Running", "True", "BestEffort")
    assert status["podIP"].startswith("10.244.0.")
    assert state(found)["started"] is True
    assert [m for m in told.events() if m.startswith("Container ")] == [
        'Container image "busybox:1" already present on machine and can be accessed by the pod', "Container created", "Container started",
    ]  # fmt: skip


@story
async def test_a_deleted_pod_goes(told: Story) -> None:
    await told.start()
    await told.run()
    assert await told.delete() == {}
    assert told.events("Killing") == ["Stopping container web"]


@story
async def test_a_job_pod_succeeds_and_another_fails(told: Story) -> None:
    await told.start()
    found = await told.run(one(command=["sleep", "5"]), restartPolicy="Never", seconds=3)
    assert found["status"]["phase"] == "Running"
    found = await told.later(3)
    assert found["status"]["phase"] == "Succeeded"
    assert state(found)["state"]["terminated"]["reason"] == "Completed"
    assert await told.delete() == {}
    found = await told.run(one(command=["sh", "-c", "exit 3"]), restartPolicy="Never")
    assert (found["status"]["phase"], state(found)["state"]["terminated"]["exitCode"]) == ("Failed", 3)


@story
async def test_a_crashing_container_backs_off(told: Story) -> None:
    await told.start()
    found = await told.run(one(command=["sh", "-c", "sleep 1; exit 1"]), seconds=0.5)
    assert found["status"]["phase"] == "Running"
    found = await told.later(2)
    assert state(found)["restartCount"] == 1
    found = await told.later(7)
    waiting = state(found)["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"] == "back-off 10s restarting failed container=web pod=web_default(" + found["metadata"]["uid"] + ")"
    assert state(found)["lastState"]["terminated"]["exitCode"] == 1
    assert condition(found, "Ready") == "False"
    found = await told.later(6)
    assert state(found)["restartCount"] == 2
    assert len(told.events("BackOff")) == 1


@story
async def test_restarts_are_logged(told: Story) -> None:
    with logged("kubelet.operations") as lines:
        await told.start()
        found = await told.run(one(command=["sh", "-c", "sleep 1; exit 1"]), seconds=4)
    assert state(found)["restartCount"] == 1
    pod = f"web_default({found['metadata']['uid']})"
    assert lines == [("Restarting container", {"pod": pod, "container": "web", "attempt": 1})]


@story
async def test_init_containers_come_first(told: Story) -> None:
    await told.start()
    found = await told.run(initContainers=[one("i1", command=["sleep", "2"]), one("i2", command=["sleep", "2"])])
    assert state(found)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert (found["status"]["phase"], condition(found, "Initialized")) == ("Pending", "False")
    found = await told.later(4)
    assert (found["status"]["phase"], condition(found, "Initialized"), state(found, "i1")["ready"]) == ("Running", "True", True)


@story
async def test_readiness_waits_for_its_probe(told: Story) -> None:
    await told.start()
    found = await told.run(one(readinessProbe={"httpGet": {"port": 80}, "initialDelaySeconds": 5, "periodSeconds": 1}), seconds=3)
    assert (found["status"]["phase"], condition(found, "Ready"), state(found)["started"]) == ("Running", "False", True)
    found = await told.later(3)
    assert condition(found, "Ready") == "True"


@story
async def test_a_failing_liveness_probe_restarts(told: Story) -> None:
    await told.start()
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 2, "failureThreshold": 3}
    found = await told.run(one(livenessProbe=probe), seconds=7)
    assert state(found)["restartCount"] == 1
    assert "Container web failed liveness probe, will be restarted" in told.events("Killing")


@story
async def test_a_deadline_fails_the_pod(told: Story) -> None:
    await told.start()
    found = await told.run(activeDeadlineSeconds=5, seconds=8)
    assert (found["status"]["phase"], found["status"]["reason"]) == ("Failed", "DeadlineExceeded")


@story
async def test_a_pod_that_does_not_fit_is_rejected(told: Story) -> None:
    await told.start()
    found = await told.run(one(resources={"requests": {"cpu": "100"}}))
    assert (found["status"]["phase"], found["status"]["reason"]) == ("Failed", "OutOfcpu")
    message = found["status"]["message"]
    assert message == "Pod was rejected: Node didn't have enough resource: cpu, requested: 100000, used: 0, capacity: 32000"
    assert found["status"].keys() & {"containerStatuses", "hostIP", "podIP"} == set()
    assert {c["type"] for c in found["status"].get("conditions") or ()} <= {"PodScheduled"}


@story
async def test_a_pod_deleted_and_made_again_runs_again(told: Story) -> None:
    await told.start()
    first = await told.run()
    assert await told.delete() == {}
    second = await told.run()
    assert second["status"]["phase"] == "Running"
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


@story
async def test_many_nodes_in_one_process(told: Story) -> None:
    await told.start(nodes=20, node_name="")
    assert {condition(n, "Ready") for n in told.api.all(NODES)} == {"True"}
    for index in range(40):
        made: dict[str, Any] = pod(name=f"p{index}")
        made["spec"]["nodeName"] = f"node-{index % 20}"
        told.api.create(PODS, made)
    await later(2)
    ips = {p["status"]["podIP"] for p in told.api.all(PODS)}
    assert len(ips) == 40
    assert {condition(p, "Ready") for p in told.api.all(PODS)} == {"True"}


@story
async def test_an_idle_node_only_renews_its_lease(told: Story) -> None:
    await told.start()
    await told.run()
    told.api.calls.clear()
    await later(100)
    assert set(told.api.calls) == {"PUT leases"}
    assert len(told.api.calls) == 10


@story
async def test_a_runtime_without_events_is_looked_at(told: Story) -> None:
    async def silent(self: SimulatedRuntime) -> AsyncIterator[Change]:
        raise RuntimeFailure("Unimplemented", "no events")
        yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedRuntime, "changes", silent)
        await told.start()
        found = await told.run(one(command=["sleep", "5"]), restartPolicy="Never", seconds=4)
        assert found["status"]["phase"] == "Running"
        assert (await told.later(3))["status"]["phase"] == "Succeeded"


@story
async def test_a_fault_costs_its_pod_a_second(told: Story) -> None:
    await told.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "plan", lambda *_: 1 / 0)
        found = await told.run(seconds=3)
    assert "phase" not in found["status"]
    assert (await told.later(2))["status"]["phase"] == "Running"


@story
async def test_cgroups_that_cannot_be_written_cost_a_pod_its_start_not_the_node(told: Story) -> None:
    refusals = [OSError("no cgroups")]

    async def prepare(self: PodSetup, pod: Object, ips: Sequence[str]) -> None:
        if refusals:
            raise refusals.pop()

    def update_qos_cgroups(self: PodSetup, kept: Iterable[Object]) -> None:
        raise OSError("no weights")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PodSetup, "prepare", prepare)
        patch.setattr(PodSetup, "update_qos_cgroups", update_qos_cgroups)
        await told.start()
        found = await told.run()
        assert found["status"]["phase"] == "Pending"
        assert told.events("FailedCreatePodContainer") == ["unable to ensure pod container exists: no cgroups"]
        assert condition(await told.later(6), "Ready") == "True"


class _Broken:
    """A transport whose every request fails in a way that nobody tries again after."""

    async def request(self, *given: Any) -> NoReturn:
        raise RuntimeError("broken")

    open = request

    async def close(self) -> None:
        pass


def _sockets() -> set[str]:
    files = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return {os.readlink(file) for file in files if os.path.islink(file) and os.readlink(file).startswith("socket:")}


async def test_sockets_are_closed_when_something_fails_before_they_are_served(tmp_path: Path) -> None:
    settings = Settings(simulate=True, nodes=3, port=0, tls_cert_file=tmp_path / "none.crt", tls_private_key_file=tmp_path / "none.key")
    before = _sockets()
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await assembly.run(settings, Client(_Broken()))
    assert _sockets() == before
