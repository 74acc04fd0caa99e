"""CronJob: a schedule, a time zone, and the template of the Jobs it makes."""

import re
from typing import Any

from kapi.objects import cron, duration, time
from kapi.objects.meta import Object
from kapi.registry.kinds.apps import workloads
from kapi.registry.kinds.apps.workloads import TemplateStrategy, spec_of, status_of
from kapi.registry.kinds.batch import job_spec
from kapi.registry.kinds.columns import COLUMNS
from kapi.registry.kinds.core.pods import pod_defaults, pod_warnings
from kapi.registry.kinds.core.pods.pod_defaults import set_absent, set_empty
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part

_LONGEST_NAME = 52
_ZONE_PART = re.compile(r"(?!-|\.\.?$)[A-Za-z0-9._+-]{1,14}")
_ZONES = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
_NO_ZONE = (
    "CRON_TZ or TZ used in spec.schedule is not officially supported, see "
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)


def _schedule(spec: Part, old: Object | None) -> None:
    text = spec.text("schedule")
    if not spec.need("schedule"):
        return
    try:
        cron.parse(text)
    except ValueError as bad:
        spec.invalid("schedule", str(bad))
    if "TZ" not in text:
        return
    if old is None or "TZ" not in (spec_of(old).get("schedule") or ""):
        spec.invalid("schedule", "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    elif "timeZone" in spec:
        spec.invalid("schedule", "cannot use both timeZone field and TZ or CRON_TZ in schedule")


def _zone(spec: Part) -> None:
    zone = spec.text("timeZone")
    if not zone:
        spec.invalid("timeZone", "timeZone must be nil or non-empty string")
        return
    if any(not _ZONE_PART.fullmatch(part) for part in zone.split("/")):
        spec.invalid("timeZone", f"unknown time zone {zone}")
        return
    if zone.lower() == "local":
        spec.invalid("timeZone", _ZONES)
    if zone != "Local" and (bad := cron.zone_error(zone)):
        spec.invalid("timeZone", bad)


def _spec(spec: Part, old: Object | None) -> None:
    _schedule(spec, old)
    spec.non_negative("startingDeadlineSeconds")
    if "timeZone" in spec and (old is None or spec_of(old).get("timeZone") != spec.get("timeZone")):
        _zone(spec)
    spec.enum("concurrencyPolicy", ("Allow", "Forbid", "Replace"), "")
    job = spec.part("jobTemplate").part("spec")
    job_spec.check(job)
    if "selector" in job:
        spec.e.invalid(job.path("selector"), internal.pointer("selector", job.get("selector")), "`selector` will be auto-generated")
    if job.get("manualSelector"):
        job.unsupported("manualSelector", ("nil", "false"), sort=False)
    spec.non_negative("successfulJobsHistoryLimit")
    spec.non_negative("failedJobsHistoryLimit")


def _inner(obj: Object) -> Object:
    """The spec of the Jobs to come."""
    return (spec_of(obj).get("jobTemplate") or {}).get("spec") or {}


class CronJobStrategy(TemplateStrategy):
    columns = COLUMNS["cronjobs"]

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_empty(spec, concurrencyPolicy="Allow")
        set_absent(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
        template = spec.setdefault("jobTemplate", {})
        template.setdefault("metadata", {})
        inner = template.setdefault("spec", {})
        job_spec.default_conditions(inner)
        workloads.default_template(inner.setdefault("template", {}))

    def prepare(self, new: Object, old: Object | None) -> None:
        pod_defaults.drop_disabled_fields((_inner(new).get("template") or {}).get("spec") or {})
        if old is None:
            new["status"] = {}

    def check(self, new: Part, old: Object | None) -> None:
        name = new.part("metadata").text("name")
        _spec(new.part("spec"), old)
        if old is None and len(name) > _LONGEST_NAME:
            new.e.invalid("metadata.name", name, f"must be no more than {_LONGEST_NAME} characters")

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        out = self.name_warnings(new, old)
        if old is None or new["metadata"].get("generation") != old["metadata"].get("generation"):
            out += pod_warnings.template("spec.jobTemplate.spec.template.", _inner(new).get("template") or {})
        if "TZ" in (spec_of(new).get("schedule") or ""):
            out.append(_NO_ZONE)
        return out

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status, inner = spec_of(obj), status_of(obj), _inner(obj)
        last = status.get("lastScheduleTime")
        return [
            obj["metadata"]["name"], spec.get("schedule") or "", spec.get("timeZone", "<none>"), str(bool(spec.get("suspend"))),
            len(status.get("active") or ()), duration.human(now - time.parse(last)) if last else "<none>", rules.age(obj, now),
            *workloads.container_cells(inner.get("template") or {}), rules.selector_cell(inner.get("selector")),
        ]  # fmt: skip
