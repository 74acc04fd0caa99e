"""EndpointSlice mirroring: EndpointSlices for user-managed Endpoints of Services without a selector."""

from collections.abc import Iterable

from kapi.client import Controller
from kapi.controllers.backends import TRIGGER_TIME
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import ENDPOINT_SLICES, ENDPOINTS, SERVICES

MANAGER = "endpointslicemirroring-controller.k8s.io"
MANAGED_BY, SERVICE_NAME = "endpointslice.kubernetes.io/managed-by", "kubernetes.io/service-name"
SKIP, LEADER = "endpointslice.kubernetes.io/skip-mirror", "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = {TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"}
LIMIT = 1000


def _mirrored_keys(slice: Object) -> Iterable[str]:
    labels = meta.labels(slice)
    if labels.get(MANAGED_BY) == MANAGER:
        yield f"{meta.namespace(slice)}/{labels.get(SERVICE_NAME, '')}"


class EndpointMirrors(Controller):
    name = "endpoint-slice-mirroring-controller"

    def setup(self) -> None:
        self.endpoints = self.watch(ENDPOINTS)
        self.services = self.watch(SERVICES)
        self.slices = self.watch(ENDPOINT_SLICES, _mirrored_keys)
        self.slices.add_index("mirrored", _mirrored_keys)

    async def reconcile(self, key: str) -> float | None:
        endpoints, service = self.endpoints.get(key), self.services.get(key)
        existing = self.slices.by_index("mirrored", key)
        slices = _slices(endpoints) if endpoints is not None and service is not None and _mirrors(endpoints, service) else []
        for made in slices:
            same = next((s for s in existing if _group(s) == _group(made)), None)
            if same is None:
                await self.client.create(ENDPOINT_SLICES, made)
                continue
            existing.remove(same)
            if any(_shown(same)[k] != v for k, v in _shown(made).items()):
                about = {**same["metadata"], "labels": made["metadata"]["labels"], "annotations": made["metadata"]["annotations"]}
                await self.client.update(ENDPOINT_SLICES, {**same, "endpoints": made["endpoints"], "metadata": about})
        for slice in existing:
            await self.delete_object(ENDPOINT_SLICES, slice)
        return None


def _mirrors(endpoints: Object, service: Object) -> bool:
    skipped = meta.labels(endpoints).get(SKIP) == "true" or LEADER in meta.annotations(endpoints)
    return not skipped and not service["spec"].get("selector") and not meta.deleting(endpoints)


def _group(slice: Object) -> tuple[str, list[Object]]:
    return slice["addressType"], slice.get("ports") or []


def _shown(slice: Object) -> Object:
    return {"endpoints": slice.get("endpoints") or [], "labels": meta.labels(slice), "annotations": meta.annotations(slice)}


def _slices(endpoints: Object) -> list[Object]:
    """One slice per subset and IP family."""
    out = []
    owner = meta.owner_reference(endpoints, api_version="v1", kind="Endpoints")
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": p.get("name") or "", "port": p["port"], "protocol": p.get("protocol", "TCP")} for p in subset.get("ports") or ()]
        for kind in ("IPv4", "IPv6"):
            slices = [
                _endpoint(address, ready)
                for field, ready in (("addresses", True), ("notReadyAddresses", False))
                for address in subset.get(field) or ()
                if (":" in address["ip"]) is (kind == "IPv6")
            ]
            if slices:
                out.append({"addressType": kind, "ports": ports, "endpoints": slices[:LIMIT], "metadata": _about(endpoints, owner)})
    return out


def _about(endpoints: Object, owner: Object) -> Object:
    return {
        "generateName": meta.name(endpoints) + "-",
        "namespace": meta.namespace(endpoints),
        "labels": {**meta.labels(endpoints), MANAGED_BY: MANAGER, SERVICE_NAME: meta.name(endpoints)},
        "annotations": {k: v for k, v in meta.annotations(endpoints).items() if k not in NOT_COPIED},
        "ownerReferences": [owner],
    }


def _endpoint(address: Object, ready: bool) -> Object:
    made: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    return made | {k: address[k] for k in ("hostname", "nodeName", "targetRef") if address.get(k)}
