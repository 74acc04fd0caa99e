"""PersistentVolume and PersistentVolumeClaim."""

import posixpath
from typing import Any

from kapi.objects import meta, names, quantity, time
from kapi.objects.errors import Cause
from kapi.registry.kinds import internal, rules, volume_claims, volumes
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
SOURCE_DEFAULTS: dict[str, Object] = {
    "hostPath": {"type": ""},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "iscsi": {"iscsiInterface": "default"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
SUCCESSORS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
SOURCES = ("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs", "iscsi",
           "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "scaleIO",
           "local", "storageos", "csi")  # fmt: skip
"""In the order stock looks at them."""
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
CLAIM_FROZEN = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def short_modes(modes: list[str] | None) -> str:
    """'RWO,ROX'."""
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in (modes or ()))


def storage_class(obj: Object) -> str:
    """The class an object names, in its spec or in the annotation of old."""
    return str((obj["metadata"].get("annotations") or {}).get(BETA_CLASS) or obj["spec"].get("storageClassName") or "")


# volumes --------------------------------------------------------------------------------------------------------------------------


class PersistentVolumeStrategy(Strategy):
    """core/v1 PersistentVolume."""

    returns_deleted = True
    generation = False
    columns = rules.columns(
        "Name", "Capacity=core.v1.PersistentVolumeSpec.capacity", "Access Modes=core.v1.PersistentVolumeSpec.accessModes",
        "Reclaim Policy=core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy", "Status=core.v1.PersistentVolumeStatus.phase",
        "Claim=core.v1.PersistentVolumeSpec.claimRef", "StorageClass: StorageClass of the pv",
        "VolumeAttributesClass: VolumeAttributesClass of the pv", "Reason=core.v1.PersistentVolumeStatus.reason", "Age",
        "VolumeMode+=core.v1.PersistentVolumeSpec.volumeMode",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        spec.setdefault("volumeMode", "Filesystem")
        for source, values in SOURCE_DEFAULTS.items():
            if spec.get(source) is not None:
                spec[source].update((k, v) for k, v in values.items() if spec[source].get(k) in (None, ""))

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {"phase": "Pending", "lastPhaseTransitionTime": time.stamp()}

    def prepare_status(self, new: Object, old: Object) -> None:
        status, before = new.setdefault("status", {}), old.get("status") or {}
        if status.get("phase") != before.get("phase"):
            status["lastPhaseTransitionTime"] = time.stamp()

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        _validate_volume(e, new["spec"])
        if old is not None:
            e.extend(list(e))
            _validate_volume_change(e, new["spec"], old["spec"])
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        claim = spec.get("claimRef")
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
        return [
            obj["metadata"]["name"], (spec.get("capacity") or {}).get("storage", ""), short_modes(spec.get("accessModes")),
            spec.get("persistentVolumeReclaimPolicy", ""), phase,
            f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "", storage_class(obj),
            spec.get("volumeAttributesClassName", "<unset>"), status.get("reason", ""), rules.age(obj, now),
            spec.get("volumeMode", "<unset>"),
        ]  # fmt: skip


def _validate_volume(e: Errors, spec: Object) -> None:
    modes, capacity = spec.get("accessModes") or [], spec.get("capacity") or {}
    e.need("spec.accessModes", modes)
    for mode in modes:
        e.enum("spec.accessModes", mode, volume_claims.ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        e.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")
    e.need("spec.capacity", capacity)
    if "storage" not in capacity or len(capacity) > 1:
        shown = spec.get("capacity")
        e.unsupported("spec.capacity", shown, ("storage",))
    for name, value in capacity.items():
        if quantity.value(value) < 0:
            e.invalid(f"spec.capacity[{name}]", quantity.value(value), "must be a valid resource quantity")
        if quantity.parse(value).nano <= 0:
            e.invalid(f"spec.capacity[{name}]", quantity.canonical(value), "must be greater than zero")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy:
        e.enum("spec.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES)
    _validate_affinity(e, spec.get("nodeAffinity"))
    _validate_source(e, spec)
    if policy == "Recycle" and posixpath.normpath((spec.get("hostPath") or {}).get("path") or ".") == "/":
        e.forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")
    if spec.get("storageClassName"):
        e.text("spec.storageClassName", spec["storageClassName"], names.dns_subdomain)
    if "volumeMode" in spec:
        e.enum("spec.volumeMode", spec["volumeMode"], volume_claims.VOLUME_MODES)
    attributes = spec.get("volumeAttributesClassName")
    if attributes is not None:
        e.named("spec.volumeAttributesClassName", attributes, names.dns_subdomain, "an empty string is disallowed")
        if spec.get("csi") is None:
            e.required("spec.csi", "has to be specified when using volumeAttributesClassName")


def _validate_affinity(e: Errors, affinity: Object | None) -> None:
    if affinity is None:
        return
    if affinity.get("required") is None:
        e.required("spec.nodeAffinity.required", "must specify required node constraints")
    else:
        rules.node_selector(e, "spec.nodeAffinity.required", affinity["required"])


def _validate_source(e: Errors, spec: Object) -> None:
    found = [source for source in SOURCES if spec.get(source) is not None]
    for i, source in enumerate(found):
        extra = "cephFS" if source == "cephfs" else source
        if i:
            e.forbidden(f"spec.{extra}", "may not specify more than 1 volume type")
        elif source == "local":
            _validate_local(e, spec)
        elif source == "csi":
            _validate_csi(e, spec["csi"])
        else:
            _, own, check = volumes.SOURCES[source]
            check(e, f"spec.{own}", spec[source])
    if not found:
        e.required("spec", "must specify a volume type")


def _validate_local(e: Errors, spec: Object) -> None:
    path = spec["local"].get("path") or ""
    if e.need("spec.local.path", path) and ".." in path.split("/"):
        e.invalid("spec.local.path", path, "must not contain '..'")
    if not spec.get("nodeAffinity"):
        e.required("spec.local.nodeAffinity", "Local volume requires node affinity")


def _validate_csi(e: Errors, source: Object) -> None:
    volumes.csi_driver_name(e, "spec.csi.driver", source.get("driver") or "")
    e.need("spec.csi.volumeHandle", source.get("volumeHandle"))
    for field in ("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"):
        if (ref := source.get(field)) is not None:
            for key in ("name", "namespace"):
                e.need(f"spec.csi.{field}.{key}", ref.get(key))


def _validate_volume_change(e: Errors, spec: Object, before: Object) -> None:
    new, old = ({source: s[source] for source in SOURCES if source in s} for s in (spec, before))
    if new != old:
        text = "spec.persistentvolumesource is immutable after creation"
        e.forbidden("spec.persistentvolumesource", text + rules.difference(old, new))
    e.immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    affinity = spec.get("nodeAffinity")
    if before.get("nodeAffinity") is not None and affinity != _upgraded(before["nodeAffinity"], affinity):
        shown = None
        if affinity is not None:
            required = affinity.get("required")
            shown = {"Required": None if required is None else internal.to_internal("NodeSelector", required)}
        e.invalid("nodeAffinity", shown, "field is immutable, except for updating from beta label to GA")


def _upgraded(old: Object, new: Object | None) -> Object:
    """The old affinity with those keys of the new one that only replace a beta label by its successor."""
    old = meta.clone(old)
    terms = [((part or {}).get("required") or {}).get("nodeSelectorTerms") or () for part in (old, new)]
    for was, term in zip(*terms, strict=False):
        for field in ("matchExpressions", "matchFields"):
            for before, after in zip(was.get(field) or (), term.get(field) or (), strict=False):
                if (after.get("key") or "") == SUCCESSORS.get(before.get("key") or "", ""):
                    before.pop("key", None)
                    before.update((k, v) for k, v in after.items() if k == "key")
    return dict(old)


# claims ---------------------------------------------------------------------------------------------------------------------------


class PersistentVolumeClaimStrategy(Strategy):
    """core/v1 PersistentVolumeClaim."""

    returns_deleted = True
    generation = False
    columns = rules.columns(
        "Name", "Status=core.v1.PersistentVolumeClaimStatus.phase", "Volume=core.v1.PersistentVolumeClaimSpec.volumeName",
        "Capacity=core.v1.PersistentVolumeClaimStatus.capacity", "Access Modes=core.v1.PersistentVolumeClaimStatus.accessModes",
        "StorageClass: StorageClass of the pvc", "VolumeAttributesClass: VolumeAttributesClass of the pvc", "Age",
        "VolumeMode+=core.v1.PersistentVolumeClaimSpec.volumeMode",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("volumeMode", "Filesystem")
        spec.setdefault("resources", {})
        for field in ("dataSource", "dataSourceRef"):
            if spec.get(field) is not None:
                spec[field].setdefault("apiGroup", None)
                spec[field].setdefault("kind", "")
                spec[field].setdefault("name", "")

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {"phase": "Pending"}
        spec = new["spec"]
        if not (old or {}).get("spec", {}).get("dataSource") and not _copies(spec.get("dataSource")):
            spec.pop("dataSource", None)
        source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
        if source is not None and ref is None:
            spec["dataSourceRef"] = dict(source)
        elif ref is not None and source is None and not ref.get("namespace"):
            spec["dataSource"] = {k: v for k, v in ref.items() if k != "namespace"}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        volume_claims.claim_spec(e, "spec", new["spec"])
        if old is not None:
            _validate_claim_change(e, new, old)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        bound = bool(spec.get("volumeName"))
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
        capacity = (status.get("capacity") or {}).get("storage", "0") if bound else ""
        return [
            obj["metadata"]["name"], phase, spec.get("volumeName", ""), capacity, short_modes(status.get("accessModes")) if bound else "",
            storage_class(obj), spec.get("volumeAttributesClassName") or "<unset>", rules.age(obj, now), spec.get("volumeMode", "<unset>"),
        ]  # fmt: skip


def _copies(source: Object | None) -> bool:
    """Whether dataSource names something it always could: another claim or a snapshot. Of the rest only dataSourceRef speaks."""
    kind = (source or {}).get("kind"), (source or {}).get("apiGroup") or ""
    return kind in (("PersistentVolumeClaim", ""), ("VolumeSnapshot", "snapshot.storage.k8s.io"))


def _storage(obj: Object, part: str, field: str) -> Any:
    at = obj.get(part) or {}
    return ((at.get("resources") or {}).get("requests") or {}).get(field) if part == "spec" else (at.get("capacity") or {}).get(field)


def _validate_claim_change(e: Errors, new: Object, old: Object) -> None:
    spec, before = dict(new["spec"]), dict(old["spec"])
    if not before.get("volumeName") and spec.get("volumeName"):
        before["volumeName"] = spec["volumeName"]
    wanted, had = _storage(new, "spec", "storage"), _storage(old, "spec", "storage")
    if (new.get("status") or {}).get("phase") == "Bound" and (spec.get("resources") or {}).get("requests") is not None:
        spec["resources"] = {**spec["resources"], "requests": {**spec["resources"]["requests"], "storage": had}}
    if spec.get("volumeAttributesClassName") and (new.get("status") or {}).get("phase") == "Bound":
        spec["volumeAttributesClassName"] = before["volumeAttributesClassName"] = ""
    if spec != before:
        e.forbidden("spec", CLAIM_FROZEN + rules.difference(before, spec))
    if quantity.compare(wanted, had) < 0 and quantity.compare(wanted, _storage(old, "status", "storage")) <= 0:
        e.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    e.immutable("volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode"))
