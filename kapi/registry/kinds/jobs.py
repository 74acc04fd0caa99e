"""Job: the selector it makes itself, what may change once it exists, and its columns. The spec's own rules are in job_spec."""

from typing import Any

from kapi.objects import duration, labels, names, time
from kapi.registry import metadata
from kapi.registry.kinds import internal, job_spec, job_status, rules, workloads
from kapi.registry.kinds.rules import Errors, same
from kapi.registry.kinds.tables import COLUMNS
from kapi.registry.kinds.workloads import TemplateStrategy, spec_of, status_of, template_of

Object = dict[str, Any]

UID, NAME, OLD_UID, OLD_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"
_TANDEM = "can only be modified in tandem with spec.parallelism"
_STAYS = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates")


def own_labels(obj: Object) -> dict[str, str]:
    """The labels of the pods of a Job that selects them itself."""
    uid, name = obj["metadata"].get("uid") or "", obj["metadata"].get("name") or ""
    return {UID: uid, NAME: name, OLD_UID: uid, OLD_NAME: name}


def _generated(e: Errors, obj: Object) -> None:
    """A selector that is not the user's selects the pods of this Job and no others."""
    spec = spec_of(obj)
    wanted = spec.get("selector")
    if spec.get("manualSelector") or wanted is None:
        return
    found = (template_of(obj).get("metadata") or {}).get("labels") or {}
    expected = own_labels(obj)
    for key in (OLD_UID, OLD_NAME, UID, NAME):
        at = f"spec.template.metadata.labels[{key}]"
        if key not in found:
            e.required(at, f"must be '{expected[key]}'")
        elif found[key] != expected[key]:
            e.invalid(at, found[key], f"must be '{expected[key]}'")
    chosen = workloads.parsed_selector(wanted)
    if chosen is not None and not chosen.matches(expected):
        e.invalid("spec.selector", internal.pointer("selector", wanted), "`selector` not auto-generated")


def _spec(e: Errors, spec: Object) -> None:
    job_spec.check(e, "spec", spec)
    wanted = spec.get("selector")
    if wanted is None:
        e.required("spec.selector")
    else:
        rules.label_selector(e, "spec.selector", wanted)
    chosen = labels.NOTHING if wanted is None else workloads.parsed_selector(wanted)
    if chosen is not None:
        workloads.matches_template(e, chosen, spec.get("template") or {})


def _hostname(e: Errors, obj: Object) -> None:
    """Pods of an indexed Job are called after it and their index."""
    spec, name = spec_of(obj), obj["metadata"].get("name") or ""
    if spec.get("completionMode") == job_spec.INDEXED and (spec.get("completions") or 0) > 0:
        host = f"{name}-{spec['completions'] - 1}"
        if names.dns_label(host):
            e.invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {host}")


def _changed_template(e: Errors, new: Object, old: Object, may_schedule: bool) -> None:
    """The template stays, but a Job that has not begun may still be told where to run and how much to take."""
    mine, theirs = new.get("template") or {}, old.get("template") or {}
    if not may_schedule:
        if not same(mine, theirs):
            e.invalid("spec.template", internal.to_internal("PodTemplateSpec", mine), rules.IMMUTABLE)
        return
    now, before = mine.get("spec") or {}, dict(theirs.get("spec") or {})
    for name in _SCHEDULING:
        before[name] = now.get(name)
    affinity = {**(before.get("affinity") or {}), "nodeAffinity": (now.get("affinity") or {}).get("nodeAffinity")}
    before["affinity"] = affinity if "affinity" in now or any(affinity.values()) else None
    for kind in ("containers", "initContainers"):
        if len(now.get(kind) or ()) == len(before.get(kind) or ()):
            pairs = zip(before.get(kind) or (), now.get(kind) or (), strict=True)
            before[kind] = [{**part, "resources": other.get("resources")} for part, other in pairs]
    if not same(now, before):
        e.invalid("spec.template.spec", internal.to_internal("PodSpec", now), rules.IMMUTABLE)


def _change(e: Errors, new: Object, old: Object) -> None:
    now, before = spec_of(new), spec_of(old)
    completions, status = now.get("completions"), status_of(old)
    if now.get("completionMode") != job_spec.INDEXED:
        e.immutable("spec.completions", completions, before.get("completions"))
    elif completions is not None and completions not in (before.get("completions"), now.get("parallelism")):
        e.invalid("spec.completions", completions, _TANDEM)
    workloads.selector_stays(e, now, old)
    waiting = not status.get("startTime") or job_status.has(status, "Suspended")
    _changed_template(e, now, before, bool(before.get("suspend")) and waiting)
    for name in _STAYS:
        if not same(now.get(name), before.get(name)):
            value, kind = now.get(name), name[0].upper() + name[1:]
            e.invalid(f"spec.{name}", internal.pointer(kind, value) if name.endswith("Policy") else value, rules.IMMUTABLE)


class JobStrategy(TemplateStrategy):
    columns = COLUMNS["jobs"]
    fields = {"status.successful": lambda obj: str((obj.get("status") or {}).get("succeeded") or 0)}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        job_spec.default(spec)
        workloads.default_template(spec.setdefault("template", {}))
        found = (spec["template"].get("metadata") or {}).get("labels")
        if found and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(found)

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
        found = (template_of(new).get("metadata") or {}).get("labels")
        if found and not new["metadata"].get("labels") and not any(map(names.label_value, found.values())):
            new["metadata"]["labels"] = dict(found)

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        _generated(e, new)
        _spec(e, spec_of(new))
        if old is None:
            _hostname(e, new)
        else:
            e += metadata.validate_change(new["metadata"], old["metadata"])
            _spec(e, spec_of(new))
            _change(e, new, old)

    def check_status(self, e: Errors, new: Object, old: Object) -> None:
        job_status.check(e, new, old)

    def row(self, obj: Object, now: float) -> list[Any]:
        name, *cells = super().row(obj, now)
        spec, status = spec_of(obj), status_of(obj)
        parallelism = spec.get("parallelism") or 0
        wanted = spec.get("completions", f"1 of {parallelism}" if parallelism > 1 else 1)
        start, end = status.get("startTime"), status.get("completionTime")
        took = duration.human((time.parse(end) if end else now) - time.parse(start)) if start else ""
        return [name, job_status.word(obj), f"{status.get('succeeded') or 0}/{wanted}", took, *cells]

    def cells(self, spec: Object, status: Object) -> list[Any]:
        return []
