"""Job: the selector it makes itself, what may change once it exists, and its columns. The spec's own rules are in job_spec."""

from typing import Any

from kapi.objects import duration, names, time
from kapi.objects.meta import Object
from kapi.registry import metadata
from kapi.registry.kinds.apps import workloads
from kapi.registry.kinds.apps.workloads import TemplateStrategy, spec_of, status_of, template_of
from kapi.registry.kinds.batch import job_spec, job_status
from kapi.registry.kinds.columns import COLUMNS
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part
from kapi.registry.validation.rules import same

UID, NAME, OLD_UID, OLD_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"
_TANDEM = "can only be modified in tandem with spec.parallelism"
_IMMUTABLE = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates")


def own_labels(obj: Object) -> dict[str, str]:
    """The labels of the pods of a Job that selects them itself."""
    uid, name = obj["metadata"].get("uid") or "", obj["metadata"].get("name") or ""
    return {UID: uid, NAME: name, OLD_UID: uid, OLD_NAME: name}


def _generated(new: Part) -> None:
    """A selector that is not the user's selects the pods of this Job and no others."""
    spec = new.part("spec")
    selector = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return
    metadata, expected = spec.part("template").part("metadata"), own_labels(new.obj)
    labels = metadata.get("labels") or {}
    for key in (OLD_UID, OLD_NAME, UID, NAME):
        at = f"{metadata.at}.labels[{key}]"
        if key not in labels:
            new.e.required(at, f"must be '{expected[key]}'")
        elif labels[key] != expected[key]:
            new.e.invalid(at, labels[key], f"must be '{expected[key]}'")
    chosen = workloads.parsed_selector(selector)
    if chosen is not None and not chosen.matches(expected):
        new.e.invalid("spec.selector", internal.pointer("selector", selector), "`selector` not auto-generated")


def _spec(spec: Part) -> None:
    job_spec.check(spec)
    if "selector" not in spec:
        spec.required("selector")
    spec.selector("selector")
    chosen = workloads.parsed_selector(spec.get("selector"))
    if chosen is not None:
        workloads.validate_template_labels(chosen, spec.part("template"))


def _hostname(new: Part) -> None:
    """Pods of an indexed Job are called after it and their index."""
    spec, name = new.part("spec"), new.part("metadata").text("name")
    if spec.get("completionMode") == job_spec.INDEXED and spec.number("completions") > 0:
        host = f"{name}-{spec.number('completions') - 1}"
        if names.dns_label(host):
            new.e.invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {host}")


def _changed_template(template: Part, old: Object, may_schedule: bool) -> None:
    """The template is immutable, except for scheduling directives and resources of a suspended Job that has not started."""
    if not may_schedule:
        if not same(template.obj, old):
            template.e.invalid(template.at, internal.to_internal("PodTemplateSpec", template.obj), rules.IMMUTABLE)
        return
    now, before = template.get("spec") or {}, dict(old.get("spec") or {})
    for name in _SCHEDULING:
        before[name] = now.get(name)
    affinity = {**(before.get("affinity") or {}), "nodeAffinity": (now.get("affinity") or {}).get("nodeAffinity")}
    before["affinity"] = affinity if "affinity" in now or any(affinity.values()) else None
    for kind in ("containers", "initContainers"):
        if len(now.get(kind) or ()) == len(before.get(kind) or ()):
            pairs = zip(before.get(kind) or (), now.get(kind) or (), strict=True)
            before[kind] = [{**part, "resources": other.get("resources")} for part, other in pairs]
    if not same(now, before):
        template.e.invalid(template.path("spec"), internal.to_internal("PodSpec", now), rules.IMMUTABLE)


def _change(now: Part, old: Object) -> None:
    before, status = spec_of(old), status_of(old)
    completions = now.get("completions")
    if now.get("completionMode") != job_spec.INDEXED:
        now.immutable(before, "completions")
    elif completions is not None and completions not in (before.get("completions"), now.get("parallelism")):
        now.invalid("completions", _TANDEM)
    workloads.validate_selector_unchanged(now, old)
    waiting = not status.get("startTime") or job_status.has(status, "Suspended")
    _changed_template(now.part("template"), template_of(old), bool(before.get("suspend")) and waiting)
    for name in _IMMUTABLE:
        value, kind = now.get(name), name[0].upper() + name[1:]
        if not same(value, before.get(name)):
            now.e.invalid(now.path(name), internal.pointer(kind, value) if name.endswith("Policy") else value, rules.IMMUTABLE)


class JobStrategy(TemplateStrategy):
    columns = COLUMNS["jobs"]
    fields = {"status.successful": lambda obj: str((obj.get("status") or {}).get("succeeded") or 0)}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        job_spec.default(spec)
        workloads.default_template(spec.setdefault("template", {}))
        labels = (spec["template"].get("metadata") or {}).get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def prepare(self, new: Object, old: Object | None) -> None:
        super().prepare(new, old)
        if old is not None:
            return
        spec = spec_of(new)
        new["status"] = {}
        if not spec.get("manualSelector"):
            meta = spec.setdefault("template", {}).setdefault("metadata", {})
            meta["labels"] = {**(meta.get("labels") or {}), **own_labels(new)}
            if "selector" not in spec:
                spec["selector"] = {"matchLabels": {}}
            chosen = spec["selector"]
            chosen["matchLabels"] = {**(chosen.get("matchLabels") or {}), UID: new["metadata"].get("uid") or ""}
        labels = (template_of(new).get("metadata") or {}).get("labels")
        if labels and not new["metadata"].get("labels") and not any(map(names.label_value, labels.values())):
            new["metadata"]["labels"] = dict(labels)

    def check(self, new: Part, old: Object | None) -> None:
        _generated(new)
        _spec(new.part("spec"))
        if old is None:
            _hostname(new)
        else:
            new.e += metadata.validate_change(new.obj["metadata"], old["metadata"])
            _spec(new.part("spec"))
            _change(new.part("spec"), old)

    def check_status(self, new: Part, old: Object) -> None:
        job_status.check(new.part("status"), status_of(old), spec_of(new.obj))

    def row(self, obj: Object, now: float) -> list[Any]:
        name, *cells = super().row(obj, now)
        spec, status = spec_of(obj), status_of(obj)
        parallelism = spec.get("parallelism") or 0
        completions = spec.get("completions", f"1 of {parallelism}" if parallelism > 1 else 1)
        start, end = status.get("startTime"), status.get("completionTime")
        ran_for = duration.human((time.parse(end) if end else now) - time.parse(start)) if start else ""
        return [name, job_status.word(obj), f"{status.get('succeeded') or 0}/{completions}", ran_for, *cells]

    def counts(self, spec: Object, status: Object) -> list[Any]:
        return []
