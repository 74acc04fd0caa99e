"""The volumes of a pod spec: one source each, every kind of source with its own rules.

`check` answers the volumes that are sound, by name: mounts are checked against those. The order of the sources is stock's,
since a second source is reported where stock would meet it. Projected volumes have a file of their own.
"""

import re
from collections.abc import Callable

from kapi.objects import names, quantity
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry.kinds.core.pods import projections
from kapi.registry.kinds.core.volume_claims import claim_template
from kapi.registry.kinds.storage import driver_name
from kapi.registry.validation.part import Part, validate_cached
from kapi.registry.validation.paths import backsteps, descending, file_mode, key_to_path
from kapi.registry.validation.rules import Errors

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_ISCSI_NAMES = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$").search,
    "eui": re.compile(r"^eui.[A-Za-z0-9]{16}$").search,
    "naa": re.compile(r"^naa.[A-Za-z0-9]{32}$").search,
}
_REGISTRY = "must be a host:port pair or multiple pairs separated by commas"
_AZURE_MANAGED = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_AZURE_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


Rule = Callable[[Part], object]


def _needs(*fields: str, then: Rule | None = None) -> Rule:
    """The rule of a source: required fields, and a further check."""

    def check(source: Part) -> None:
        for name in fields:
            source.need(name)
        if then is not None:
            then(source)

    return check


def _empty_dir(source: Part) -> None:
    if quantity.compare(source.get("sizeLimit"), None) < 0:
        source.forbidden("sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(source: Part) -> None:
    if source.need("path"):
        backsteps(source, "path")
        source.choice("type", HOST_PATH_TYPES)


def _disk(source: Part) -> None:
    if not 0 <= source.number("partition") <= 255:
        source.invalid("partition", "must be between 1 and 255, inclusive")


def _keyed(source: Part) -> None:
    """A Secret or ConfigMap as files."""
    file_mode(source, "defaultMode")
    for item in source.parts("items"):
        key_to_path(item)


def _nfs(source: Part) -> None:
    if not source.text("path").startswith("/"):
        source.e.invalid(source.path("path"), source.text("path"), "must be an absolute path")


def _iscsi_name(e: Errors, field: str, name: str) -> None:
    matches = _ISCSI_NAMES.get(name[:3])
    if matches is None:
        e.invalid(field, name, "must be valid format starting with iqn, eui, or naa")
    elif not matches(name):
        e.invalid(field, name, "must be valid format")


def _iscsi(source: Part) -> None:
    if source.need("iqn"):
        _iscsi_name(source.e, source.path("iqn"), source.text("iqn"))
    source.between("lun", 0, 255)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and "secretRef" not in source:
        source.required("secretRef")
    if "initiatorName" in source:
        _iscsi_name(source.e, source.path("initiatorname"), source.text("initiatorName"))


def _fc(source: Part) -> None:
    targets, wwids = source.items("targetWWNs"), source.items("wwids")
    if not targets and not wwids:
        source.required("targetWWNs", "must specify either targetWWNs or wwids, but not both")
    if targets and wwids:
        source.invalid("targetWWNs", "targetWWNs and wwids can not be specified simultaneously")
    if targets and "lun" not in source:
        source.required("lun", "lun is required if targetWWNs is specified")
    elif targets:
        source.between("lun", 0, 255)


def _flocker(source: Part) -> None:
    name, uuid = source.text("datasetName"), source.text("datasetUUID")
    if not name and not uuid:
        source.e.required(source.at, "one of datasetName and datasetUUID is required")
    if name and uuid:
        source.e.invalid(source.at, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if "/" in name:
        source.invalid("datasetName", "must not contain '/'")


def _secret_reference(source: Part) -> None:
    if "secretRef" in source:
        source.part("secretRef").need("name")


def _quobyte(source: Part) -> None:
    if not source.text("registry"):
        source.required("registry", _REGISTRY)
    elif len(source.text("tenant")) >= 65:
        source.required("tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in source.text("registry").split(","):
            if not re.fullmatch(r"([^:\[\]]*|\[[^\[\]]*\]):[^:\[\]]*", pair):
                source.invalid("registry", _REGISTRY)
    source.need("volume")


def _flex(source: Part) -> None:
    for at, key, _ in source.entries("options"):
        space = "." + key.partition("/")[0].lower()
        if space.endswith((".kubernetes.io", ".k8s.io")):
            source.e.invalid(at, key, "kubernetes.io and k8s.io namespaces are reserved")


def _azure_disk(source: Part) -> None:
    kind = source.get("kind")
    source.choice("cachingMode", ("None", "ReadOnly", "ReadWrite"))
    source.choice("kind", ("Dedicated", "Managed", "Shared"))
    start, form = ("/subscriptions/", _AZURE_MANAGED) if kind == "Managed" else ("https://", _AZURE_BLOB)
    if kind is not None and not source.text("diskURI").startswith(start):
        source.unsupported("diskURI", (form,))


def _storageos(source: Part) -> None:
    source.named("volumeName", names.dns_label)
    source.filled("volumeNamespace", names.dns_label)
    _secret_reference(source)


def _csi(source: Part) -> None:
    driver_name(source.e, source.path("driver"), source.text("driver"))
    secret = source.part("nodePublishSecretRef")
    if "nodePublishSecretRef" in source and secret.need("name"):
        source.e.text(source.path("name"), secret.text("name"), names.dns_subdomain)


def _ephemeral(source: Part) -> None:
    if "volumeClaimTemplate" in source:
        claim_template(source.part("volumeClaimTemplate"))
    else:
        source.required("volumeClaimTemplate")


SOURCES: dict[str, Rule] = {
    # by wire name, in the order stock looks at them
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _needs("repository", then=lambda source: descending(source, "directory")),
    "gcePersistentDisk": _needs("pdName", then=_disk),
    "awsElasticBlockStore": _needs("volumeID", then=_disk),
    "secret": _needs("secretName", then=_keyed),
    "nfs": _needs("server", "path", then=_nfs),
    "iscsi": _needs("targetPortal", then=_iscsi),
    "glusterfs": _needs("endpoints", "path"),
    "flocker": _flocker,
    "persistentVolumeClaim": _needs("claimName"),
    "rbd": _needs("monitors", "image"),
    "cinder": _needs("volumeID", then=_secret_reference),
    "cephfs": _needs("monitors"),
    "quobyte": _quobyte,
    "downwardAPI": projections.downward_volume,
    "fc": _fc,
    "flexVolume": _needs("driver", then=_flex),
    "configMap": _needs("name", then=_keyed),
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": _needs("diskName", "diskURI", then=_azure_disk),
    "storageos": _storageos,
    "projected": projections.projected_volume,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _needs("reference", then=lambda source: source.enum("pullPolicy", PULL_POLICIES, need="")),
}
_NAMES_OF_SECOND = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
_NAMES_IN_CAUSES = {"gcePersistentDisk": "persistentDisk"}
"""Where stock's messages call a source something else."""
_ORDER = {name: i for i, name in enumerate(SOURCES)}


def source(owner: Part, kind: str) -> None:
    """What must hold for a source of that kind in a volume."""
    validate_cached(SOURCES[kind], Part(owner.e, owner.path(_NAMES_IN_CAUSES.get(kind, kind)), owner.get(kind)))


def _one_source(volume: Part, pod_name: str) -> None:
    kinds = [kind for kind in volume.obj if kind in SOURCES]
    if len(kinds) > 1:
        kinds.sort(key=_ORDER.__getitem__)
    if not kinds:
        volume.e.required(volume.at, "must specify a volume type")
    name = volume.text("name")
    for i, kind in enumerate(kinds):
        if i:
            volume.forbidden(_NAMES_OF_SECOND.get(kind, kind), "may not specify more than 1 volume type")
        else:
            source(volume, kind)
        iscsi = volume.obj[kind] if kind == "iscsi" else {}
        if "initiatorName" in iscsi and len(f"{name}:{iscsi.get('targetPortal') or ''}") > 64:
            volume.e.invalid(volume.path("name"), name, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters"
                             " if iscsi.initiatorName is specified.")
        if kind == "ephemeral" and not i and pod_name and name:
            claim = f"{pod_name}-{name}"
            for message in names.dns_subdomain(claim):
                volume.invalid("name", f"PVC name {go_quote(claim)}: {message}")


def check(spec: Part, pod_name: str) -> dict[str, Object]:
    """The volumes whose causes are none, by name; `pod_name` is empty inside templates."""
    valid: dict[str, Object] = {}
    created = {f"{pod_name}-{v.get('name') or ''}" for v in spec.items("volumes") if "ephemeral" in v} if pod_name else set()
    for volume in spec.parts("volumes"):
        before, name = len(spec.e), volume.text("name")
        _one_source(volume, pod_name)
        volume.named("name", names.dns_label)
        if name in valid:
            volume.duplicate("name")
        if len(spec.e) == before:
            valid[name] = volume.obj
        claim = volume.part("persistentVolumeClaim") if created else volume
        if claim.text("claimName") in created:
            claim.invalid("claimName", "must not reference a PVC that gets created for an ephemeral volume")
    return valid
