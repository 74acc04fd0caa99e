"""Small plugins on pods: Priority, DefaultTolerationSeconds, RuntimeClass, PodTopologyLabels."""

from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, Plugin, ReadingPlugin, forbidden, is_pod
from kapi.objects import quantity
from kapi.objects.meta import Object, clone
from kapi.objects.quoting import go_quote
from kapi.objects.resource import NODES, PRIORITY_CLASSES, RUNTIME_CLASSES
from kapi.registry.admission import Review

SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
"""There from the beginning, also before their objects are."""
PREEMPT = "PreemptLowerPriority"
TOLERATION_SECONDS = 300
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
TOPOLOGY_LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
_GIVEN = "must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name"


class Priority(ReadingPlugin):
    """Turns a class name into the number; keeps the default class single."""

    name = "Priority"
    about = dict.fromkeys((CREATE, UPDATE), ("pods", "priorityclasses.scheduling.k8s.io"))

    def mutate(self, review: Review) -> None:
        if not is_pod(review.kind.resource):
            return
        spec = (review.new or {})["spec"]
        if review.operation == UPDATE:
            old = (review.old or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        value, policy = self._resolve(review, spec)
        given = spec.get("priority")
        if given is not None and given != value:
            raise forbidden(review, f"the integer value of priority ({given}) {_GIVEN.format(value)}")
        spec["priority"] = value
        chosen = spec.get("preemptionPolicy")
        if chosen is not None and chosen != policy:
            raise forbidden(review, f"the string value of PreemptionPolicy ({chosen}) {_GIVEN.format(policy)}")
        spec["preemptionPolicy"] = policy

    def _resolve(self, review: Review, spec: Object) -> tuple[int, str]:
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
                raise forbidden(review, f"no PriorityClass with name {name} was found")
            return SYSTEM_PRIORITIES[name], PREEMPT
        return found.get("value", 0), found.get("preemptionPolicy") or PREEMPT

    def _default(self) -> Object | None:
        """The default class; of several the lowest."""
        chosen = [c for c in self.reader.list(PRIORITY_CLASSES) if c.get("globalDefault")]
        return min(chosen, key=lambda c: c.get("value", 0)) if chosen else None

    def validate(self, review: Review) -> None:
        new = review.new or {}
        if is_pod(review.kind.resource) or not new.get("globalDefault"):
            return
        default = self._default()
        if default is None or (review.operation == UPDATE and default["metadata"]["name"] == review.name):
            return
        name = default["metadata"]["name"]
        raise forbidden(review, f"PriorityClass {name} is already marked as default. Only one default can exist")


class DefaultTolerationSeconds(Plugin):
    """A pod outlives five minutes of trouble with its node, unless it says otherwise."""

    name = "DefaultTolerationSeconds"
    about = dict.fromkeys((CREATE, UPDATE), ("pods",))

    def mutate(self, review: Review) -> None:
        spec = (review.new or {})["spec"]
        have = spec.get("tolerations") or []
        missing = [key for key in (NOT_READY, UNREACHABLE) if not any(_covers(t, key) for t in have)]
        if missing:
            spec["tolerations"] = [*have, *map(_tolerated, missing)]


def _covers(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


def _tolerated(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}


class RuntimeClass(ReadingPlugin):
    """A pod's runtime class must exist; its overhead and node choice become the pod's."""

    name = "RuntimeClass"
    about = {CREATE: ("pods",)}

    def _class(self, review: Review) -> Object | None:
        name = (review.new or {})["spec"].get("runtimeClassName")
        if name is None:
            return None
        found = self.reader.get(RUNTIME_CLASSES, "", name)
        if found is None:
            raise forbidden(review, f"pod rejected: RuntimeClass {go_quote(name)} not found")
        return found

    def mutate(self, review: Review) -> None:
        chosen = self._class(review)
        if chosen is None:
            return
        spec = (review.new or {})["spec"]
        fixed = (chosen.get("overhead") or {}).get("podFixed")
        if fixed:
            if not spec.get("overhead"):
                spec["overhead"] = clone(fixed)
            elif not _same_amounts(spec["overhead"], fixed):
                raise forbidden(review, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        self._schedule(review, spec, chosen.get("scheduling") or {})

    def _schedule(self, review: Review, spec: Object, scheduling: Object) -> None:
        wanted = scheduling.get("nodeSelector") or {}
        have = spec.get("nodeSelector") or {}
        for key, value in wanted.items():
            if have.get(key, value) != value:
                left, right = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}", f"pod.spec.nodeSelector[{key}] = {have[key]}"
                raise forbidden(review, f"conflict: {left}; {right}")
        if wanted:
            spec["nodeSelector"] = {**have, **wanted}
        more = [t for t in scheduling.get("tolerations") or () if t not in (spec.get("tolerations") or ())]
        if more:
            spec["tolerations"] = [*(spec.get("tolerations") or ()), *clone(more)]

    def validate(self, review: Review) -> None:
        overhead = (review.new or {})["spec"].get("overhead")
        chosen = self._class(review)
        fixed = ((chosen or {}).get("overhead") or {}).get("podFixed")
        if fixed:
            if not _same_amounts(overhead or {}, fixed):
                raise forbidden(review, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        elif overhead:
            raise forbidden(review, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")


def _same_amounts(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(quantity.compare(a[key], b[key]) == 0 for key in a)


class PodTopologyLabels(ReadingPlugin):
    """A pod learns the zone and region of its node when it is bound (or made) there."""

    name = "PodTopologyLabels"
    about = {CREATE: ("pods", "pods/binding")}

    def mutate(self, review: Review) -> None:
        new = review.new or {}
        target = new.get("target") or {}
        name = target.get("name") if review.subresource else (new.get("spec") or {}).get("nodeName")
        if not name or target.get("kind") not in (None, "", "Node"):
            return
        node = self.reader.get(NODES, "", name)
        have = ((node or {}).get("metadata") or {}).get("labels") or {}
        copied = {key: have[key] for key in TOPOLOGY_LABELS if key in have}
        if copied:
            new["metadata"]["labels"] = {**(new["metadata"].get("labels") or {}), **copied}
