"""What the kinds that run copies of a pod template share: selector against template, counts, percentages, columns.

ReplicationController, ReplicaSet, Deployment, PodTemplate and ControllerRevision are here; StatefulSet and DaemonSet have files of
their own.
"""

from typing import Any

from kapi.objects import labels, names
from kapi.objects.errors import Cause
from kapi.registry.kinds import internal, pod_defaults, pod_spec, pod_warnings, rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.kinds.tables import COLUMNS
from kapi.registry.strategy import Strategy

Object = dict[str, Any]
IntOrString = int | str

_HOSTNAME = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended"
TOO_MANY = "cannot be greater than status.replicas"


def spec_of(obj: Object) -> Object:
    return obj.get("spec") or {}


def default_template(part: Object) -> None:
    """A PodTemplateSpec is filled in wherever one is."""
    part.setdefault("metadata", {})
    pod_defaults.template(part.setdefault("spec", {}))


def set_absent(part: Object, **values: Any) -> None:
    for name, value in values.items():
        if part.get(name) is None:
            part[name] = value


def set_empty(part: Object, **values: Any) -> None:
    """Fields that are no pointers: the empty text is as good as nothing."""
    for name, value in values.items():
        if not part.get(name):
            part[name] = value


def shown_selector(selector: Object | None) -> Object | None:
    return None if selector is None else internal.to_internal("selector", selector)


def selector(e: Errors, part: Object | None, what: str) -> None:
    """spec.selector: needed, sound, and not empty."""
    if part is None:
        e.required("spec.selector")
        return
    rules.label_selector(e, "spec.selector", part)
    if not part.get("matchLabels") and not part.get("matchExpressions"):
        e.invalid("spec.selector", {}, f"empty selector is invalid for {what}")


def parsed_selector(part: Object | None) -> labels.Selector | None:
    """The selector, or None when stock could not make one of it."""
    if part is None:
        return labels.NOTHING
    if any(names.label_key(k) or names.label_value(v) for k, v in (part.get("matchLabels") or {}).items()):
        return None
    for expression in part.get("matchExpressions") or ():
        values = expression.get("values") or []
        if names.label_key(expression.get("key") or "") or any(names.label_value(v) for v in values):
            return None
        if bool(values) != (expression.get("operator") in ("In", "NotIn")):
            return None
    try:
        return labels.from_object(part)
    except ValueError:
        return None


def shown_labels(part: Object) -> Object | None:
    found = (part.get("metadata") or {}).get("labels")
    return None if found is None else {key: found[key] for key in sorted(found)}


def matches_template(e: Errors, chosen: labels.Selector, part: Object) -> None:
    if not chosen.empty and not chosen.matches((part.get("metadata") or {}).get("labels")):
        e.invalid("spec.template.metadata.labels", shown_labels(part), "`selector` does not match template `labels`")


def always_restarts(e: Errors, part: Object, kind: str) -> None:
    """Templates of things that keep pods running."""
    inner = part.get("spec") or {}
    if inner.get("restartPolicy") != "Always":
        e.unsupported("spec.template.spec.restartPolicy", inner.get("restartPolicy") or "", ("Always",))
    if "activeDeadlineSeconds" in inner:
        e.forbidden("spec.template.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported")


def template_of_replica_set(e: Errors, chosen: labels.Selector, part: Object) -> None:
    matches_template(e, chosen, part)
    pod_spec.template(e, "spec.template", part)
    always_restarts(e, part, "ReplicaSet")


def int_or_percent(e: Errors, field: str, value: IntOrString) -> None:
    if isinstance(value, str):
        e.text(field, value, names.percent)
    else:
        e.non_negative(field, value)


def amount(value: IntOrString | None) -> int:
    """The number in 3 and '30%'; 0 for what is neither."""
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return int(digits) if value.endswith("%") and digits.isascii() and digits.isdigit() else 0
    return value or 0


def at_most_all(e: Errors, field: str, value: IntOrString | None) -> None:
    if isinstance(value, str) and amount(value) > 100:
        e.invalid(field, value, "must not be greater than 100%")


def counts(e: Errors, status: Object, *fields: str) -> None:
    """Counters of a status: none negative."""
    for name in fields:
        e.non_negative(f"status.{name}", status.get(name))


def not_above(e: Errors, status: Object, name: str, other: str, detail: str) -> None:
    if (status.get(name) or 0) > (status.get(other) or 0):
        e.invalid(f"status.{name}", status.get(name) or 0, detail)


def not_decremented(e: Errors, field: str, new: int | None, old: int | None) -> None:
    if old is not None and (new is None or new < old):
        e.invalid(field, new or 0, "cannot be decremented")


def container_cells(part: Object) -> tuple[str, str]:
    """Names and images of a template's containers, as wide columns show them."""
    listed = (part.get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name") or "" for c in listed), ",".join(c.get("image") or "" for c in listed)


def label_cell(found: dict[str, str] | None) -> str:
    return ",".join(f"{k}={found[k]}" for k in sorted(found)) if found else "<none>"


def selector_cell(part: Object | None) -> str:
    """A LabelSelector as text: 'a=b,c in (d)'."""
    if part is None:
        return "<none>"
    pieces = [f"{key}={value}" for key, value in sorted((part.get("matchLabels") or {}).items())]
    for expression in part.get("matchExpressions") or ():
        key, values = expression.get("key") or "", ",".join(sorted(expression.get("values") or ()))
        word = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        pieces.append(word.get(expression.get("operator") or "", key))
    return ",".join(pieces) if pieces else "<none>"


class TemplateStrategy(Strategy):
    """A kind with a pod template at spec.template."""

    warns_of_name = True
    """Whether the name becomes part of the names of pods, and so should be one a host can have."""

    def name_warnings(self, new: Object, old: Object | None) -> list[str]:
        bad = names.dns_label(new["metadata"].get("name") or "") if self.warns_of_name and old is None else []
        return [f"metadata.name: {_HOSTNAME}: [{' '.join(bad)}]"] if bad else []

    def prepare(self, new: Object, old: Object | None) -> None:
        pod_defaults.switched_off((spec_of(new).get("template") or {}).get("spec") or {})

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        if old is not None and new["metadata"].get("generation") == old["metadata"].get("generation"):
            return []
        return self.name_warnings(new, old) + pod_warnings.template("spec.template.", spec_of(new).get("template") or {})


class PodTemplateStrategy(Strategy):
    status = False
    returns_deleted = True
    columns = COLUMNS["podtemplates"]

    def default(self, obj: Object) -> None:
        default_template(obj.setdefault("template", {}))

    def prepare(self, new: Object, old: Object | None) -> None:
        pod_defaults.switched_off((new.get("template") or {}).get("spec") or {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        pod_spec.template(e, "template", new.get("template") or {})
        return e

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return pod_warnings.template("template.", new.get("template") or {})

    def row(self, obj: Object, now: float) -> list[Any]:
        part = obj.get("template") or {}
        return [obj["metadata"]["name"], *container_cells(part), label_cell((part.get("metadata") or {}).get("labels"))]


class ReplicationControllerStrategy(TemplateStrategy):
    columns = COLUMNS["replicationcontrollers"]
    fields = {"status.replicas": lambda obj: str((obj.get("status") or {}).get("replicas") or 0)}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        found = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        if found:
            set_empty(spec, selector=dict(found))
            set_empty(obj["metadata"], labels=dict(found))
        set_absent(spec, replicas=1)
        if spec.get("template") is not None:
            default_template(spec["template"])

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e, spec = Errors(), spec_of(new)
        e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        e.need("spec.selector", spec.get("selector"))
        e.non_negative("spec.replicas", spec.get("replicas"))
        part = spec.get("template")
        if part is None:
            e.required("spec.template")
            return e
        matches_template(e, labels.from_dict(spec.get("selector")), part)
        pod_spec.template(e, "spec.template", part)
        always_restarts(e, part, "ReplicationController")
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e = Errors()
        replica_counts(e, new.get("status") or {})
        return e

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return super().warnings(new, old) if old is None else []

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = spec_of(obj), obj.get("status") or {}
        return [
            obj["metadata"]["name"], spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0,
            rules.age(obj, now), *container_cells(spec.get("template") or {}), label_cell(spec.get("selector")),
        ]  # fmt: skip


def replica_counts(e: Errors, status: Object) -> None:
    counts(e, status, "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    for name in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        not_above(e, status, name, "replicas", TOO_MANY)
    not_above(e, status, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas")


class ReplicaSetStrategy(TemplateStrategy):
    columns = COLUMNS["replicasets"]
    fields = {"status.replicas": lambda obj: str((obj.get("status") or {}).get("replicas") or 0)}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_absent(spec, replicas=1)
        default_template(spec.setdefault("template", {}))

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e, spec = Errors(), spec_of(new)
        e.non_negative("spec.replicas", spec.get("replicas"))
        e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        selected_template(e, spec)
        if old is not None:
            e.immutable("spec.selector", shown_selector(spec.get("selector")), shown_selector(spec_of(old).get("selector")))
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e = Errors()
        replica_counts(e, new.get("status") or {})
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = spec_of(obj), obj.get("status") or {}
        return [
            obj["metadata"]["name"], spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0,
            rules.age(obj, now), *container_cells(spec.get("template") or {}), selector_cell(spec.get("selector")),
        ]  # fmt: skip


def selected_template(e: Errors, spec: Object) -> None:
    """The selector and the template of ReplicaSets and Deployments."""
    selector(e, spec.get("selector"), "deployment")
    chosen = parsed_selector(spec.get("selector"))
    if chosen is None:
        e.invalid("spec.selector", shown_selector(spec.get("selector")), "invalid label selector")
    else:
        template_of_replica_set(e, chosen, spec.get("template") or {})


class DeploymentStrategy(TemplateStrategy):
    columns = COLUMNS["deployments"]

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_absent(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
        strategy = spec.setdefault("strategy", {})
        set_empty(strategy, type="RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            set_absent(strategy, rollingUpdate={})
            set_absent(strategy["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
        default_template(spec.setdefault("template", {}))

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e, spec = Errors(), spec_of(new)
        e.non_negative("spec.replicas", spec.get("replicas"))
        selected_template(e, spec)
        _deployment_strategy(e, spec.get("strategy") or {})
        e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        e.non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None:
            e.non_negative("spec.progressDeadlineSeconds", deadline)
            if deadline <= (spec.get("minReadySeconds") or 0):
                e.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
        if old is not None:
            e.immutable("spec.selector", shown_selector(spec.get("selector")), shown_selector(spec_of(old).get("selector")))
        return e

    def changed(self, new: Object, old: Object) -> bool:
        """Annotations count too: they are handed on to the replica sets."""
        return super().changed(new, old) or new["metadata"].get("annotations") != old["metadata"].get("annotations")

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e, status = Errors(), new.get("status") or {}
        counts(e, status, "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
               "unavailableReplicas", "collisionCount", "terminatingReplicas")
        for name in ("updatedReplicas", "readyReplicas", "availableReplicas"):
            not_above(e, status, name, "replicas", TOO_MANY)
        not_above(e, status, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas")
        not_decremented(e, "status.collisionCount", status.get("collisionCount"), (old.get("status") or {}).get("collisionCount"))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = spec_of(obj), obj.get("status") or {}
        return [
            obj["metadata"]["name"], f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}", status.get("updatedReplicas") or 0,
            status.get("availableReplicas") or 0, rules.age(obj, now), *container_cells(spec.get("template") or {}),
            selector_cell(spec.get("selector")),
        ]  # fmt: skip


def _deployment_strategy(e: Errors, part: Object) -> None:
    field, kind, rolling = "spec.strategy", part.get("type") or "", part.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            e.forbidden(f"{field}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif kind != "RollingUpdate":
        e.unsupported(field, internal.to_internal("DeploymentStrategy", part), ("Recreate", "RollingUpdate"))
    elif rolling is None:
        e.required(f"{field}.rollingUpdate", "this should be defaulted and never be nil")
    else:
        at, down, up = f"{field}.rollingUpdate", rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        int_or_percent(e, f"{at}.maxUnavailable", down)
        int_or_percent(e, f"{at}.maxSurge", up)
        if not amount(down) and not amount(up):
            e.invalid(f"{at}.maxUnavailable", down, "may not be 0 when `maxSurge` is 0")
        at_most_all(e, f"{at}.maxUnavailable", down)


class ControllerRevisionStrategy(Strategy):
    status = False
    generation = False
    columns = COLUMNS["controllerrevisions"]

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        if new.get("data") is None:
            e.required("data", "data is mandatory")
        e.non_negative("revision", new.get("revision"))
        if old is not None:
            e.immutable("data", new.get("data"), old.get("data"))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
        shown = "<none>"
        if owner is not None:
            group = owner["apiVersion"].rpartition("/")[0]
            shown = f"{owner['kind'].lower()}.{group}/{owner['name']}" if group else f"{owner['kind'].lower()}/{owner['name']}"
        return [obj["metadata"]["name"], shown, obj.get("revision") or 0, rules.age(obj, now)]
