"""The /scale face of a workload: autoscaling/v1 Scale, read from an object and written back to it."""

from collections.abc import Mapping
from typing import Any

from kapi.objects import labels

Object = dict[str, Any]


def of(obj: Object, selector: str | None = None) -> Object:
    """The Scale of a Deployment, ReplicaSet, StatefulSet or ReplicationController (with kind and apiVersion)."""
    meta = {k: v for k, v in obj["metadata"].items() if k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    status: Object = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    text = selector_text(obj["spec"].get("selector")) if selector is None else selector
    if text:
        status["selector"] = text
    replicas = obj["spec"].get("replicas", 0)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """'a=b' of a LabelSelector or of a ReplicationController's plain map."""
    if not selector:
        return ""
    if "matchLabels" in selector or "matchExpressions" in selector:
        return str(labels.from_object(dict(selector)))
    return str(labels.from_dict(selector))


def put(obj: Object, scale: Object) -> Object:
    """The object with the Scale's replicas; a resourceVersion in the Scale is the one expected."""
    out = {**obj, "spec": {**obj["spec"], "replicas": (scale.get("spec") or {}).get("replicas", 0)}}
    version, uid = scale["metadata"].get("resourceVersion"), scale["metadata"].get("uid")
    out["metadata"] = {**obj["metadata"], **({"resourceVersion": version} if version else {}), **({"uid": uid} if uid else {})}
    return out
