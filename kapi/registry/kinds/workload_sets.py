"""StatefulSet and DaemonSet: pods with a name or a node of their own."""

from typing import Any

from kapi.objects import labels, names
from kapi.objects.errors import Cause
from kapi.registry.kinds import internal, pod_spec, rules
from kapi.registry.kinds.rules import Errors, same
from kapi.registry.kinds.tables import COLUMNS
from kapi.registry.kinds.volume_claims import claim_spec
from kapi.registry.kinds.workloads import (
    TOO_MANY,
    TemplateStrategy,
    always_restarts,
    amount,
    at_most_all,
    container_cells,
    counts,
    default_template,
    int_or_percent,
    label_cell,
    matches_template,
    not_above,
    not_decremented,
    parsed_selector,
    selector,
    selector_cell,
    set_absent,
    set_empty,
    shown_selector,
    spec_of,
)

Object = dict[str, Any]

_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit',"
    " 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_MAY_CHANGE = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
               "minReadySeconds")
GENERATION = "deprecated.daemonset.template.generation"


def _rolling_stateful(e: Errors, rolling: Object) -> None:
    at = "spec.updateStrategy.rollingUpdate"
    e.non_negative(f"{at}.partition", rolling.get("partition"))
    most = rolling.get("maxUnavailable")
    if most is not None:
        int_or_percent(e, f"{at}.maxUnavailable", most)
        if not amount(most):
            e.invalid(f"{at}.maxUnavailable", most, "cannot be 0")
        at_most_all(e, f"{at}.maxUnavailable", most)


def _stateful_strategy(e: Errors, part: Object) -> None:
    kind, rolling = part.get("type") or "", part.get("rollingUpdate")
    if not e.need("spec.updateStrategy", kind):
        return
    if kind == "OnDelete":
        if rolling is not None:
            shown = internal.to_internal("StatefulRolling", rolling)
            e.invalid("spec.updateStrategy.rollingUpdate", shown, "only allowed for updateStrategy 'RollingUpdate'")
    elif kind == "RollingUpdate":
        if rolling is not None:
            _rolling_stateful(e, rolling)
    else:
        shown = internal.to_internal("StatefulSetStrategy", part)
        e.invalid("spec.updateStrategy", shown, "must be 'RollingUpdate' or 'OnDelete'")


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
        default_template(spec.setdefault("template", {}))
        for claim in spec.get("volumeClaimTemplates") or ():
            claim.update(kind="PersistentVolumeClaim", apiVersion="v1")
            set_absent(claim.setdefault("spec", {}), volumeMode="Filesystem")
            set_empty(claim.setdefault("status", {}), phase="Pending")

    def prepare(self, new: Object, old: Object | None) -> None:
        """Rolling out to several pods at once is behind a gate that is off."""
        super().prepare(new, old)
        ((spec_of(new).get("updateStrategy") or {}).get("rollingUpdate") or {}).pop("maxUnavailable", None)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e, spec = Errors(), spec_of(new)
        _stateful_spec(e, spec, old)
        if old is not None:
            before = spec_of(old)
            if any(not same(spec.get(k), before.get(k)) for k in {*spec, *before} if k not in _MAY_CHANGE):
                e.forbidden("spec", _FORBIDDEN)
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e, status = Errors(), new.get("status") or {}
        counts(e, status, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration",
               "collisionCount")
        for name in ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"):
            not_above(e, status, name, "replicas", TOO_MANY)
        not_above(e, status, "availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas")
        not_decremented(e, "status.collisionCount", status.get("collisionCount"), (old.get("status") or {}).get("collisionCount"))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = spec_of(obj), obj.get("status") or {}
        ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
        return [obj["metadata"]["name"], ready, rules.age(obj, now), *container_cells(spec.get("template") or {})]


def _stateful_spec(e: Errors, spec: Object, old: Object | None) -> None:
    policy = spec.get("podManagementPolicy") or ""
    if e.need("spec.podManagementPolicy", policy) and policy not in ("OrderedReady", "Parallel"):
        e.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    _stateful_strategy(e, spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        value = retention.get(name) or ""
        if value not in ("Retain", "Delete"):
            e.unsupported(f"spec.persistentVolumeClaimRetentionPolicy.{name}", value, ("Retain", "Delete"), sort=False)
    e.non_negative("spec.replicas", spec.get("replicas"))
    e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    if spec.get("ordinals") is not None:
        e.non_negative("spec.ordinals.start", spec["ordinals"].get("start"))
    selector(e, spec.get("selector"), "statefulset")
    part, chosen = spec.get("template") or {}, parsed_selector(spec.get("selector"))
    if chosen is None:
        e.invalid("spec.selector", shown_selector(spec.get("selector")), "")
    else:
        matches_template(e, chosen, part)
        pod_spec.template(e, "spec.template", _with_claims(part, spec.get("volumeClaimTemplates") or []))
    always_restarts(e, part, "StatefulSet")
    if old is None:
        if spec.get("serviceName"):
            e.text("spec.serviceName", spec["serviceName"], names.dns_label)
        for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            claim_spec(e, f"spec.volumeClaimTemplates[{i}].spec", claim.get("spec") or {})


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
    down, up = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    int_or_percent(e, f"{at}.maxUnavailable", down)
    int_or_percent(e, f"{at}.maxSurge", up)
    if amount(down) and amount(up):
        e.invalid(f"{at}.maxSurge", up, "may not be set when maxUnavailable is non-zero")
    if not amount(down) and not amount(up):
        e.required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0")
    at_most_all(e, f"{at}.maxUnavailable", down)
    at_most_all(e, f"{at}.maxSurge", up)


class DaemonSetStrategy(TemplateStrategy):
    warns_of_name = False
    columns = COLUMNS["daemonsets"]

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        strategy = spec.setdefault("updateStrategy", {})
        set_empty(strategy, type="RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            set_absent(strategy, rollingUpdate={})
            set_absent(strategy["rollingUpdate"], maxUnavailable=1, maxSurge=0)
        set_absent(spec, revisionHistoryLimit=10)
        default_template(spec.setdefault("template", {}))
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

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e, spec = Errors(), spec_of(new)
        part, wanted = spec.get("template") or {}, spec.get("selector")
        if old is not None:
            e.immutable("spec.selector", shown_selector(wanted), shown_selector(spec_of(old).get("selector")))
        rules.label_selector(e, "spec.selector", wanted)
        chosen = labels.NOTHING if wanted is None else parsed_selector(wanted)
        if chosen is not None:
            matches_template(e, chosen, part)
        if wanted is not None and not wanted.get("matchLabels") and not wanted.get("matchExpressions"):
            e.invalid("spec.selector", {}, "empty selector is invalid for daemonset")
        pod_spec.template(e, "spec.template", part)
        always_restarts(e, part, "DaemonSet")
        e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        _daemon_strategy(e, spec.get("updateStrategy") or {})
        e.non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e, status = Errors(), new.get("status") or {}
        counts(e, status, "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
               "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount")
        not_decremented(e, "status.collisionCount", status.get("collisionCount"), (old.get("status") or {}).get("collisionCount"))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = spec_of(obj), obj.get("status") or {}
        part = spec.get("template") or {}
        numbers = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
        return [
            obj["metadata"]["name"], *(status.get(name) or 0 for name in numbers), label_cell((part.get("spec") or {}).get("nodeSelector")),
            rules.age(obj, now), *container_cells(part), selector_cell(spec.get("selector")),
        ]  # fmt: skip
