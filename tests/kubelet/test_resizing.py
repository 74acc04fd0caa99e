"""In-place resize: who may have more, and pods that get it on simulated nodes."""

from typing import Any

import pytest

from kapi.objects.meta import Object
from kapi.objects.resource import PODS
from kubelet import resizing, status
from kubelet.admit import NodeAttributes
from kubelet.observed_state import Failure, Resize
from kubelet.runtime import Config, RuntimeFailure, Usage
from kubelet.simulated import SimulatedRuntime
from kubelet.status import Facts
from tests.kubelet.build import NOW, observed, one, pod, run
from tests.kubelet.story import Story, condition, state, story

NODE = NodeAttributes("n1", {"pods": "10", "cpu": "4", "memory": "4Gi"})


def asks(cpu: str, name: str = "web", **more: Any) -> Object:
    return one(name, resources={"requests": {"cpu": cpu}}, **more)


def test_a_pod_runs_with_its_allotment() -> None:
    of = pod(asks("2"), initContainers=[asks("1", "once"), asks("1", "side", restartPolicy="Always")])
    known = resizing.requested(of)
    assert list(known) == ["side", "web"]
    assert resizing.with_allocated(of, known) is of
    had = resizing.with_allocated(of, {**known, "web": {"requests": {"cpu": "1"}}})
    assert had["spec"]["containers"] == [asks("1")]
    assert had["spec"]["initContainers"] == of["spec"]["initContainers"]


@pytest.mark.parametrize(
    ("cpu", "wanted"),
    [
        ("3", None),
        ("3500m", Failure("Deferred", "Node didn't have enough resource: cpu, requested: 3500, used: 1000, capacity: 4000")),
        ("5", Failure("Infeasible", "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000")),
    ],
)
def test_what_a_node_can_give(cpu: str, wanted: Failure | None) -> None:
    assert resizing.refusal(pod(asks(cpu)), [pod(asks("1"))], NODE) == wanted


def test_the_status_says_what_is_asked_allotted_and_given() -> None:
    of = pod(asks("2"))
    resize = Resize(Failure("Deferred", "no room"), 2, "no way")
    what = observed(run(), actual_resources={"web-0": {"requests": {"cpu": "1"}}}, resize=resize)
    out = status.compute(of, what, Facts(), NOW)
    container = out["containerStatuses"][0]
    assert (container["resources"], container["allocatedResources"]) == ({"requests": {"cpu": "1"}}, {"cpu": "2"})
    told = {c["type"]: (c["status"], c.get("reason"), c.get("message")) for c in out["conditions"]}
    assert told["PodResizePending"] == ("True", "Deferred", "no room")
    assert told["PodResizeInProgress"] == ("True", "Error", "no way")
    of["status"] = out
    change = status.patch(of, status.compute(of, observed(run()), Facts(), NOW))
    assert change is not None
    assert [c["type"] for c in change["status"]["conditions"] if c.get("$patch") == "delete"] == ["PodResizePending", "PodResizeInProgress"]


async def resized(told: Story, what: str | Object, seconds: float = 1, name: str = "web", **more: Any) -> Object:
    """The pod some time after its cpu request, or its container, was changed."""
    container = asks(what, **more) if isinstance(what, str) else what
    found = told.api.get(PODS, f"default/{name}") or {}
    meta = {**found["metadata"], "generation": found["metadata"]["generation"] + 1}
    told.api.set(PODS, found, metadata=meta, spec={**found["spec"], "containers": [container]})
    return await told.later(seconds, name)


@story
async def test_a_pod_is_resized_where_it_runs(told: Story) -> None:
    await told.start()
    before = state(await told.run(asks("1")))
    found = await resized(told, "2")
    after = state(found)
    assert (after["resources"], after["allocatedResources"]) == ({"requests": {"cpu": "2"}}, {"cpu": "2"})
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    assert condition(found, "PodResizeInProgress") == condition(found, "PodResizePending") == ""
    summary = '{"containers":[{"name":"web","resources":{"requests":{"cpu":"2"}}}],"generation":2}'
    assert told.events("ResizeStarted") == [f"Pod resize started: {summary}"]
    assert told.events("ResizeCompleted") == [f"Pod resize completed: {summary}"]


@story
async def test_a_resize_waits_for_room(told: Story) -> None:
    await told.start()
    await told.run(asks("30"), name="big", uid="u2")
    await told.run(asks("1"))
    found = await resized(told, "4")
    assert condition(found, "PodResizePending") == "True"
    assert state(found)["resources"] == {"requests": {"cpu": "1"}}
    assert len(told.events("ResizeDeferred")) == 1
    await told.delete(name="big")
    found = await told.later()
    assert condition(found, "PodResizePending") == ""
    assert state(found)["resources"] == {"requests": {"cpu": "4"}}
    found = await resized(told, "64")
    assert next(c["reason"] for c in found["status"]["conditions"] if c["type"] == "PodResizePending") == "Infeasible"
    found = await resized(told, "4")
    assert condition(found, "PodResizePending") == ""


@story
async def test_a_resize_may_cost_a_restart(told: Story) -> None:
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    await told.start()
    await told.run(asks("1", resizePolicy=policy))
    found = await resized(told, "2", resizePolicy=policy)
    assert (state(found)["restartCount"], state(found)["resources"]) == (1, {"requests": {"cpu": "2"}})
    assert told.events("Killing") == ["Container web resize requires restart"]
    assert len(told.events("ResizeCompleted")) == 1


@story
async def test_a_resize_that_fails_is_tried_again(told: Story) -> None:
    refusals = [RuntimeFailure("Unknown", "no")]

    async def update(self: SimulatedRuntime, id: str, resources: Config) -> None:
        if refusals:
            raise refusals.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedRuntime, "update_container", update)
        await told.start()
        await told.run(asks("1"))
        found = await resized(told, "2")
        progress = next(c for c in found["status"]["conditions"] if c["type"] == "PodResizeInProgress")
        assert (progress["reason"], progress["message"]) == ("Error", "rpc error: code = Unknown desc = no")
        assert len(told.events("ResizeError")) == 1
        found = await told.later(10)
    assert condition(found, "PodResizeInProgress") == ""
    assert state(found)["resources"] == {"requests": {"cpu": "2"}}


def test_memory_in_use_keeps_limits_from_being_lowered() -> None:
    assert resizing.memory_in_use(0, 500, [("web", 100, 99), ("side", 300, 0)]) == ""
    assert resizing.memory_in_use(500, 499, []) == ""
    assert resizing.memory_in_use(100, 100, []) == (
        "cannot decrease memory limits: attempting to set pod memory limit (100) below current usage (100)"
    )
    assert resizing.memory_in_use(200, 300, [("web", 100, 150), ("side", 100, 50)]) == (
        "cannot decrease memory limits: [attempting to set pod memory limit (200) below current usage (300), "
        'attempting to set container "web" memory limit (100) below current usage (300)]'
    )


def limited(memory: str | None) -> Object:
    return one(resources={"requests": {"memory": "8Mi"}, "limits": {"memory": memory} if memory else {}})


@pytest.mark.parametrize("before", ["64Mi", None])
def test_a_memory_limit_waits_until_less_is_used(before: str | None) -> None:
    used = 32 << 20

    async def usages(self: SimulatedRuntime) -> list[Usage]:
        return [Usage(c.id, c.uid, c.name, 0, 0, used, 0, 0, 0, 0.0) for c in self._containers.values()]

    @story
    async def lowered(told: Story) -> None:
        nonlocal used
        await told.start()
        await told.run(limited(before))
        await resized(told, limited("16Mi"))
        found = await told.later()
        progress = next(c for c in found["status"]["conditions"] if c["type"] == "PodResizeInProgress")
        why = f'cannot decrease memory limits: attempting to set container "web" memory limit ({16 << 20}) below current usage ({used})'
        assert (progress["reason"], progress["message"]) == ("Error", why)
        assert state(found)["resources"].get("limits") == ({"memory": before} if before else None)
        used = 8 << 20
        found = await told.later(10)
        assert condition(found, "PodResizeInProgress") == ""
        assert state(found)["resources"]["limits"] == {"memory": "16Mi"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedRuntime, "usages", usages)
        lowered()


def test_more_may_be_given_however_much_is_used() -> None:
    async def usages(self: SimulatedRuntime) -> list[Usage]:
        return [Usage(c.id, c.uid, c.name, 0, 0, 1 << 40, 0, 0, 0, 0.0) for c in self._containers.values()]

    @story
    async def raised(told: Story) -> None:
        await told.start()
        await told.run(limited("16Mi"))
        found = await resized(told, limited("64Mi"))
        assert state(found)["resources"]["limits"] == {"memory": "64Mi"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedRuntime, "usages", usages)
        raised()
