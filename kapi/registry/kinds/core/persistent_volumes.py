"""PersistentVolume and PersistentVolumeClaim."""

import posixpath
from typing import Any

from kapi.objects import meta, names, quantity, time
from kapi.objects.meta import Object
from kapi.registry.kinds import storage
from kapi.registry.kinds.core import volume_claims
from kapi.registry.kinds.core.pods import volumes
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, RuledStrategy
from kapi.registry.validation.rules import Errors

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
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


class PersistentVolumeStrategy(RuledStrategy):
    """core/v1 PersistentVolume."""

    returns_deleted = True
    generation = False
    columns = rules.columns(
        "Name", "Capacity@spec.capacity.storage=core.v1.PersistentVolumeSpec.capacity",
        "Access Modes=core.v1.PersistentVolumeSpec.accessModes",
        "Reclaim Policy@spec.persistentVolumeReclaimPolicy", "Status=core.v1.PersistentVolumeStatus.phase",
        "Claim=core.v1.PersistentVolumeSpec.claimRef", "StorageClass: StorageClass of the pv",
        "VolumeAttributesClass@spec.volumeAttributesClassName|<unset>: VolumeAttributesClass of the pv",
        "Reason@status.reason", "Age",
        "VolumeMode+@spec.volumeMode|<unset>",
        of="core.v1.PersistentVolume",
    )  # fmt: skip
    defaults = {"spec.volumeMode": "Filesystem"}
    defaults_of_empty = {
        "spec.persistentVolumeReclaimPolicy": "Retain", "spec.hostPath.type": "",
        "spec.rbd.pool": "rbd", "spec.rbd.user": "admin", "spec.rbd.keyring": "/etc/ceph/keyring",
        "spec.iscsi.iscsiInterface": "default",
        "spec.azureDisk.cachingMode": "ReadWrite", "spec.azureDisk.kind": "Shared", "spec.azureDisk.fsType": "ext4",
        "spec.azureDisk.readOnly": False,
        "spec.scaleIO.storageMode": "ThinProvisioned", "spec.scaleIO.fsType": "xfs",
    }  # fmt: skip

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {"phase": "Pending", "lastPhaseTransitionTime": time.stamp()}

    def prepare_status(self, new: Object, old: Object) -> None:
        status, before = new.setdefault("status", {}), old.get("status") or {}
        if status.get("phase") != before.get("phase"):
            status["lastPhaseTransitionTime"] = time.stamp()

    def check(self, new: Part, old: Object | None) -> None:
        _check_volume(new.part("spec"))
        if old is not None:
            new.e.extend(list(new.e))
            _check_volume_change(new.e, new.obj["spec"], old["spec"])

    def cells(self, obj: Object) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        claim = f"{spec['claimRef'].get('namespace', '')}/{spec['claimRef'].get('name', '')}" if spec.get("claimRef") else ""
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
        return [short_modes(spec.get("accessModes")), phase, claim, storage_class(obj)]


def _check_volume(spec: Part) -> None:
    modes = spec.items("accessModes")
    spec.need("accessModes")
    for mode in modes:
        spec.e.enum("spec.accessModes", mode, volume_claims.ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        spec.forbidden("accessModes", "may not use ReadWriteOncePod with other access modes")
    _check_capacity(spec)
    policy = spec.get("persistentVolumeReclaimPolicy")
    spec.enum("persistentVolumeReclaimPolicy", RECLAIM_POLICIES)
    _check_affinity(spec)
    _check_source(spec)
    if policy == "Recycle" and posixpath.normpath(spec.part("hostPath").text("path") or ".") == "/":
        spec.forbidden("persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")
    spec.filled("storageClassName", names.dns_subdomain)
    spec.choice("volumeMode", volume_claims.VOLUME_MODES)
    if "volumeAttributesClassName" in spec:
        spec.named("volumeAttributesClassName", names.dns_subdomain, "an empty string is disallowed")
        if "csi" not in spec:
            spec.required("csi", "has to be specified when using volumeAttributesClassName")


def _check_capacity(spec: Part) -> None:
    capacity = spec.part("capacity")
    spec.need("capacity")
    if list(capacity.obj) != ["storage"]:
        spec.e.unsupported(capacity.at, spec.get("capacity"), ("storage",))
    for name, value in capacity.obj.items():
        at = f"{capacity.at}[{name}]"
        if quantity.value(value) < 0:
            spec.e.invalid(at, quantity.value(value), "must be a valid resource quantity")
        if quantity.parse(value).nano <= 0:
            spec.e.invalid(at, quantity.canonical(value), "must be greater than zero")


def _check_affinity(spec: Part) -> None:
    affinity = spec.part("nodeAffinity")
    if "required" in affinity:
        rules.node_selector(spec.e, affinity.path("required"), affinity.get("required"))
    elif "nodeAffinity" in spec:
        affinity.required("required", "must specify required node constraints")


def _check_source(spec: Part) -> None:
    sources = [source for source in SOURCES if source in spec]
    for source in sources[:1]:
        if source == "local":
            _check_local(spec)
        elif source == "csi":
            _check_csi(spec.part("csi"))
        else:
            volumes.source(spec, source)
    for source in sources[1:]:
        spec.forbidden("cephFS" if source == "cephfs" else source, "may not specify more than 1 volume type")
    if not sources:
        spec.e.required(spec.at, "must specify a volume type")


def _check_local(spec: Part) -> None:
    local = spec.part("local")
    if local.need("path") and ".." in local.text("path").split("/"):
        local.invalid("path", "must not contain '..'")
    if not spec.get("nodeAffinity"):
        local.required("nodeAffinity", "Local volume requires node affinity")


def _check_csi(source: Part) -> None:
    storage.driver_name(source.e, source.path("driver"), source.text("driver"))
    source.need("volumeHandle")
    for field in ("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"):
        if field in source:
            source.part(field).need("name")
            source.part(field).need("namespace")


def _check_volume_change(e: Errors, spec: Object, before: Object) -> None:
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


class PersistentVolumeClaimStrategy(RuledStrategy):
    """core/v1 PersistentVolumeClaim."""

    returns_deleted = True
    generation = False
    columns = rules.columns(
        "Name", "Status=core.v1.PersistentVolumeClaimStatus.phase", "Volume@spec.volumeName",
        "Capacity=core.v1.PersistentVolumeClaimStatus.capacity", "Access Modes=core.v1.PersistentVolumeClaimStatus.accessModes",
        "StorageClass: StorageClass of the pvc",
        "VolumeAttributesClass@spec.volumeAttributesClassName|<unset>: VolumeAttributesClass of the pvc", "Age",
        "VolumeMode+@spec.volumeMode|<unset>",
        of="core.v1.PersistentVolumeClaim",
    )  # fmt: skip
    defaults = {"spec.volumeMode": "Filesystem"}
    initial_status = {"phase": "Pending"}

    def prepare(self, new: Object, old: Object | None) -> None:
        super().prepare(new, old)
        spec = new["spec"]
        if not (old or {}).get("spec", {}).get("dataSource") and not _copies(spec.get("dataSource")):
            spec.pop("dataSource", None)
        source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
        if source is not None and ref is None:
            spec["dataSourceRef"] = dict(source)
        elif ref is not None and source is None and not ref.get("namespace"):
            spec["dataSource"] = {k: v for k, v in ref.items() if k != "namespace"}

    def check(self, new: Part, old: Object | None) -> None:
        volume_claims.claim_spec(new.part("spec"))
        if old is not None:
            _check_claim_change(new.e, new.obj, old)

    def cells(self, obj: Object) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        bound = bool(spec.get("volumeName"))
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
        capacity = (status.get("capacity") or {}).get("storage", "0") if bound else ""
        return [phase, capacity, short_modes(status.get("accessModes")) if bound else "", storage_class(obj)]


def _copies(source: Object | None) -> bool:
    """Whether dataSource names something it always could: another claim or a snapshot. Of the rest only dataSourceRef speaks."""
    kind = (source or {}).get("kind"), (source or {}).get("apiGroup") or ""
    return kind in (("PersistentVolumeClaim", ""), ("VolumeSnapshot", "snapshot.storage.k8s.io"))


def _storage(obj: Object, part: str, field: str) -> Any:
    at = obj.get(part) or {}
    return ((at.get("resources") or {}).get("requests") or {}).get(field) if part == "spec" else (at.get("capacity") or {}).get(field)


def _check_claim_change(e: Errors, new: Object, old: Object) -> None:
    spec, before = dict(new["spec"]), dict(old["spec"])
    if not before.get("volumeName") and spec.get("volumeName"):
        before["volumeName"] = spec["volumeName"]
    size, old_size = _storage(new, "spec", "storage"), _storage(old, "spec", "storage")
    if (new.get("status") or {}).get("phase") == "Bound" and (spec.get("resources") or {}).get("requests") is not None:
        spec["resources"] = {**spec["resources"], "requests": {**spec["resources"]["requests"], "storage": old_size}}
    if spec.get("volumeAttributesClassName") and (new.get("status") or {}).get("phase") == "Bound":
        spec["volumeAttributesClassName"] = before["volumeAttributesClassName"] = ""
    if spec != before:
        e.forbidden("spec", CLAIM_FROZEN + rules.difference(before, spec))
    if quantity.compare(size, old_size) < 0 and quantity.compare(size, _storage(old, "status", "storage")) <= 0:
        e.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    e.immutable("volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode"))
