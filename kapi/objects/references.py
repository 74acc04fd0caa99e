"""References of pods and PersistentVolumes to other API objects: one table of the fields that have names.

Used by admission (references of mirror pods and of pods with a service account) and by the node authorizer (what a kubelet may read). A
test compares the tables with the types: a new field that may be a reference fails it until it is listed here or in the test.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote

SECRETS, CONFIG_MAPS, CLAIMS, ACCOUNTS = "secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"
RESOURCE_CLAIMS, DRIVERS, ENDPOINTS = "resourceclaims", "csidrivers", "endpoints"
MIRROR = "kubernetes.io/config.mirror"
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")

_CONTAINER = (
    (SECRETS, "env.valueFrom.secretKeyRef.name"),
    (SECRETS, "envFrom.secretRef.name"),
    (CONFIG_MAPS, "env.valueFrom.configMapKeyRef.name"),
    (CONFIG_MAPS, "envFrom.configMapRef.name"),
)
_VOLUME = (
    (SECRETS, "azureFile.secretName"),
    (SECRETS, "cephfs.secretRef.name"),
    (SECRETS, "cinder.secretRef.name"),
    (SECRETS, "csi.nodePublishSecretRef.name"),
    (SECRETS, "flexVolume.secretRef.name"),
    (SECRETS, "iscsi.secretRef.name"),
    (SECRETS, "projected.sources.secret.name"),
    (SECRETS, "rbd.secretRef.name"),
    (SECRETS, "scaleIO.secretRef.name"),
    (SECRETS, "secret.secretName"),
    (SECRETS, "storageos.secretRef.name"),
    (CONFIG_MAPS, "configMap.name"),
    (CONFIG_MAPS, "projected.sources.configMap.name"),
    (CLAIMS, "persistentVolumeClaim.claimName"),
    (DRIVERS, "csi.driver"),
    (ENDPOINTS, "glusterfs.endpoints"),
    ("clustertrustbundles", "projected.sources.clusterTrustBundle.name"),
)
POD: tuple[tuple[str, str], ...] = (
    (ACCOUNTS, "serviceAccountName"),
    (ACCOUNTS, "serviceAccount"),
    (SECRETS, "imagePullSecrets.name"),
    *((resource, f"{field}.{path}") for field in CONTAINERS for resource, path in _CONTAINER),
    (RESOURCE_CLAIMS, "resourceClaims.resourceClaimName"),
    *((resource, f"volumes.{path}") for resource, path in _VOLUME),
)
"""(resource, path from spec); lists on the path are iterated."""

VOLUME: dict[str, str] = {
    "configMap": "configmaps (via configmap volumes)",
    "secret": "secrets (via secret volumes)",
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
    **dict.fromkeys(
        (
            "awsElasticBlockStore", "azureDisk", "cephfs", "cinder", "downwardAPI", "emptyDir", "fc", "flexVolume", "flocker",
            "gcePersistentDisk", "gitRepo", "hostPath", "image", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume", "quobyte",
            "rbd", "scaleIO", "storageos", "vsphereVolume", "projected",
        ),
        "",
    ),
}  # fmt: skip
"""Volume type -> what it refers to, in stock's words; "": only names in the table above."""
PROJECTION: dict[str, str] = {
    "configMap": "configmaps (via projected volumes)",
    "secret": "secrets (via projected volumes)",
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
    "downwardAPI": "",
}
"""The same for the sources of a projected volume."""

Tree = dict[str, "Tree | None"]
"""The paths merged into a tree: field -> subtree, None at a name."""


def _tree(paths: Iterator[str]) -> Tree:
    out: Tree = {}
    for path in paths:
        *way, last = path.split(".")
        at = out
        for field in way:
            step = at.setdefault(field, {})
            assert step is not None
            at = step
        at[last] = None
    return out


_TREES = {resource: _tree(path for found, path in POD if found == resource) for resource, _ in POD}


def _found(value: Any, tree: Tree | None) -> Iterator[str]:
    """The names in `value` below the tree; empty strings are skipped."""
    if tree is None:
        if value:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _found(item, tree)
    elif isinstance(value, dict):
        for field, rest in tree.items():
            if (held := value.get(field)) is not None:
                yield from _found(held, rest)


def is_mirror(pod: Object) -> bool:
    """Whether the pod is a mirror pod: it represents a static pod, its spec is immutable, and its references do not count."""
    return MIRROR in ((pod.get("metadata") or {}).get("annotations") or {})


def in_spec(spec: Object, resource: str) -> Iterator[str]:
    """Names of this resource in a pod's spec."""
    return _found(spec, _TREES[resource])


def of_pod(pod: Object, resource: str) -> Iterator[str]:
    """Names of this resource that a pod uses: those in its spec, and those of objects created for it."""
    spec = pod.get("spec") or {}
    yield from in_spec(spec, resource)
    if resource == CLAIMS:
        yield from (f"{pod['metadata']['name']}-{volume['name']}" for volume in spec.get("volumes") or () if "ephemeral" in volume)
    elif resource == RESOURCE_CLAIMS:
        status = pod.get("status") or {}
        made = {entry.get("name"): entry.get("resourceClaimName") for entry in status.get("resourceClaimStatuses") or ()}
        yield from (name for claim in spec.get("resourceClaims") or () if (name := made.get(claim.get("name"))))
        if name := (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName"):
            yield name


def first(spec: Object) -> str:
    """The first API object that a spec refers to, in stock's words and order: "secrets", "csidrivers (via CSI volumes)"; "": none.

    Raises ValueError for an unknown volume type.
    """
    for resource in (ACCOUNTS, SECRETS, CONFIG_MAPS):
        if any(True for _ in in_spec(spec, resource)):
            return resource
    if spec.get("resourceClaims"):
        return RESOURCE_CLAIMS
    for volume in spec.get("volumes") or ():
        if found := _volume(volume):
            return found
    return ""


def _volume(volume: Object) -> str:
    types = [field for field, source in volume.items() if field != "name" and source is not None]
    if not types or any(field not in VOLUME for field in types):
        raise ValueError(f'unknown volume type for volume  {go_quote(volume.get("name", ""))}')
    found = [VOLUME[field] for field in types]
    for source in (volume.get("projected") or {}).get("sources") or ():
        fields = [field for field, value in source.items() if value is not None]
        if not fields or any(field not in PROJECTION for field in fields):
            raise ValueError(f'unknown source for projected volume {go_quote(volume.get("name", ""))}')
        found += [PROJECTION[field] for field in fields]
    return next((text for text in found if text), "")


# persistent volumes -----------------------------------------------------------------------------------------------------------------

VOLUME_SECRETS: tuple[tuple[str, bool], ...] = (
    ("rbd.secretRef", True),
    ("iscsi.secretRef", True),
    ("cephfs.secretRef", True),
    ("flexVolume.secretRef", True),
    ("scaleIO.secretRef", True),
    ("cinder.secretRef", False),
    ("storageos.secretRef", False),
    ("csi.nodePublishSecretRef", False),
    ("csi.nodeStageSecretRef", False),
    ("csi.nodeExpandSecretRef", False),
)
"""Paths of Secret references in a PersistentVolume's spec that a node reads -> whether the default namespace is the claim's.

azureFile has two fields of its own. References for the controllers of a CSI driver are not included.
"""


class Secret(NamedTuple):
    """The namespace and name of a Secret."""

    namespace: str
    name: str


def volume_secrets(volume: Object) -> Iterator[Secret]:
    """The Secrets that a node reads for a PersistentVolume."""
    spec = volume.get("spec") or {}
    home = (spec.get("claimRef") or {}).get("namespace") or ""
    if file := spec.get("azureFile"):
        yield Secret(file.get("secretNamespace") or home, file.get("secretName") or "")
    for path, claims in VOLUME_SECRETS:
        driver, field = path.split(".")
        if reference := (spec.get(driver) or {}).get(field):
            yield Secret(reference.get("namespace") or (home if claims else ""), reference.get("name") or "")
