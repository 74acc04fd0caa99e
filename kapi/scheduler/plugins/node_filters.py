"""Plugins on fields of the Node: name, labels, taints, host ports in use, unschedulable."""

from typing import Any

from kapi.scheduler.framework import SKIP, Code, Cycle, Event, SchedulingPlugin, Status, default_normalize
from kapi.scheduler.matching import term_matches, tolerates
from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import NodeInfo

_NODE_CHANGES = (Event("node", "add"), Event("node", "label"), Event("node", "taint"))
_CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable(SchedulingPlugin):
    """Rejects unschedulable (cordoned) nodes unless the pod tolerates the taint."""

    name, local = "NodeUnschedulable", True
    events_to_register = (Event("node", "add"), Event("node", "taint"), Event("pod", "tolerations"))
    _no = Status(Code.UNRESOLVABLE, ("node(s) were unschedulable",), name)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        if not node.unschedulable or tolerates(cycle.pod.spec.tolerations, _CORDONED):
            return None
        return self._no

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        return event.resource == "pod" or not (obj.get("spec") or {}).get("unschedulable")


class NodeName(SchedulingPlugin):
    """Rejects all nodes but spec.nodeName, if it is set."""

    name, local = "NodeName", True
    events_to_register = (Event("node", "add"),)
    _no = Status(Code.UNRESOLVABLE, ("node(s) didn't match the requested node name",), name)

    def pre_filter(self, cycle: Cycle) -> Status | None:
        return None if cycle.pod.node else SKIP

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        return None if cycle.pod.node == node.name else self._no


class TaintToleration(SchedulingPlugin):
    """Rejects nodes with untolerated NoSchedule or NoExecute taints; PreferNoSchedule taints lower the score."""

    name, local = "TaintToleration", True
    events_to_register = (Event("node", "add"), Event("node", "taint"), Event("pod", "tolerations"))
    _no = Status(Code.UNRESOLVABLE, ("node(s) had untolerated taint(s)",), name)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        if node.hard_taints:
            tolerations = cycle.pod.spec.tolerations
            for taint in node.hard_taints:
                if not tolerates(tolerations, taint):
                    return self._no
        return None

    def pre_score(self, cycle: Cycle, nodes: Any) -> Status | None:
        return None if cycle.cluster.soft_taints else SKIP

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        """The number of PreferNoSchedule taints that the pod does not tolerate."""
        if not node.soft_taints:
            return 0
        soft = [t for t in cycle.pod.spec.tolerations if t.get("effect") in (None, "", "PreferNoSchedule")]
        return sum(not tolerates(soft, taint) for taint in node.soft_taints)

    def normalize(self, cycle: Cycle, scores: list[int]) -> list[int]:
        return default_normalize(scores, reverse=True)

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        if event.resource == "pod":
            return True
        taints = (obj.get("spec") or {}).get("taints") or ()
        return all(tolerates(pod.spec.tolerations, t) for t in taints if t.get("effect") in ("NoSchedule", "NoExecute"))


class NodeAffinity(SchedulingPlugin):
    """spec.nodeSelector and node affinity, required and preferred."""

    name, local = "NodeAffinity", True
    events_to_register = (Event("node", "add"), Event("node", "label"))
    _no = Status(Code.UNRESOLVABLE, ("node(s) didn't match Pod's node affinity/selector",), name)

    def pre_filter(self, cycle: Cycle) -> Status | None:
        spec = cycle.pod.spec
        if spec.required is None:
            return SKIP
        if spec.named_conflict:
            return Status(Code.UNRESOLVABLE, ("pod affinity terms conflict",), self.name)
        if spec.named is not None:
            cycle.narrow(spec.named, self.name)
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        required = cycle.pod.spec.required
        return None if required is None or required(node.name, node.labels) else self._no

    def pre_score(self, cycle: Cycle, nodes: Any) -> Status | None:
        return None if cycle.pod.spec.preferred else SKIP

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        """The sum of the weights of matching preferred terms."""
        total = 0
        for preferred in cycle.pod.spec.preferred:
            term, weight = preferred.get("preference") or {}, preferred.get("weight", 0)
            empty = not term.get("matchExpressions") and not term.get("matchFields")
            if weight and not empty and term_matches(term, node.name, node.labels):
                total += weight
        return total

    def normalize(self, cycle: Cycle, scores: list[int]) -> list[int]:
        return default_normalize(scores)

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        required, meta = pod.spec.required, obj["metadata"]
        return required is None or required(meta["name"], meta.get("labels") or {})


class NodePorts(SchedulingPlugin):
    """Rejects nodes where a host port of the pod is in use (protocol, address and port)."""

    name, local = "NodePorts", True
    events_to_register = (Event("pod", "delete"), Event("node", "add"))
    _no = Status(Code.UNSCHEDULABLE, ("node(s) didn't have free ports for the requested pod ports",), name)

    def pre_filter(self, cycle: Cycle) -> Status | None:
        return None if cycle.pod.spec.ports else SKIP

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        if not node.ports:
            return None
        for address, protocol, port in cycle.pod.spec.ports:
            for taken_address, taken_protocol, taken_port in node.ports:
                same = taken_port == port and taken_protocol == protocol
                if same and (address == taken_address or "0.0.0.0" in (address, taken_address)):
                    return self._no
        return None

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        return event.resource != "pod" or any(taken[1:] == port[1:] for taken in obj.spec.ports for port in pod.spec.ports)
