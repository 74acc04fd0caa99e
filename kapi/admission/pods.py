"""Small plugins on pods: Priority, DefaultTolerationSeconds, RuntimeClass, PodTopologyLabels."""

from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, Plugin, ReadingPlugin, forbidden, is_pod
from kapi.objects import quantity
from kapi.objects.meta import Object, clone
from kapi.objects.quoting import go_quote
from kapi.objects.resource import NODES, PRIORITY_CLASSES, RUNTIME_CLASSES
from kapi.registry.admission import AdmissionAttributes

SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
"""Resolved even before their PriorityClass objects exist."""
PREEMPT = "PreemptLowerPriority"
TOLERATION_SECONDS = 300
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
TOPOLOGY_LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
_NOT_IN_POD_SPEC = "must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name"


class Priority(ReadingPlugin):
    """Resolves priorityClassName to a priority; allows one default class."""

    name = "Priority"
    handled = dict.fromkeys((CREATE, UPDATE), ("pods", "priorityclasses.scheduling.k8s.io"))

    def mutate(self, attrs: AdmissionAttributes) -> None:
        if not is_pod(attrs.kind.resource):
            return
        spec = (attrs.new or {})["spec"]
        if attrs.operation == UPDATE:
            old = (attrs.old or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        value, policy = self._resolve(attrs, spec)
        requested = spec.get("priority")
        if requested is not None and requested != value:
            raise forbidden(attrs, f"the integer value of priority ({requested}) {_NOT_IN_POD_SPEC.format(value)}")
        spec["priority"] = value
        chosen = spec.get("preemptionPolicy")
        if chosen is not None and chosen != policy:
            raise forbidden(attrs, f"the string value of PreemptionPolicy ({chosen}) {_NOT_IN_POD_SPEC.format(policy)}")
        spec["preemptionPolicy"] = policy

    def _resolve(self, attrs: AdmissionAttributes, spec: Object) -> tuple[int, str]:
        name = spec.get("priorityClassName")
        if not name:
            chosen = self._default()
            if chosen is None:
                return 0, PREEMPT
            spec["priorityClassName"] = chosen["metadata"]["name"]
            return chosen.get("value", 0), chosen.get("preemptionPolicy") or PREEMPT
        found = self.reader.get(PRIORITY_CLASSES, "", name)
        if found is None:
            if name not in SYSTEM_PRIORITIES:
                raise forbidden(attrs, f"no PriorityClass with name {name} was found")
            return SYSTEM_PRIORITIES[name], PREEMPT
        return found.get("value", 0), found.get("preemptionPolicy") or PREEMPT

    def _default(self) -> Object | None:
        """The global default class; of several the one with the lowest value."""
        chosen = [c for c in self.reader.list(PRIORITY_CLASSES) if c.get("globalDefault")]
        return min(chosen, key=lambda c: c.get("value", 0)) if chosen else None

    def validate(self, attrs: AdmissionAttributes) -> None:
        new = attrs.new or {}
        if is_pod(attrs.kind.resource) or not new.get("globalDefault"):
            return
        default = self._default()
        if default is None or (attrs.operation == UPDATE and default["metadata"]["name"] == attrs.name):
            return
        name = default["metadata"]["name"]
        raise forbidden(attrs, f"PriorityClass {name} is already marked as default. Only one default can exist")


class DefaultTolerationSeconds(Plugin):
    """Adds tolerations of 300 s for not-ready and unreachable nodes."""

    name = "DefaultTolerationSeconds"
    handled = dict.fromkeys((CREATE, UPDATE), ("pods",))

    def mutate(self, attrs: AdmissionAttributes) -> None:
        spec = (attrs.new or {})["spec"]
        have = spec.get("tolerations") or []
        missing = [key for key in (NOT_READY, UNREACHABLE) if not any(_tolerates(t, key) for t in have)]
        if missing:
            spec["tolerations"] = [*have, *map(_toleration, missing)]


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


def _toleration(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}


class RuntimeClass(ReadingPlugin):
    """Checks that a pod's RuntimeClass exists; copies its overhead, nodeSelector and tolerations to the pod."""

    name = "RuntimeClass"
    handled = {CREATE: ("pods",)}

    def _class(self, attrs: AdmissionAttributes) -> Object | None:
        name = (attrs.new or {})["spec"].get("runtimeClassName")
        if name is None:
            return None
        found = self.reader.get(RUNTIME_CLASSES, "", name)
        if found is None:
            raise forbidden(attrs, f"pod rejected: RuntimeClass {go_quote(name)} not found")
        return found

    def mutate(self, attrs: AdmissionAttributes) -> None:
        chosen = self._class(attrs)
        if chosen is None:
            return
        spec = (attrs.new or {})["spec"]
        fixed = (chosen.get("overhead") or {}).get("podFixed")
        if fixed:
            if not spec.get("overhead"):
                spec["overhead"] = clone(fixed)
            elif not _same_amounts(spec["overhead"], fixed):
                raise forbidden(attrs, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        self._schedule(attrs, spec, chosen.get("scheduling") or {})

    def _schedule(self, attrs: AdmissionAttributes, spec: Object, scheduling: Object) -> None:
        wanted = scheduling.get("nodeSelector") or {}
        have = spec.get("nodeSelector") or {}
        for key, value in wanted.items():
            if have.get(key, value) != value:
                left, right = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}", f"pod.spec.nodeSelector[{key}] = {have[key]}"
                raise forbidden(attrs, f"conflict: {left}; {right}")
        if wanted:
            spec["nodeSelector"] = {**have, **wanted}
        more = [t for t in scheduling.get("tolerations") or () if t not in (spec.get("tolerations") or ())]
        if more:
            spec["tolerations"] = [*(spec.get("tolerations") or ()), *clone(more)]

    def validate(self, attrs: AdmissionAttributes) -> None:
        overhead = (attrs.new or {})["spec"].get("overhead")
        chosen = self._class(attrs)
        fixed = ((chosen or {}).get("overhead") or {}).get("podFixed")
        if fixed:
            if not _same_amounts(overhead or {}, fixed):
                raise forbidden(attrs, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        elif overhead:
            raise forbidden(attrs, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")


def _same_amounts(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(quantity.compare(a[key], b[key]) == 0 for key in a)


class PodTopologyLabels(ReadingPlugin):
    """Copies the zone and region labels of a node to pods that are bound to it or created on it."""

    name = "PodTopologyLabels"
    handled = {CREATE: ("pods", "pods/binding")}

    def mutate(self, attrs: AdmissionAttributes) -> None:
        new = attrs.new or {}
        target = new.get("target") or {}
        name = target.get("name") if attrs.subresource else (new.get("spec") or {}).get("nodeName")
        if not name or target.get("kind") not in (None, "", "Node"):
            return
        node = self.reader.get(NODES, "", name)
        have = ((node or {}).get("metadata") or {}).get("labels") or {}
        copied = {key: have[key] for key in TOPOLOGY_LABELS if key in have}
        if copied:
            new["metadata"]["labels"] = {**(new["metadata"].get("labels") or {}), **copied}
