"""Node lifecycle: marks nodes without heartbeats Unknown, derives taints from conditions, sets pods of unready nodes to not ready.

A renewed lease or a newer status is a heartbeat, timed by this process's clock when it is observed. There is no polling: each node's key is
enqueued for the end of its grace period.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from kapi.client import Controller
from kapi.client.leases import NODE_NAMESPACE
from kapi.controllers.settings import Settings
from kapi.objects import conditions, errors, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import LEASES, NODES, PODS

STARTUP_GRACE = 60.0
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
HEARTBEAT_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
CONDITION_TAINTS = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
}
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NO_SCHEDULE_KEYS = frozenset([*CONDITION_TAINTS.values(), UNSCHEDULABLE])
NO_EXECUTE_KEYS = frozenset([NOT_READY, UNREACHABLE])


def node_keys(pod: Object) -> Iterator[str]:
    """The index "node": the node a pod is bound to."""
    if name := (pod.get("spec") or {}).get("nodeName"):
        yield name


def ready(node: Object) -> str:
    """The status of the Ready condition; "" without one."""
    return str((meta.condition(node, "Ready") or {}).get("status") or "")


def taints(node: Object, *, evict: bool) -> list[Object]:
    """The desired taints of a node: its foreign ones, and those derived from conditions. `evict`: include NoExecute taints."""
    true = {(c["type"], c["status"]) for c in (node.get("status") or {}).get("conditions") or ()}
    wanted = {(key, "NoSchedule") for state, key in CONDITION_TAINTS.items() if state in true}
    if node["spec"].get("unschedulable"):
        wanted.add((UNSCHEDULABLE, "NoSchedule"))
    ready_taint = CONDITION_TAINTS.get(("Ready", ready(node)))
    if ready_taint and evict:
        wanted.add((ready_taint, "NoExecute"))
    have = node["spec"].get("taints") or []
    kept = [t for t in have if (t["key"], t["effect"]) in wanted or not _is_managed(t)]
    known = {(t["key"], t["effect"]) for t in kept}
    now = time.stamp()
    return [*kept, *({"key": key, "effect": effect, "timeAdded": now} for key, effect in sorted(wanted - known))]


def _is_managed(taint: Object) -> bool:
    keys = {"NoSchedule": NO_SCHEDULE_KEYS, "NoExecute": NO_EXECUTE_KEYS}.get(taint["effect"], frozenset[str]())
    return taint["key"] in keys


class NodeLifecycle(Controller):
    name = "node-controller"

    def setup(self) -> None:
        self._seen: dict[str, float] = {}
        self._registered: set[str] = set()
        self._evicting = False
        self.objects = self.informer(NODES)
        self.objects.add_handler(self._node_changed)
        self.pods = self.informer(PODS)
        self.pods.add_index("node", node_keys)
        self.leases = self.context.informers.select(LEASES, namespace=NODE_NAMESPACE)
        self._needed_informers.append(self.leases)
        self.leases.add_handler(self._renewed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        name = meta.name(new or old or {})
        if new is None:
            self._seen.pop(name, None)
            self._registered.discard(name)
            self._say(old or {}, "RemovingNode", f"event: Removing Node {name} from Controller")
        elif old is None or self._heartbeat(old) != self._heartbeat(new):
            self._seen[name] = self._now()
        alive = any(ready(n) == "True" for n in self.objects)
        if alive != self._evicting:
            self._evicting = alive
            for node in self.objects:
                self.queue.add(meta.name(node))
        self.queue.add(name)

    def _heartbeat(self, node: Object) -> str:
        return str((meta.condition(node, "Ready") or {}).get("lastHeartbeatTime") or "")

    def _renewed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._seen[meta.name(new)] = self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sync(self, node: Object) -> float | None:
        key = meta.key(node)
        if key not in self._registered:
            self._registered.add(key)
            self._say(node, "RegisteredNode", f"event: Registered Node {key} in Controller")
        settings: Settings = self.context.settings
        grace = settings.node_monitor_grace if ready(node) else STARTUP_GRACE
        left = self._seen.setdefault(key, self._now()) + grace - self._now()
        if left <= 0 and any((meta.condition(node, t) or {}).get("status") != "Unknown" for t in HEARTBEAT_CONDITIONS):
            node = await self._mark_unknown(node)
        await self._taint(node)
        if ready(node) not in ("True", ""):
            await self._mark_pods_not_ready(node)
        return left + 0.1 if left > 0 else None

    async def _mark_unknown(self, node: Object) -> Object:
        """Set the conditions that the kubelet reports to Unknown."""
        was, status = ready(node), node.get("status") or {}
        listed: list[Object] = status.get("conditions") or []
        for type in HEARTBEAT_CONDITIONS:
            known = conditions.find(listed, type)
            if known is None:
                known = {"type": type, "lastHeartbeatTime": node["metadata"].get("creationTimestamp")}
                cause = {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
            elif known["status"] == "Unknown":
                continue
            else:
                cause = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            listed = conditions.updated(listed, {**known, "status": "Unknown", **cause})
        status = {**status, "conditions": listed}
        node = await self.put_status(NODES, node, status)
        if was == "True":
            self._say(node, "NodeNotReady", "status is now: NodeNotReady")
        return node

    def _say(self, node: Object, reason: str, what: str) -> None:
        self.record_event(node, reason, f"Node {meta.name(node)} {what}")

    async def _taint(self, node: Object) -> None:
        desired = taints(node, evict=self._evicting)
        if desired != (node["spec"].get("taints") or []):
            patch = {"metadata": {"resourceVersion": meta.resource_version(node)}, "spec": {"taints": desired or None}}
            await self.client.patch(NODES, meta.name(node), patch)

    async def _mark_pods_not_ready(self, node: Object) -> None:
        """Set Ready to False on the pods of a node that is not ready."""
        for pod in self.pods.by_index("node", meta.name(node)):
            condition = meta.condition(pod, "Ready")
            if condition is None or condition.get("status") != "True":
                continue
            new = {**condition, "status": "False", "lastTransitionTime": time.stamp()}
            with contextlib.suppress(errors.Conflict):
                if await self.patch_object(PODS, pod, {"status": {"conditions": [new]}}, kind="strategic", subresource="status"):
                    self.record_warning(pod, "NodeNotReady", "Node is not ready")
