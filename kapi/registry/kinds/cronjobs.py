"""CronJob: a schedule, a time zone, and the template of the Jobs it makes."""

import re
from typing import Any

from kapi.objects import cron, duration, time
from kapi.registry.kinds import internal, job_spec, pod_defaults, pod_warnings, rules, workloads
from kapi.registry.kinds.pod_defaults import set_absent, set_empty
from kapi.registry.kinds.rules import Errors
from kapi.registry.kinds.tables import COLUMNS
from kapi.registry.kinds.workloads import TemplateStrategy, spec_of, status_of

Object = dict[str, Any]

_LONGEST_NAME = 52
_ZONE_PART = re.compile(r"(?!-|\.\.?$)[A-Za-z0-9._+-]{1,14}")
_ZONES = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
_NO_ZONE = (
    "CRON_TZ or TZ used in spec.schedule is not officially supported, see "
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)


def _schedule(e: Errors, text: str, zone: str | None, old: Object | None) -> None:
    if not e.need("spec.schedule", text):
        return
    try:
        cron.parse(text)
    except ValueError as bad:
        e.invalid("spec.schedule", text, str(bad))
    if "TZ" not in text:
        return
    if old is None or "TZ" not in (spec_of(old).get("schedule") or ""):
        e.invalid("spec.schedule", text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    elif zone is not None:
        e.invalid("spec.schedule", text, "cannot use both timeZone field and TZ or CRON_TZ in schedule")


def _zone(e: Errors, zone: str) -> None:
    if not zone:
        e.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
        return
    if any(not _ZONE_PART.fullmatch(part) for part in zone.split("/")):
        e.invalid("spec.timeZone", zone, f"unknown time zone {zone}")
        return
    if zone.lower() == "local":
        e.invalid("spec.timeZone", zone, _ZONES)
    if zone != "Local" and (bad := cron.zone_error(zone)):
        e.invalid("spec.timeZone", zone, bad)


def _spec(e: Errors, spec: Object, old: Object | None) -> None:
    zone = spec.get("timeZone")
    _schedule(e, spec.get("schedule") or "", zone, old)
    e.non_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    if zone is not None and (old is None or spec_of(old).get("timeZone") != zone):
        _zone(e, zone)
    e.enum("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"), "")
    at, inner = "spec.jobTemplate.spec", (spec.get("jobTemplate") or {}).get("spec") or {}
    job_spec.check(e, at, inner)
    if inner.get("selector") is not None:
        e.invalid(f"{at}.selector", internal.pointer("selector", inner["selector"]), "`selector` will be auto-generated")
    if inner.get("manualSelector"):
        e.unsupported(f"{at}.manualSelector", True, ("nil", "false"), sort=False)
    e.non_negative("spec.successfulJobsHistoryLimit", spec.get("successfulJobsHistoryLimit"))
    e.non_negative("spec.failedJobsHistoryLimit", spec.get("failedJobsHistoryLimit"))


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
        pod_defaults.switched_off((_inner(new).get("template") or {}).get("spec") or {})
        if old is None:
            new["status"] = {}

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        name = new["metadata"].get("name") or ""
        _spec(e, spec_of(new), old)
        if old is None and len(name) > _LONGEST_NAME:
            e.invalid("metadata.name", name, f"must be no more than {_LONGEST_NAME} characters")

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
