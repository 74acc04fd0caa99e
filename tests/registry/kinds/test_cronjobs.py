"""CronJobs: schedules and time zones refused in stock's words, defaults, rows."""

from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.batch.cronjobs import CronJobStrategy
from tests.registry.kinds.making import change_faults, faults, made, template

CRON = CronJobStrategy()
NOW = 1_000_000.0


def cron(**spec: Any) -> Object:
    inner = {"template": template(restartPolicy="Never"), **spec.pop("job", {})}
    return {"metadata": {"name": "c", "namespace": "d"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": inner}, **spec}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"schedule": ""}, ["spec.schedule: Required value"]),
        ({"schedule": "x"}, ['spec.schedule: Invalid value: "x": expected exactly 5 fields, found 1: [x]']),
        ({"schedule": "60 * * * *"}, ['spec.schedule: Invalid value: "60 * * * *": end of range (60) above maximum (59): 60']),
        ({"schedule": "TZ=UTC * * * * *"},
         ['spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead']),
        ({"timeZone": ""}, ['spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string']),
        ({"timeZone": "Nowhere"}, ['spec.timeZone: Invalid value: "Nowhere": unknown time zone Nowhere']),
        ({"timeZone": "local"},
         ['spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones',
          'spec.timeZone: Invalid value: "local": unknown time zone local']),
        ({"timeZone": "Local"},
         ['spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones']),
        ({"timeZone": "../Mars"}, ['spec.timeZone: Invalid value: "../Mars": unknown time zone ../Mars']),
        ({"concurrencyPolicy": "x"},
         ['spec.concurrencyPolicy: Unsupported value: "x": supported values: "Allow", "Forbid", "Replace"']),
        ({"startingDeadlineSeconds": -1}, ["spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"]),
        ({"failedJobsHistoryLimit": -1}, ["spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"]),
        ({"job": {"selector": {}}}, ["spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"]),
        ({"job": {"manualSelector": True}},
         ['spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"']),
        ({"job": {"backoffLimit": -1}}, ["spec.jobTemplate.spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"]),
        ({"job": {"template": template()}},
         ['spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
    ],
)  # fmt: skip
def test_refused(spec: Object, expected: list[str]) -> None:
    assert faults(CRON, cron(**spec)) == expected


def test_long_names_are_refused_only_when_new() -> None:
    obj = cron()
    obj["metadata"]["name"] = "x" * 53
    assert faults(CRON, obj) == [f'metadata.name: Invalid value: "{"x" * 53}": must be no more than 52 characters']
    assert change_faults(CRON, obj, lambda new: None) == []


def test_old_zone_in_schedule_may_stay() -> None:
    obj = cron(schedule="TZ=UTC * * * * *")
    assert change_faults(CRON, obj, lambda new: None) == []
    found = change_faults(CRON, obj, lambda new: new["spec"].update(timeZone="Etc/UTC"))
    assert found == ['spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule']
    assert CRON.warnings(obj, obj)[0].startswith("CRON_TZ or TZ used in spec.schedule is not officially supported")


def test_defaults() -> None:
    spec = made(CRON, cron())["spec"]
    assert (spec["concurrencyPolicy"], spec["suspend"], spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (
        "Allow", False, 3, 1,
    )  # fmt: skip
    assert "parallelism" not in spec["jobTemplate"]["spec"]
    assert spec["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"


def test_row() -> None:
    obj = made(CRON, cron(suspend=True))
    obj["metadata"]["creationTimestamp"] = time.stamp(NOW - 60)
    assert CRON.row(obj, NOW) == ["c", "* * * * *", "<none>", "True", 0, "<none>", "60s", "c", "i", "<none>"]
    obj["status"] = {"active": [{"name": "j"}], "lastScheduleTime": time.stamp(NOW - 30)}
    assert CRON.row(obj, NOW)[4:6] == [1, "30s"]
