"""Stories of volumes and claims."""

from typing import Any

from kapi.controllers.ephemeral_volume import EphemeralVolumes
from kapi.controllers.volume import VolumeBinder
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from tests.controllers.story import Cluster, story


def add_volume(cluster: Cluster, name: str, size: str = "1Gi", **spec: Any) -> Object:
    made = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain", **spec}
    return cluster.api.create(PERSISTENT_VOLUMES, {"metadata": {"name": name}, "spec": made})


def add_claim(cluster: Cluster, name: str, size: str = "1Gi", **spec: Any) -> Object:
    made = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return cluster.api.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": name, "namespace": "default"}, "spec": made})


def claims(cluster: Cluster) -> dict[str, tuple[str | None, str]]:
    return {meta.name(c): (c["spec"].get("volumeName"), c["status"]["phase"]) for c in cluster.api.all(PERSISTENT_VOLUME_CLAIMS)}


def phases(cluster: Cluster) -> dict[str, str]:
    return {meta.name(v): v["status"]["phase"] for v in cluster.api.all(PERSISTENT_VOLUMES)}


@story
async def test_the_smallest_that_suits(cluster: Cluster) -> None:
    for name, size in (("small", "1Gi"), ("middle", "5Gi"), ("large", "9Gi")):
        add_volume(cluster, name, size)
    add_claim(cluster, "c", "3Gi")
    await cluster.run(VolumeBinder)
    assert claims(cluster) == {"c": ("middle", "Bound")}
    assert phases(cluster) == {"small": "Available", "middle": "Bound", "large": "Available"}
    [claim] = cluster.api.all(PERSISTENT_VOLUME_CLAIMS)
    assert claim["status"]["capacity"] == {"storage": "5Gi"}
    assert meta.annotations(claim) == {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
    cluster.api.remove(PERSISTENT_VOLUME_CLAIMS, claim)
    await cluster.advance()
    assert phases(cluster)["middle"] == "Released"


@story
async def test_no_volume_is_promised_twice_and_one_that_comes_is_taken(cluster: Cluster) -> None:
    add_volume(cluster, "v")
    for name in ("a", "b"):
        add_claim(cluster, name)
    await cluster.run(VolumeBinder)
    assert sorted(phase for _, phase in claims(cluster).values()) == ["Bound", "Pending"]
    assert cluster.events("FailedBinding") == ["no persistent volumes available for this claim and no storage class is set"]
    add_volume(cluster, "w")
    await cluster.advance()
    assert sorted(claims(cluster).values()) == [("v", "Bound"), ("w", "Bound")]


@story
async def test_a_volume_set_aside_waits_for_its_claim(cluster: Cluster) -> None:
    add_volume(cluster, "v", claimRef={"namespace": "default", "name": "mine"})
    add_claim(cluster, "other")
    await cluster.run(VolumeBinder)
    assert claims(cluster) == {"other": (None, "Pending")}
    add_claim(cluster, "mine")
    await cluster.advance()
    assert claims(cluster)["mine"] == ("v", "Bound")


@story
async def test_classes_with_a_provisioner_and_those_that_wait(cluster: Cluster) -> None:
    cluster.api.create(STORAGE_CLASSES, {"metadata": {"name": "fast"}, "provisioner": "example.com/disk", "volumeBindingMode": "Immediate"})
    late = {"metadata": {"name": "late"}, "provisioner": "example.com/disk", "volumeBindingMode": "WaitForFirstConsumer"}
    cluster.api.create(STORAGE_CLASSES, late)
    add_claim(cluster, "a", storageClassName="fast")
    add_claim(cluster, "b", storageClassName="late")
    await cluster.run(VolumeBinder)
    first = cluster.api.all(PERSISTENT_VOLUME_CLAIMS)[0]
    assert meta.annotations(first)["volume.kubernetes.io/storage-provisioner"] == "example.com/disk"
    assert cluster.events("WaitForFirstConsumer") == ["waiting for first consumer to be created before binding"]
    assert claims(cluster) == {"a": (None, "Pending"), "b": (None, "Pending")}


@story
async def test_a_claim_whose_volume_is_gone_is_lost(cluster: Cluster) -> None:
    volume = add_volume(cluster, "v")
    add_claim(cluster, "c")
    await cluster.run(VolumeBinder)
    cluster.api.remove(PERSISTENT_VOLUMES, volume)
    await cluster.advance()
    assert claims(cluster) == {"c": ("v", "Lost")}


@story
async def test_claims_for_ephemeral_volumes(cluster: Cluster) -> None:
    volume = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}}
    pod = cluster.api.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": {"volumes": [volume]}})
    await cluster.run(EphemeralVolumes)
    [claim] = cluster.api.all(PERSISTENT_VOLUME_CLAIMS)
    assert meta.name(claim) == "p-scratch"
    assert meta.controlled_by(claim, pod)
