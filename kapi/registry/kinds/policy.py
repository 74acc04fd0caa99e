"""PodDisruptionBudget (policy/v1)."""

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy, conditions


class PodDisruptionBudgetStrategy(RuledStrategy):
    """policy/v1 PodDisruptionBudget."""

    loose_finalizers = True
    name_check = staticmethod(names.path_segment)
    unconditional_update = False
    columns = rules.columns(
        "Name", "Min Available@spec.minAvailable|N/A: The minimum number of pods that must be available.",
        "Max Unavailable@spec.maxUnavailable|N/A: The maximum number of pods that may be unavailable.",
        "Allowed Disruptions#@status.disruptionsAllowed: Calculated number of pods that may be disrupted at this time.", "Age",
    )  # fmt: skip
    defaults = {"spec": {}}
    initial_status = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}

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
        for field in self.initial_status:
            status.non_negative(field)
