"""The rules of Jobs: which pods count as failed, pod failure policy, when a Job is finished, back-off. Pure.

Reasons and messages are stock's.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kapi.controllers import indexes, pods
from kapi.objects import meta, time
from kapi.objects.meta import Object

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
MANAGER = "kubernetes.io/job-controller"
INITIAL_BACKOFF, MAX_BACKOFF = 10.0, 600.0

FinishCondition = tuple[str, str, str]
"""(condition type, reason, message)."""


def indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def per_index(job: Object) -> bool:
    return indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def replaces_failed_only(job: Object) -> bool:
    """Whether replacements wait until terminating pods have finished (podReplacementPolicy Failed)."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def finished(job: Object) -> bool:
    return any((meta.condition(job, t) or {}).get("status") == "True" for t in ("Complete", "Failed"))


def managed(job: Object) -> bool:
    return bool((job["spec"].get("managedBy") or MANAGER) == MANAGER)


def tracked(pod: Object) -> bool:
    """Whether the pod still has the tracking finalizer, so is not counted yet."""
    return FINALIZER in meta.finalizers(pod)


def failed(pod: Object, job: Object) -> bool:
    if pods.phase(pod) == "Failed":
        return True
    return not replaces_failed_only(job) and meta.deleting(pod) and pods.phase(pod) != "Succeeded"


def index_of(pod: Object) -> int:
    """The completion index of a pod; -1 without one."""
    value = meta.annotations(pod).get(INDEX, "")
    return int(value) if value.isdigit() else -1


class Rule(NamedTuple):
    """The result of the pod failure policy: an action, and the message for FailJob."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != "Ignore"


def policy(job: Object, pod: Object) -> Rule:
    """The first matching rule of the pod failure policy."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        tail = f"matching {rule['action']} rule at index {number}"
        name = f"{meta.namespace(pod)}/{meta.name(pod)}"
        if rule.get("onExitCodes"):
            hit = _exit_code(pod, rule["onExitCodes"])
            if hit:
                return Rule(rule["action"], f"Container {hit[0]} for pod {name} failed with exit code {hit[1]} {tail}")
            continue
        for pattern in rule.get("onPodConditions") or ():
            have = meta.condition(pod, pattern["type"])
            if have is not None and have.get("status") == (pattern.get("status") or "True"):
                return Rule(rule["action"], f"Pod {name} has condition {pattern['type']} {tail}")
    return Rule()


def _exit_code(pod: Object, requirement: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        ended = (container.get("state") or {}).get("terminated")
        if not ended or requirement.get("containerName") not in (None, container["name"]):
            continue
        code = ended.get("exitCode", 0)
        if code != 0 and (code in requirement["values"]) is (requirement["operator"] == "In"):
            return container["name"], code
    return None


def index_failed(job: Object, pod: Object) -> bool:
    """Whether the pod's failure exceeds backoffLimitPerIndex."""
    if not failed(pod, job):
        return False
    action = policy(job, pod).action
    if action == "FailIndex":
        return True
    return action != "Ignore" and int(meta.annotations(pod).get(INDEX_FAILURES, "0")) >= job["spec"]["backoffLimitPerIndex"]


class Counts(NamedTuple):
    """Counts over all pods of a Job, counted ones and uncounted ones."""

    succeeded: int
    failed: int
    done: set[int]
    """Succeeded indexes."""
    lost: set[int]
    """Failed indexes."""


def count_pods(job: Object, owned: Sequence[Object]) -> Counts:
    status, spec = job.get("status") or {}, job["spec"]
    waiting = status.get("uncountedTerminatedPods") or {}
    listed = {*(waiting.get("succeeded") or ()), *(waiting.get("failed") or ())}
    limit = spec.get("completions") or 0
    fresh = [p for p in owned if tracked(p) and meta.uid(p) not in listed]
    if indexed(job):
        fresh = [p for p in fresh if 0 <= index_of(p) < limit]
    lost_now = sum(failed(p, job) and policy(job, p).counts for p in fresh)
    failures = (status.get("failed") or 0) + len(waiting.get("failed") or ()) + lost_now
    done, lost = indexes.parse(status.get("completedIndexes"), limit), set[int]()
    if not indexed(job):
        good = sum(pods.phase(p) == "Succeeded" for p in fresh)
        return Counts((status.get("succeeded") or 0) + len(waiting.get("succeeded") or ()) + good, failures, done, lost)
    done |= {index_of(p) for p in fresh if pods.phase(p) == "Succeeded"}
    if per_index(job):
        lost = indexes.parse(status.get("failedIndexes"), limit)
        lost |= {index_of(p) for p in owned if tracked(p) and 0 <= index_of(p) < limit and index_failed(job, p)}
        lost -= done
    return Counts(len(done), failures, done, lost)


def finish_condition(job: Object, owned: Sequence[Object], count: Counts, active: int, now: float) -> FinishCondition | None:
    """Whether the Job is finished: ("FailureTarget" or "SuccessCriteriaMet", reason, message), or None."""
    for kind in ("SuccessCriteriaMet", "FailureTarget"):
        known = meta.condition(job, kind)
        if known is not None and known.get("status") == "True":
            return kind, known.get("reason", ""), known.get("message", "")
    return _failure(job, owned, count, now) or _success(job, count, active)


def _failure(job: Object, owned: Sequence[Object], count: Counts, now: float) -> FinishCondition | None:
    spec = job["spec"]
    for pod in owned:
        if failed(pod, job):
            rule = policy(job, pod)
            if rule.action == "FailJob":
                return "FailureTarget", "PodFailurePolicy", rule.message
    if count.failed > _limit(job) or _restarted_too_often(job, owned):
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    left = deadline(job, now)
    if left is not None and left <= 0:
        return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
    if per_index(job):
        most = spec.get("maxFailedIndexes")
        if most is not None and len(count.lost) > most:
            return "FailureTarget", "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
        if count.lost and len(count.lost) + len(count.done) >= spec["completions"]:
            return "FailureTarget", "FailedIndexes", "Job has failed indexes"
    return None


def _success(job: Object, count: Counts, active: int) -> FinishCondition | None:
    spec = job["spec"]
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        required = indexes.parse(rule["succeededIndexes"], spec["completions"]) if rule.get("succeededIndexes") else None
        hit = count.done if required is None else count.done & required
        needed = rule.get("succeededCount") or len(required or ())
        if hit and len(hit) >= needed:
            return "SuccessCriteriaMet", "SuccessPolicy", f"Matched rules at index {number}"
    if active:
        return None
    enough = count.succeeded > 0 if spec.get("completions") is None else count.succeeded >= spec["completions"]
    return ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods") if enough else None


def _limit(job: Object) -> int:
    return int(job["spec"].get("backoffLimit", 6))


def _restarted_too_often(job: Object, owned: Iterable[Object]) -> bool:
    """With restartPolicy OnFailure, container restarts count towards the back-off limit."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    total = 0
    for pod in owned:
        if pods.phase(pod) in ("Running", "Pending"):
            status = pod["status"]
            every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
            total += sum(s.get("restartCount", 0) for s in every)
    return total > 0 if _limit(job) == 0 else total >= _limit(job)


def deadline(job: Object, now: float) -> float | None:
    """Seconds left of activeDeadlineSeconds, or None."""
    seconds, started = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if seconds is None or not started or suspended(job):
        return None
    return time.parse(started) + float(seconds) - now


def finish_time(pod: Object) -> float:
    """When the last container finished, or the pod was deleted."""
    status = pod.get("status") or {}
    ends = [((s.get("state") or {}).get("terminated") or {}).get("finishedAt") for s in status.get("containerStatuses") or ()]
    known = [time.parse(e) for e in ends if e]
    ready = meta.condition(pod, "Ready") or {}
    return max(known, default=time.parse(meta.metadata(pod).get("deletionTimestamp") or ready.get("lastTransitionTime")))


def backoff(job: Object, owned: Sequence[Object], now: float) -> float:
    """Seconds until another pod may be created: 10 s after the first failure since the last success, doubling up to 10 minutes."""
    last_success = max((finish_time(p) for p in owned if pods.phase(p) == "Succeeded"), default=0.0)
    ends = [finish_time(p) for p in owned if failed(p, job)]
    return wait_after([e for e in ends if e >= last_success], now)


def wait_after(failures: Sequence[float], now: float, count: int = 0) -> float:
    number = count or len(failures)
    if not failures or not number:
        return 0.0
    return max(failures) + min(INITIAL_BACKOFF * float(2 ** min(number - 1, 20)), MAX_BACKOFF) - now
