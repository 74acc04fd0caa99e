"""A node as the API has it: labels and resources that others set count for the next decision."""

from typing import Any

import pytest

from kapi.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import EVENTS, NODES, PODS
from tests.kubelet.build import one, pod
from tests.kubelet.story import Story, story

SSD: dict[str, Any] = {"nodeSelector": {"disk": "ssd"}}
AFFINE: dict[str, Any] = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
            }
        }
    }
}


async def label(told: Story, value: str | None) -> None:
    await Client(told.api, agent="kubectl").patch(NODES, "n1", {"metadata": {"labels": {"disk": value}}})


async def write_status(told: Story, **fields: Object) -> None:
    await Client(told.api, agent="kubectl").patch(NODES, "n1", {"status": fields}, kind="strategic", subresource="status")


@pytest.mark.parametrize("spec", [SSD, AFFINE])
def test_a_new_label_counts_for_the_next_pod(spec: Any) -> None:
    @story
    async def with_label(told: Story) -> None:
        await told.start()
        await label(told, "ssd")
        assert (await told.run(**spec))["status"]["phase"] == "Running"

    with_label()


@story
async def test_a_label_that_is_gone_counts_no_longer(told: Story) -> None:
    await told.start()
    await label(told, "ssd")
    await told.later()
    await label(told, None)
    await told.later()
    found = (await told.run(**SSD))["status"]
    assert (found["phase"], found["reason"]) == ("Failed", "NodeAffinity")


@story
async def test_a_label_whose_event_has_yet_to_come_counts(told: Story) -> None:
    """The scheduler's watch may be ahead of the kubelet's."""
    await told.start()
    told.api.silent.add(NODES)
    await label(told, "ssd")
    assert (await told.run(**SSD))["status"]["phase"] == "Running"


@story
async def test_a_pod_deleted_while_the_node_is_asked_for_is_gone(told: Story) -> None:
    await told.start()
    told.api.remove(PODS, told.api.create(PODS, pod(**SSD)))
    await told.later()
    assert "NodeAffinity" not in {event["reason"] for event in told.api.all(EVENTS)}


@story
async def test_extended_resources_become_allocatable(told: Story) -> None:
    await told.start()
    await write_status(told, capacity={"example.com/foo": "2"})
    await told.later()
    assert told.node()["status"]["allocatable"]["example.com/foo"] == "2"
    some = one(resources={"requests": {"example.com/foo": "3"}, "limits": {"example.com/foo": "3"}})
    assert (await told.run(some))["status"]["reason"] == "OutOfexample.com/foo"


@story
async def test_what_the_kubelet_says_of_the_machine_is_put_back(told: Story) -> None:
    await told.start()
    cpu = told.node()["status"]["allocatable"]["cpu"]
    await write_status(told, allocatable={"cpu": "1000"})
    await told.later()
    assert told.node()["status"]["allocatable"]["cpu"] == cpu
