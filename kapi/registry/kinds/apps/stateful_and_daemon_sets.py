"""StatefulSet and DaemonSet: pods with a name or a node of their own."""

from typing import Any

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.kinds.apps import workloads
from kapi.registry.kinds.apps.workloads import TemplateStrategy, spec_of
from kapi.registry.kinds.columns import COLUMNS
from kapi.registry.kinds.core.pods import pod_spec
from kapi.registry.kinds.core.pods.pod_defaults import set_absent, set_empty
from kapi.registry.kinds.core.volume_claims import claim_spec
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part
from kapi.registry.validation.rules import amount, same

_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit',"
    " 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_MAY_CHANGE = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
               "minReadySeconds")
_SHOWN = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
GENERATION = "deprecated.daemonset.template.generation"


def _stateful_strategy(spec: Part) -> None:
    strategy, rolling = spec.part("updateStrategy"), spec.part("updateStrategy").part("rollingUpdate")
    kind = strategy.text("type")
    if not spec.e.need(strategy.at, kind):
        return
    if kind not in ("RollingUpdate", "OnDelete"):
        shown = internal.to_internal("StatefulSetStrategy", strategy.obj)
        spec.e.invalid(strategy.at, shown, "must be 'RollingUpdate' or 'OnDelete'")
    elif "rollingUpdate" in strategy and kind == "OnDelete":
        spec.e.invalid(rolling.at, internal.to_internal("StatefulRolling", rolling.obj), "only allowed for updateStrategy 'RollingUpdate'")
    else:
        rolling.non_negative("partition")


def _with_claims(part: Object, claims: list[Object]) -> Object:
    """The template as its pods will be: a volume for every claim template."""
    if not claims:
        return part
    own = {(claim.get("metadata") or {}).get("name") or "": claim for claim in claims}
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in own]
    inner = part.get("spec") or {}
    kept = [volume for volume in inner.get("volumes") or () if volume.get("name") not in own]
    return {**part, "spec": {**inner, "volumes": volumes + kept}}


class StatefulSetStrategy(TemplateStrategy):
    warns_of_name = False
    name_check = staticmethod(names.dns_label)
    columns = COLUMNS["statefulsets"]
    of_replicas = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    counters = ("replicas", *of_replicas, "observedGeneration", "collisionCount")
    of_ready = "status.readyReplicas"

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_empty(spec, podManagementPolicy="OrderedReady")
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
            set_absent(strategy, rollingUpdate={})
        if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
            set_absent(strategy["rollingUpdate"], partition=0)
        retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        set_empty(retention, whenDeleted="Retain", whenScaled="Retain")
        set_absent(spec, replicas=1, revisionHistoryLimit=10)
        workloads.default_template(spec.setdefault("template", {}))
        for claim in spec.get("volumeClaimTemplates") or ():
            claim.update(kind="PersistentVolumeClaim", apiVersion="v1")
            set_absent(claim.setdefault("spec", {}), volumeMode="Filesystem")
            set_empty(claim.setdefault("status", {}), phase="Pending")

    def prepare(self, new: Object, old: Object | None) -> None:
        """Rolling out to several pods at once is behind a gate that is off."""
        super().prepare(new, old)
        ((spec_of(new).get("updateStrategy") or {}).get("rollingUpdate") or {}).pop("maxUnavailable", None)

    def check(self, new: Part, old: Object | None) -> None:
        spec, before = new.part("spec"), spec_of(old or {})
        _stateful_spec(spec, old)
        if old is not None and any(not same(spec.get(k), before.get(k)) for k in {*spec.obj, *before} if k not in _MAY_CHANGE):
            new.forbidden("spec", _FORBIDDEN)

    def counts(self, spec: Object, status: Object) -> list[Any]:
        return [workloads.ready_cell(spec, status)]

    def row(self, obj: Object, now: float) -> list[Any]:
        return super().row(obj, now)[:-1]  # the one kind without a column for its selector


def _stateful_spec(spec: Part, old: Object | None) -> None:
    if spec.need("podManagementPolicy") and spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        spec.invalid("podManagementPolicy", "must be 'OrderedReady' or 'Parallel'")
    _stateful_strategy(spec)
    for name in ("whenDeleted", "whenScaled"):
        spec.part("persistentVolumeClaimRetentionPolicy").enum(name, ("Retain", "Delete"), sort=False)
    spec.non_negative("replicas")
    spec.non_negative("minReadySeconds")
    spec.part("ordinals").non_negative("start")
    workloads.selector(spec, "statefulset")
    template, chosen = spec.part("template"), workloads.parsed_selector(spec.get("selector"))
    if chosen is None:
        spec.e.invalid("spec.selector", internal.pointer("selector", spec.get("selector")), "")
    else:
        workloads.validate_template_labels(chosen, template)
        pod_spec.template(Part(spec.e, template.at, _with_claims(template.obj, spec.items("volumeClaimTemplates"))))
    workloads.validate_restart_policy(template, "StatefulSet")
    if old is None:
        spec.filled("serviceName", names.dns_label)
        for claim in spec.parts("volumeClaimTemplates"):
            claim_spec(claim.part("spec"))


def _daemon_strategy(strategy: Part) -> None:
    kind, rolling = strategy.text("type"), strategy.part("rollingUpdate")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        shown = internal.to_internal("DeploymentStrategy", strategy.obj)
        strategy.e.unsupported(strategy.at, shown, ("RollingUpdate", "OnDelete"), sort=False)
        return
    if "rollingUpdate" not in strategy:
        strategy.required("rollingUpdate")
        return
    down, up = (amount(rolling.get(name)) for name in ("maxUnavailable", "maxSurge"))
    for rule in (rolling.count_or_percent, rolling.at_most_all):
        rule("maxUnavailable")
        rule("maxSurge")
    if down and up:
        rolling.invalid("maxSurge", "may not be set when maxUnavailable is non-zero")
    if not down and not up:
        rolling.required("maxUnavailable", "cannot be 0 when maxSurge is 0")


class DaemonSetStrategy(TemplateStrategy):
    warns_of_name = False
    columns = COLUMNS["daemonsets"]
    counters = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
                "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        strategy = spec.setdefault("updateStrategy", {})
        set_empty(strategy, type="RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            set_absent(strategy, rollingUpdate={})
            set_absent(strategy["rollingUpdate"], maxUnavailable=1, maxSurge=0)
        set_absent(spec, revisionHistoryLimit=10)
        workloads.default_template(spec.setdefault("template", {}))
        meta = obj.setdefault("metadata", {})
        meta["annotations"] = {GENERATION: "0", **(meta.get("annotations") or {})}

    def prepare(self, new: Object, old: Object | None) -> None:
        """The template's generation, which stock keeps in an annotation."""
        super().prepare(new, old)
        count = 1
        if old is not None:
            count = int(((old["metadata"].get("annotations") or {}).get(GENERATION)) or 0)
            count += not same(spec_of(new).get("template"), spec_of(old).get("template"))
        new["metadata"]["annotations"] = {**(new["metadata"].get("annotations") or {}), GENERATION: str(count)}

    def check(self, new: Part, old: Object | None) -> None:
        spec, template = new.part("spec"), new.part("spec").part("template")
        workloads.validate_selector_unchanged(spec, old)
        spec.selector("selector")
        if (chosen := workloads.parsed_selector(spec.get("selector"))) is not None:
            workloads.validate_template_labels(chosen, template)
        workloads.validate_selector_not_empty(spec, "daemonset")
        pod_spec.template(template)
        workloads.validate_restart_policy(template, "DaemonSet")
        spec.non_negative("minReadySeconds")
        _daemon_strategy(spec.part("updateStrategy"))
        spec.non_negative("revisionHistoryLimit")

    def counts(self, spec: Object, status: Object) -> list[Any]:
        nodes = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")
        return [*(status.get(name) or 0 for name in _SHOWN), rules.label_cell(nodes)]
