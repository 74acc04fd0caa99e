"""The volumes of a pod spec: one source each, every kind of source with its own rules.

`check` answers the volumes that are sound, by name: mounts are checked against those. The order of the sources is stock's,
since a second source is reported where stock would meet it. Projected volumes have a file of their own.
"""

import re
from collections.abc import Callable
from typing import Any

from kapi.objects import names, quantity
from kapi.registry.kinds import projections
from kapi.registry.kinds.paths import backsteps, descending, file_mode, key_to_path
from kapi.registry.kinds.rules import Errors
from kapi.registry.kinds.volume_claims import claim_template

Object = dict[str, Any]
Check = Callable[[Errors, str, Object], None]

HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PARTITION = (0, 255, "must be between 1 and 255, inclusive")
_ISCSI_NAMES = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$").search,
    "eui": re.compile(r"^eui.[A-Za-z0-9]{16}$").search,
    "naa": re.compile(r"^naa.[A-Za-z0-9]{32}$").search,
}
_REGISTRY = "must be a host:port pair or multiple pairs separated by commas"
_AZURE_MANAGED = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_AZURE_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def _needs(*wanted: str) -> Check:
    """A source of which some fields must be set."""

    def check(e: Errors, field: str, source: Object) -> None:
        for name in wanted:
            e.need(f"{field}.{name}", source.get(name))

    return check



def _empty_dir(e: Errors, field: str, source: Object) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.compare(limit, None) < 0:
        e.forbidden(f"{field}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(e: Errors, field: str, source: Object) -> None:
    if e.need(f"{field}.path", source.get("path")):
        backsteps(e, f"{field}.path", source["path"])
        if "type" in source and source["type"] not in HOST_PATH_TYPES:
            e.unsupported(f"{field}.type", source["type"], HOST_PATH_TYPES)


def _git_repo(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.repository", source.get("repository"))
    descending(e, f"{field}.directory", source.get("directory") or "")


def _disk(name: str) -> Check:
    def check(e: Errors, field: str, source: Object) -> None:
        e.need(f"{field}.{name}", source.get(name))
        partition = source.get("partition") or 0
        if not _PARTITION[0] <= partition <= _PARTITION[1]:
            e.invalid(f"{field}.partition", partition, _PARTITION[2])

    return check


def _keyed(name: str) -> Check:
    """A Secret or ConfigMap as files."""

    def check(e: Errors, field: str, source: Object) -> None:
        e.need(f"{field}.{name}", source.get(name))
        file_mode(e, f"{field}.defaultMode", source.get("defaultMode"))
        for i, item in enumerate(source.get("items") or ()):
            key_to_path(e, f"{field}.items[{i}]", item)

    return check


def _nfs(e: Errors, field: str, source: Object) -> None:
    path = source.get("path") or ""
    e.need(f"{field}.server", source.get("server"))
    e.need(f"{field}.path", path)
    if not path.startswith("/"):
        e.invalid(f"{field}.path", path, "must be an absolute path")


def _iscsi_name(e: Errors, field: str, name: str) -> None:
    matches = _ISCSI_NAMES.get(name[:3])
    if matches is None:
        e.invalid(field, name, "must be valid format starting with iqn, eui, or naa")
    elif not matches(name):
        e.invalid(field, name, "must be valid format")


def _iscsi(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.targetPortal", source.get("targetPortal"))
    if e.need(f"{field}.iqn", source.get("iqn")):
        _iscsi_name(e, f"{field}.iqn", source["iqn"])
    _lun(e, f"{field}.lun", source.get("lun") or 0)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        e.required(f"{field}.secretRef")
    if source.get("initiatorName") is not None:
        _iscsi_name(e, f"{field}.initiatorname", source["initiatorName"])


def _lun(e: Errors, field: str, lun: int) -> None:
    if not 0 <= lun <= 255:
        e.invalid(field, lun, "must be between 0 and 255, inclusive")


def _fc(e: Errors, field: str, source: Object) -> None:
    targets, wwids = source.get("targetWWNs") or [], source.get("wwids") or []
    if not targets and not wwids:
        e.required(f"{field}.targetWWNs", "must specify either targetWWNs or wwids, but not both")
    if targets and wwids:
        e.invalid(f"{field}.targetWWNs", targets, "targetWWNs and wwids can not be specified simultaneously")
    if targets and source.get("lun") is None:
        e.required(f"{field}.lun", "lun is required if targetWWNs is specified")
    elif targets:
        _lun(e, f"{field}.lun", source["lun"])


def _flocker(e: Errors, field: str, source: Object) -> None:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uuid:
        e.required(field, "one of datasetName and datasetUUID is required")
    if name and uuid:
        e.invalid(field, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if "/" in name:
        e.invalid(f"{field}.datasetName", name, "must not contain '/'")


def _secret_reference(e: Errors, field: str, source: Object) -> None:
    if source.get("secretRef") is not None:
        e.need(f"{field}.secretRef.name", source["secretRef"].get("name"))


def _cinder(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.volumeID", source.get("volumeID"))
    _secret_reference(e, field, source)


def _quobyte(e: Errors, field: str, source: Object) -> None:
    registry = source.get("registry") or ""
    if not registry:
        e.required(f"{field}.registry", _REGISTRY)
    elif len(source.get("tenant") or "") >= 65:
        e.required(f"{field}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in registry.split(","):
            if not re.fullmatch(r"([^:\[\]]*|\[[^\[\]]*\]):[^:\[\]]*", pair):
                e.invalid(f"{field}.registry", registry, _REGISTRY)
    e.need(f"{field}.volume", source.get("volume"))


def _flex(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.driver", source.get("driver"))
    for key in source.get("options") or ():
        space = "." + key.partition("/")[0].lower()
        if space.endswith((".kubernetes.io", ".k8s.io")):
            e.invalid(f"{field}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved")


def _azure_disk(e: Errors, field: str, source: Object) -> None:
    uri = source.get("diskURI") or ""
    e.need(f"{field}.diskName", source.get("diskName"))
    e.need(f"{field}.diskURI", uri)
    if "cachingMode" in source:
        e.enum(f"{field}.cachingMode", source["cachingMode"], ("None", "ReadOnly", "ReadWrite"))
    kind = source.get("kind")
    if kind is None:
        return
    e.enum(f"{field}.kind", kind, ("Dedicated", "Managed", "Shared"))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        e.unsupported(f"{field}.diskURI", uri, (_AZURE_MANAGED,))
    if kind != "Managed" and not uri.startswith("https://"):
        e.unsupported(f"{field}.diskURI", uri, (_AZURE_BLOB,))


def _storageos(e: Errors, field: str, source: Object) -> None:
    e.named(f"{field}.volumeName", source.get("volumeName") or "", names.dns_label)
    if source.get("volumeNamespace"):
        e.text(f"{field}.volumeNamespace", source["volumeNamespace"], names.dns_label)
    _secret_reference(e, field, source)


def csi_driver_name(e: Errors, field: str, driver: str) -> None:
    if not e.need(field, driver):
        return
    if len(driver) > 63:
        e.too_long(field, 63)
    for message in names.dns_subdomain(driver.lower()):
        e.invalid(field, driver, message)


def _csi(e: Errors, field: str, source: Object) -> None:
    csi_driver_name(e, f"{field}.driver", source.get("driver") or "")
    secret = source.get("nodePublishSecretRef")
    if secret is not None and e.need(f"{field}.nodePublishSecretRef.name", secret.get("name")):
        e.text(f"{field}.name", secret["name"], names.dns_subdomain)


def _ephemeral(e: Errors, field: str, source: Object) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        e.required(f"{field}.volumeClaimTemplate")
    else:
        claim_template(e, f"{field}.volumeClaimTemplate", template)


def pull_policy(e: Errors, field: str, policy: str | None) -> None:
    if policy not in PULL_POLICIES:
        e.enum(field, policy, PULL_POLICIES, need="")


def _image(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.reference", source.get("reference"))
    pull_policy(e, f"{field}.pullPolicy", source.get("pullPolicy"))


SOURCES: dict[str, tuple[str, str, Check]] = {
    # wire name: (name in "more than one", name in its own causes, check), in the order stock looks at them
    "emptyDir": ("emptyDir", "emptyDir", _empty_dir),
    "hostPath": ("hostPath", "hostPath", _host_path),
    "gitRepo": ("gitRepo", "gitRepo", _git_repo),
    "gcePersistentDisk": ("gcePersistentDisk", "persistentDisk", _disk("pdName")),
    "awsElasticBlockStore": ("awsElasticBlockStore", "awsElasticBlockStore", _disk("volumeID")),
    "secret": ("secret", "secret", _keyed("secretName")),
    "nfs": ("nfs", "nfs", _nfs),
    "iscsi": ("iscsi", "iscsi", _iscsi),
    "glusterfs": ("glusterfs", "glusterfs", _needs("endpoints", "path")),
    "flocker": ("flocker", "flocker", _flocker),
    "persistentVolumeClaim": ("persistentVolumeClaim", "persistentVolumeClaim", _needs("claimName")),
    "rbd": ("rbd", "rbd", _needs("monitors", "image")),
    "cinder": ("cinder", "cinder", _cinder),
    "cephfs": ("cephFS", "cephfs", _needs("monitors")),
    "quobyte": ("quobyte", "quobyte", _quobyte),
    "downwardAPI": ("downwarAPI", "downwardAPI", projections.downward_volume),
    "fc": ("fc", "fc", _fc),
    "flexVolume": ("flexVolume", "flexVolume", _flex),
    "configMap": ("configMap", "configMap", _keyed("name")),
    "azureFile": ("azureFile", "azureFile", _needs("secretName", "shareName")),
    "vsphereVolume": ("vsphereVolume", "vsphereVolume", _needs("volumePath")),
    "photonPersistentDisk": ("photonPersistentDisk", "photonPersistentDisk", _needs("pdID")),
    "portworxVolume": ("portworxVolume", "portworxVolume", _needs("volumeID")),
    "azureDisk": ("azureDisk", "azureDisk", _azure_disk),
    "storageos": ("storageos", "storageos", _storageos),
    "projected": ("projected", "projected", projections.projected_volume),
    "scaleIO": ("scaleIO", "scaleIO", _needs("gateway", "system", "volumeName")),
    "csi": ("csi", "csi", _csi),
    "ephemeral": ("ephemeral", "ephemeral", _ephemeral),
    "image": ("image", "image", _image),
}
_ORDER = {name: i for i, name in enumerate(SOURCES)}


def _source(e: Errors, field: str, volume: Object, pod_name: str) -> None:
    kinds = [kind for kind in volume if kind in SOURCES]
    if len(kinds) > 1:
        kinds.sort(key=_ORDER.__getitem__)
    if not kinds:
        e.required(field, "must specify a volume type")
    name = volume.get("name") or ""
    for i, kind in enumerate(kinds):
        extra, own, check = SOURCES[kind]
        if i:
            e.forbidden(f"{field}.{extra}", "may not specify more than 1 volume type")
        else:
            check(e, f"{field}.{own}", volume[kind])
        if kind == "iscsi" and "initiatorName" in volume[kind] and len(f"{name}:{volume[kind].get('targetPortal') or ''}") > 64:
            e.invalid(f"{field}.name", name, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if"
                      " iscsi.initiatorName is specified.")
        if kind == "ephemeral" and not i and pod_name and name:
            claim = f"{pod_name}-{name}"
            for message in names.dns_subdomain(claim):
                e.invalid(f"{field}.name", name, f'PVC name "{claim}": {message}')


def check(e: Errors, field: str, volumes: list[Object], pod_name: str) -> dict[str, Object]:
    """The volumes whose causes are none, by name; `pod_name` is empty inside templates."""
    sound: dict[str, Object] = {}
    created = {f"{pod_name}-{v.get('name') or ''}" for v in volumes if "ephemeral" in v} if pod_name else set()
    for i, volume in enumerate(volumes):
        at, before, name = f"{field}[{i}]", len(e), volume.get("name") or ""
        _source(e, at, volume, pod_name)
        e.named(f"{at}.name", name, names.dns_label)
        if name in sound:
            e.duplicate(f"{at}.name", name)
        if len(e) == before:
            sound[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim and claim in created:
            e.invalid(f"{at}.persistentVolumeClaim.claimName", claim,
                      "must not reference a PVC that gets created for an ephemeral volume")
    return sound
