"""The Node object: registration, status updates on changes and every five minutes, and the lease renewed every ten seconds.

Its labels, taints and extended resources are the API's: the caller passes every state of the object to `observe`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from kapi import logs
from kapi.client.client import Client
from kapi.client.events import Recorder
from kapi.client.informer import revision_of
from kapi.client.leases import NodeLease
from kapi.objects import conditions, errors, quantity, time
from kapi.objects.meta import Object
from kapi.objects.resource import NODES
from kubelet import eviction_signals, machine, waiting
from kubelet.admit import NodeAttributes
from kubelet.runtime import Image, Version
from kubelet.settings import Settings

VERSION = "v1.36.2"
REPORT_SECONDS, CHECK_SECONDS = 300.0, 10.0
"""Seconds between status updates without a change, and between health checks."""
MAX_IMAGES, MAX_NAMES = 50, 5
_RETRY = 1.0

log = logging.getLogger(__name__)

# type: (status when healthy, reason and message when healthy, reason and message when unhealthy)
_CONDITIONS = {
    type: ("False", (f"KubeletHas{fine}", f"kubelet has {healthy}"), (f"KubeletHas{bad}", f"kubelet has {unhealthy}"))
    for type, fine, healthy, bad, unhealthy in (
        ("MemoryPressure", "SufficientMemory", "sufficient memory available", "InsufficientMemory", "insufficient memory available"),
        ("DiskPressure", "NoDiskPressure", "no disk pressure", "DiskPressure", "disk pressure"),
        ("PIDPressure", "SufficientPID", "sufficient PID available", "InsufficientPID", "insufficient PID available"),
    )
} | {"Ready": ("True", ("KubeletReady", "kubelet is posting ready status"), ("KubeletNotReady", ""))}
_OPPOSITE = {"True": "False", "False": "True"}


class Status:
    """The node's health, set by other parts of the kubelet. `changed` is set when it differs from the last report."""

    def __init__(self) -> None:
        self.troubles: dict[str, str] = {"Ready": "container runtime status check may not have completed yet"}
        """Conditions that are not healthy: {type: message}."""
        self.images: list[Image] = []
        self.version = Version("containerd", "")
        self.changed = asyncio.Event()
        self.check_now = asyncio.Event()
        """Set to request a health check now."""

    def set(self, type: str, trouble: str | None) -> None:
        """Set a condition to unhealthy with a message, or to healthy (None)."""
        if self.troubles.get(type) != trouble:
            if trouble is None:
                self.troubles.pop(type)
            else:
                self.troubles[type] = trouble
            self.changed.set()


def labels(settings: Settings, facts: machine.Facts) -> dict[str, str]:
    out = {
        "beta.kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
        "kubernetes.io/hostname": settings.node_name,
        "kubernetes.io/os": "linux",
    }
    return out | dict(settings.node_labels)


def capacity(settings: Settings, facts: machine.Facts) -> dict[str, str]:
    out = {"cpu": str(facts.cpus), "ephemeral-storage": f"{facts.disk // 1024}Ki", "memory": f"{facts.memory // 1024}Ki"}
    out |= {f"hugepages-{size}": str(total) for size, total in facts.hugepages.items()}
    return dict(sorted({**out, "pods": str(settings.max_pods)}.items()))


def allocatable(settings: Settings, facts: machine.Facts) -> dict[str, str]:
    """Capacity minus the reserved resources; for memory and disk also minus their hard eviction thresholds."""
    out, reserved = capacity(settings, facts), settings.system_reserved
    least = settings.eviction_hard
    milli = facts.cpus * 1000 - quantity.milli(reserved.get("cpu", "0"))
    out["cpu"] = str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"
    for name, signal, total in (("memory", "memory.available", facts.memory), ("ephemeral-storage", "nodefs.available", facts.disk)):
        left = total - quantity.value(reserved.get(name, "0")) - eviction_signals.bound(least.get(signal, "0"), total)
        out[name] = f"{left // 1024}Ki" if name == "memory" else str(left)
    return dict(sorted(out.items()))


class Node:
    """Registers one node and keeps its status up to date."""

    def __init__(
        self, settings: Settings, client: Client, recorder: Recorder, status: Status, facts: machine.Facts, addresses: tuple[str, ...]
    ) -> None:
        self._settings, self._client, self._recorder, self.facts = settings, client, recorder, facts
        self.status = status
        self._shown: dict[str, str] = {}
        self.addresses = addresses
        self.node: Object | None = None
        self.allocatable, self._capacity = allocatable(settings, facts), capacity(settings, facts)
        self.name = settings.node_name
        self._lease = NodeLease(client, settings.node_name)
        self._reported = 0.0

    def attributes(self) -> NodeAttributes:
        """The node as pod admission sees it: with labels, taints and pressure conditions."""
        meta, spec = ((self.node or {}).get(part) or {} for part in ("metadata", "spec"))
        pressures = sorted(type for type in self.status.troubles if type != "Ready")
        shown = {**labels(self._settings, self.facts), **(meta.get("labels") or {})}
        taints, sysctls = spec.get("taints") or (), self._settings.allowed_unsafe_sysctls
        offered = {**self.allocatable, **self._extended_resources()}
        return NodeAttributes(self._settings.node_name, offered, shown, taints, pressures, sysctls)

    def _extended_resources(self) -> dict[str, str]:
        """Capacity that others have put into the Node's status; all of it is allocatable."""
        known = ((self.node or {}).get("status") or {}).get("capacity") or {}
        return {name: amount for name, amount in known.items() if name not in self._capacity}

    def observe(self, node: Object) -> None:
        """Take a state of the Node from the API, unless a newer one is known. A status that is not the kubelet's is written again."""
        if self.node is None or revision_of(node) < revision_of(self.node):
            return
        self.node = node
        status, extended = node.get("status") or {}, self._extended_resources()
        if status.get("capacity") != {**self._capacity, **extended} or status.get("allocatable") != {**self.allocatable, **extended}:
            self.status.changed.set()

    async def refresh(self) -> None:
        """Ask the API for the Node: whoever bound a pod may have seen a newer one. What is known stays when there is no answer."""
        try:
            self.observe(await self._client.get(NODES, self.name))
        except (errors.StatusError, OSError) as error:
            log.warning("The node could not be read", extra=self._about(error))

    async def register(self) -> None:
        """Create the Node, retrying until it succeeds. An existing one is kept and its labels updated."""
        self.record_event("Normal", "Starting", "Starting kubelet.")
        while True:
            try:
                await self._register()
                break
            except (errors.StatusError, OSError) as error:
                log.warning("The node cannot be registered yet", extra=self._about(error))
                await asyncio.sleep(_RETRY)
        self._lease.owner = self.node
        log.info("Registered", extra=logs.fields(node=self._settings.node_name, addresses=self.addresses))

    def _about(self, error: Exception) -> dict[str, Any]:
        return logs.once(self._settings.node_name, node=self._settings.node_name, error=error)

    def record_event(self, type: str, reason: str, message: str) -> None:
        """Record an event about the node. Its uid in the reference is the node's name, as stock's, since it may not be registered yet."""
        name = self._settings.node_name
        self._recorder.event({"kind": "Node", "metadata": {"name": name, "uid": name}}, type, reason, message)

    def _record_condition_events(self, current: list[Object]) -> None:
        """Record events for conditions that changed since the last report."""
        for condition in current:
            type, value = condition["type"], condition["status"]
            if self._shown.get(type) != value:
                reason = condition["reason"].replace("Kubelet", "Node")
                level = logging.INFO if type in self._shown else logs.VERBOSE
                about = logs.fields(node=self._settings.node_name, type=type, status=value, reason=reason)
                log.log(level, "Condition of the node", extra=about)
                self._shown[type] = value
                self.record_event("Normal", reason, f"Node {self._settings.node_name} status is now: {reason}")

    async def _register(self) -> None:
        wanted = self._new_node()
        try:
            self.node = await self._client.create(NODES, wanted)
        except errors.AlreadyExists:
            found = await self._client.get(NODES, self._settings.node_name)
            self.node = found
            missing = {k: v for k, v in wanted["metadata"]["labels"].items() if (found["metadata"].get("labels") or {}).get(k) != v}
            if missing:
                self.node = await self._client.patch(NODES, self._settings.node_name, {"metadata": {"labels": missing}}, kind="strategic")
        await self.report()

    def _new_node(self) -> Object:
        meta = {
            "name": self._settings.node_name,
            "labels": labels(self._settings, self.facts),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        }
        cidr, own = self._settings.pod_cidr, list(self._settings.register_with_taints)
        spec = ({"podCIDR": cidr, "podCIDRs": [cidr]} if cidr else {}) | ({"taints": own} if own else {})
        now = time.now()
        return {"kind": "Node", "apiVersion": "v1", "metadata": meta, "spec": spec, "status": self._status({}, now)}

    def _status(self, old: Object, now: float) -> Object:
        addresses = [{"type": "InternalIP", "address": ip} for ip in self.addresses]
        version, facts, extended = self.status.version, self.facts, self._extended_resources()
        return {
            "addresses": [*addresses, {"type": "Hostname", "address": self._settings.node_name}],
            "allocatable": {**self.allocatable, **extended},
            "capacity": {**self._capacity, **extended},
            "conditions": [self._condition(type, old, now) for type in _CONDITIONS],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._settings.port}},
            "images": [_image(i) for i in sorted(self.status.images, key=lambda i: -i.size)[:MAX_IMAGES]],
            "nodeInfo": {
                "architecture": facts.architecture,
                "bootID": facts.boot_id,
                "containerRuntimeVersion": f"{version.name}://{version.version.removeprefix('v')}",
                "kernelVersion": facts.kernel,
                "kubeProxyVersion": "",
                "kubeletVersion": VERSION,
                "machineID": facts.machine_id,
                "operatingSystem": "linux",
                "osImage": facts.os_image,
                "systemUUID": facts.system_uuid,
            },
        }

    def _condition(self, type: str, old: Object, now: float) -> Object:
        fine, healthy, unhealthy = _CONDITIONS[type]
        trouble = self.status.troubles.get(type)
        value = fine if trouble is None else _OPPOSITE[fine]
        reason, message = healthy if trouble is None else unhealthy
        before = conditions.find(old.get("conditions") or (), type)
        return {
            "type": type,
            "status": value,
            "reason": reason,
            "message": trouble or message,
            "lastHeartbeatTime": time.stamp(now),
            "lastTransitionTime": conditions.since(before, value, now),
        }

    async def report(self) -> None:
        """Patch the node's status. Raises StatusError, OSError."""
        node = self.node or {}
        new = self._status(node.get("status") or {}, time.now())
        change: Object = {key: value for key, value in new.items() if (node.get("status") or {}).get(key) != value}
        order = [{"type": c["type"]} for c in new["conditions"]]
        change["$setElementOrder/conditions"] = order
        self.node = await self._client.patch(
            NODES, self._settings.node_name, {"status": change}, kind="strategic", subresource="status"
        )
        self._reported = time.now()
        self._record_condition_events(new["conditions"])

    async def run(self, check: Callable[[], Any]) -> None:
        """Renew the lease and report the status until cancelled; `check` updates `status` before each report."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease.run())
            group.create_task(self._reports(check))

    async def _reports(self, check: Callable[[], Any]) -> None:
        while True:
            changed = self.status.changed.is_set()
            self.status.changed.clear()
            if changed or time.now() - self._reported >= REPORT_SECONDS:
                try:
                    await self.report()
                except errors.NotFound:
                    self.node = None
                    await self.register()
                except (errors.StatusError, OSError) as error:
                    log.warning("The status of the node could not be written", extra=self._about(error))
                    self.status.changed.set()
                    await asyncio.sleep(_RETRY)
            await waiting.first(self.status.changed.wait(), self.status.check_now.wait(), seconds=CHECK_SECONDS)
            self.status.check_now.clear()
            await check()

def _image(image: Image) -> Object:
    names = [*image.digests, *image.tags][:MAX_NAMES]
    return {"names": names, "sizeBytes": image.size}
