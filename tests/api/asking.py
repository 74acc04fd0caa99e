"""Objects to send, and requests as they go over the wire: method, path, headers, body."""

from typing import Any, NamedTuple

import orjson

from kapi.client.client import Client
from kapi.client.local import LocalTransport
from kapi.objects.meta import Object
from kapi.objects.user import User

IMAGE = "localhost/kapi/busybox:1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


class Answer(NamedTuple):
    """What came back."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def said(self) -> tuple[int, str, str]:
        """(code, reason, message) of a Status."""
        status = self.json
        assert status["kind"] == "Status"
        assert status["code"] == self.code
        return self.code, status.get("reason", ""), status["message"]


async def ask(client: Client, method: str, path: str, body: Any = b"", **headers: str) -> Answer:
    """One request; header names are written with underscores."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    given = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer(*await client.raw(method, path, raw, given, retries=0))


def as_user(client: Client, name: str, *groups: str) -> Client:
    """A client of the same server as somebody else."""
    transport = client.transport
    assert isinstance(transport, LocalTransport)
    return Client(LocalTransport(transport.app, User(name, groups)), agent="test")


def config_map(name: str, data: dict[str, str] | None = None, **meta: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", **meta}, "data": data or {}}


def pod(name: str, *, node: str = "", **meta: Any) -> Object:
    spec: Object = {"containers": [{"name": "c", "image": IMAGE}]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", **meta}, "spec": spec}


def deployment(name: str, replicas: int = 1) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": IMAGE}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
