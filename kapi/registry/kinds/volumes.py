"""The volumes of a pod spec: one source each, every kind of source with its own rules.

`check` answers the volumes that are sound, by name: mounts are checked against those. The order of the sources is stock's,
since a second source is reported where stock would meet it. Projected volumes have a file of their own.
"""

import re
from typing import Any

from kapi.objects import names, quantity
from kapi.registry.kinds import projections
from kapi.registry.kinds.part import Part
from kapi.registry.kinds.paths import backsteps, descending, file_mode, key_to_path
from kapi.registry.kinds.rules import Errors, Rule, each, one_of, present
from kapi.registry.kinds.volume_claims import claim_template

Object = dict[str, Any]

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


def _needs(*wanted: str, then: Rule | None = None) -> Rule:
    """A source of which some fields must be set, and what else is asked of it."""

    def check(e: Errors, field: str, source: Object) -> None:
        for name in wanted:
            e.need(f"{field}.{name}", source.get(name))
        if then is not None:
            then(e, field, source)

    return check


def _empty_dir(e: Errors, field: str, source: Object) -> None:
    if quantity.compare(source.get("sizeLimit"), None) < 0:
        e.forbidden(f"{field}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(e: Errors, field: str, source: Object) -> None:
    if e.need(f"{field}.path", source.get("path")):
        backsteps(e, f"{field}.path", source["path"])
        present(e, field, source, {"type": one_of(*HOST_PATH_TYPES)})


def _disk(e: Errors, field: str, source: Object) -> None:
    partition = source.get("partition") or 0
    if not 0 <= partition <= 255:
        e.invalid(f"{field}.partition", partition, "must be between 1 and 255, inclusive")


def _keyed(e: Errors, field: str, source: Object) -> None:
    """A Secret or ConfigMap as files."""
    file_mode(e, f"{field}.defaultMode", source.get("defaultMode"))
    for at, item in each(field, source, "items"):
        key_to_path(e, at, item)


def _nfs(e: Errors, field: str, source: Object) -> None:
    path = source.get("path") or ""
    if not path.startswith("/"):
        e.invalid(f"{field}.path", path, "must be an absolute path")


def _iscsi_name(e: Errors, field: str, name: str) -> None:
    matches = _ISCSI_NAMES.get(name[:3])
    if matches is None:
        e.invalid(field, name, "must be valid format starting with iqn, eui, or naa")
    elif not matches(name):
        e.invalid(field, name, "must be valid format")


def _iscsi(e: Errors, field: str, source: Object) -> None:
    if e.need(f"{field}.iqn", source.get("iqn")):
        _iscsi_name(e, f"{field}.iqn", source["iqn"])
    e.between(f"{field}.lun", source.get("lun") or 0, 0, 255)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        e.required(f"{field}.secretRef")
    if source.get("initiatorName") is not None:
        _iscsi_name(e, f"{field}.initiatorname", source["initiatorName"])


def _fc(e: Errors, field: str, source: Object) -> None:
    targets, wwids = source.get("targetWWNs") or [], source.get("wwids") or []
    if not targets and not wwids:
        e.required(f"{field}.targetWWNs", "must specify either targetWWNs or wwids, but not both")
    if targets and wwids:
        e.invalid(f"{field}.targetWWNs", targets, "targetWWNs and wwids can not be specified simultaneously")
    if targets and source.get("lun") is None:
        e.required(f"{field}.lun", "lun is required if targetWWNs is specified")
    elif targets:
        e.between(f"{field}.lun", source["lun"], 0, 255)


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
    for key in source.get("options") or ():
        space = "." + key.partition("/")[0].lower()
        if space.endswith((".kubernetes.io", ".k8s.io")):
            e.invalid(f"{field}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved")


_AZURE = {"cachingMode": one_of("None", "ReadOnly", "ReadWrite"), "kind": one_of("Dedicated", "Managed", "Shared")}


def _azure_disk(e: Errors, field: str, source: Object) -> None:
    uri, kind = source.get("diskURI") or "", source.get("kind")
    present(e, field, source, _AZURE)
    start, form = ("/subscriptions/", _AZURE_MANAGED) if kind == "Managed" else ("https://", _AZURE_BLOB)
    if kind is not None and not uri.startswith(start):
        e.unsupported(f"{field}.diskURI", uri, (form,))


def _storageos(e: Errors, field: str, source: Object) -> None:
    e.named(f"{field}.volumeName", source.get("volumeName") or "", names.dns_label)
    e.optional(field, source, "volumeNamespace", names.dns_label)
    _secret_reference(e, field, source)


def csi_driver_name(e: Errors, field: str, driver: str) -> None:
    if not e.need(field, driver):
        return
    e.longest(field, driver, 63)
    for message in names.dns_subdomain(driver.lower()):
        e.invalid(field, driver, message)


def _csi(e: Errors, field: str, source: Object) -> None:
    csi_driver_name(e, f"{field}.driver", source.get("driver") or "")
    secret = source.get("nodePublishSecretRef")
    if secret is not None and e.need(f"{field}.nodePublishSecretRef.name", secret.get("name")):
        e.text(f"{field}.name", secret["name"], names.dns_subdomain)


def _ephemeral(e: Errors, field: str, source: Object) -> None:
    if source.get("volumeClaimTemplate") is None:
        e.required(f"{field}.volumeClaimTemplate")
    else:
        claim_template(Part(e, f"{field}.volumeClaimTemplate", source["volumeClaimTemplate"]))


pull_policy = one_of(*PULL_POLICIES, need="")


SOURCES: dict[str, Rule] = {
    # by wire name, in the order stock looks at them
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _needs("repository", then=lambda e, at, source: descending(e, f"{at}.directory", source.get("directory") or "")),
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
    "image": _needs("reference", then=lambda e, at, source: pull_policy(e, f"{at}.pullPolicy", source.get("pullPolicy"))),
}
_NAMES_OF_SECOND = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
_NAMES_IN_CAUSES = {"gcePersistentDisk": "persistentDisk"}
"""Where stock's messages call a source something else."""
_ORDER = {name: i for i, name in enumerate(SOURCES)}


def source(e: Errors, at: str, kind: str, value: Object) -> None:
    """What must hold for a source of that kind at `at`."""
    SOURCES[kind](e, f"{at}.{_NAMES_IN_CAUSES.get(kind, kind)}", value)


def _one_source(e: Errors, field: str, volume: Object, pod_name: str) -> None:
    kinds = [kind for kind in volume if kind in SOURCES]
    if len(kinds) > 1:
        kinds.sort(key=_ORDER.__getitem__)
    if not kinds:
        e.required(field, "must specify a volume type")
    name = volume.get("name") or ""
    for i, kind in enumerate(kinds):
        if i:
            e.forbidden(f"{field}.{_NAMES_OF_SECOND.get(kind, kind)}", "may not specify more than 1 volume type")
        else:
            source(e, field, kind, volume[kind])
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
        _one_source(e, at, volume, pod_name)
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
