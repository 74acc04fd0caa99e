"""CronJob: creates Jobs by schedule and concurrency policy, and deletes finished Jobs beyond the history limits."""

from datetime import datetime
from typing import Any

from kapi.client.controller import namespace_terminating
from kapi.controllers import job_rules, schedule
from kapi.controllers.workload import Workload
from kapi.objects import cron, errors, labels, meta, time
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import CRON_JOBS, JOBS

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
TOO_MANY = 100
UNSUPPORTED = (
    "CRON_TZ or TZ used in schedule {} is not officially supported, "
    "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)
SCHEDULE_SLACK_SECONDS = 0.1


def _started(job: Object) -> str:
    return str(meta.path(job, "status", "startTime") or meta.metadata(job).get("creationTimestamp") or "")


def _reference(job: Object) -> Object:
    about = {"apiVersion": "batch/v1", "kind": "Job", "name": meta.name(job), "namespace": meta.namespace(job)}
    return about | {"uid": meta.uid(job), "resourceVersion": meta.resource_version(job)}


class CronJobs(Workload):
    name = "cronjob-controller"
    resource = CRON_JOBS
    owned = JOBS

    def selector(self, obj: Object) -> labels.Selector:
        """CronJobs do not adopt."""
        return labels.NOTHING

    async def sync(self, owner: Object) -> float | None:
        jobs = self.owned_by(owner)
        await self._clean_up_finished(owner, jobs)
        status = self._status_from_jobs(owner, self.owned_by(owner))
        wait = None if meta.deleting(owner) else await self._sync_schedule(owner, status)
        await self.update_status(owner, status)
        return wait

    async def _clean_up_finished(self, owner: Object, jobs: list[Object]) -> None:
        """Delete the oldest finished Jobs beyond the history limits."""
        for kind, field, default in (("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)):
            over = [j for j in jobs if (meta.condition(j, kind) or {}).get("status") == "True" and not meta.deleting(j)]
            limit = owner["spec"].get(field, default)
            for job in sorted(over, key=lambda j: (_started(j), meta.name(j)))[: max(len(over) - limit, 0)]:
                await self._delete(owner, job)

    async def _delete(self, owner: Object, job: Object) -> None:
        try:
            if await self.delete_object(JOBS, job, propagation="Background"):
                self.record_event(owner, "SuccessfulDelete", f"Deleted job {meta.name(job)}")
        except errors.StatusError as error:
            self.record_warning(owner, "FailedDelete", f"Deleted job: {error}")
            raise

    def _status_from_jobs(self, owner: Object, jobs: list[Object]) -> Object:
        """The status after comparing it with the Jobs: active ones, last success."""
        status = meta.clone(owner.get("status") or {})
        active: list[Object] = list(status.get("active") or ())
        known = {ref["uid"] for ref in active}
        for job in jobs:
            over = job_rules.finished(job)
            if meta.uid(job) not in known and not over:
                self.record_warning(owner, "UnexpectedJob", f"Saw a job that the controller did not create or forgot: {meta.name(job)}")
            elif over and meta.uid(job) in known:
                active = [ref for ref in active if ref["uid"] != meta.uid(job)]
                kind = "Complete" if (meta.condition(job, "Complete") or {}).get("status") == "True" else "Failed"
                self.record_event(owner, "SawCompletedJob", f"Saw completed job: {meta.name(job)}, condition: {kind}")
            done = meta.path(job, "status", "completionTime")
            if done and done > (status.get("lastSuccessfulTime") or ""):
                status["lastSuccessfulTime"] = done
        here = {meta.uid(j) for j in jobs}
        for ref in [r for r in active if r["uid"] not in here]:
            active.remove(ref)
            self.record_event(owner, "MissingJob", f"Active job went missing: {ref['name']}")
        status["active"] = active
        return {k: v for k, v in status.items() if v}

    async def _sync_schedule(self, owner: Object, status: Object) -> float | None:
        """Create the Job that is due, if any. Returns the seconds until the next one."""
        spec, now = owner["spec"], time.now()
        if not self._zone_known(owner) or spec.get("suspend"):
            return None
        if "TZ" in spec["schedule"]:
            self.record_warning(owner, "UnsupportedSchedule", UNSUPPORTED.format(go_quote(spec["schedule"])))
        try:
            plan = cron.parse(spec["schedule"])
            where = schedule.zone(plan, spec.get("timeZone"))
        except (ValueError, KeyError) as error:
            self.record_warning(owner, "UnparseableSchedule", f"unparseable schedule: {go_quote(spec['schedule'])} : {error}")
            return None
        since = time.parse(status.get("lastScheduleTime") or meta.metadata(owner).get("creationTimestamp"))
        deadline = spec.get("startingDeadlineSeconds")
        if deadline is not None:
            since = max(since, now - deadline)
        at, count = schedule.missed(plan, since, now, where)
        if count > TOO_MANY and deadline is None:
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self.record_warning(owner, "TooManyMissedTimes", text)
        if at is not None:
            await self._start(owner, status, at, where)
        soon = schedule.following(plan, now, where)
        if at is None and soon is None:
            text = f"invalid schedule: {spec['schedule']} : time difference between two schedules is less than 1 second"
            self.record_warning(owner, "InvalidSchedule", text)
        return None if soon is None else soon - now + SCHEDULE_SLACK_SECONDS

    def _zone_known(self, owner: Object) -> bool:
        name = owner["spec"].get("timeZone")
        if name is None or schedule.known_zone(name):
            return True
        self.record_warning(owner, "UnknownTimeZone", f"invalid timeZone: {go_quote(name)}: unknown time zone {name}")
        return False

    async def _start(self, owner: Object, status: Object, at: float, where: Any) -> None:
        name = f"{meta.name(owner)}-{int(at) // 60}"
        active = status.get("active") or []
        if any(ref["name"] == name for ref in active) or time.parse(status.get("lastScheduleTime")) >= at:
            return
        policy = owner["spec"].get("concurrencyPolicy", "Allow")
        if policy == "Forbid" and active:
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.record_event(owner, "JobAlreadyActive", text)
            return
        if policy == "Replace":
            for ref in active:
                job = self.dependents.get(f"{meta.namespace(owner)}/{ref['name']}")
                if job is not None:
                    await self._delete(owner, job)
            status["active"] = active = []
        try:
            job = await self.client.create(JOBS, self._job(owner, name, at, where))
        except errors.AlreadyExists:
            job = await self.client.get(JOBS, name, meta.namespace(owner))
            if not meta.controlled_by(job, owner):
                return  # it belongs to another owner
        except errors.StatusError as error:
            if not namespace_terminating(error):
                self.record_warning(owner, "FailedCreate", f"Error creating job: {error}")
            raise
        else:
            self.record_event(owner, "SuccessfulCreate", f"Created job {name}")
        status["active"] = [*active, _reference(job)]
        status["lastScheduleTime"] = time.stamp(at)

    def _job(self, owner: Object, name: str, at: float, where: Any) -> Object:
        template = owner["spec"]["jobTemplate"]
        about = template.get("metadata") or {}
        moment = datetime.fromtimestamp(at, where).isoformat().replace("+00:00", "Z")
        made = {
            "name": name,
            "namespace": meta.namespace(owner),
            "labels": about.get("labels") or {},
            "annotations": {**(about.get("annotations") or {}), SCHEDULED_AT: moment},
            "ownerReferences": [self.reference(owner)],
        }
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": made, "spec": template["spec"]}
