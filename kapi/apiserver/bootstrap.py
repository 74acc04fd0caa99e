"""What is there before anybody asks: namespaces, default roles, priority classes, flow control, an APIService for every group
version, the service range, the `kubernetes` service.

Made through the registry like anything else, when the server starts; what exists already is left as it is (default roles are brought
up to date by kapi.access.bootstrap's rule).
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from kapi.access import bootstrap, flows
from kapi.objects import errors, time, together
from kapi.objects.meta import Object
from kapi.objects.user import MASTERS, User
from kapi.registry import encoding
from kapi.registry.call import Call
from kapi.registry.catalogue import Catalogue
from kapi.registry.rest import Rest
from kapi.schema import decode

PRODUCER = "api-priority-and-fairness-config-producer-v1"
"""Field manager of the flow control objects."""
LOOPBACK = User("system:apiserver", (MASTERS, "system:authenticated"))


def _namespaces() -> Iterator[Object]:
    for name in ("kube-system", "kube-public", "kube-node-lease", "default"):
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _priorities() -> Iterator[Object]:
    texts = {
        "system-node-critical": (2000001000, "Used for system critical pods that must not be moved from their current node."),
        "system-cluster-critical": (2000000000, "Used for system critical pods that must run in the cluster, but can be moved to "
                                    "another node if necessary."),
    }  # fmt: skip
    for name, (value, text) in texts.items():
        yield {
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, "description": text,
        }  # fmt: skip


def _service(cidr: str, port: int) -> Iterator[Object]:
    first = str(ipaddress.ip_network(cidr)[1])
    yield {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [cidr]}}
    yield {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": first, "clusterIPs": [first], "sessionAffinity": "None", "ipFamilies": ["IPv4"],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }  # fmt: skip


def endpoints(address: str, port: int) -> Iterator[Object]:
    """Endpoints and EndpointSlice of the `kubernetes` service: where pods reach this API server; none on a machine without a network."""
    if ipaddress.ip_address(address).is_loopback:
        return
    meta = {"name": "kubernetes", "namespace": "default"}
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    yield {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {**meta, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": ports}],
    }  # fmt: skip
    yield {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", 
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address], "conditions": {"ready": True}}], "ports": ports,
    }  # fmt: skip


def _authentication(client_ca: str, front_proxy_ca: str) -> Iterator[Object]:
    """Whom extension API servers trust, which is as it is now."""
    data = {"client-ca-file": client_ca}
    if front_proxy_ca:
        data |= {
            "requestheader-allowed-names": '["front-proxy-client"]', "requestheader-client-ca-file": front_proxy_ca,
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]', "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-username-headers": '["X-Remote-User"]',
        }  # fmt: skip
    meta = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def _token_tracking() -> Iterator[Object]:
    meta = {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"since": time.stamp()[:10]}}


_ORDER = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500,
    "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100, "internal.apiserver.k8s.io": 16000, "storagemigration.k8s.io": 15800,
}  # fmt: skip
"""The groupPriorityMinimum of each built-in group."""
_VERSION_ORDER = {"/v1": 1, "autoscaling/v2": 30, "flowcontrol.apiserver.k8s.io/v1": 21}
"""The versionPriority where it is not that of its stage: 15, 12 (beta) or 9 (alpha)."""


def _api_services(catalogue: Catalogue) -> Iterator[Object]:
    """What `kubectl get apiservices` calls Local: the group versions this server serves itself."""
    for group, version in ((group, version) for group, versions in catalogue.groups().items() for version in versions):
        stage = 12 if "beta" in version else 9 if "alpha" in version else 15
        yield api_service(group, version, "onstart", _ORDER.get(group, 15700), _VERSION_ORDER.get(f"{group}/{version}", stage))


def api_service(group: str, version: str, managed: str, group_priority: int, version_priority: int) -> Object:
    """The APIService of a group version that this server serves itself; `managed`: "onstart" for good, "true" as long as there is a CRD."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {"kube-aggregator.kubernetes.io/automanaged": managed}},
        "spec": {
            "version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority,
            **({"group": group} if group else {}),
        },
    }  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a server is, and whom its clients trust."""

    address: str
    port: int
    service_cidr: str
    client_ca: str = ""
    front_proxy_ca: str = ""
    """The CAs' certificates, PEM."""


async def ensure(rest: Rest, catalogue: Catalogue, place: Place, done: Callable[[str], None] = lambda step: None) -> None:
    """Make what is missing, and bring the default roles and the address of this server up to date. `done` is told of each step."""

    async def step(name: str, how: Callable[[Rest, Catalogue, Object], Awaitable[None]], objects: Iterable[Object]) -> None:
        await together.run(how(rest, catalogue, obj) for obj in objects)
        done(name)

    await step("namespaces", create, _namespaces())
    await step("service", create, _service(place.service_cidr, place.port))
    await together.run((
        step("priority classes", create, _priorities()),
        step("authentication", _put, _authentication(place.client_ca, place.front_proxy_ca)),
        step("token tracking", create, _token_tracking()),
        step("flow control", create, flows.objects()),
        step("API services", create, _api_services(catalogue)),
        step("endpoints", _put, endpoints(place.address, place.port)),
        step("roles", _reconcile, bootstrap.objects()),
    ))  # fmt: skip


def _call(catalogue: Catalogue, obj: Object) -> Call:
    kind = catalogue.by_kind(obj["apiVersion"], obj["kind"])
    assert kind is not None, obj["kind"]
    meta = obj["metadata"]
    manager = PRODUCER if kind.resource.group == flows.GROUP else "kube-apiserver"
    return Call(kind=kind, user=LOOPBACK, namespace=meta.get("namespace", ""), name=meta["name"], manager=manager)


def _read(call: Call, obj: Object) -> Object:
    """The object as if it had been sent."""
    read: Object = decode.read(obj, call.kind.schema)[0]
    return read


async def create(rest: Rest, catalogue: Catalogue, obj: Object) -> None:
    """Create an object unless it is there."""
    call = _call(catalogue, obj)
    if rest.store.get(call.key) is None:
        try:
            await rest.create(call, _read(call, obj))
        except errors.AlreadyExists:
            return


async def _put(rest: Rest, catalogue: Catalogue, obj: Object) -> None:
    call = _call(catalogue, obj)
    obj = _read(call, obj)
    await rest.update(call, lambda old: {**old, **{k: v for k, v in obj.items() if k != "metadata"}}, create=lambda: obj)


async def _reconcile(rest: Rest, catalogue: Catalogue, obj: Object) -> None:
    call = _call(catalogue, obj)
    entry = rest.store.get(call.key)
    if entry is None:
        await create(rest, catalogue, obj)
        return
    reconciled = bootstrap.reconciled(encoding.parse(call.kind, entry), obj)
    if reconciled is not None:
        await rest.update(call, lambda old: reconciled)
