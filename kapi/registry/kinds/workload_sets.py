"""StatefulSet and DaemonSet: pods with a name or a node of their own."""

from typing import Any

from kapi.objects import labels, names
from kapi.registry.kinds import internal, pod_spec, rules, workloads
from kapi.registry.kinds.pod_defaults import set_absent, set_empty
from kapi.registry.kinds.rules import Errors, amount, same
from kapi.registry.kinds.tables import COLUMNS
from kapi.registry.kinds.volume_claims import claim_spec
from kapi.registry.kinds.workloads import TemplateStrategy, spec_of, template_of

Object = dict[str, Any]

_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit',"
    " 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_MAY_CHANGE = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
               "minReadySeconds")
_SHOWN = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
GENERATION = "deprecated.daemonset.template.generation"


def _stateful_strategy(e: Errors, part: Object) -> None:
    kind, rolling, at = part.get("type") or "", part.get("rollingUpdate"), "spec.updateStrategy.rollingUpdate"
    if not e.need("spec.updateStrategy", kind):
        return
    if kind not in ("RollingUpdate", "OnDelete"):
        e.invalid("spec.updateStrategy", internal.to_internal("StatefulSetStrategy", part), "must be 'RollingUpdate' or 'OnDelete'")
    elif rolling is not None and kind == "OnDelete":
        e.invalid(at, internal.to_internal("StatefulRolling", rolling), "only allowed for updateStrategy 'RollingUpdate'")
    elif rolling is not None:
        e.non_negative(f"{at}.partition", rolling.get("partition"))


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

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec, before = spec_of(new), spec_of(old or {})
        _stateful_spec(e, spec, old)
        if old is not None and any(not same(spec.get(k), before.get(k)) for k in {*spec, *before} if k not in _MAY_CHANGE):
            e.forbidden("spec", _FORBIDDEN)

    def cells(self, spec: Object, status: Object) -> list[Any]:
        return [workloads.ready_cell(spec, status)]

    def row(self, obj: Object, now: float) -> list[Any]:
        return super().row(obj, now)[:-1]  # the one kind without a column for its selector


def _stateful_spec(e: Errors, spec: Object, old: Object | None) -> None:
    policy = spec.get("podManagementPolicy") or ""
    if e.need("spec.podManagementPolicy", policy) and policy not in ("OrderedReady", "Parallel"):
        e.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    _stateful_strategy(e, spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        e.enum(f"spec.persistentVolumeClaimRetentionPolicy.{name}", retention.get(name), ("Retain", "Delete"), sort=False)
    e.non_negative("spec.replicas", spec.get("replicas"))
    e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    if spec.get("ordinals") is not None:
        e.non_negative("spec.ordinals.start", spec["ordinals"].get("start"))
    workloads.selector(e, spec.get("selector"), "statefulset")
    part, chosen = spec.get("template") or {}, workloads.parsed_selector(spec.get("selector"))
    if chosen is None:
        e.invalid("spec.selector", internal.pointer("selector", spec.get("selector")), "")
    else:
        workloads.matches_template(e, chosen, part)
        pod_spec.template(e, "spec.template", _with_claims(part, spec.get("volumeClaimTemplates") or []))
    workloads.always_restarts(e, part, "StatefulSet")
    if old is None:
        e.optional("spec", spec, "serviceName", names.dns_label)
        for at, claim in rules.each("spec", spec, "volumeClaimTemplates"):
            claim_spec(e, f"{at}.spec", claim.get("spec") or {})


def _daemon_strategy(e: Errors, part: Object) -> None:
    kind, rolling, at = part.get("type") or "", part.get("rollingUpdate"), "spec.updateStrategy.rollingUpdate"
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        e.unsupported("spec.updateStrategy", internal.to_internal("DeploymentStrategy", part), ("RollingUpdate", "OnDelete"), sort=False)
        return
    if rolling is None:
        e.required(at)
        return
    down, up = (rolling.get(name, 0) for name in ("maxUnavailable", "maxSurge"))
    for rule in (e.count_or_percent, e.at_most_all):
        rule(f"{at}.maxUnavailable", down)
        rule(f"{at}.maxSurge", up)
    if amount(down) and amount(up):
        e.invalid(f"{at}.maxSurge", up, "may not be set when maxUnavailable is non-zero")
    if not amount(down) and not amount(up):
        e.required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0")


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

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec, part = spec_of(new), template_of(new)
        wanted = spec.get("selector")
        workloads.selector_stays(e, spec, old)
        rules.label_selector(e, "spec.selector", wanted)
        chosen = labels.NOTHING if wanted is None else workloads.parsed_selector(wanted)
        if chosen is not None:
            workloads.matches_template(e, chosen, part)
        if wanted is not None and not wanted.get("matchLabels") and not wanted.get("matchExpressions"):
            e.invalid("spec.selector", {}, "empty selector is invalid for daemonset")
        pod_spec.template(e, "spec.template", part)
        workloads.always_restarts(e, part, "DaemonSet")
        e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        _daemon_strategy(e, spec.get("updateStrategy") or {})
        e.non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))

    def cells(self, spec: Object, status: Object) -> list[Any]:
        nodes = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")
        return [*(status.get(name) or 0 for name in _SHOWN), rules.label_cell(nodes)]
