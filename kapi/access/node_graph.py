"""What in the store belongs to a node: its pods, and what these use. The node authorizer asks; nothing is decided here.

A mirror pod leads to nothing: its node made it, and would grant itself what it names.
"""

from collections.abc import Iterator
from typing import Any

from kapi.objects import references
from kapi.objects.references import Secret
from kapi.storage.store import Store

Object = dict[str, Any]

_VOLUMES = "/core/persistentvolumes/"
_BOUND = {
    "volumeattachments": "/storage.k8s.io/volumeattachments/",
    "resourceslices": "/resource.k8s.io/resourceslices/",
}
"""Objects that name their node in spec.nodeName."""
_USED = frozenset({references.SECRETS, references.CONFIG_MAPS, references.CLAIMS, references.ACCOUNTS, references.RESOURCE_CLAIMS})


class Graph:
    """Looks relationships up as they are now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version, self._volumes_version = store.counter(_VOLUMES), -1
        self._secrets: dict[Secret, list[tuple[str, str]]] = {}
        """Secret -> claims whose volumes need it."""

    def related(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a path leads from the object to the node."""
        if resource == "pods":
            pod = self._store.get(f"/core/pods/{namespace}/{name}")
            return pod is not None and pod.fields.get("spec.nodeName") == node
        if prefix := _BOUND.get(resource):
            entry = self._store.get(prefix + name)
            return entry is not None and (entry.obj.get("spec") or {}).get("nodeName") == node
        if resource == "persistentvolumes":
            return self._volume_used(node, name)
        if resource not in _USED:
            return False
        return self._used(node, resource, namespace, name) or (
            resource == references.SECRETS and any(self._used(node, references.CLAIMS, *claim) for claim in self._claims(namespace, name))
        )

    def _used(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a pod of the node names the object."""
        return any(name in references.of_pod(pod, resource) for pod in self._pods(node, namespace))

    def _pods(self, node: str, namespace: str) -> Iterator[Object]:
        page = self._store.list(f"/core/pods/{namespace}/", where=lambda entry: entry.fields.get("spec.nodeName") == node)
        return (pod for pod in (entry.obj for entry in page.entries) if not references.is_mirror(pod))

    def _volume_used(self, node: str, name: str) -> bool:
        entry = self._store.get(_VOLUMES + name)
        claim = ((entry.obj.get("spec") or {}).get("claimRef") or {}) if entry else {}
        return bool(claim) and self._used(node, references.CLAIMS, claim.get("namespace") or "", claim.get("name") or "")

    def _claims(self, namespace: str, name: str) -> list[tuple[str, str]]:
        """The claims whose volumes need the Secret. Volumes are gone through again when one of them has changed."""
        if (version := self._version()) != self._volumes_version:
            self._volumes_version, self._secrets = version, {}
            for entry in self._store.list(_VOLUMES).entries:
                volume = entry.obj
                if claim := (volume.get("spec") or {}).get("claimRef"):
                    for secret in references.volume_secrets(volume):
                        self._secrets.setdefault(secret, []).append((claim.get("namespace") or "", claim.get("name") or ""))
        return self._secrets.get(Secret(namespace, name), [])
