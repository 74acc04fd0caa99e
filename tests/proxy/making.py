"""Services and EndpointSlices for tests, as small as they can be."""

from typing import Any

from kapi.objects.meta import Object


def service(name: str = "web", **spec: Any) -> Object:
    ports = spec.pop("ports", [{"name": "http", "port": 80, "protocol": "TCP"}])
    meta = {"name": name, "namespace": "default"}
    status = spec.pop("status", {})
    return {"metadata": meta, "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.10", "ports": ports, **spec}, "status": status}


def endpoint(address: str, node: str = "here", **more: Any) -> Object:
    conditions = {k: more.pop(k) for k in ("ready", "serving", "terminating") if k in more}
    return {"addresses": [address], "nodeName": node, "conditions": {"ready": True, **conditions}, **more}


def piece(*endpoints: Object, service: str = "web", port: int = 8080, port_name: str = "http", protocol: str = "TCP") -> Object:
    family = "IPv6" if endpoints and ":" in endpoints[0]["addresses"][0] else "IPv4"
    labels = {"kubernetes.io/service-name": service}
    meta = {"name": f"{service}-{family.lower()}", "namespace": "default", "labels": labels}
    ports = [{"name": port_name, "port": port, "protocol": protocol}]
    return {"metadata": meta, "addressType": family, "endpoints": list(endpoints), "ports": ports}
