"""Pods with persistent volume claims: where they may go, and what is written before they are bound."""

from typing import Any

from kapi.objects.meta import Object
from kapi.objects.resource import CSI_NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from kapi.scheduler.plugins.volumes import SELECTED_NODE
from kapi.scheduler.snapshot import HOSTNAME
from tests.scheduler.making import node, pod
from tests.scheduler.story import Story, story

VOLUMES = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


def volume(name: str, on: str, size: str = "1Gi", **spec: Any) -> Object:
    term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [on]}]}
    affinity = {"required": {"nodeSelectorTerms": [term]}}
    given = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local", "nodeAffinity": affinity, **spec}
    return {"metadata": {"name": name}, "spec": given, "status": {"phase": "Available"}}


def claim(**spec: Any) -> Object:
    wanted = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local", **spec}
    return {"metadata": {"name": "data", "namespace": "default"}, "spec": wanted}


def storage(provisioner: str) -> Object:
    return {"metadata": {"name": "local"}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}


async def bind_claim(told: Story) -> None:
    """What the volume controller does."""
    found = told.api.get(PERSISTENT_VOLUME_CLAIMS, "default/data")
    assert found is not None
    meta = {**found["metadata"], "annotations": {**found["metadata"].get("annotations", {}), **BOUND}}
    told.api.set(PERSISTENT_VOLUME_CLAIMS, found, metadata=meta, spec={**found["spec"], "volumeName": "pv"})
    await told.advance()


@story
async def test_a_bound_volume_draws_the_pod_to_its_node(told: Story) -> None:
    await told.nodes(node("a"), node("b"))
    await told.client.create(PERSISTENT_VOLUMES, volume("pv", "b"))
    bound = claim(volumeName="pv")
    bound["metadata"]["annotations"] = BOUND
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, bound)
    await told.start()
    await told.pods(pod("p", volumes=VOLUMES), pod("q", volumes=VOLUMES, nodeSelector={HOSTNAME: "a"}))
    assert told.where("p") == "b"
    assert "1 node(s) didn't match PersistentVolume's node affinity" in told.condition("q")["message"]


@story
async def test_a_waiting_claim_gets_the_smallest_volume_that_fits(told: Story) -> None:
    await told.nodes(node("a"), node("b"))
    await told.client.create(STORAGE_CLASSES, storage("kubernetes.io/no-provisioner"))
    for one in (volume("big", "b", "9Gi"), volume("pv", "b", "2Gi"), volume("small", "b", "1Mi")):
        await told.client.create(PERSISTENT_VOLUMES, one)
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, claim())
    await told.start()
    await told.pods(pod("p", volumes=VOLUMES))
    chosen = told.api.get(PERSISTENT_VOLUMES, "pv")
    assert chosen is not None
    assert chosen["spec"]["claimRef"]["name"] == "data"
    assert told.where("p") == ""
    await bind_claim(told)
    assert told.where("p") == "b"


@story
async def test_a_provisioner_is_told_the_node(told: Story) -> None:
    await told.nodes(node("a"))
    await told.client.create(STORAGE_CLASSES, storage("example.com/disk"))
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, claim())
    await told.start()
    await told.pods(pod("p", volumes=VOLUMES))
    waiting = told.api.get(PERSISTENT_VOLUME_CLAIMS, "default/data")
    assert waiting is not None
    assert waiting["metadata"]["annotations"] == {SELECTED_NODE: "a"}
    await bind_claim(told)
    assert told.where("p") == "a"


@story
async def test_without_a_volume_the_node_is_out(told: Story) -> None:
    await told.nodes(node("a"))
    await told.client.create(STORAGE_CLASSES, storage("kubernetes.io/no-provisioner"))
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, claim())
    await told.start()
    await told.pods(pod("p", volumes=VOLUMES))
    assert "1 node(s) didn't find available persistent volumes to bind" in told.condition("p")["message"]


@story
async def test_a_claim_for_one_pod_serves_one_pod(told: Story) -> None:
    await told.nodes(node("a"))
    await told.client.create(PERSISTENT_VOLUMES, volume("pv", "a", accessModes=["ReadWriteOncePod"]))
    bound = claim(volumeName="pv", accessModes=["ReadWriteOncePod"])
    bound["metadata"]["annotations"] = BOUND
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, bound)
    await told.start()
    await told.pods(pod("p", volumes=VOLUMES), pod("q", volumes=VOLUMES))
    assert told.where("p") == "a"
    expected = "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert expected in told.condition("q")["message"]


@story
async def test_a_driver_attaches_only_so_many_volumes(told: Story) -> None:
    await told.nodes(node("a"))
    drivers = [{"name": "disks", "nodeID": "a", "allocatable": {"count": 1}}]
    await told.client.create(CSI_NODES, {"metadata": {"name": "a"}, "spec": {"drivers": drivers}})
    for name in ("one", "two"):
        spec = volume(name, "a", csi={"driver": "disks", "volumeHandle": name})
        await told.client.create(PERSISTENT_VOLUMES, spec)
        bound = claim(volumeName=name)
        bound["metadata"] |= {"name": name, "annotations": BOUND}
        await told.client.create(PERSISTENT_VOLUME_CLAIMS, bound)
    await told.start()

    def with_disk(name: str, disk: str) -> Object:
        return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": disk}}])

    await told.pods(with_disk("p", "one"))
    await told.pods(with_disk("q", "one"), with_disk("r", "two"))
    assert (told.where("p"), told.where("q"), told.where("r")) == ("a", "a", "")
    assert told.condition("r")["message"].startswith("0/1 nodes are available: 1 node(s) exceed max volume count.")
    found = told.api.get(CSI_NODES, "a")
    assert found is not None
    told.api.set(CSI_NODES, found, spec={"drivers": [{**drivers[0], "allocatable": {"count": 2}}]})
    await told.advance()
    assert told.where("r") == "a"
