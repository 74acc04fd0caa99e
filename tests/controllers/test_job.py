"""Stories of Jobs."""

from typing import Any

from kapi.controllers.job import Jobs
from kapi.objects import meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import JOBS, PODS
from tests.controllers.story import Cluster, story


def job(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"job": "x"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    made = {"parallelism": 2, "completions": 3, "backoffLimit": 6, "selector": {"matchLabels": {"job": "x"}}, "template": template}
    return {"metadata": {"name": "work", "namespace": "default"}, "spec": {**made, **spec}}


async def end(cluster: Cluster, *pods: Object, phase: str = "Succeeded", code: int = 0) -> None:
    for pod in pods:
        ended = {"exitCode": code, "finishedAt": time.stamp()}
        status = {"phase": phase, "containerStatuses": [{"name": "c", "restartCount": 0, "state": {"terminated": ended}}]}
        cluster.api.set(PODS, cluster.api.all(PODS)[[meta.name(p) for p in cluster.api.all(PODS)].index(meta.name(pod))], status=status)
    await cluster.advance()


def running(cluster: Cluster) -> list[Object]:
    return [p for p in cluster.api.all(PODS) if not p.get("status") and not meta.deleting(p)]


def status(cluster: Cluster) -> Object:
    found: Object = cluster.api.all(JOBS)[0]["status"]
    return found


def conditions(cluster: Cluster) -> list[tuple[str, str, str]]:
    return [(c["type"], c["reason"], c["message"]) for c in status(cluster)["conditions"]]


@story
async def test_runs_to_completion(cluster: Cluster) -> None:
    cluster.api.create(JOBS, job())
    await cluster.run(Jobs)
    assert len(running(cluster)) == 2
    await end(cluster, running(cluster)[0])
    assert status(cluster)["succeeded"] == 1
    assert len(running(cluster)) == 2
    await end(cluster, *running(cluster))
    found = status(cluster)
    assert (found["succeeded"], found["active"], found["uncountedTerminatedPods"]) == (3, 0, {})
    message = "Reached expected number of succeeded pods"
    assert conditions(cluster) == [("SuccessCriteriaMet", "CompletionsReached", message), ("Complete", "CompletionsReached", message)]
    assert found["completionTime"]
    assert not any(meta.finalizers(p) for p in cluster.api.all(PODS))
    assert cluster.events("Completed") == ["Job completed"]


@story
async def test_failures_back_off_and_end_at_the_limit(cluster: Cluster) -> None:
    cluster.api.create(JOBS, job(parallelism=1, completions=1, backoffLimit=2))
    await cluster.run(Jobs)
    for wait in (10, 20):
        await end(cluster, *running(cluster), phase="Failed", code=1)
        await cluster.advance(wait - 6)
        assert running(cluster) == []
        await cluster.advance(3)
        assert len(running(cluster)) == 1
    await end(cluster, *running(cluster), phase="Failed", code=1)
    assert status(cluster)["failed"] == 3
    assert conditions(cluster)[-1] == ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


@story
async def test_indexed(cluster: Cluster) -> None:
    cluster.api.create(JOBS, job(completionMode="Indexed", parallelism=3))
    await cluster.run(Jobs)
    pods = running(cluster)
    assert [meta.labels(p)["batch.kubernetes.io/job-completion-index"] for p in pods] == ["0", "1", "2"]
    assert pods[1]["spec"]["hostname"] == "work-1"
    assert pods[1]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    await end(cluster, pods[0], pods[2])
    assert status(cluster)["completedIndexes"] == "0,2"
    await end(cluster, pods[1])
    assert status(cluster)["completedIndexes"] == "0-2"
    assert conditions(cluster)[-1][0] == "Complete"


@story
async def test_each_index_has_its_own_limit(cluster: Cluster) -> None:
    cluster.api.create(JOBS, job(completionMode="Indexed", parallelism=2, completions=2, backoffLimitPerIndex=1, backoffLimit=100))
    await cluster.run(Jobs)
    first, second = running(cluster)
    await end(cluster, first, phase="Failed", code=1)
    await cluster.advance(10)
    [retry] = [p for p in running(cluster) if meta.name(p) != meta.name(second)]
    assert meta.annotations(retry)["batch.kubernetes.io/job-index-failure-count"] == "1"
    await end(cluster, retry, phase="Failed", code=1)
    assert status(cluster)["failedIndexes"] == "0"
    await end(cluster, second)
    assert status(cluster)["failed"] == 2
    assert conditions(cluster)[-1] == ("Failed", "FailedIndexes", "Job has failed indexes")


@story
async def test_failure_policy(cluster: Cluster) -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    cluster.api.create(JOBS, job(parallelism=1, podFailurePolicy={"rules": rules}, podReplacementPolicy="Failed"))
    await cluster.run(Jobs)
    [pod] = running(cluster)
    cluster.api.set(PODS, pod, status={"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]})
    await cluster.advance(15)
    assert not status(cluster).get("failed")
    [pod] = running(cluster)
    await end(cluster, pod, phase="Failed", code=42)
    message = f"Container c for pod default/{meta.name(pod)} failed with exit code 42 matching FailJob rule at index 1"
    assert conditions(cluster)[-1] == ("Failed", "PodFailurePolicy", message)


@story
async def test_suspend_and_resume(cluster: Cluster) -> None:
    made = cluster.api.create(JOBS, job(suspend=True))
    await cluster.run(Jobs)
    assert cluster.api.all(PODS) == []
    assert conditions(cluster) == [("Suspended", "JobSuspended", "Job suspended")]
    cluster.api.set(JOBS, cluster.api.all(JOBS)[0], spec={**made["spec"], "suspend": False})
    await cluster.advance()
    assert len(running(cluster)) == 2
    assert status(cluster)["startTime"]
    cluster.api.set(JOBS, cluster.api.all(JOBS)[0], spec={**made["spec"], "suspend": True})
    await cluster.advance()
    assert cluster.api.all(PODS) == []
    assert not status(cluster).get("failed")


@story
async def test_deadline(cluster: Cluster) -> None:
    cluster.api.create(JOBS, job(activeDeadlineSeconds=60))
    await cluster.run(Jobs)
    await cluster.advance(70)
    assert conditions(cluster)[-1] == ("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    assert status(cluster)["failed"] == 2


@story
async def test_pods_of_a_deleted_job_are_let_go(cluster: Cluster) -> None:
    made = cluster.api.create(JOBS, job())
    await cluster.run(Jobs)
    cluster.api.delete(JOBS, made, {})
    await cluster.advance()
    assert [meta.finalizers(p) for p in cluster.api.all(PODS)] == [[], []]


@story
async def test_success_policy_ends_early(cluster: Cluster) -> None:
    cluster.api.create(JOBS, job(completionMode="Indexed", successPolicy={"rules": [{"succeededIndexes": "0"}]}))
    await cluster.run(Jobs)
    await end(cluster, running(cluster)[0])
    assert conditions(cluster)[-1] == ("Complete", "SuccessPolicy", "Matched rules at index 0")


@story
async def test_names_of_an_indexed_jobs_pods_keep_their_index(cluster: Cluster) -> None:
    long = job(completionMode="Indexed", parallelism=1, completions=1)
    long["metadata"]["name"] = "a" * 63
    cluster.api.create(JOBS, long)
    await cluster.run(Jobs)
    assert meta.metadata(running(cluster)[0])["generateName"] == "a" * 55 + "-0-"


@story
async def test_more_pods_than_were_asked_for(cluster: Cluster) -> None:
    cluster.api.create(JOBS, job(parallelism=3))
    await cluster.run(Jobs)
    await end(cluster, running(cluster)[0])
    old = cluster.api.all(JOBS)[0]
    cluster.api.set(JOBS, old, spec={**old["spec"], "completions": 1})
    await cluster.advance()
    assert cluster.events("TooManyActivePods") == ["Too many active pods running after completion count reached"]
