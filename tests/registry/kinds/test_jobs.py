"""Jobs: the selector they make, failure and success policies, what may change while suspended, status, rows."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.batch.job_policies import indexes
from kapi.registry.kinds.batch.jobs import JobStrategy
from tests.registry.kinds.making import change_faults, faults, job, made, template

JOBS = JobStrategy()
NOW = 1_000_000.0
NOT_NEGATIVE = "must be greater than or equal to 0"
INDEXED: Object = {"completionMode": "Indexed", "completions": 4}


def failing(**rule: Any) -> Object:
    return {"podFailurePolicy": {"rules": [{"action": "Ignore", **rule}]}}


def succeeding(*rules: Object) -> Object:
    return {**INDEXED, "successPolicy": {"rules": list(rules)}}


BAD: list[tuple[Object, list[str]]] = [
    *(({name: -1}, [f"spec.{name}: Invalid value: -1: {NOT_NEGATIVE}"])
      for name in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")),
    ({"backoffLimitPerIndex": 1}, ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]),
    ({**INDEXED, "maxFailedIndexes": 1}, ["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"]),
    ({**INDEXED, "maxFailedIndexes": 5, "backoffLimitPerIndex": 1},
     ["spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions"]),
    ({"completionMode": "x"}, ['spec.completionMode: Unsupported value: "x": supported values: "NonIndexed", "Indexed"']),
    ({"completionMode": "Indexed", "parallelism": 1}, ["spec.completions: Required value: when completion mode is Indexed"]),
    ({**INDEXED, "parallelism": 100001},
     ["spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"]),
    ({"managedBy": "x"}, ['spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")']),
    ({"podReplacementPolicy": "x"},
     ['spec.podReplacementPolicy: Unsupported value: "x": supported values: "Failed", "TerminatingOrFailed"']),
    ({"template": template()}, ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
    ({"template": template(restartPolicy="OnFailure"), **failing(onPodConditions=[{"type": "X"}])},
     ['spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified']),
    (failing(), ["spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
    (failing(action="x", onPodConditions=[{"type": "X"}]),
     ['spec.podFailurePolicy.rules[0].action: Unsupported value: "x": supported values: "Count", "FailIndex", "FailJob", "Ignore"']),
    (failing(action="FailIndex", onPodConditions=[{"type": "X"}]),
     ['spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set']),
    (failing(onExitCodes={"operator": "In", "values": [0]}),
     ["spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"]),
    (failing(onExitCodes={"operator": "In", "values": [2, 1]}),
     ["spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered"]),
    (failing(onExitCodes={"operator": "In", "values": [1], "containerName": "x"}),
     ['spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names'
      " in the pod template"]),
    (failing(onExitCodes={"operator": "In", "values": [1]}, onPodConditions=[{"type": "X"}]),
     ["spec.podFailurePolicy.rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"]),
    ({"successPolicy": {"rules": [{"succeededCount": 1}]}},
     ['spec.successPolicy: Invalid value: {"Rules":[{"SucceededIndexes":null,"SucceededCount":1}]}: requires indexed completion mode']),
    (succeeding(), ["spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"]),
    (succeeding({}), ["spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"]),
    (succeeding({"succeededCount": 5}),
     ["spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of specified"
      " completions)"]),
    (succeeding({"succeededIndexes": "0-1", "succeededCount": 3}),
     ["spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the"
      " specified succeededIndexes field)"]),
    ({"manualSelector": True},
     ["spec.selector: Required value",
      'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`']),
]


@pytest.mark.parametrize(("spec", "expected"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_refused(spec: Object, expected: list[str]) -> None:
    assert faults(JOBS, job(**spec)) == expected


def test_made_with_selector_labels_and_defaults() -> None:
    obj = made(JOBS, job())
    labels = {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j", "controller-uid": "u", "job-name": "j"}
    spec = obj["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert spec["template"]["metadata"]["labels"] == {"a": "b", **labels}
    expected = {
        "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }  # fmt: skip
    assert {name: spec[name] for name in expected} == expected
    assert JOBS.validate(obj, None) == []


def test_labels_of_the_template_are_the_jobs_own() -> None:
    obj = job()
    JOBS.default(obj)
    assert obj["metadata"]["labels"] == {"a": "b"}


def test_selector_that_is_not_ones_own() -> None:
    obj = made(JOBS, job())
    obj["spec"]["template"]["metadata"]["labels"]["job-name"] = "other"
    assert [f"{c.field}: {c.message}" for c in JOBS.validate(obj, None)] == [
        "spec.template.metadata.labels[job-name]: Invalid value: \"other\": must be 'j'"
    ]


def test_pods_need_names_hosts_can_have() -> None:
    obj = job(**INDEXED)
    obj["metadata"]["name"] = "a.b"
    found = faults(JOBS, obj)
    assert found == ['metadata.name: Invalid value: "a.b": will not able to create pod with invalid DNS label: a.b-3']


def put(**fields: Any) -> Callable[[Object], None]:
    return lambda obj: obj["spec"].update(fields)


def template_put(**fields: Any) -> Callable[[Object], None]:
    return lambda obj: obj["spec"]["template"]["spec"].update(fields)


@pytest.mark.parametrize(
    ("spec", "change", "fields"),
    [
        ({}, put(parallelism=3, backoffLimit=1, suspend=True), []),
        ({}, put(completions=2), ["spec.completions"]),
        (INDEXED, put(completions=5, parallelism=5), []),
        (INDEXED, put(completions=5), ["spec.completions"]),
        ({}, put(completionMode="Indexed"), ["spec.completionMode"]),
        ({}, put(managedBy="a.b/c"), ["spec.managedBy"]),
        ({}, template_put(nodeSelector={"a": "b"}), ["spec.template"]),
        ({"suspend": True}, template_put(nodeSelector={"a": "b"}, tolerations=[{"operator": "Exists"}]), []),
        ({"suspend": True}, template_put(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]}}}), []),
        ({"suspend": True}, template_put(hostNetwork=True), ["spec.template.spec"]),
        ({"suspend": True}, lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(resources={"requests": {"cpu": "1"}}), []),
        (succeeding({"succeededCount": 1}), put(successPolicy={"rules": [{"succeededCount": 2}]}), ["spec.successPolicy"]),
    ],
)  # fmt: skip
def test_change(spec: Object, change: Callable[[Object], None], fields: list[str]) -> None:
    assert [line.split(":")[0] for line in change_faults(JOBS, job(**deepcopy(spec)), change)] == fields


def status_faults(status: Object, before: Object | None = None, **spec: Any) -> list[str]:
    old = made(JOBS, job(**spec))
    old["status"] = before or {}
    return [f"{c.field}: {c.message}" for c in JOBS.validate_status({**deepcopy(old), "status": status}, old)]


def conditions(*kinds: str) -> list[Object]:
    return [{"type": kind, "status": "True"} for kind in kinds]


START, END = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
DONE = {"conditions": conditions("SuccessCriteriaMet", "Complete"), "startTime": START, "completionTime": END}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (DONE, []),
        ({"active": -1}, [f"status.active: Invalid value: -1: {NOT_NEGATIVE}"]),
        ({"active": -1, "ready": 0}, [f"status.active: Invalid value: -1: {NOT_NEGATIVE}",
                                      "status.ready: Invalid value: 0: cannot set more ready pods than active"]),
        ({"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a"]}},
         ['status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"']),
        ({**DONE, "uncountedTerminatedPods": {"failed": ["a"]}},
         ['status.uncountedTerminatedPods: Invalid value: {"Succeeded":null,"Failed":["a"]}: '
          "uncountedTerminatedPods needs to be empty for finished job"]),
        ({"failedIndexes": "0"},
         ['status.failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when backoffLimitPerIndex is null']),
        ({"ready": 1}, ["status.ready: Invalid value: 1: cannot set more ready pods than active"]),
        ({**DONE, "active": 1}, ["status.active: Invalid value: 1: active>0 is invalid for finished job"]),
        ({**DONE, "startTime": None}, ["status.startTime: Required value: startTime is required for finished job"]),
        ({**DONE, "completionTime": None}, ["status.completionTime: Required value: completionTime is required for Complete jobs"]),
        ({"completionTime": END, "startTime": START},
         [f'status.completionTime: Invalid value: "{END}": cannot set completionTime when there is no Complete=True condition']),
        ({"conditions": conditions("Failed"), "startTime": START},
         ["status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"]),
        ({"completedIndexes": "0"},
         ['status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode']),
    ],
)  # fmt: skip
def test_status(status: Object, expected: list[str]) -> None:
    assert status_faults(status) == expected


def test_finished_stays_finished() -> None:
    found = status_faults({"startTime": START}, DONE)
    assert found == ["status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                     "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"]  # fmt: skip


def test_what_did_not_change_is_let_be() -> None:
    odd = {"active": 1, "ready": 2, "completedIndexes": "0", "conditions": conditions("Failed")}
    assert status_faults({**odd, "failed": 1}, odd) == []


@pytest.mark.parametrize(
    ("status", "before", "expected"),
    [
        ({"failed": 1}, {"failed": 2}, ["status.failed: Invalid value: 1: cannot decrease the failed counter"]),
        ({}, {"succeeded": 2}, ["status.succeeded: Invalid value: 0: cannot decrease the succeeded counter"]),
        ({}, {"startTime": START}, ["status.startTime: Required value: startTime cannot be removed for unsuspended job"]),
        ({**DONE, "completionTime": "2026-01-01T00:02:00Z"}, DONE,
         ['status.completionTime: Invalid value: "2026-01-01T00:02:00Z": completionTime cannot be mutated']),
        (DONE, {**DONE, "conditions": conditions("Complete")},
         ["status.conditions: Invalid value: cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"]),
    ],
)  # fmt: skip
def test_what_is_not_taken_back(status: Object, before: Object, expected: list[str]) -> None:
    assert status_faults(status, before) == expected


def test_no_index_both_fails_and_completes() -> None:
    spec: Object = {"completionMode": "Indexed", "completions": 5, "backoffLimitPerIndex": 1}
    assert status_faults({"completedIndexes": "0-2", "failedIndexes": "2,4"}, **spec) == [
        'status.failedIndexes: Invalid value: "2,4": failedIndexes and completedIndexes overlap at index: 2'
    ]
    assert status_faults({"completedIndexes": "7"}, **spec) == [
        'status.completedIndexes: Invalid value: "7": error parsing completedIndexes: too large index: "7"'
    ]


@pytest.mark.parametrize(("text", "count"), [("", 0), ("0", 1), ("0-2,5", 4), ("1,3-4", 3)])
def test_indexes(text: str, count: int) -> None:
    assert sum(map(len, indexes(text, 6))) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'cannot convert string to integer for index: "x"'),
        ("6", 'too large index: "6"'),
        ("2,1", "non-increasing order, previous: 2, current: 1"),
        ("0-1-2", "the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'"),
    ],
)
def test_bad_indexes(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(") + "$"):
        indexes(text, 6)


@pytest.mark.parametrize(
    ("spec", "status", "cells"),
    [
        ({}, {}, ["Running", "0/1", ""]),
        ({"parallelism": 3}, {"succeeded": 1}, ["Running", "1/1 of 3", ""]),
        ({"completions": 2}, {"conditions": conditions("Suspended")}, ["Suspended", "0/2", ""]),
        ({}, {**DONE, "succeeded": 1}, ["Complete", "1/1", "60s"]),
        ({}, {"conditions": conditions("FailureTarget", "Failed"), "startTime": time.stamp(NOW - 5)}, ["Failed", "0/1", "5s"]),
    ],
)
def test_row(spec: Object, status: Object, cells: list[str]) -> None:
    obj = made(JOBS, job(**spec))
    obj["metadata"]["creationTimestamp"] = time.stamp(NOW - 60)
    row = JOBS.row({**obj, "status": status}, NOW)
    assert row[1:4] == cells
    assert row[4:] == ["60s", "c", "i", "batch.kubernetes.io/controller-uid=u"]
