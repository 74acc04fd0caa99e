"""What the kinds that run copies of a pod template share: selector against template, counts, percentages, columns.

ReplicationController, ReplicaSet, Deployment, PodTemplate and ControllerRevision are here; StatefulSet and DaemonSet have files of
their own.
"""

from typing import Any

from kapi.objects import labels, names
from kapi.registry.kinds import internal, pod_defaults, pod_spec, pod_warnings, rules
from kapi.registry.kinds.pod_defaults import set_absent, set_empty
from kapi.registry.kinds.rules import Checked, Errors, amount
from kapi.registry.kinds.tables import COLUMNS

Object = dict[str, Any]



def spec_of(obj: Object) -> Object:
    return obj.get("spec") or {}


def status_of(obj: Object) -> Object:
    return obj.get("status") or {}


def template_of(obj: Object) -> Object:
    return spec_of(obj).get("template") or {}


def default_template(part: Object) -> None:
    """A PodTemplateSpec is filled in wherever one is."""
    part.setdefault("metadata", {})
    pod_defaults.template(part.setdefault("spec", {}))


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


def container_cells(part: Object) -> tuple[str, str]:
    """Names and images of a template's containers, as wide columns show them."""
    listed = (part.get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name") or "" for c in listed), ",".join(c.get("image") or "" for c in listed)


class TemplateStrategy(Checked):
    """A kind with a pod template at spec.template, and a status that counts pods."""

    warns_of_name = True
    """Whether the name becomes part of the names of pods, and so should be one a host can have."""
    counters: tuple[str, ...] = ()
    """Numbers of the status that are never negative."""
    of_replicas: tuple[str, ...] = ()
    """Those that are no greater than status.replicas."""
    of_ready = "readyReplicas"
    """How stock calls the number that availableReplicas is no greater than."""

    def name_warnings(self, new: Object, old: Object | None) -> list[str]:
        return pod_warnings.hostname(new, "Pod names and hostnames") if self.warns_of_name and old is None else []

    def prepare(self, new: Object, old: Object | None) -> None:
        pod_defaults.switched_off(template_of(new).get("spec") or {})

    def check_status(self, e: Errors, new: Object, old: Object) -> None:
        status, before = status_of(new), status_of(old)
        for name in self.counters:
            e.non_negative(f"status.{name}", status.get(name))
        for name in self.of_replicas:
            _not_above(e, status, name, "replicas", "status.replicas")
        if self.of_replicas:
            _not_above(e, status, "availableReplicas", "readyReplicas", self.of_ready)
        collisions, known = status.get("collisionCount"), before.get("collisionCount")
        if "collisionCount" in self.counters and known is not None and (collisions is None or collisions < known):
            e.invalid("status.collisionCount", collisions or 0, "cannot be decremented")

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        if old is not None and new["metadata"].get("generation") == old["metadata"].get("generation"):
            return []
        return self.name_warnings(new, old) + pod_warnings.template("spec.template.", template_of(new))

    def cells(self, spec: Object, status: Object) -> list[Any]:
        """What is counted, between the name and the age."""
        return [spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0]

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, cells = spec_of(obj), self.cells(spec_of(obj), status_of(obj))
        containers = container_cells(template_of(obj))
        return [obj["metadata"]["name"], *cells, rules.age(obj, now), *containers, rules.selector_cell(spec.get("selector"))]


def _not_above(e: Errors, status: Object, name: str, other: str, called: str) -> None:
    if (status.get(name) or 0) > (status.get(other) or 0):
        e.invalid(f"status.{name}", status.get(name) or 0, f"cannot be greater than {called}")


class PodTemplateStrategy(Checked):
    status = False
    returns_deleted = True
    columns = COLUMNS["podtemplates"]

    def default(self, obj: Object) -> None:
        default_template(obj.setdefault("template", {}))

    def prepare(self, new: Object, old: Object | None) -> None:
        pod_defaults.switched_off((new.get("template") or {}).get("spec") or {})

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        pod_spec.template(e, "template", new.get("template") or {})

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return pod_warnings.template("template.", new.get("template") or {})

    def row(self, obj: Object, now: float) -> list[Any]:
        part = obj.get("template") or {}
        return [obj["metadata"]["name"], *container_cells(part), rules.label_cell((part.get("metadata") or {}).get("labels"))]


class _ReplicatedStrategy(TemplateStrategy):
    """Copies of a pod and no more: what ReplicationControllers and ReplicaSets have alike."""

    fields = {"status.replicas": lambda obj: str(status_of(obj).get("replicas") or 0)}
    of_replicas = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    counters = ("replicas", *of_replicas, "observedGeneration")


class ReplicationControllerStrategy(_ReplicatedStrategy):
    columns = COLUMNS["replicationcontrollers"]

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        found = (template_of(obj).get("metadata") or {}).get("labels")
        if found:
            set_empty(spec, selector=dict(found))
            set_empty(obj["metadata"], labels=dict(found))
        set_absent(spec, replicas=1)
        if spec.get("template") is not None:
            default_template(spec["template"])

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec = spec_of(new)
        e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        e.need("spec.selector", spec.get("selector"))
        e.non_negative("spec.replicas", spec.get("replicas"))
        part = spec.get("template")
        if part is None:
            e.required("spec.template")
            return
        matches_template(e, labels.from_dict(spec.get("selector")), part)
        pod_spec.template(e, "spec.template", part)
        always_restarts(e, part, "ReplicationController")

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return super().warnings(new, old) if old is None else []

    def row(self, obj: Object, now: float) -> list[Any]:
        return [*super().row(obj, now)[:-1], rules.label_cell(spec_of(obj).get("selector"))]


class ReplicaSetStrategy(_ReplicatedStrategy):
    columns = COLUMNS["replicasets"]

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_absent(spec, replicas=1)
        default_template(spec.setdefault("template", {}))

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec = spec_of(new)
        e.non_negative("spec.replicas", spec.get("replicas"))
        e.non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
        selected_template(e, spec)
        selector_stays(e, spec, old)


def selected_template(e: Errors, spec: Object) -> None:
    """The selector and the template of ReplicaSets and Deployments."""
    selector(e, spec.get("selector"), "deployment")
    chosen, part = parsed_selector(spec.get("selector")), spec.get("template") or {}
    if chosen is None:
        e.invalid("spec.selector", internal.pointer("selector", spec.get("selector")), "invalid label selector")
        return
    matches_template(e, chosen, part)
    pod_spec.template(e, "spec.template", part)
    always_restarts(e, part, "ReplicaSet")


def selector_stays(e: Errors, spec: Object, old: Object | None) -> None:
    if old is not None:
        mine, theirs = (internal.pointer("selector", part.get("selector")) for part in (spec, spec_of(old)))
        e.immutable("spec.selector", mine, theirs)


class DeploymentStrategy(TemplateStrategy):
    columns = COLUMNS["deployments"]
    of_replicas = ("updatedReplicas", "readyReplicas", "availableReplicas")
    counters = ("observedGeneration", "replicas", *of_replicas, "unavailableReplicas", "collisionCount", "terminatingReplicas")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_absent(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
        strategy = spec.setdefault("strategy", {})
        set_empty(strategy, type="RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            set_absent(strategy, rollingUpdate={})
            set_absent(strategy["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
        default_template(spec.setdefault("template", {}))

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec = spec_of(new)
        e.non_negative("spec.replicas", spec.get("replicas"))
        selected_template(e, spec)
        _deployment_strategy(e, spec.get("strategy") or {})
        for name in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
            e.non_negative(f"spec.{name}", spec.get(name))
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
            e.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
        selector_stays(e, spec, old)

    def changed(self, new: Object, old: Object) -> bool:
        """Annotations count too: they are handed on to the replica sets."""
        return super().changed(new, old) or new["metadata"].get("annotations") != old["metadata"].get("annotations")

    def cells(self, spec: Object, status: Object) -> list[Any]:
        return [ready_cell(spec, status), status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0]


def ready_cell(spec: Object, status: Object) -> str:
    return f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"


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
        e.count_or_percent(f"{at}.maxUnavailable", down)
        e.count_or_percent(f"{at}.maxSurge", up)
        if not amount(down) and not amount(up):
            e.invalid(f"{at}.maxUnavailable", down, "may not be 0 when `maxSurge` is 0")
        e.at_most_all(f"{at}.maxUnavailable", down)


class ControllerRevisionStrategy(Checked):
    status = False
    generation = False
    columns = COLUMNS["controllerrevisions"]

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        if new.get("data") is None:
            e.required("data", "data is mandatory")
        e.non_negative("revision", new.get("revision"))
        if old is not None:
            e.immutable("data", new.get("data"), old.get("data"))

    def row(self, obj: Object, now: float) -> list[Any]:
        owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
        shown = "<none>"
        if owner is not None:
            group = owner["apiVersion"].rpartition("/")[0]
            shown = f"{owner['kind'].lower()}.{group}/{owner['name']}" if group else f"{owner['kind'].lower()}/{owner['name']}"
        return [obj["metadata"]["name"], shown, obj.get("revision") or 0, rules.age(obj, now)]
