"""PodDisruptionBudget, Lease, PriorityClass and RuntimeClass: small kinds that stand alone."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds.core.pods import container_resources, placement
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy, conditions

Object = dict[str, Any]

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
POLICIES = ("PreemptLowerPriority", "Never")
SYSTEM_SEVERITIES = "priority class names with 'system-' prefix are reserved for system use only"


class PodDisruptionBudgetStrategy(RuledStrategy):
    """policy/v1 PodDisruptionBudget."""

    loose_finalizers = True
    name_check = staticmethod(names.path_segment)
    unconditional_update = False
    columns = rules.columns(
        "Name", "Min Available: The minimum number of pods that must be available.",
        "Max Unavailable: The maximum number of pods that may be unavailable.",
        "Allowed Disruptions#: Calculated number of pods that may be disrupted at this time.", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        zero = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
        new["status"] = (old or {}).get("status") or zero

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        if "minAvailable" in spec and "maxUnavailable" in spec:
            wire = ("minAvailable", "selector", "maxUnavailable", "unhealthyPodEvictionPolicy")
            shown = {field[0].upper() + field[1:]: spec.get(field) for field in wire}
            new.e.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set")
        for field in ("minAvailable", "maxUnavailable"):
            if field in spec:
                spec.count_or_percent(field)
                spec.at_most_all(field)
        spec.selector("selector")
        spec.choice("unhealthyPodEvictionPolicy", ("AlwaysAllow", "IfHealthyBudget"))

    def check_status(self, new: Part, old: Object) -> None:
        status = new.part("status")
        conditions(status)
        for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
            status.non_negative(field)

    def cells(self, obj: Object) -> list[Any]:
        spec, allowed = obj["spec"], (obj.get("status") or {}).get("disruptionsAllowed", 0)
        return [*(str(spec[f]) if f in spec else "N/A" for f in ("minAvailable", "maxUnavailable")), allowed]


class LeaseStrategy(PlainStrategy):
    """coordination.k8s.io/v1 Lease."""

    loose_finalizers = True
    unconditional_update = False
    create_on_update = True
    columns = rules.columns("Name", "Holder=coordination.v1.LeaseSpec.holderIdentity", "Age")

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        for field in ("strategy", "preferredHolder"):  # coordinated leader election is off by default
            if not (old or {}).get("spec", {}).get(field):
                new["spec"].pop(field, None)

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        if "leaseDurationSeconds" in spec:
            spec.at_least("leaseDurationSeconds", 1, "must be greater than 0")
        spec.non_negative("leaseTransitions")
        spec.optional("strategy", names.qualified_name)
        if spec.text("preferredHolder") and not spec.text("strategy"):
            spec.forbidden("preferredHolder", "may only be specified if `strategy` is defined")

    def cells(self, obj: Object) -> list[Any]:
        return [(obj.get("spec") or {}).get("holderIdentity", "")]


class PriorityClassStrategy(RuledStrategy):
    """scheduling.k8s.io/v1 PriorityClass."""

    status = False
    columns = rules.columns(
        "Name", "Value#=scheduling.v1.PriorityClass.value", "Global-Default=scheduling.v1.PriorityClass.globalDefault", "Age",
        "PreemptionPolicy=scheduling.v1.PriorityClass.preemptionPolicy",
    )  # fmt: skip

    def changed(self, new: Object, old: Object) -> bool:
        return False  # the first generation is the only one

    def default(self, obj: Object) -> None:
        obj.setdefault("value", 0)
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def check(self, new: Part, old: Object | None) -> None:
        name, value = new.obj["metadata"].get("name") or "", new.number("value")
        if old is not None:
            if value != old.get("value", 0):
                new.forbidden("value", "may not be changed in an update.")
            new.immutable(old, "preemptionPolicy")
            return
        if name.startswith("system-"):
            if SYSTEM_CLASSES.get(name) != value:
                new.forbidden("metadata.name", SYSTEM_SEVERITIES + f". error: {name} is not a known system priority class")
        elif value > HIGHEST_USER_PRIORITY:
            new.forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}")
        new.enum("preemptionPolicy", POLICIES, need="", sort=False)

    def cells(self, obj: Object) -> list[Any]:
        return [obj.get("value", 0), rules.shown(bool(obj.get("globalDefault"))), obj.get("preemptionPolicy", "")]


class RuntimeClassStrategy(PlainStrategy):
    """node.k8s.io/v1 RuntimeClass."""

    loose_finalizers = True
    unconditional_update = False
    columns = rules.columns("Name", "Handler=node.v1.RuntimeClass.handler", "Age")

    def check(self, new: Part, old: Object | None) -> None:
        if old is not None:
            new.e.immutable("handler", new.text("handler"), old.get("handler") or "")
            return
        new.named("handler", names.dns_label)
        for at, name, value in new.part("overhead").entries("podFixed"):
            container_resources.container_resource_name(new.e, at, name)
            container_resources.amount(new.e, at, name, value)
        scheduling, seen = new.part("scheduling"), list[Object]()
        scheduling.labels("nodeSelector")
        placement.tolerations(scheduling)
        for at, toleration in scheduling.values("tolerations"):
            if toleration in seen:
                new.e.duplicate(at, internal.to_internal("Toleration", toleration))
            seen.append(toleration)

    def cells(self, obj: Object) -> list[Any]:
        return [obj.get("handler", "")]
