"""PriorityClass, PodGroup and Workload (scheduling.k8s.io)."""

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
POLICIES = ("PreemptLowerPriority", "Never")
SYSTEM_SEVERITIES = "priority class names with 'system-' prefix are reserved for system use only"
MOST_GROUPS, MOST_CLAIMS = 8, 4


class PriorityClassStrategy(RuledStrategy):
    """scheduling.k8s.io/v1 PriorityClass."""

    status = False
    columns = rules.columns(
        "Name", "Value#@value", "Global-Default@globalDefault|false", "Age",
        "PreemptionPolicy@preemptionPolicy",
        of="scheduling.v1.PriorityClass",
    )  # fmt: skip
    defaults = {"value": 0, "preemptionPolicy": "PreemptLowerPriority"}

    def changed(self, new: Object, old: Object) -> bool:
        return False  # the first generation is the only one

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


class PodGroupStrategy(RuledStrategy):
    """scheduling.k8s.io PodGroup."""

    generation = False
    immutable = ("spec",)

    def check(self, new: Part, old: Object | None) -> None:
        _check_policy(new.part("spec").part("schedulingPolicy"))
        _check_claims(new.part("spec"))


class WorkloadStrategy(PlainStrategy):
    """scheduling.k8s.io Workload."""

    immutable = ("spec.podGroupTemplates",)

    def check(self, new: Part, old: Object | None) -> None:
        spec, seen = new.part("spec"), set[str]()
        if "controllerRef" in spec:
            for field in ("kind", "name"):
                spec.part("controllerRef").named(field, names.path_segment)
        spec.need("podGroupTemplates", "must have at least one item")
        spec.limit("podGroupTemplates", MOST_GROUPS)
        for template in spec.parts("podGroupTemplates"):
            if template.named("name", names.dns_label):
                new.e.unique(template.at, template.text("name"), seen)
            _check_policy(template.part("schedulingPolicy"))
            _check_claims(template)


def _check_policy(policy: Part) -> None:
    if ("basic" in policy) == ("gang" in policy):
        policy.e.invalid(policy.at, None, "must specify exactly one of: `basic`, `gang`")
    if "gang" in policy:
        policy.part("gang").at_least("minCount", 1)


def _check_claims(owner: Part) -> None:
    owner.limit("resourceClaims", MOST_CLAIMS)
    seen: set[str] = set()
    for claim in owner.parts("resourceClaims"):
        if claim.named("name", names.dns_label):
            claim.unique("name", seen)
        given = [field for field in ("resourceClaimName", "resourceClaimTemplateName") if field in claim]
        if len(given) != 1:
            claim.e.invalid(claim.at, None, "must specify exactly one of: `resourceClaimName`, `resourceClaimTemplateName`")
        for field in given:
            claim.checked(field, names.dns_subdomain)
