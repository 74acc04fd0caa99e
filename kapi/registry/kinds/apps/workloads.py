"""What the kinds that run copies of a pod template share: selector against template, counts, percentages, columns.

ReplicationController, ReplicaSet, Deployment, PodTemplate and ControllerRevision are here; StatefulSet and DaemonSet have files of
their own.
"""

from typing import Any

from kapi.objects import labels, names
from kapi.objects.meta import Object
from kapi.registry.kinds.columns import COLUMNS
from kapi.registry.kinds.core.pods import pod_defaults, pod_spec, pod_warnings
from kapi.registry.kinds.core.pods.pod_defaults import set_absent, set_empty
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy
from kapi.registry.validation.rules import amount


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


def selector(spec: Part, what: str) -> None:
    """spec.selector: needed, sound, and not empty."""
    if "selector" not in spec:
        spec.required("selector")
        return
    spec.selector("selector")
    validate_selector_not_empty(spec, what)


def validate_selector_not_empty(spec: Part, what: str) -> None:
    selector = spec.get("selector")
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        spec.e.invalid("spec.selector", {}, f"empty selector is invalid for {what}")


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
    template_labels = (part.get("metadata") or {}).get("labels")
    return None if template_labels is None else {key: template_labels[key] for key in sorted(template_labels)}


def validate_template_labels(chosen: labels.Selector, template: Part) -> None:
    metadata = template.part("metadata")
    if not chosen.empty and not chosen.matches(metadata.get("labels")):
        metadata.e.invalid(metadata.path("labels"), shown_labels(template.obj), "`selector` does not match template `labels`")


def validate_restart_policy(template: Part, kind: str) -> None:
    """Templates of things that keep pods running."""
    spec = template.part("spec")
    if spec.get("restartPolicy") != "Always":
        spec.unsupported("restartPolicy", ("Always",))
    if "activeDeadlineSeconds" in spec.obj:
        spec.forbidden("activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported")


def container_cells(part: Object) -> tuple[str, str]:
    """Names and images of a template's containers, as wide columns show them."""
    listed = (part.get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name") or "" for c in listed), ",".join(c.get("image") or "" for c in listed)


class TemplateStrategy(RuledStrategy):
    """A kind with a pod template at spec.template, and a status that counts pods."""

    warns_of_name = True
    """Whether the name becomes part of the names of pods, and so should be one a host can have."""
    counters: tuple[str, ...] = ()
    """Numbers of the status that are never negative."""
    of_replicas: tuple[str, ...] = ()
    """Numbers of the status that may not exceed status.replicas."""
    of_ready = "readyReplicas"
    """Stock's name, in the message, for the number that availableReplicas may not exceed."""

    def name_warnings(self, new: Object, old: Object | None) -> list[str]:
        return pod_warnings.hostname(new, "Pod names and hostnames") if self.warns_of_name and old is None else []

    def prepare(self, new: Object, old: Object | None) -> None:
        pod_defaults.drop_disabled_fields(template_of(new).get("spec") or {})

    def check_status(self, new: Part, old: Object) -> None:
        status, known = new.part("status"), status_of(old).get("collisionCount")
        for name in self.counters:
            status.non_negative(name)
        for name in self.of_replicas:
            _not_above(status, name, "replicas", "status.replicas")
        if self.of_replicas:
            _not_above(status, "availableReplicas", "readyReplicas", self.of_ready)
        collisions = status.get("collisionCount")
        if "collisionCount" in self.counters and known is not None and (collisions is None or collisions < known):
            new.e.invalid("status.collisionCount", collisions or 0, "cannot be decremented")

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        if old is not None and new["metadata"].get("generation") == old["metadata"].get("generation"):
            return []
        return self.name_warnings(new, old) + pod_warnings.template("spec.template.", template_of(new))

    def counts(self, spec: Object, status: Object) -> list[Any]:
        """What is counted, between the name and the age."""
        return [spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0]

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, cells = spec_of(obj), self.counts(spec_of(obj), status_of(obj))
        containers = container_cells(template_of(obj))
        return [obj["metadata"]["name"], *cells, rules.age(obj, now), *containers, rules.selector_cell(spec.get("selector"))]


def _not_above(status: Part, name: str, other: str, called: str) -> None:
    if status.number(name) > status.number(other):
        status.invalid(name, f"cannot be greater than {called}")


class PodTemplateStrategy(RuledStrategy):
    status = False
    returns_deleted = True
    columns = COLUMNS["podtemplates"]

    def default(self, obj: Object) -> None:
        default_template(obj.setdefault("template", {}))

    def prepare(self, new: Object, old: Object | None) -> None:
        pod_defaults.drop_disabled_fields((new.get("template") or {}).get("spec") or {})

    def check(self, new: Part, old: Object | None) -> None:
        pod_spec.template(new.part("template"))

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return pod_warnings.template("template.", new.get("template") or {})

    def cells(self, obj: Object) -> list[Any]:
        part = obj.get("template") or {}
        return [*container_cells(part), rules.label_cell((part.get("metadata") or {}).get("labels"))]


class _ReplicatedStrategy(TemplateStrategy):
    """Copies of a pod and no more: what ReplicationControllers and ReplicaSets have alike."""

    fields = {"status.replicas": lambda obj: str(status_of(obj).get("replicas") or 0)}
    of_replicas = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    counters = ("replicas", *of_replicas, "observedGeneration")


class ReplicationControllerStrategy(_ReplicatedStrategy):
    columns = COLUMNS["replicationcontrollers"]

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        template_labels = (template_of(obj).get("metadata") or {}).get("labels")
        if template_labels:
            set_empty(spec, selector=dict(template_labels))
            set_empty(obj["metadata"], labels=dict(template_labels))
        set_absent(spec, replicas=1)
        if spec.get("template") is not None:
            default_template(spec["template"])

    def check(self, new: Part, old: Object | None) -> None:
        spec, template = new.part("spec"), new.part("spec").part("template")
        spec.non_negative("minReadySeconds")
        spec.need("selector")
        spec.non_negative("replicas")
        if "template" not in spec:
            spec.required("template")
            return
        validate_template_labels(labels.from_dict(spec.get("selector")), template)
        pod_spec.template(template)
        validate_restart_policy(template, "ReplicationController")

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

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        spec.non_negative("replicas")
        spec.non_negative("minReadySeconds")
        validate_selector_and_template(spec)
        validate_selector_unchanged(spec, old)


def validate_selector_and_template(spec: Part) -> None:
    """The selector and the template of ReplicaSets and Deployments."""
    selector(spec, "deployment")
    chosen, template = parsed_selector(spec.get("selector")), spec.part("template")
    if chosen is None:
        spec.e.invalid("spec.selector", internal.pointer("selector", spec.get("selector")), "invalid label selector")
        return
    validate_template_labels(chosen, template)
    pod_spec.template(template)
    validate_restart_policy(template, "ReplicaSet")


def validate_selector_unchanged(spec: Part, old: Object | None) -> None:
    if old is not None:
        selector, old_selector = (internal.pointer("selector", part.get("selector")) for part in (spec.obj, spec_of(old)))
        spec.e.immutable("spec.selector", selector, old_selector)


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

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        spec.non_negative("replicas")
        validate_selector_and_template(spec)
        _deployment_strategy(spec.part("strategy"))
        for name in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
            spec.non_negative(name)
        if "progressDeadlineSeconds" in spec and spec.number("progressDeadlineSeconds") <= spec.number("minReadySeconds"):
            spec.invalid("progressDeadlineSeconds", "must be greater than minReadySeconds")
        validate_selector_unchanged(spec, old)

    def changed(self, new: Object, old: Object) -> bool:
        """Annotations count too: they are handed on to the replica sets."""
        return super().changed(new, old) or new["metadata"].get("annotations") != old["metadata"].get("annotations")

    def counts(self, spec: Object, status: Object) -> list[Any]:
        return [ready_cell(spec, status), status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0]


def ready_cell(spec: Object, status: Object) -> str:
    return f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"


def _deployment_strategy(strategy: Part) -> None:
    kind, rolling = strategy.text("type"), strategy.part("rollingUpdate")
    if kind == "Recreate":
        if "rollingUpdate" in strategy:
            strategy.forbidden("rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif kind != "RollingUpdate":
        shown = internal.to_internal("DeploymentStrategy", strategy.obj)
        strategy.e.unsupported(strategy.at, shown, ("Recreate", "RollingUpdate"))
    elif "rollingUpdate" not in strategy:
        strategy.required("rollingUpdate", "this should be defaulted and never be nil")
    else:
        rolling.count_or_percent("maxUnavailable")
        rolling.count_or_percent("maxSurge")
        if not amount(rolling.get("maxUnavailable")) and not amount(rolling.get("maxSurge")):
            rolling.e.invalid(rolling.path("maxUnavailable"), rolling.get("maxUnavailable") or 0, "may not be 0 when `maxSurge` is 0")
        rolling.at_most_all("maxUnavailable")


class ControllerRevisionStrategy(PlainStrategy):
    columns = COLUMNS["controllerrevisions"]
    immutable = ("data",)

    def check(self, new: Part, old: Object | None) -> None:
        if "data" not in new:
            new.required("data", "data is mandatory")
        elif old is None and not isinstance(new.get("data"), dict):
            new.invalid("data", "must be a valid JSON object")
        new.non_negative("revision")

    def cells(self, obj: Object) -> list[Any]:
        owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
        shown = "<none>"
        if owner is not None:
            group = owner["apiVersion"].rpartition("/")[0]
            shown = f"{owner['kind'].lower()}.{group}/{owner['name']}" if group else f"{owner['kind'].lower()}/{owner['name']}"
        return [shown, obj.get("revision") or 0]
