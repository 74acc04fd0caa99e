"""Job: runs pods to completion, `parallelism` at a time until `completions` have succeeded. The rules are in job_rules.py.

Each finished pod is counted exactly once: it keeps the finalizer batch.kubernetes.io/job-tracking until its uid is in
status.uncountedTerminatedPods, and the uid is replaced by a count when the finalizer is gone.
"""

from collections.abc import Iterable, Sequence

from kapi.controllers import indexes, pods, workload
from kapi.controllers import job_rules as rules
from kapi.controllers.job_rules import FINALIZER, INDEX, INDEX_FAILURES, INDEX_IGNORED, Counts, FinishCondition
from kapi.controllers.workload import BURST, Failure, Workload
from kapi.objects import conditions, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import JOBS, PODS

MOST_GENERATED = 58
"""Most characters of a generateName that the server keeps."""
TOO_MANY = "Too many {} pods running after completion count reached"


def _job_keys(pod: Object) -> Iterable[str]:
    """The index "job": 'namespace/name' of the Job in a pod's labels, while the pod has the tracking finalizer."""
    ref = meta.controller_of(pod)
    if ref is not None and ref["kind"] == "Job" and rules.tracked(pod):
        yield f"{meta.namespace(pod)}/{ref['name']}"


class Jobs(Workload):
    name = "job-controller"
    resource = JOBS

    def setup(self) -> None:
        super().setup()
        self.dependents.add_index("job", _job_keys)

    async def reconcile(self, key: str) -> float | None:
        job = self.objects.get(key)
        orphans = [p for p in self.dependents.by_index("job", key) if job is None or not meta.controlled_by(p, job)]
        if orphans:
            await self._remove_finalizers(orphans)
        if job is None or not rules.managed(job) or rules.finished(job):
            return None
        owned, now = await self.claim(job), time.now()
        active = [p for p in owned if pods.active(p)]
        count = rules.count_pods(job, owned)
        finish = rules.finish_condition(job, owned, count, len(active), now)
        status: Object = {"uncountedTerminatedPods": {}, **meta.clone(job.get("status") or {})}
        if not status.get("startTime") and not rules.suspended(job):
            status["startTime"] = time.stamp()
        failure, wait = None, None
        if finish is not None:
            failure = await workload.run_all([self.delete_pod(job, p) for p in active])
        elif not meta.deleting(job):
            self._warn_of_surplus(job, count, len(active))
            failure, wait = await self._manage_pods(job, owned, active, count, now)
            self._update_suspended(job, status)
        await self._track_status(job, status, finish)
        if failure is not None:
            raise failure
        left = rules.deadline({**job, "status": status}, time.now())
        return min((w for w in (wait, left) if w is not None and w > 0), default=None)

    async def _manage_pods(
        self, job: Object, owned: list[Object], active: list[Object], count: Counts, now: float
    ) -> tuple[Failure, float | None]:
        """Create or delete pods. Returns (failure, seconds of back-off)."""
        spec = job["spec"]
        if rules.suspended(job):
            return await self._delete_pods(job, active), None
        parallelism, completions = spec.get("parallelism", 1), spec.get("completions")
        if completions is None:
            wanted = len(active) if count.succeeded > 0 else parallelism
        else:
            left = completions - count.succeeded - len(count.lost)
            wanted = max(min(left, parallelism), 0)
        if wanted < len(active):
            return await self._delete_pods(job, self._pods_to_delete(job, active, count, len(active) - wanted)), None
        missing = wanted - len(active)
        waited = [p for p in owned if pods.terminating(p)] if rules.replaces_failed_only(job) else []
        missing = min(missing - len(waited), BURST)
        if missing <= 0:
            return None, None
        if rules.indexed(job):
            return await self._create_indexed(job, owned, [*active, *waited], count, missing)
        wait = rules.backoff(job, owned, now)
        if wait > 0:
            return None, wait
        pod = self._pod(job)
        return await workload.slow_start(missing, lambda _: self.create_pod(job, pod)), None

    def _pods_to_delete(self, job: Object, active: list[Object], count: Counts, number: int) -> list[Object]:
        """Pods to delete, of an indexed Job first those whose index is complete, failed, too high or duplicated."""
        if not rules.indexed(job):
            return pods.deletion_order(active)[:number]
        taken: set[int] = set()
        out_of_range: list[Object] = []
        in_range: list[Object] = []
        for pod in reversed(pods.deletion_order(active)):
            index = rules.index_of(pod)
            valid = 0 <= index < job["spec"]["completions"] and index not in count.done | count.lost | taken
            (in_range if valid else out_of_range).append(pod)
            taken.add(index)
        return [*out_of_range, *reversed(in_range)][: max(number, len(out_of_range))]

    async def _create_indexed(
        self, job: Object, owned: list[Object], busy: Sequence[Object], count: Counts, missing: int
    ) -> tuple[Failure, float | None]:
        taken = {rules.index_of(p) for p in busy} | count.done | count.lost
        free = (i for i in range(job["spec"]["completions"]) if i not in taken)
        made: list[Object] = []
        waits: list[float] = []
        now = time.now()
        overall = 0.0 if rules.per_index(job) else rules.backoff(job, owned, now)
        for index in free:
            if len(made) == missing:
                break
            last = self._last_failed(job, owned, index) if rules.per_index(job) else None
            wait = rules.wait_after([rules.finish_time(last)], now, sum(_failures(last)) + 1) if last is not None else overall
            if wait > 0:
                waits.append(wait)
            else:
                made.append(self._pod(job, index, last))
        failure = await workload.slow_start(len(made), lambda i: self.create_pod(job, made[i]))
        return failure, min(waits, default=None)

    def _last_failed(self, job: Object, owned: Sequence[Object], index: int) -> Object | None:
        """The failed pod that a new one for the index replaces; its annotations carry the failure count."""
        failed = [p for p in owned if rules.index_of(p) == index and rules.tracked(p) and rules.failed(p, job)]
        return max(failed, key=lambda p: sum(_failures(p)), default=None)

    def _pod(self, job: Object, index: int | None = None, replaced: Object | None = None) -> Object:
        pod = self.pod(job, job["spec"]["template"])
        about = pod["metadata"]
        about["finalizers"] = [*about.get("finalizers", ()), FINALIZER]
        if index is None:
            return pod
        base, tail = f"{meta.name(job)}-{index}", f"-{index}-"
        about["generateName"] = f"{base}-"[: MOST_GENERATED - len(tail)] + tail if len(base) >= MOST_GENERATED else f"{base}-"
        about["annotations"] = {**about.get("annotations", {}), INDEX: str(index)}
        about["labels"] = {**about.get("labels", {}), INDEX: str(index)}
        if rules.per_index(job):
            counted, ignored = _failures(replaced)
            if replaced is not None:
                counts = rules.policy(job, replaced).counts
                counted, ignored = counted + counts, ignored + (not counts)
            about["annotations"] |= {INDEX_FAILURES: str(counted)} | ({INDEX_IGNORED: str(ignored)} if ignored else {})
        pod["spec"] = _numbered(pod["spec"], base)
        return pod

    async def _delete_pods(self, job: Object, unwanted: list[Object]) -> Failure:
        """Delete pods that must not count as failed."""
        await self._remove_finalizers(unwanted)
        return await workload.run_all([self.delete_pod(job, p) for p in unwanted])

    async def _remove_finalizers(self, counted: Sequence[Object]) -> None:
        """Remove the tracking finalizer from pods. Raises the first failure after trying all."""
        tracked = [(pod, [f for f in meta.finalizers(pod) if f != FINALIZER]) for pod in counted if rules.tracked(pod)]
        error = await workload.run_all([self.set_finalizers(PODS, pod, kept) for pod, kept in tracked])
        if error is not None:
            raise error

    def _warn_of_surplus(self, job: Object, count: Counts, active: int) -> None:
        """Warn about more pods than completions: created by others, or before completions was reduced."""
        completions = job["spec"].get("completions")
        if completions is None or count.succeeded < completions or rules.suspended(job):
            return
        if active:
            self.record_warning(job, "TooManyActivePods", TOO_MANY.format("active"))
        if count.succeeded > completions:
            self.record_warning(job, "TooManySucceededPods", TOO_MANY.format("succeeded"))

    def _update_suspended(self, job: Object, status: Object) -> None:
        """Update the Suspended condition, record the event, reset startTime on resume."""
        listed, suspended = status.get("conditions") or (), rules.suspended(job)
        known = conditions.find(listed, "Suspended")
        if (known is None and not suspended) or (known is not None and known["status"] == ("True" if suspended else "False")):
            return
        reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
        status["conditions"] = conditions.updated(listed, _condition("Suspended", "True" if suspended else "False", reason, message))
        if not suspended:
            status["startTime"] = time.stamp()
        self.record_event(job, "Suspended" if suspended else "Resumed", message)

    async def _track_status(self, job: Object, status: Object, finish: FinishCondition | None) -> None:
        """Track finished pods in stock's order: add them to uncountedTerminatedPods, remove their finalizers, count them; then finish the
        Job."""
        owned = self.owned_by(job)
        released = self._add_uncounted(job, status, owned, finish)
        active = [p for p in owned if pods.active(p)]
        status |= {"active": len(active), "ready": sum(pods.ready(p) for p in active)}
        status["terminating"] = sum(pods.terminating(p) for p in owned)
        if finish is not None and conditions.find(status.get("conditions") or (), finish[0]) is None:
            status["conditions"] = conditions.updated(status.get("conditions") or (), _condition(finish[0], "True", *finish[1:]))
        job = await self.update_status(job, status)
        await self._remove_finalizers(released)
        status = meta.clone(status)
        tracked = {meta.uid(p) for p in self.owned_by(job) if rules.tracked(p)}
        _count(status, tracked, counted=not rules.indexed(job))
        over = finish is not None and not any(status["uncountedTerminatedPods"].values()) and not status["terminating"] and not active
        if finish is not None and over and not meta.deleting(job):
            self._finish(job, status, finish)
        await self.update_status(job, status)

    def _add_uncounted(self, job: Object, status: Object, owned: Sequence[Object], finish: FinishCondition | None) -> list[Object]:
        """Add newly finished pods to uncountedTerminatedPods. Returns the pods whose finalizer may be removed."""
        limit = job["spec"].get("completions") or 0
        waiting = status["uncountedTerminatedPods"]
        known = {*(waiting.get("succeeded") or ()), *(waiting.get("failed") or ())}
        done, lost = indexes.parse(status.get("completedIndexes"), limit), indexes.parse(status.get("failedIndexes"), limit)
        kept = self._kept_for_replacement(job, owned) if rules.per_index(job) and finish is None else set()
        released = []
        for pod in sorted((p for p in owned if rules.tracked(p)), key=rules.index_of)[:BURST]:
            good, bad, index = pods.phase(pod) == "Succeeded", rules.failed(pod, job), rules.index_of(pod)
            if not (good or bad or finish is not None or meta.deleting(job)):
                continue
            if rules.per_index(job) and 0 <= index < limit and rules.index_failed(job, pod):
                lost.add(index)
            if meta.uid(pod) in kept:
                continue
            released.append(pod)
            if rules.indexed(job) and not 0 <= index < limit:
                continue
            if good and rules.indexed(job):
                done.add(index)
            elif meta.uid(pod) in known:
                continue
            elif good:
                waiting.setdefault("succeeded", []).append(meta.uid(pod))
            elif (bad or (finish is not None and finish[0] == "FailureTarget")) and rules.policy(job, pod).counts:
                waiting.setdefault("failed", []).append(meta.uid(pod))
        if rules.indexed(job):
            status |= {"succeeded": len(done), "completedIndexes": indexes.text(done)}
            if rules.per_index(job):
                status["failedIndexes"] = indexes.text(lost - done)
        return released

    def _kept_for_replacement(self, job: Object, owned: Sequence[Object]) -> set[str]:
        """Failed pods whose replacement does not exist yet; their annotations are still needed."""
        counts: dict[int, int] = {}
        for pod in owned:
            counts[rules.index_of(pod)] = max(counts.get(rules.index_of(pod), -1), sum(_failures(pod)))
        return {
            meta.uid(p)
            for p in owned
            if rules.failed(p, job) and not rules.index_failed(job, p) and sum(_failures(p)) == counts[rules.index_of(p)]
        }

    def _finish(self, job: Object, status: Object, finish: FinishCondition) -> None:
        good = finish[0] == "SuccessCriteriaMet"
        final = _condition("Complete" if good else "Failed", "True", *finish[1:])
        status["conditions"] = [*status["conditions"], final]
        if good:
            status["completionTime"] = final["lastTransitionTime"]
            self.record_event(job, "Completed", "Job completed")
        else:
            self.record_warning(job, finish[1], finish[2])


def _failures(pod: Object | None) -> tuple[int, int]:
    """(counted failures, ignored failures) of the index before this pod."""
    known = meta.annotations(pod) if pod is not None else {}
    return int(known.get(INDEX_FAILURES, "0")), int(known.get(INDEX_IGNORED, "0"))


def _condition(type: str, status: str, reason: str, message: str) -> Object:
    now = time.stamp()
    return {"type": type, "status": status, "lastProbeTime": now, "lastTransitionTime": now, "reason": reason, "message": message}


def _count(status: Object, tracked: set[str], *, counted: bool) -> None:
    """Count listed pods whose finalizer is removed. Successes of an indexed Job are counted by index."""
    waiting = status["uncountedTerminatedPods"]
    for kind in ("succeeded", "failed"):
        listed = waiting.pop(kind, None) or []
        left = [uid for uid in listed if uid in tracked]
        if left:
            waiting[kind] = left
        if kind == "failed" or counted:
            status[kind] = (status.get(kind) or 0) + len(listed) - len(left)


def _numbered(spec: Object, hostname: str) -> Object:
    """The pod spec with its host name and JOB_COMPLETION_INDEX in all containers."""
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}}

    def with_index_variable(container: Object) -> Object:
        env = container.get("env") or []
        if any(e["name"] == variable["name"] for e in env):
            return container
        return {**container, "env": [*env, variable]}

    out = {**spec, "hostname": hostname}
    for part in ("initContainers", "containers"):
        if spec.get(part):
            out[part] = [with_index_variable(c) for c in spec[part]]
    return out
