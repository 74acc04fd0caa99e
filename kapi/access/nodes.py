"""The Node authorizer: a kubelet may do what kubelets do, and of secrets, config maps, claims, volumes and tokens only those its pods use.

Facts: Kubernetes docs, "Using Node Authorization"; the rest of a kubelet's rights are those of the ClusterRole system:node.
"""

from collections.abc import Iterator
from typing import Any

from kapi.access.rules import Compiled
from kapi.objects.user import Attributes, Decision, User
from kapi.storage.store import Store

Object = dict[str, Any]

GROUP = "system:nodes"
PREFIX = "system:node:"
_READ = frozenset({"get", "list", "watch"})
_STORAGE, _RESOURCE = "storage.k8s.io", "resource.k8s.io"

RULES: tuple[tuple[str, str, str], ...] = (
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
    ("get list watch", "", "services"),
    ("create get list watch", "", "nodes"),
    ("update patch", "", "nodes nodes/status"),
    ("create patch update", "", "events"),
    ("create patch update", "events.k8s.io", "events"),
    ("get", "", "endpoints"),
    ("create delete get list watch", "", "pods"),
    ("update patch", "", "pods/status"),
    ("create", "", "pods/eviction"),
    ("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ("get list watch", "certificates.k8s.io", "clustertrustbundles"),
    ("get list watch", "node.k8s.io", "runtimeclasses"),
    ("get list watch", _STORAGE, "csidrivers"),
)
"""Verbs, group, resources a kubelet has whatever the name."""


class Nodes:
    """Answers for users in system:nodes; has no opinion on others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules = [Compiled({"verbs": v.split(), "apiGroups": [g], "resources": r.split()}) for v, g, r in RULES]

    def authorize(self, asked: Attributes) -> Decision:
        if GROUP not in asked.user.groups:
            return Decision(False)
        if not (node := name_of(asked.user)):
            return Decision(False, f'unknown node for user "{asked.user.name}"')
        related = self._related(node, asked)
        if related is not None:
            return related
        return Decision(any(rule.allows(asked) for rule in self._rules))

    def _related(self, node: str, asked: Attributes) -> Decision | None:
        """The answer for resources that depend on the node; None for the others."""
        match (asked.group, asked.resource, asked.subresource):
            case ("", "secrets" | "configmaps" as plural, _):
                return self._used(node, asked, plural, _READ)
            case ("", "persistentvolumeclaims", "status"):
                return self._used(node, asked, "persistentvolumeclaims", frozenset({"get", "update", "patch"}))
            case ("", "persistentvolumeclaims" | "persistentvolumes" as plural, ""):
                return self._used(node, asked, plural, frozenset({"get"}))
            case ("", "serviceaccounts", subresource):
                wanted = frozenset({"create"} if subresource == "token" else {"get"})
                return self._used(node, asked, "serviceaccounts", wanted)
            case (group, "volumeattachments", "") if group == _STORAGE:
                return self._attachment(node, asked)
            case ("coordination.k8s.io", "leases", ""):
                return self._own(node, asked, "kube-node-lease")
            case (group, "csinodes", "") if group == _STORAGE:
                return self._own(node, asked, "")
            case (group, "resourceclaims", "") if group == _RESOURCE:
                return self._used(node, asked, "resourceclaims", frozenset({"get"}))
            case (group, "resourceslices", "") if group == _RESOURCE:
                return Decision(True)
        return None

    def _own(self, node: str, asked: Attributes, namespace: str) -> Decision:
        """Leases and CSINodes: the one of the node's name."""
        if asked.subresource or asked.verb not in ("get", "create", "update", "patch", "delete"):
            return Decision(False, f"can only get, create, update, patch, or delete a {'node lease' if namespace else 'CSINode'}")
        if asked.namespace != namespace:
            return Decision(False, f"can only access leases in the {namespace!r} system namespace".replace("'", '"'))
        if asked.verb != "create" and asked.name != node:
            return Decision(False, f"can only access {'node lease' if namespace else 'CSINode'} with the same name as the requesting node")
        return Decision(True)

    def _used(self, node: str, asked: Attributes, plural: str, verbs: frozenset[str]) -> Decision:
        if asked.verb not in verbs:
            return Decision(False, f"can only {_spoken(verbs)} resources of this type")
        if not asked.name:
            return Decision(False, "No Object name found")
        if plural == "persistentvolumes":
            held = self._volume_used(node, asked.name)
        else:
            held = any(asked.name in _names(plural, pod) for pod in self._pods(node, asked.namespace))
        return Decision(True) if held else Decision(False, f"no relationship found between node '{node}' and this object")

    def _pods(self, node: str, namespace: str) -> Iterator[Object]:
        prefix = f"/core/pods/{namespace}/" if namespace else "/core/pods/"
        page = self._store.list(prefix, where=lambda entry: entry.fields.get("spec.nodeName") == node)
        return (entry.obj for entry in page.entries)

    def _volume_used(self, node: str, volume: str) -> bool:
        entry = self._store.get(f"/core/persistentvolumes/{volume}")
        claim = ((entry.obj.get("spec") or {}).get("claimRef") or {}) if entry else {}
        pods = self._pods(node, claim.get("namespace") or "") if claim else ()
        return any(claim.get("name") in _names("persistentvolumeclaims", pod) for pod in pods)

    def _attachment(self, node: str, asked: Attributes) -> Decision:
        entry = self._store.get(f"/{_STORAGE}/volumeattachments/{asked.name}") if asked.verb == "get" and asked.name else None
        if entry and (entry.obj.get("spec") or {}).get("nodeName") == node:
            return Decision(True)
        return Decision(False, f"no relationship found between node '{node}' and this object")


def name_of(user: User) -> str:
    """The node a user is the kubelet of; '' for others."""
    return user.name.removeprefix(PREFIX) if user.name.startswith(PREFIX) and GROUP in user.groups else ""


def _spoken(verbs: frozenset[str]) -> str:
    first = sorted(verbs)
    return first[0] if len(first) == 1 else ", ".join(first[:-1]) + f" or {first[-1]}"


def _names(plural: str, pod: Object) -> set[str]:
    """The names of this kind that a pod refers to."""
    spec = pod.get("spec") or {}
    if plural == "serviceaccounts":
        return {spec.get("serviceAccountName") or "default"}
    if plural == "resourceclaims":
        statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
        return {c.get("resourceClaimName") or "" for c in (*(spec.get("resourceClaims") or ()), *statuses)}
    names = {name for volume in spec.get("volumes") or () for name in _of_volume(plural, volume)}
    if plural == "persistentvolumeclaims":
        own = pod["metadata"]["name"]
        return names | {f"{own}-{volume['name']}" for volume in spec.get("volumes") or () if volume.get("ephemeral") is not None}
    containers = [c for field in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(field) or ()]
    for container in containers:
        names |= set(_of_environment(plural, container))
    if plural == "secrets":
        names |= {secret.get("name") or "" for secret in spec.get("imagePullSecrets") or ()}
    return names


_VOLUME_FIELDS = {
    "secrets": ("secret", "secretName"),
    "configmaps": ("configMap", "name"),
    "persistentvolumeclaims": ("persistentVolumeClaim", "claimName"),
}
_SOURCE_FIELDS = {"secrets": ("secret", "secretRef", "secretKeyRef"), "configmaps": ("configMap", "configMapRef", "configMapKeyRef")}


def _of_volume(plural: str, volume: Object) -> Iterator[str]:
    field, named = _VOLUME_FIELDS[plural]
    if source := volume.get(field):
        yield source.get(named) or ""
    if plural in _SOURCE_FIELDS:
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield (source.get(_SOURCE_FIELDS[plural][0]) or {}).get("name") or ""
    if plural == "secrets":
        for driver in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos", "azureFile"):
            source = volume.get(driver) or {}
            yield source.get("secretName") or (source.get("secretRef") or {}).get("name") or ""
        yield ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""


def _of_environment(plural: str, container: Object) -> Iterator[str]:
    _, whole, key = _SOURCE_FIELDS[plural]
    for source in container.get("envFrom") or ():
        yield (source.get(whole) or {}).get("name") or ""
    for variable in container.get("env") or ():
        yield ((variable.get("valueFrom") or {}).get(key) or {}).get("name") or ""
