"""Pods and ports behind a Service: what Endpoints and EndpointSlices are both made from."""

from collections.abc import Iterable, Iterator
from typing import Any

from kapi.client import Controller
from kapi.controllers import pods
from kapi.controllers.workload import namespace_keys
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import PODS, SERVICES

HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


def selected(service: Object, labels: dict[str, str]) -> bool:
    selector = service["spec"].get("selector") or {}
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def _selecting(service: Object) -> list[str]:
    """The index "selecting": the namespace of a Service with a selector."""
    return [meta.namespace(service)] if service["spec"].get("selector") else []


def addresses(pod: Object) -> list[str]:
    status = pod.get("status") or {}
    listed = [ip["ip"] for ip in status.get("podIPs") or ()]
    return listed or ([status["podIP"]] if status.get("podIP") else [])


def address(pod: Object, *, ipv6: bool) -> str:
    """The pod's first address of an IP family, or ""."""
    return next((a for a in addresses(pod) if (":" in a) is ipv6), "")


def ipv6_service(service: Object) -> bool:
    spec = service["spec"]
    families = spec.get("ipFamilies") or ()
    return families[0] == "IPv6" if families else ":" in (spec.get("clusterIP") or "")


def headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def target_port(pod: Object, port: Object) -> int:
    """The number of a service port's target port in a pod; 0 if the pod has no port of that name."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    protocol = port.get("protocol", "TCP")
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*pod["spec"].get("containers", ()), *sidecars]:
        for known in container.get("ports") or ():
            if known.get("name") == target and known.get("protocol", "TCP") == protocol:
                return int(known["containerPort"])
    return int(target) if target.isdigit() else 0


def ports(service: Object, pod: Object) -> list[Object]:
    """The ports of an endpoint, in the common form of both kinds."""
    out = []
    for port in service["spec"].get("ports") or ():
        number = target_port(pod, port)
        if number:
            made: Object = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol", "TCP")}
            out.append(made | ({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}))
    return out


def reference(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": meta.namespace(pod), "name": meta.name(pod), "uid": meta.uid(pod)}


def hostname(service: Object, pod: Object) -> str:
    """The pod's DNS host name within this Service (its subdomain), or ""."""
    spec = pod["spec"]
    return str(spec.get("hostname") or "") if spec.get("subdomain") == meta.name(service) else ""


def triggered(service: Object, members: Iterable[Object]) -> str:
    """When the last change happened that triggered a sync: of a pod's readiness, or of the Service."""
    times = [(meta.condition(p, "Ready") or {}).get("lastTransitionTime") or "" for p in members]
    return max([*times, meta.metadata(service).get("creationTimestamp") or ""])


def _relevant_fields(pod: Object) -> tuple[Any, ...]:
    """The fields of a pod that matter to its Services."""
    spec = pod["spec"]
    place = (spec.get("nodeName"), spec.get("hostname"), spec.get("subdomain"))
    return (pods.ready(pod), pods.finished(pod), meta.deleting(pod), meta.labels(pod), addresses(pod), *place)


class Backends(Controller):
    """Base of the endpoint controllers. Keys are Services; enqueued by changes of the Service and of relevant fields of its pods."""

    def setup(self) -> None:
        self.objects = self.watch(SERVICES)
        self.objects.add_index("selecting", _selecting)
        self.pods = self.informer(PODS)
        self.pods.add_index("namespace", namespace_keys)
        self.pods.add_handler(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        services = self.objects.by_index("selecting", meta.namespace(pod))
        if not services or (old is not None and new is not None and _relevant_fields(old) == _relevant_fields(new)):
            return
        seen = [meta.labels(p) for p in (old, new) if p is not None]
        if all(p is None or not addresses(p) for p in (old, new)):
            return
        for service in services:
            if any(selected(service, labels) for labels in seen):
                self.queue.add(meta.key(service))

    def members(self, service: Object) -> Iterator[Object]:
        """The pods that the Service selects, have an address and have not finished."""
        for pod in self.pods.by_index("namespace", meta.namespace(service)):
            if selected(service, meta.labels(pod)) and addresses(pod) and not pods.finished(pod):
                yield pod
