"""PodDisruptionBudget, Lease, PriorityClass and RuntimeClass: small kinds that stand alone."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import container_resources, internal, placement, rules
from kapi.registry.kinds.rules import Checked, Errors

Object = dict[str, Any]

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
POLICIES = ("PreemptLowerPriority", "Never")
SYSTEM_SEVERITIES = "priority class names with 'system-' prefix are reserved for system use only"


class PodDisruptionBudgetStrategy(Checked):
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

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec = new["spec"]
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        if least is not None and most is not None:
            policy = spec.get("unhealthyPodEvictionPolicy")
            shown = {"MinAvailable": least, "Selector": spec.get("selector"), "MaxUnavailable": most, "UnhealthyPodEvictionPolicy": policy}
            e.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set")
        for field, value in (("minAvailable", least), ("maxUnavailable", most)):
            if value is not None:
                e.count_or_percent(f"spec.{field}", value)
                e.at_most_all(f"spec.{field}", value)
        rules.label_selector(e, "spec.selector", spec.get("selector"))
        rules.present(e, "spec", spec, {"unhealthyPodEvictionPolicy": rules.one_of("AlwaysAllow", "IfHealthyBudget")})

    def check_status(self, e: Errors, new: Object, old: Object) -> None:
        rules.conditions(e, "status", new.get("status") or {})
        for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
            e.non_negative(f"status.{field}", new.get("status", {}).get(field))

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, allowed = obj["spec"], (obj.get("status") or {}).get("disruptionsAllowed", 0)
        cells = [str(spec[f]) if f in spec else "N/A" for f in ("minAvailable", "maxUnavailable")]
        return [obj["metadata"]["name"], *cells, allowed, rules.age(obj, now)]


class LeaseStrategy(Checked):
    """coordination.k8s.io/v1 Lease."""

    loose_finalizers = True
    status = False
    generation = False
    unconditional_update = False
    create_on_update = True
    columns = rules.columns("Name", "Holder=coordination.v1.LeaseSpec.holderIdentity", "Age")

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        for field in ("strategy", "preferredHolder"):  # coordinated leader election is off by default
            if not (old or {}).get("spec", {}).get(field):
                new["spec"].pop(field, None)

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec = new["spec"]
        if "leaseDurationSeconds" in spec:
            e.at_least("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], 1, "must be greater than 0")
        e.non_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
        rules.present(e, "spec", spec, {"strategy": Errors.qualified})
        if spec.get("preferredHolder") and not spec.get("strategy"):
            e.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined")

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], (obj.get("spec") or {}).get("holderIdentity", ""), rules.age(obj, now)]


class PriorityClassStrategy(Checked):
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

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        name, value, policy = new["metadata"].get("name") or "", new.get("value", 0), new.get("preemptionPolicy")
        if old is not None:
            if value != old.get("value", 0):
                e.forbidden("value", "may not be changed in an update.")
            e.immutable("preemptionPolicy", policy, old.get("preemptionPolicy"))
            return
        if name.startswith("system-"):
            if SYSTEM_CLASSES.get(name) != value:
                e.forbidden("metadata.name", SYSTEM_SEVERITIES + f". error: {name} is not a known system priority class")
        elif value > HIGHEST_USER_PRIORITY:
            e.forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}")
        e.enum("preemptionPolicy", policy, POLICIES, need="", sort=False)

    def row(self, obj: Object, now: float) -> list[Any]:
        shown = str(bool(obj.get("globalDefault"))).lower()
        return [obj["metadata"]["name"], obj.get("value", 0), shown, rules.age(obj, now), obj.get("preemptionPolicy", "")]


class RuntimeClassStrategy(Checked):
    """node.k8s.io/v1 RuntimeClass."""

    loose_finalizers = True
    status = False
    generation = False
    unconditional_update = False
    columns = rules.columns("Name", "Handler=node.v1.RuntimeClass.handler", "Age")

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        handler = new.get("handler") or ""
        if old is not None:
            e.immutable("handler", handler, old.get("handler") or "")
            return
        e.named("handler", handler, names.dns_label)
        for name, value in ((new.get("overhead") or {}).get("podFixed") or {}).items():
            container_resources.container_resource_name(e, f"overhead.podFixed[{name}]", name)
            container_resources.amount(e, f"overhead.podFixed[{name}]", name, value)
        scheduling, seen = new.get("scheduling") or {}, list[Object]()
        rules.labels(e, "scheduling.nodeSelector", scheduling.get("nodeSelector"))
        placement.tolerations(e, "scheduling.tolerations", scheduling.get("tolerations") or [])
        for at, toleration in rules.each("scheduling", scheduling, "tolerations"):
            if toleration in seen:
                e.duplicate(at, internal.to_internal("Toleration", toleration))
            seen.append(toleration)

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], obj.get("handler", ""), rules.age(obj, now)]
