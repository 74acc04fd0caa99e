"""Short ways to make pods, and what a kubelet has seen of them."""

from typing import Any

from kapi.objects.meta import Object
from kubelet import pods, runtime
from kubelet.observed_state import ObservedState
from kubelet.runtime import Container, PodState, Sandbox

NOW = 1_800_000_000.0


def one(name: str = "web", **more: Any) -> Object:
    """A container's spec."""
    return {"name": name, "image": "busybox:1", **more}


def pod(*containers: Object, name: str = "web", uid: str = "u1", **spec: Any) -> Object:
    """A bound pod; a container is {"name": ...}."""
    meta = {"name": name, "namespace": "default", "uid": uid, "generation": 1}
    full = {"containers": list(containers) or [one()], "nodeName": "n1", **spec}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": full, "status": {"phase": "Pending", "qosClass": "BestEffort"}}


def deleted(of: Object, grace: int = 30) -> Object:
    return {**of, "metadata": {**of["metadata"], "deletionTimestamp": "2027-01-15T08:00:00Z", "deletionGracePeriodSeconds": grace}}


def sandbox(attempt: int = 0, *, ready: bool = True, id: str = "") -> Sandbox:
    return Sandbox(id or f"box{attempt}", "u1", "web", "default", attempt, ready, NOW - 100 + attempt, ("10.0.0.5",))


def run(name: str = "web", state: str = runtime.RUNNING, *, attempt: int = 0, code: int = 0, ago: float = 0.0, box: str = "box0",
        image: str = "busybox:1") -> Container:
    """A run of a container; `ago`: seconds since it ended."""
    annotations = {runtime.HASH: pods.container_hash({"name": name, "image": image})}
    reason = "" if state != runtime.EXITED else "Error" if code else "Completed"
    return Container(
        f"{name}-{attempt}", box, "u1", name, attempt, state, NOW - 50 + attempt, NOW - 50 + attempt,
        NOW - ago if state == runtime.EXITED else 0.0, code, image, f"sha256:{name}", reason, annotations=annotations,
    )


def observed(*runs: Container, boxes: tuple[Sandbox, ...] | None = None, **more: Any) -> ObservedState:
    """What was seen, newest first."""
    ordered = sorted(runs, key=lambda c: -c.created)
    return ObservedState(PodState((sandbox(),) if boxes is None else boxes, ordered), **more)
