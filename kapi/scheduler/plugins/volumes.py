"""Plugins on persistent volumes: VolumeRestrictions, VolumeZone, VolumeBinding.

VolumeBinding handles bound claims and those that wait for their first consumer: it filters by the volumes' node affinity, chooses static
volumes or sets the selected node for the provisioner, and delays the pod's binding until the claims are bound.
"""

import asyncio
from collections.abc import Iterable

from kapi.objects import errors, quantity
from kapi.objects.meta import Object
from kapi.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from kapi.scheduler import matching
from kapi.scheduler.framework import SKIP, Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.handle import Handle
from kapi.scheduler.snapshot import REGION, ZONE, NodeInfo

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_SECONDS = 600.0
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_VOLUME_EVENTS = (Event("pvc", "*"), Event("pv", "*"), Event("storageclass", "*"), Event("node", "add"), Event("node", "label"))


def _bound(claim: Object) -> bool:
    meta = claim["metadata"]
    return bool(claim["spec"].get("volumeName")) and "pv.kubernetes.io/bind-completed" in (meta.get("annotations") or {})


def _is_reachable(volume: Object, node: NodeInfo) -> bool:
    required = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms")
    return required is None or any(matching.term_matches(t, node.name, node.labels) for t in required)


class VolumeRestrictions(SchedulingPlugin):
    """A ReadWriteOncePod claim can be used by one pod of the cluster."""

    name = "VolumeRestrictions"
    events_to_register = (Event("pod", "delete"), Event("pvc", "*"), Event("node", "add"))
    _in_use = Status(
        Code.UNSCHEDULABLE, ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",), name
    )

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def pre_filter(self, cycle: Cycle) -> Status | None:
        pod = cycle.pod
        single = set()
        for name, _ in pod.claims:
            claim = self._handle.get(PERSISTENT_VOLUME_CLAIMS, f"{pod.namespace}/{name}")
            if claim and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ()):
                single.add(name)
        if not single:
            return SKIP
        cycle.data[self.name] = single
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        single: set[str] = cycle.data[self.name]
        for other in node.pods.values():
            if other.namespace == cycle.pod.namespace and any(name in single for name, _ in other.claims):
                return self._in_use
        return None


class VolumeZone(SchedulingPlugin):
    """Bound volumes with zone or region labels require a node with a matching label."""

    name = "VolumeZone"
    events_to_register = _VOLUME_EVENTS
    _wrong_zone = Status(Code.UNRESOLVABLE, ("node(s) had no available volume zone",), name)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def pre_filter(self, cycle: Cycle) -> Status | None:
        places = []
        for name, _ in cycle.pod.claims:
            claim = self._handle.get(PERSISTENT_VOLUME_CLAIMS, f"{cycle.pod.namespace}/{name}") or {"spec": {}}
            volume = self._handle.get(PERSISTENT_VOLUMES, claim["spec"].get("volumeName") or "")
            labels = (volume["metadata"].get("labels") or {}) if volume else {}
            places += [(key, set(labels[key].split("__"))) for key in (ZONE, REGION) if key in labels]
        if not places:
            return SKIP
        cycle.data[self.name] = places
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        if any(node.labels.get(key) not in values for key, values in cycle.data[self.name]):
            return self._wrong_zone
        return None


class VolumeBinding(SchedulingPlugin):
    name = "VolumeBinding"
    events_to_register = _VOLUME_EVENTS

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._assumed: dict[str, str] = {}
        """Assumed bindings: volume name -> key of the claim that is being bound to it."""

    def pre_filter(self, cycle: Cycle) -> Status | None:
        pod = cycle.pod
        if not pod.claims:
            return SKIP
        bound: list[Object] = []
        unbound: list[Object] = []
        for name, ephemeral in pod.claims:
            claim = self._handle.get(PERSISTENT_VOLUME_CLAIMS, f"{pod.namespace}/{name}")
            problem = self._claim_error(name, claim, ephemeral, pod.uid)
            if problem or claim is None:
                return Status(Code.UNRESOLVABLE, (problem,), self.name)
            (bound if _bound(claim) else unbound).append(claim)
        if any(not self._waits(claim) for claim in unbound):
            return Status(Code.UNRESOLVABLE, ("pod has unbound immediate PersistentVolumeClaims",), self.name)
        cycle.data[self.name] = (bound, unbound, {})
        return None

    def _claim_error(self, name: str, claim: Object | None, ephemeral: bool, uid: str) -> str:
        if claim is None:
            if ephemeral:
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return f'persistentvolumeclaim "{name}" not found'
        meta = claim["metadata"]
        if (claim.get("status") or {}).get("phase") == "Lost":
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim["spec"].get("volumeName")}"'
        if meta.get("deletionTimestamp"):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if ephemeral and not any(r.get("uid") == uid and r.get("controller") for r in meta.get("ownerReferences") or ()):
            return f"PVC {meta['namespace']}/{name} was not created for pod (pod is not owner)"
        return ""

    def _class(self, claim: Object) -> Object | None:
        return self._handle.get(STORAGE_CLASSES, claim["spec"].get("storageClassName") or "")

    def _waits(self, claim: Object) -> bool:
        """Whether the claim's class has volumeBindingMode WaitForFirstConsumer."""
        storage_class = self._class(claim)
        return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        bound, unbound, plans = cycle.data[self.name]
        for claim in bound:
            volume = self._handle.get(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
            if volume is None:
                text = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
                return Status(Code.UNRESOLVABLE, (text,), self.name)
            if not _is_reachable(volume, node):
                return Status(Code.UNRESOLVABLE, ("node(s) didn't match PersistentVolume's node affinity",), self.name)
        plan: list[tuple[Object, Object | None]] = []
        for claim in unbound:
            volume = self._available(claim, node, {v["metadata"]["name"] for _, v in plan if v})
            if volume is None and not self._provisions(claim, node):
                return Status(Code.UNRESOLVABLE, ("node(s) didn't find available persistent volumes to bind",), self.name)
            plan.append((claim, volume))
        plans[node.name] = plan
        return None

    def _available(self, claim: Object, node: NodeInfo, taken: Iterable[str]) -> Object | None:
        """The smallest available volume that satisfies the claim and is reachable from the node."""
        spec, key = claim["spec"], f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        chosen = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        if chosen:
            return None
        capacity = quantity.value(((spec.get("resources") or {}).get("requests") or {}).get("storage"))
        selector, modes = matching.selector(spec.get("selector")), set(spec.get("accessModes") or ())
        best: tuple[int, Object] | None = None
        for volume in self._handle.informers[PERSISTENT_VOLUMES].items():
            meta, its = volume["metadata"], volume["spec"]
            size = quantity.value((its.get("capacity") or {}).get("storage"))
            promised = self._assumed.get(meta["name"], key) != key or meta["name"] in taken or its.get("claimRef")
            fits = size >= capacity and modes <= set(its.get("accessModes") or ()) and _is_reachable(volume, node)
            same = (its.get("storageClassName") or "") == (spec.get("storageClassName") or "")
            same = same and its.get("volumeMode", "Filesystem") == spec.get("volumeMode", "Filesystem")
            free = (volume.get("status") or {}).get("phase") in ("Available", None) and not promised
            if not (fits and same and free) or (selector and not selector.matches(meta.get("labels") or {})):
                continue
            if best is None or size < best[0]:
                best = (size, volume)
        return best[1] if best else None

    def _provisions(self, claim: Object, node: NodeInfo) -> bool:
        storage_class = self._class(claim)
        if storage_class is None or storage_class.get("provisioner", "") in ("", NO_PROVISIONER):
            return False
        terms = storage_class.get("allowedTopologies")
        if not terms:
            return True
        return any(all(node.labels.get(e["key"]) in e["values"] for e in t.get("matchLabelExpressions") or ()) for t in terms)

    def reserve(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        for claim, volume in self._plan(cycle, node):
            if volume is not None:
                self._assumed[volume["metadata"]["name"]] = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        return None

    def unreserve(self, cycle: Cycle, node: NodeInfo) -> None:
        for _, volume in self._plan(cycle, node):
            if volume is not None:
                self._assumed.pop(volume["metadata"]["name"], None)

    def _plan(self, cycle: Cycle, node: NodeInfo) -> list[tuple[Object, Object | None]]:
        state = cycle.data.get(self.name)
        found: list[tuple[Object, Object | None]] = state[2].get(node.name, []) if state else []
        return found

    async def pre_bind(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        plan = self._plan(cycle, node)
        if not plan:
            return None
        try:
            for claim, volume in plan:
                await self._bind_or_provision(claim, volume, node)
            await asyncio.wait_for(self._wait_until_bound([claim for claim, _ in plan]), BIND_SECONDS)
        except (errors.StatusError, OSError) as error:
            return Status(Code.ERROR, (f"binding volumes: {error}",), self.name)
        except TimeoutError:
            return Status(Code.ERROR, ("binding volumes: context deadline exceeded",), self.name)
        finally:
            self.unreserve(cycle, node)
        return None

    async def _bind_or_provision(self, claim: Object, volume: Object | None, node: NodeInfo) -> None:
        """Set the volume's claimRef, or the claim's selected-node annotation for its provisioner."""
        meta, client = claim["metadata"], self._handle.client
        if volume is None:
            patch: Object = {"metadata": {"annotations": {SELECTED_NODE: node.name}}}
            await client.patch(PERSISTENT_VOLUME_CLAIMS, meta["name"], patch, namespace=meta["namespace"])
            return
        reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": meta["namespace"], "name": meta["name"]}
        reference |= {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        patch = {"metadata": {"resourceVersion": volume["metadata"]["resourceVersion"]}, "spec": {"claimRef": reference}}
        patch["metadata"]["annotations"] = {"pv.kubernetes.io/bound-by-controller": "yes"}
        await client.patch(PERSISTENT_VOLUMES, volume["metadata"]["name"], patch)

    async def _wait_until_bound(self, claims: list[Object]) -> None:
        """Wait until the informer has every claim bound."""
        informer = self._handle.informers[PERSISTENT_VOLUME_CLAIMS]
        keys = [f"{c['metadata']['namespace']}/{c['metadata']['name']}" for c in claims]
        while True:
            changed = self._handle.next_change(PERSISTENT_VOLUME_CLAIMS)
            if all((found := informer.get(key)) is not None and _bound(found) for key in keys):
                return
            await changed
