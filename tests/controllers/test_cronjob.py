"""Stories of CronJobs, and of Jobs that are to be forgotten."""

from datetime import UTC, datetime
from typing import Any

import pytest

from kapi.controllers import schedule
from kapi.controllers.cronjob import CronJobs
from kapi.controllers.ttl import TimeToLive
from kapi.objects import cron, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import CRON_JOBS, JOBS
from tests.controllers.story import Cluster, story


def cron_job(**spec: Any) -> Object:
    made = {"schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "jobTemplate": {"spec": {"parallelism": 1}}}
    return {"metadata": {"name": "tick", "namespace": "default"}, "spec": {**made, **spec}}


def finish(cluster: Cluster, kind: str = "Complete") -> None:
    for job in cluster.api.all(JOBS):
        if not job.get("status"):
            condition = {"type": kind, "status": "True", "lastTransitionTime": time.stamp()}
            cluster.api.set(JOBS, job, status={"conditions": [condition], "completionTime": time.stamp(), "startTime": time.stamp()})


@pytest.mark.parametrize(
    ("text", "after", "wanted"),
    [
        ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("30 4 1,15 * 5", "2026-01-02T05:00:00", "2026-01-09T04:30:00"),
        ("0 9 * * 1-5", "2026-01-02T09:00:00", "2026-01-05T09:00:00"),
        ("@every 90s", "2026-01-01T00:00:00", "2026-01-01T00:01:30"),
    ],
)
def test_following(text: str, after: str, wanted: str) -> None:
    start = datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp()
    found = schedule.following(cron.parse(text), start)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).isoformat() == wanted + "+00:00"


def test_an_hour_that_the_clocks_skip_is_skipped() -> None:
    where = schedule.zone(cron.parse("CRON_TZ=Europe/Berlin 30 2 * * *"))
    start = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()
    found = schedule.following(cron.parse("30 2 * * *"), start, where)
    assert found is not None
    assert datetime.fromtimestamp(found, where).isoformat() == "2026-03-30T02:30:00+02:00"


def test_missed_times_are_counted_up_to_a_limit() -> None:
    plan = cron.parse("* * * * *")
    assert schedule.missed(plan, 0, 86400 * 30 + 30) == (86400 * 30, 101)
    assert schedule.missed(plan, 0, 180) == (180, 3)
    assert schedule.missed(plan, 0, 59) == (None, 0)


@story
async def test_a_job_at_each_time_and_the_old_ones_cleared(cluster: Cluster) -> None:
    cluster.api.create(CRON_JOBS, cron_job(successfulJobsHistoryLimit=2))
    await cluster.run(CronJobs)
    assert cluster.api.all(JOBS) == []
    for _ in range(4):
        await cluster.advance(300)
        finish(cluster)
    await cluster.advance()
    jobs = cluster.api.all(JOBS)
    assert len(jobs) == 2
    assert meta.name(jobs[0]).startswith("tick-294")
    assert meta.annotations(jobs[0])["batch.kubernetes.io/cronjob-scheduled-timestamp"].endswith(":00Z")
    status = cluster.api.all(CRON_JOBS)[0]["status"]
    assert status["lastScheduleTime"]
    assert status["lastSuccessfulTime"]
    assert not status.get("active")
    assert len(cluster.events("SawCompletedJob")) == 4


@story
async def test_overlap(cluster: Cluster) -> None:
    cluster.api.create(CRON_JOBS, cron_job(concurrencyPolicy="Forbid"))
    await cluster.run(CronJobs)
    await cluster.advance(900)
    assert len(cluster.api.all(JOBS)) == 1
    assert cluster.events("JobAlreadyActive")
    old = cluster.api.all(CRON_JOBS)[0]
    first = cluster.api.all(JOBS)[0]
    cluster.api.set(CRON_JOBS, old, spec={**old["spec"], "concurrencyPolicy": "Replace"})
    await cluster.advance(300)
    [second] = cluster.api.all(JOBS)
    assert meta.name(second) != meta.name(first)


@story
async def test_suspended(cluster: Cluster) -> None:
    cluster.api.create(CRON_JOBS, cron_job(suspend=True))
    await cluster.run(CronJobs)
    await cluster.advance(3600)
    assert cluster.api.all(JOBS) == []


@story
async def test_time_to_live(cluster: Cluster) -> None:
    cluster.api.create(JOBS, {"metadata": {"name": "j", "namespace": "default"}, "spec": {"ttlSecondsAfterFinished": 60}})
    await cluster.run(TimeToLive)
    await cluster.advance(100)
    finish(cluster)
    await cluster.advance(50)
    assert not meta.deleting(cluster.api.all(JOBS)[0])
    await cluster.advance(20)
    assert all(meta.deleting(j) for j in cluster.api.all(JOBS))


@story
async def test_zones(cluster: Cluster) -> None:
    cluster.api.create(CRON_JOBS, cron_job(timeZone="Nowhere/Else"))
    await cluster.run(CronJobs)
    assert cluster.events("UnknownTimeZone") == ['invalid timeZone: "Nowhere/Else": unknown time zone Nowhere/Else']
    old = cluster.api.all(CRON_JOBS)[0]
    cluster.api.set(CRON_JOBS, old, spec={**old["spec"], "timeZone": None, "schedule": "TZ=Europe/Berlin */5 * * * *"})
    await cluster.advance(301)
    assert len(cluster.api.all(JOBS)) == 1
    assert "not officially supported" in cluster.events("UnsupportedSchedule")[0]


@story
async def test_a_schedule_that_never_comes_and_one_that_cannot_be_read(cluster: Cluster) -> None:
    cluster.api.create(CRON_JOBS, cron_job(schedule="0 0 31 2 *"))
    await cluster.run(CronJobs)
    wanted = "invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second"
    assert cluster.events("InvalidSchedule") == [wanted]
    old = cluster.api.all(CRON_JOBS)[0]
    cluster.api.set(CRON_JOBS, old, spec={**old["spec"], "schedule": "often"})
    await cluster.advance()
    wanted = 'unparseable schedule: "often" : expected exactly 5 fields, found 1: [often]'
    assert cluster.events("UnparseableSchedule") == [wanted]
    assert cluster.api.all(JOBS) == []
