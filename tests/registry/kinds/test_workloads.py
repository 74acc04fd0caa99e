"""Replication controllers, replica sets, deployments, stateful and daemon sets: defaults, refusals, changes, rows."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.apps.stateful_and_daemon_sets import GENERATION, DaemonSetStrategy, StatefulSetStrategy
from kapi.registry.kinds.apps.workloads import (
    ControllerRevisionStrategy,
    DeploymentStrategy,
    PodTemplateStrategy,
    ReplicaSetStrategy,
    ReplicationControllerStrategy,
)
from kapi.registry.strategy import Strategy
from tests.registry.kinds.making import change_faults, faults, made, template, workload

DEPLOYMENT, REPLICA_SET, STATEFUL, DAEMON = DeploymentStrategy(), ReplicaSetStrategy(), StatefulSetStrategy(), DaemonSetStrategy()
CONTROLLER, REVISION, TEMPLATE = ReplicationControllerStrategy(), ControllerRevisionStrategy(), PodTemplateStrategy()
NOW = 1_000_000.0
NO_MATCH = "`selector` does not match template `labels`"
NOT_NEGATIVE = "must be greater than or equal to 0"


def rolling(**fields: Any) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": fields}


BAD: list[tuple[Strategy, Object, list[str]]] = [
    (DEPLOYMENT, {"replicas": -1}, [f"spec.replicas: Invalid value: -1: {NOT_NEGATIVE}"]),
    (DEPLOYMENT, {"selector": None},
     ["spec.selector: Required value", f'spec.template.metadata.labels: Invalid value: {{"a":"b"}}: {NO_MATCH}']),
    (DEPLOYMENT, {"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
    (DEPLOYMENT, {"selector": {"matchLabels": {"x": "y"}}}, [f'spec.template.metadata.labels: Invalid value: {{"a":"b"}}: {NO_MATCH}']),
    (DEPLOYMENT, {"strategy": {"type": "x"}},
     ['spec.strategy: Unsupported value: {"Type":"x","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"']),
    (DEPLOYMENT, {"strategy": {"type": "Recreate", "rollingUpdate": {}}},
     ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
    (DEPLOYMENT, {"strategy": rolling(maxSurge=0, maxUnavailable=0)},
     ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]),
    (DEPLOYMENT, {"strategy": rolling(maxUnavailable="150%")},
     ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "150%": must not be greater than 100%']),
    (DEPLOYMENT, {"strategy": rolling(maxSurge=0, maxUnavailable="5")},
     ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"5\": "
      "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
      "regex used for validation is '[0-9]+%')"]),
    (DEPLOYMENT, {"minReadySeconds": -1}, [f"spec.minReadySeconds: Invalid value: -1: {NOT_NEGATIVE}"]),
    (DEPLOYMENT, {"revisionHistoryLimit": -1}, [f"spec.revisionHistoryLimit: Invalid value: -1: {NOT_NEGATIVE}"]),
    (DEPLOYMENT, {"progressDeadlineSeconds": 5, "minReadySeconds": 5},
     ["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"]),
    (DEPLOYMENT, {"template": template(restartPolicy="Never")},
     ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']),
    (DEPLOYMENT, {"template": template(activeDeadlineSeconds=1)},
     ["spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"]),
    (REPLICA_SET, {"replicas": -1}, [f"spec.replicas: Invalid value: -1: {NOT_NEGATIVE}"]),
    (REPLICA_SET, {"template": {"metadata": {"labels": {"a": "b"}}}}, ["spec.template.spec.containers: Required value"]),
    (REPLICA_SET, {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
     ["spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
      'spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"In"}]}: invalid label selector']),
    (STATEFUL, {"podManagementPolicy": "x"}, ["spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'"]),
    (STATEFUL, {"updateStrategy": {"type": "x"}},
     ['spec.updateStrategy: Invalid value: {"Type":"x","RollingUpdate":null}: must be \'RollingUpdate\' or \'OnDelete\'']),
    (STATEFUL, {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
     ['spec.updateStrategy.rollingUpdate: Invalid value: {"Partition":1,"MaxUnavailable":null}: only allowed for updateStrategy'
      " 'RollingUpdate'"]),
    (STATEFUL, {"updateStrategy": rolling(partition=-1)},
     [f"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: {NOT_NEGATIVE}"]),
    (STATEFUL, {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "x"}},
     ['spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "x": supported values: "Retain", "Delete"']),
    (STATEFUL, {"ordinals": {"start": -1}}, [f"spec.ordinals.start: Invalid value: -1: {NOT_NEGATIVE}"]),
    (STATEFUL, {"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"]),
    (DAEMON, {"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]),
    (DAEMON, {"updateStrategy": {"type": "x"}},
     ['spec.updateStrategy: Unsupported value: {"Type":"x","RollingUpdate":null}: supported values: "RollingUpdate", "OnDelete"']),
    (DAEMON, {"updateStrategy": rolling(maxSurge=1, maxUnavailable=1)},
     ["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"]),
    (DAEMON, {"updateStrategy": rolling(maxSurge="200%", maxUnavailable=1)},
     ['spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "200%": must not be greater than 100%',
      'spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "200%": may not be set when maxUnavailable is non-zero']),
    (DAEMON, {"updateStrategy": rolling(maxSurge=0, maxUnavailable=0)},
     ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]),
    (DAEMON, {"template": template(activeDeadlineSeconds=1)},
     ["spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported"]),
    (CONTROLLER, {"selector": {"x": "y"}}, [f'spec.template.metadata.labels: Invalid value: {{"a":"b"}}: {NO_MATCH}']),
    (CONTROLLER, {"selector": {"a": "b"}, "replicas": -1}, [f"spec.replicas: Invalid value: -1: {NOT_NEGATIVE}"]),
    (CONTROLLER, {"selector": {"a": "b"}, "template": None}, ["spec.template: Required value"]),
]


@pytest.mark.parametrize(("strategy", "spec", "expected"), BAD, ids=[f"{type(s).__name__}-{i}" for i, (s, _, _) in enumerate(BAD)])
def test_refused(strategy: Strategy, spec: Object, expected: list[str]) -> None:
    assert faults(strategy, workload(**spec)) == expected


@pytest.mark.parametrize("strategy", [DEPLOYMENT, REPLICA_SET, STATEFUL, DAEMON], ids=lambda s: type(s).__name__)
def test_selector_is_fixed(strategy: Strategy) -> None:
    def change(obj: Object) -> None:
        obj["spec"]["selector"] = {"matchLabels": {"a": "b", "c": "d"}}
        obj["spec"]["template"]["metadata"]["labels"] = {"a": "b", "c": "d"}

    found = change_faults(strategy, workload(), change)
    if strategy is STATEFUL:
        assert [line.split(" for fields")[0] for line in found] == ["spec: Forbidden: updates to statefulset spec"]
    else:
        assert found == ['spec.selector: Invalid value: {"matchLabels":{"a":"b","c":"d"}}: field is immutable']


def test_deployment_defaults() -> None:
    spec = made(DEPLOYMENT, workload())["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}


def test_stateful_defaults() -> None:
    spec = made(STATEFUL, workload(volumeClaimTemplates=[{"metadata": {"name": "v"}, "kind": "x"}]))["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    claim = spec["volumeClaimTemplates"][0]
    assert (claim["kind"], claim["apiVersion"], claim["spec"], claim["status"]) == (
        "PersistentVolumeClaim", "v1", {"volumeMode": "Filesystem"}, {"phase": "Pending"},
    )  # fmt: skip


def test_stateful_claims_are_volumes_of_the_template() -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    spec = {"template": template(containers=[{"name": "c", "image": "i", "volumeMounts": mounts}])}
    claim = {"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    assert faults(STATEFUL, workload(**deepcopy(spec), volumeClaimTemplates=[claim])) == []
    assert faults(STATEFUL, workload(**spec)) == ['spec.template.spec.containers[0].volumeMounts[0].name: Not found: "v"']


def test_daemon_set_counts_generations_of_its_template() -> None:
    old = made(DAEMON, workload())
    assert old["metadata"]["annotations"][GENERATION] == "1"
    assert old["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    new = deepcopy(old)
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    DAEMON.prepare(new, old)
    assert new["metadata"]["annotations"][GENERATION] == "2"


def test_controller_takes_selector_and_labels_from_its_template() -> None:
    obj = workload()
    del obj["spec"]["selector"]
    made(CONTROLLER, obj)
    assert obj["spec"]["selector"] == {"a": "b"}
    assert obj["metadata"]["labels"] == {"a": "b"}


def test_annotations_of_a_deployment_count_as_a_change() -> None:
    old = made(DEPLOYMENT, workload())
    new = deepcopy(old)
    new["metadata"]["annotations"] = {"k": "v"}
    assert DEPLOYMENT.changed(new, old)
    assert not REPLICA_SET.changed(new, old)


def status_faults(strategy: Strategy, status: Object, before: Object | None = None) -> list[str]:
    old = made(strategy, workload())
    old["status"] = before or {}
    new = {**deepcopy(old), "status": status}
    return [f"{c.field}: {c.message}" for c in strategy.validate_status(new, old)]


@pytest.mark.parametrize(
    ("strategy", "status", "expected"),
    [
        (DEPLOYMENT, {"updatedReplicas": -1}, [f"status.updatedReplicas: Invalid value: -1: {NOT_NEGATIVE}"]),
        (DEPLOYMENT, {"readyReplicas": 1}, ["status.readyReplicas: Invalid value: 1: cannot be greater than status.replicas"]),
        (REPLICA_SET, {"replicas": 2, "availableReplicas": 1},
         ["status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas"]),
        (STATEFUL, {"currentReplicas": 1}, ["status.currentReplicas: Invalid value: 1: cannot be greater than status.replicas"]),
        (DAEMON, {"numberReady": -1}, [f"status.numberReady: Invalid value: -1: {NOT_NEGATIVE}"]),
        (CONTROLLER, {"fullyLabeledReplicas": 1},
         ["status.fullyLabeledReplicas: Invalid value: 1: cannot be greater than status.replicas"]),
    ],
)  # fmt: skip
def test_status_refused(strategy: Strategy, status: Object, expected: list[str]) -> None:
    assert status_faults(strategy, status) == expected


def test_collisions_are_never_fewer() -> None:
    assert status_faults(DEPLOYMENT, {}, {"collisionCount": 1}) == ["status.collisionCount: Invalid value: 0: cannot be decremented"]


def with_status(obj: Object, **status: int) -> Object:
    obj["metadata"]["creationTimestamp"] = time.stamp(NOW - 60)
    return {**obj, "status": status}


@pytest.mark.parametrize(
    ("strategy", "status", "expected"),
    [
        (DEPLOYMENT, {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 3}, ["w", "1/1", 2, 3, "60s", "c", "i", "a=b"]),
        (REPLICA_SET, {"replicas": 2, "readyReplicas": 1}, ["w", 1, 2, 1, "60s", "c", "i", "a=b"]),
        (STATEFUL, {"readyReplicas": 1}, ["w", "1/1", "60s", "c", "i"]),
        (DAEMON, {"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1},
         ["w", 3, 2, 1, 0, 0, "<none>", "60s", "c", "i", "a=b"]),
    ],
)  # fmt: skip
def test_rows(strategy: Strategy, status: dict[str, int], expected: list[Any]) -> None:
    row = strategy.row(with_status(made(strategy, workload()), **status), NOW)
    assert row == expected
    assert len(row) == len(strategy.columns)


def test_revision_is_immutable_and_names_its_owner() -> None:
    def change(obj: Object) -> None:
        obj["data"] = {"x": 2}

    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "o", "controller": True}
    obj: Object = {"metadata": {"name": "r", "ownerReferences": [owner]}, "data": {"x": 1}, "revision": 3}
    assert change_faults(REVISION, deepcopy(obj), change) == ['data: Invalid value: {"x":2}: field is immutable']
    assert REVISION.row(with_status(obj), NOW) == ["r", "daemonset.apps/o", 3, "60s"]
    assert faults(REVISION, {"metadata": {"name": "r"}, "revision": -1})[-1] == f"revision: Invalid value: -1: {NOT_NEGATIVE}"


def test_pod_template() -> None:
    obj: Object = {"metadata": {"name": "t"}, "template": template()}
    assert faults(TEMPLATE, obj) == []
    assert TEMPLATE.row(obj, NOW) == ["t", "c", "i", "a=b"]
    assert faults(TEMPLATE, {"metadata": {"name": "t"}}) == ["template.spec.containers: Required value"]


@pytest.mark.parametrize("strategy", [DEPLOYMENT, REPLICA_SET], ids=lambda s: type(s).__name__)
def test_warnings(strategy: Strategy) -> None:
    def spoil(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["volumes"] = [{"name": "g", "gitRepo": {"repository": "r"}}]

    deprecated = "spec.template.spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"
    _warns(strategy, spoil, [deprecated])


def _warns(strategy: Strategy, spoil: Callable[[Object], None], expected: list[str]) -> None:
    old = made(strategy, workload())
    new = deepcopy(old)
    assert strategy.warnings(new, old) == []
    spoil(new)
    new["metadata"]["generation"] = 2
    assert strategy.warnings(new, old) == expected
    new["metadata"]["name"] = "a.b"
    assert strategy.warnings(new, None)[0].startswith("metadata.name: this is used in Pod names and hostnames")


@pytest.mark.parametrize("data", [True, 0, 0.5, [], "test"])
def test_a_revision_holds_an_object(data: Any) -> None:
    revision = {"metadata": {"name": "r", "namespace": "d"}, "revision": 1, "data": data}
    [fault] = faults(REVISION, revision)
    assert fault.startswith("data: Invalid value: ")
    assert fault.endswith(": must be a valid JSON object")
    assert faults(REVISION, {**revision, "data": {}}) == []
    assert change_faults(REVISION, revision, lambda new: new.update(revision=2)) == [], "what is stored may stay"
