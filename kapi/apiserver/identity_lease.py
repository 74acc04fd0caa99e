"""The identity Lease of this API server (KEP-1965), renewed while it serves; expired Leases of other servers are deleted."""

import asyncio
import base64
import contextlib
import hashlib
import socket
import uuid

from kapi.apiserver.bootstrap import LOOPBACK
from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.registry import deletion
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

NAMESPACE = "kube-system"
LABEL = ("apiserver.kubernetes.io/identity", "kube-apiserver")
SECONDS = 3600
"""Seconds after its last renewal at which a Lease has expired."""
_RENEW_SECONDS = 600.0


def name_of(host: str) -> str:
    """apiserver-…: a digest of the host's name."""
    return "apiserver-" + base64.b32encode(hashlib.sha256(host.encode()).digest()[:16]).decode().rstrip("=").lower()


class IdentityLease:
    """One server's Lease."""

    def __init__(self, rest: Rest, leases: Kind) -> None:
        self._rest, self._leases = rest, leases
        self._host = socket.gethostname()
        self.name = name_of(self._host)
        self._holder = f"{self.name}_{uuid.uuid4()}"

    async def keep(self) -> None:
        """Renew the Lease every ten minutes until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew the Lease of this server once, and delete the expired ones of others."""
        await self._rest.update(self._call(self.name), self._renewed, create=lambda: self._renewed({}))
        for entry in self._rest.store.list(self._leases.prefix(NAMESPACE), equals=dict([LABEL])).entries:
            obj = entry.obj
            if time.parse(obj["spec"].get("renewTime")) + SECONDS < time.now():
                with contextlib.suppress(errors.NotFound, errors.Conflict):
                    await deletion.delete(self._rest, self._call(obj["metadata"]["name"]), deletion.Options())

    def _call(self, name: str) -> Call:
        return Call(kind=self._leases, user=LOOPBACK, namespace=NAMESPACE, name=name, manager="kube-apiserver")

    def _renewed(self, old: Object) -> Object:
        labels = dict([LABEL, ("kubernetes.io/hostname", self._host)])
        spec = {"holderIdentity": self._holder, "leaseDurationSeconds": SECONDS, "renewTime": time.micro_stamp()}
        return {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **old,
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": labels, **old.get("metadata", {})}, "spec": spec,
        }  # fmt: skip
