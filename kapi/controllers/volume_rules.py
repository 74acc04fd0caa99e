"""Matching of PersistentVolumes and claims. Pure."""

from collections.abc import Iterable

from kapi.objects import labels, meta, placement, quantity
from kapi.objects.meta import Object

BOUND_BY_US, BIND_COMPLETED = "pv.kubernetes.io/bound-by-controller", "pv.kubernetes.io/bind-completed"
PROVISIONER, OLD_PROVISIONER = "volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def storage_class(obj: Object) -> str:
    """The StorageClass of a claim or volume; "" for none."""
    return str(meta.annotations(obj).get(OLD_CLASS) or obj["spec"].get("storageClassName") or "")


def capacity(volume: Object) -> int:
    return quantity.value((volume["spec"].get("capacity") or {}).get("storage"))


def asked(claim: Object) -> int:
    return quantity.value(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage"))


def is_claimed_by(volume: Object, claim: Object) -> bool:
    """Whether the volume's claimRef is this claim (same uid, or none yet)."""
    ref = volume["spec"].get("claimRef") or {}
    named = (ref.get("namespace"), ref.get("name")) == (meta.namespace(claim), meta.name(claim))
    return named and (not ref.get("uid") or ref["uid"] == meta.uid(claim))


def bound_to(volume: Object, claim: Object) -> bool:
    return (volume["spec"].get("claimRef") or {}).get("uid") == meta.uid(claim)


def suits(volume: Object, claim: Object, node: Object | None = None) -> bool:
    """Whether the volume is available (or reserved) for the claim: class, mode, size, access modes, and node affinity if `node` is set."""
    spec, claim_spec = volume["spec"], claim["spec"]
    if meta.deleting(volume) or (spec.get("claimRef") and not is_claimed_by(volume, claim)):
        return False
    if spec.get("volumeMode", "Filesystem") != claim_spec.get("volumeMode", "Filesystem") or capacity(volume) < asked(claim):
        return False
    if spec.get("claimRef"):
        return True
    if meta.path(volume, "status", "phase") not in (None, "Available", "Pending") or storage_class(volume) != storage_class(claim):
        return False
    if not set(claim_spec.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    if claim_spec.get("selector") and not labels.from_object(claim_spec["selector"]).matches(meta.labels(volume)):
        return False
    return node is None or reachable(volume, node)


def reachable(volume: Object, node: Object) -> bool:
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    terms = (required or {}).get("nodeSelectorTerms") or ()
    return required is None or any(placement.term_matches(t, meta.name(node), meta.labels(node)) for t in terms)


def best(volumes: Iterable[Object], claim: Object, node: Object | None = None) -> Object | None:
    """A volume reserved for the claim, else the smallest that matches."""
    candidates = [v for v in volumes if suits(v, claim, node)]
    return min(candidates, key=lambda v: (not v["spec"].get("claimRef"), capacity(v), meta.name(v)), default=None)


def claim_reference(claim: Object) -> Object:
    about = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": meta.namespace(claim), "name": meta.name(claim)}
    return about | {"uid": meta.uid(claim), "resourceVersion": meta.resource_version(claim)}
