"""What `kubectl get` shows of the kinds that need no test of their own, and what is filled in for them."""


import pytest

from kapi.objects import duration
from kapi.objects.meta import Object
from kapi.registry.kinds import certificates, flowcontrol, policy, rbac, scheduling, storage
from kapi.registry.kinds.admissionregistration import policies, webhooks
from kapi.registry.kinds.core import config, endpoints, persistent_volumes, quota
from kapi.registry.kinds.networking import ingress, network_policies
from kapi.registry.kinds.resource import devices
from kapi.registry.strategy import Strategy
from tests.registry.kinds.changing import ready

BINDING = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
    {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
]}  # fmt: skip
SLICE = {"addressType": "IPv4", "ports": [{"port": 1}], "endpoints": [{"addresses": [f"10.0.0.{i}" for i in range(5)]}]}
INGRESS = {"spec": {"tls": [{}], "rules": [{"host": f"h{i}"} for i in range(5)]}}
PEER = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["e", "d"]}]}
LEVEL = {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}
CLASS = {"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"}


@pytest.mark.parametrize(
    ("strategy", "obj", "cells"),
    [
        (config.ConfigMapStrategy, {"data": {"a": ""}, "binaryData": {"b": ""}}, ["base", 2, "5s"]),
        (config.SecretStrategy, {"stringData": {"a": "b"}}, ["base", "Opaque", 1, "5s"]),
        (endpoints.EndpointsStrategy, {"subsets": [{"addresses": [{"ip": "::1"}], "ports": [{"port": 1}]}]}, ["base", "[::1]:1", "5s"]),
        (endpoints.EndpointSliceStrategy, SLICE, ["base", "IPv4", "1", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...", "5s"]),
        (ingress.IngressStrategy, INGRESS, ["base", "<none>", "h0,h1,h2 + 2 more...", "", "80, 443", "5s"]),
        (network_policies.NetworkPolicyStrategy, {"spec": {"podSelector": PEER}}, ["base", "a=b,c notin (d,e)", "5s"]),
        (policy.PodDisruptionBudgetStrategy, {"spec": {"minAvailable": "50%"}}, ["base", "50%", "N/A", 0, "5s"]),
        (scheduling.PriorityClassStrategy, {"value": 7}, ["base", 7, "false", "5s", "PreemptLowerPriority"]),
        (storage.StorageClassStrategy, CLASS, ["base (default)", "p", "Delete", "Immediate", "false", "5s"]),
        (storage.CSIDriverStrategy, {}, ["base", "true", "false", "false", "<unset>", "false", "Persistent", "5s"]),
        (persistent_volumes.PersistentVolumeClaimStrategy, {}, ["base", "Pending", "", "", "", "", "<unset>", "5s", "Filesystem"]),
        (rbac.RoleBindingStrategy, BINDING, ["base", "Role/r", "5s", "u", "g", "n/s"]),
        (webhooks.WebhookStrategy, {"webhooks": [{}]}, ["base", 1, "5s"]),
        (policies.ValidatingPolicyStrategy, {"spec": {"validations": [{}]}}, ["base", 1, "<unset>", "5s"]),
        (flowcontrol.PriorityLevelStrategy, LEVEL, ["base", "Limited", "30", "64", "8", "50", "5s"]),
        (devices.ResourceClaimStrategy, {}, ["base", "pending", "5s"]),
        (certificates.CertificateSigningRequestStrategy, {}, ["base", "5s", "", "", "<none>", "Pending"]),
        (quota.ResourceQuotaStrategy, {}, ["base", "", "", "5s"]),
    ],
)
def test_row(strategy: type[Strategy], obj: Object, cells: list[object]) -> None:
    kind = strategy()
    made = ready(kind, obj)
    made["metadata"]["creationTimestamp"] = "1970-01-01T00:00:00Z"
    assert kind.row(made, 5.0) == cells
    assert len(cells) == len(kind.columns)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (599, "9m59s"), (3600, "60m"), (10800, "3h"), (12600, "3h30m"),
     (86400, "24h"), (172800, "2d"), (180000, "2d2h"), (864000, "10d"), (365 * 86400 * 2, "2y"), (365 * 86400 * 9, "9y")],
)  # fmt: skip
def test_spans(seconds: int, text: str) -> None:
    assert duration.human(seconds) == text


def test_an_unknown_age() -> None:
    assert duration.since(None, 1.0) == "<unknown>"


def test_limits_fill_each_other() -> None:
    limit = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}
    made = ready(quota.LimitRangeStrategy(), {"spec": {"limits": [limit]}})["spec"]["limits"][0]
    assert made["default"] == {"cpu": "2"}
    assert made["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}


def test_a_claim_names_its_source_twice() -> None:
    source = {"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io", "name": "s"}
    spec = ready(persistent_volumes.PersistentVolumeClaimStrategy(), {"spec": {"dataSource": source}})["spec"]
    assert spec["dataSourceRef"] == source
    other = ready(persistent_volumes.PersistentVolumeClaimStrategy(), {"spec": {"dataSource": {**source, "kind": "Other"}}})["spec"]
    assert "dataSource" not in other
