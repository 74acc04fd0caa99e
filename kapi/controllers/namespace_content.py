"""Default content of namespaces: the ServiceAccount "default" and the ConfigMap "kube-root-ca.crt" with the CA."""

from collections.abc import Callable
from typing import Any

from kapi.client import Controller
from kapi.controllers.settings import Settings
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS

ROOT_CA = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP "
    "or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


class _Content(Controller):
    """Keys are names of namespaces."""

    def setup(self) -> None:
        self.namespaces = self.watch(NAMESPACES)

    def active(self, name: str) -> bool:
        namespace = self.namespaces.get(name)
        return namespace is not None and not meta.deleting(namespace) and meta.path(namespace, "status", "phase") != "Terminating"

    def back(self, name: str) -> Callable[[Object], list[str]]:
        return lambda obj: [meta.namespace(obj)] if meta.name(obj) == name else []


class DefaultServiceAccounts(_Content):
    name = "service-account-controller"

    def setup(self) -> None:
        super().setup()
        self.accounts = self.watch(SERVICE_ACCOUNTS, self.back("default"))

    async def reconcile(self, key: str) -> float | None:
        if not self.active(key) or self.accounts.get(f"{key}/default") is not None:
            return None
        try:
            await self.client.create(SERVICE_ACCOUNTS, _named("default", key))
        except errors.AlreadyExists:
            return None
        return None


class RootCertificates(_Content):
    name = "root-ca-certificate-publisher-controller"

    def setup(self) -> None:
        super().setup()
        settings: Settings = self.context.settings
        self.data = {"ca.crt": settings.cluster_ca}
        self.maps = self.context.informers.select(CONFIG_MAPS, fields=f"metadata.name={ROOT_CA}")
        self._needed_informers.append(self.maps)
        self.maps.add_handler(lambda old, new: self.queue.add(meta.namespace(new or old or {})))

    async def reconcile(self, key: str) -> float | None:
        if not self.active(key) or not self.data["ca.crt"]:
            return None
        config_map = _named(ROOT_CA, key, annotations={"kubernetes.io/description": DESCRIPTION})
        have = self.maps.get(f"{key}/{ROOT_CA}")
        if have is None:
            try:
                await self.client.create(CONFIG_MAPS, {**config_map, "data": self.data})
            except errors.AlreadyExists:
                return None
        elif have.get("data") != self.data:
            annotations = {**meta.annotations(have), **config_map["metadata"]["annotations"]}
            await self.client.update(CONFIG_MAPS, {**have, "data": self.data, "metadata": {**have["metadata"], "annotations": annotations}})
        return None


def _named(name: str, namespace: str, **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, **more}}
