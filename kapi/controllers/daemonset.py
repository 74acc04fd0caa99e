"""DaemonSet: one pod on each eligible node, replaced node by node when the template changes."""

from typing import Any

from kapi.controllers import pods, rollout, workload
from kapi.controllers.history import POD_LABEL, History
from kapi.controllers.workload import BURST, Failure, Workload
from kapi.objects import meta, placement, time
from kapi.objects.meta import Object
from kapi.objects.resource import DAEMON_SETS, NODES

GENERATION = "deprecated.daemonset.template.generation"
ALWAYS_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", "NoSchedule")
FAILED_BASE, FAILED_LIMIT = 1.0, 900.0


def node_of(pod: Object) -> str:
    """The node a pod is bound to or targets by node affinity."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("operator") == "In" and len(field.get("values") or ()) == 1:
                return str(field["values"][0])
    return ""


def _with_tolerations(spec: Object) -> Object:
    tolerations = [*ALWAYS_TOLERATED, *([HOST_NETWORK_TOLERATED] if spec.get("hostNetwork") else [])]
    more = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in tolerations]
    have = spec.get("tolerations") or []
    return {**spec, "tolerations": [*have, *(t for t in more if t not in have)]}


def _pinned(spec: Object, node: str) -> Object:
    """The pod spec with node affinity to one node, for the scheduler to bind."""
    field = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = dict(spec.get("affinity") or {})
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [field]}
    return {**spec, "affinity": {**affinity, "nodeAffinity": node_affinity}}


class DaemonSets(Workload):
    name = "daemonset-controller"
    resource = DAEMON_SETS
    workers = 2

    def setup(self) -> None:
        super().setup()
        self.nodes = self.informer(NODES)
        self.nodes.add_handler(self._node_changed)
        self.history = History(self, POD_LABEL)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _placing(old) == _placing(new):
            return
        for key in [meta.key(o) for o in self.objects]:
            self.queue.add(key)

    async def sync(self, owner: Object) -> float | None:
        owned = await self.claim(owner)
        if meta.deleting(owner):
            return None
        update = await self.history.newest(owner, (owner["spec"]["template"].get("metadata") or {}).get("labels") or {})
        code = meta.labels(update)[POD_LABEL]
        failure, wait = await self._manage_pods(owner, owned, code)
        if failure is None and (owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate":
            failure = await self._roll(owner, self.owned_by(owner), code)
        owned = self.owned_by(owner)
        await self.update_status(owner, self._status(owner, owned, code))
        await self.history.truncate(owner, {meta.labels(p).get(POD_LABEL, "") for p in owned}, [update])
        if failure is not None:
            raise failure
        soon = pods.available_in(owned, owner["spec"].get("minReadySeconds", 0), time.now())
        return min((w for w in (wait, soon) if w is not None), default=None)

    def _fits(self, owner: Object, node: Object) -> tuple[bool, bool]:
        """(whether a pod may be created on the node, whether an existing one may continue)."""
        spec = _with_tolerations(owner["spec"]["template"]["spec"])
        if spec.get("nodeName") not in (None, "", meta.name(node)):
            return False, False
        if not placement.fits_node(spec, meta.name(node), meta.labels(node)):
            return False, False
        bad = {t["effect"] for t in node["spec"].get("taints") or () if not placement.tolerates(spec["tolerations"], t)}
        return not bad & {"NoSchedule", "NoExecute"}, "NoExecute" not in bad

    async def _manage_pods(self, owner: Object, owned: list[Object], code: str) -> tuple[Failure, float | None]:
        """Create missing pods, delete pods from ineligible nodes, and surplus ones."""
        by_node: dict[str, list[Object]] = {}
        for pod in owned:
            by_node.setdefault(node_of(pod), []).append(pod)
        missing: list[str] = []
        surplus: list[Object] = []
        waits: list[float] = []
        for node in self.nodes:
            name = meta.name(node)
            start, stay = self._fits(owner, node)
            here = by_node.get(name, [])
            if not stay:
                surplus += [p for p in here if not meta.deleting(p)]
                continue
            failed = [p for p in here if pods.finished(p) and not meta.deleting(p)]
            for pod in failed:
                wait = self._replace_delay(owner, pod, name)
                if wait > 0:
                    waits.append(wait)
                else:
                    surplus.append(pod)
            alive = [p for p in here if pods.active(p)]
            if not here and start:
                missing.append(name)
            surplus += self._surplus_pods(alive, code, owner)
        failure = await self._create_pods(owner, code, missing[:BURST])
        return failure or await workload.run_all([self.delete_pod(owner, p) for p in surplus]), min(waits, default=None)

    async def _create_pods(self, owner: Object, code: str, nodes: list[str]) -> Failure:
        """Create a pod of the newest template for each of the nodes."""
        pod = self.pod(owner, owner["spec"]["template"])
        labels = {**pod["metadata"].get("labels", {}), POD_LABEL: code}
        if generation := meta.annotations(owner).get(GENERATION):
            labels["pod-template-generation"] = generation
        pod["metadata"]["labels"] = labels
        spec = _with_tolerations(pod["spec"])
        return await workload.slow_start(len(nodes), lambda i: self.create_pod(owner, {**pod, "spec": _pinned(spec, nodes[i])}))

    def _surplus_pods(self, alive: list[Object], code: str, owner: Object) -> list[Object]:
        """Pods to delete from a node with several: the newer ones, except a surge pod until it is available."""
        if len(alive) < 2:
            return []
        min_ready, now = owner["spec"].get("minReadySeconds", 0), time.now()
        fresh = [p for p in alive if meta.labels(p).get(POD_LABEL) == code]
        stale = [p for p in alive if meta.labels(p).get(POD_LABEL) != code]
        if fresh and stale and self._surge(owner):
            return stale if any(pods.available(p, min_ready, now) for p in fresh) else []
        alive = sorted(alive, key=lambda p: (not p["spec"].get("nodeName"), meta.metadata(p)["creationTimestamp"], meta.name(p)))
        return alive[1:]

    def _replace_delay(self, owner: Object, pod: Object, node: str) -> float:
        """Seconds until a finished pod is deleted to be replaced; failed pods back off from 1 s to 15 min."""
        if pods.phase(pod) == "Succeeded":
            text = f"Found succeeded daemon pod {meta.key(pod)} on node {node}, will try to delete it"
            self.record_event(owner, "SucceededDaemonPod", text)
            return 0.0
        key = (meta.uid(owner), node)
        count, at = self._failures.get(key, (0, 0.0))
        now = time.now()
        if at > now:
            return at - now
        if now - at > 2 * FAILED_LIMIT:
            count = 0
        self._failures[key] = (count + 1, now + min(FAILED_BASE * 2**count, FAILED_LIMIT))
        self.record_warning(owner, "FailedDaemonPod", f"Found failed daemon pod {meta.key(pod)} on node {node}, will try to kill it")
        return 0.0

    def _update_strategy(self, owner: Object) -> Object:
        rule: Object = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        return rule

    def _desired(self, owner: Object) -> int:
        return sum(self._fits(owner, n)[0] for n in self.nodes)

    def _surge(self, owner: Object) -> int:
        return rollout.scaled_value(self._update_strategy(owner).get("maxSurge", 0), self._desired(owner), up=True)

    async def _roll(self, owner: Object, owned: list[Object], code: str) -> Failure:
        """Replace pods of older templates: unavailable ones at once, available ones within maxUnavailable or by surging."""
        stale = [p for p in owned if pods.active(p) and meta.labels(p).get(POD_LABEL) != code]
        if not stale:
            return None
        min_ready, now = owner["spec"].get("minReadySeconds", 0), time.now()
        well = {node_of(p) for p in owned if pods.active(p) and pods.available(p, min_ready, now)}
        if surge := self._surge(owner):
            return await self._add_surge(owner, owned, stale, code, surge)
        allowed = max(rollout.scaled_value(self._update_strategy(owner).get("maxUnavailable", 1), self._desired(owner), up=True), 1)
        lost = sum(1 for n in self.nodes if self._fits(owner, n)[0] and meta.name(n) not in well)
        victims = [p for p in stale if not pods.available(p, min_ready, now)]
        victims += [p for p in stale if p not in victims][: max(allowed - lost, 0)]
        return await workload.run_all([self.delete_pod(owner, p) for p in victims])

    async def _add_surge(self, owner: Object, owned: list[Object], stale: list[Object], code: str, surge: int) -> Failure:
        """Create a surge pod beside an old one; `_manage_pods` deletes the old one when the new one is available."""
        fresh = {node_of(p) for p in owned if pods.active(p) and meta.labels(p).get(POD_LABEL) == code}
        surging = sum(node_of(p) in fresh for p in stale)
        return await self._create_pods(owner, code, [node_of(p) for p in stale if node_of(p) not in fresh][: max(surge - surging, 0)])

    def _status(self, owner: Object, owned: list[Object], code: str) -> Object:
        min_ready, now = owner["spec"].get("minReadySeconds", 0), time.now()
        by_node: dict[str, list[Object]] = {}
        for pod in owned:
            by_node.setdefault(node_of(pod), []).append(pod)
        counts = dict.fromkeys(("desired", "current", "misplaced", "ready", "available", "updated"), 0)
        for node in self.nodes:
            here = by_node.get(meta.name(node), [])
            if not self._fits(owner, node)[0]:
                counts["misplaced"] += bool(here)
                continue
            counts["desired"] += 1
            counts["current"] += bool(here)
            counts["ready"] += any(pods.ready(p) and not meta.deleting(p) for p in here)
            counts["available"] += any(pods.available(p, min_ready, now) and not meta.deleting(p) for p in here)
            counts["updated"] += any(meta.labels(p).get(POD_LABEL) == code and not meta.deleting(p) for p in here)
        old = owner.get("status") or {}
        status = {
            "currentNumberScheduled": counts["current"],
            "desiredNumberScheduled": counts["desired"],
            "numberMisscheduled": counts["misplaced"],
            "numberReady": counts["ready"],
            "numberAvailable": counts["available"],
            "numberUnavailable": counts["desired"] - counts["available"],
            "updatedNumberScheduled": counts["updated"],
            "observedGeneration": meta.metadata(owner).get("generation", 0),
        }
        return status | ({"collisionCount": old["collisionCount"]} if old.get("collisionCount") else {})


def _placing(node: Object) -> tuple[Any, ...]:
    """The fields of a node that decide about daemon pods."""
    return meta.labels(node), node["spec"].get("taints"), node["spec"].get("unschedulable")
