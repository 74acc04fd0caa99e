"""Objects of built-in kinds that are as long as a body may be: defaults, validation, admission and storage of each."""

import base64
from typing import Any

import pytest

from kapi.objects.meta import Object
from tests.attacks.requests import NAMESPACE, PODS, create, patch, pod
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
GROUPS = "/apis/{}/namespaces/default"


@pytest.fixture(scope="module", autouse=True)
def account(victim: Victim) -> None:
    """Pods need one."""
    create(victim, f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})


def containers(**fields: Any) -> Object:
    return {"containers": [{"name": "c", "image": "i", **fields}]}


def values(count: int) -> Object:
    """A selector."""
    return {"matchExpressions": [{"key": "k", "operator": "In", "values": [f"v{i}" for i in range(count)]}]}


def role(count: int) -> Object:
    return {"rules": [{"apiGroups": ["a"], "resources": [f"r{i}"], "verbs": ["get"]} for i in range(count)]}


TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
LARGE: dict[str, tuple[str, Any]] = {
    "29,000 containers": (PODS, lambda: {"spec": {"containers": [{"name": f"c{i}", "image": "i"} for i in range(29_000)]}}),
    "44,000 ports of a container": (PODS, lambda: {"spec": containers(ports=[{"containerPort": 1 + i} for i in range(44_000)])}),
    "29,000 variables": (PODS, lambda: {"spec": containers(env=[{"name": f"E{i}", "value": "v"} for i in range(29_000)])}),
    "22,000 volumes": (
        PODS,
        lambda: {"spec": {**containers(), "volumes": [{"name": f"v{i}", "emptyDir": {}} for i in range(22_000)]}},
    ),
    "44,000 tolerations": (PODS, lambda: {"spec": {**containers(), "tolerations": [{"operator": "Exists"}] * 44_000}}),
    "89,000 quantities": (PODS, lambda: {"spec": containers(resources={"limits": {f"a.b/c{i}": "1" for i in range(89_000)}})}),
    "a quantity of 2.9 million digits": (PODS, lambda: {"spec": containers(resources={"limits": {"cpu": "9" * 2_900_000}})}),
    "29,000 ports of a Service": (
        f"{NAMESPACE}/services",
        lambda: {"spec": {"ports": [{"name": f"p{i}", "port": 1 + i} for i in range(29_000)]}},
    ),
    "44,000 addresses": (
        f"{NAMESPACE}/endpoints",
        lambda: {"subsets": [{"addresses": [{"ip": f"10.0.{i >> 8}.{i & 255}"} for i in range(44_000)], "ports": [{"port": 80}]}]},
    ),
    "89,000 values of a selector": (
        f"{GROUPS.format('networking.k8s.io/v1')}/networkpolicies",
        lambda: {"spec": {"podSelector": values(89_000)}},
    ),
    "12,000 rules of a role": ("/apis/rbac.authorization.k8s.io/v1/clusterroles", lambda: role(12_000)),
    "a Secret of 1 MB": (f"{NAMESPACE}/secrets", lambda: {"data": {"a": base64.b64encode(b"x" * 1_040_000).decode()}}),
    "an Event of 2.9 MB": (f"{NAMESPACE}/events", lambda: {"involvedObject": {"namespace": "default"}, "message": "x" * 2_900_000}),
    "a schedule of 2.9 MB": (
        f"{GROUPS.format('batch/v1')}/cronjobs",
        lambda: {"spec": {"schedule": "0-59," * 580_000 + "* * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}}},
    ),
    "89,000 exit codes": (
        f"{GROUPS.format('batch/v1')}/jobs",
        lambda: {"spec": {"template": TEMPLATE, "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": list(range(1, 89_000))}},
        ]}}},
    ),
    "6,000 rules of an Ingress": (
        f"{GROUPS.format('networking.k8s.io/v1')}/ingresses",
        lambda: {"spec": {"rules": [
            {"host": f"h{i}.example.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
            ]}}
            for i in range(6000)
        ]}},
    ),
    "12,000 devices": (
        "/apis/resource.k8s.io/v1/resourceslices",
        lambda: {"spec": {
            "driver": "d.example.com", "allNodes": True, "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1},
            "devices": [{"name": f"d{i}", "attributes": {"a": {"string": "x"}}} for i in range(12_000)],
        }},
    ),
    "85,000 quotas": (f"{NAMESPACE}/resourcequotas", lambda: {"spec": {"hard": {f"count/a{i}.example.com": "1" for i in range(85_000)}}}),
    "60,000 limits": (
        f"{NAMESPACE}/limitranges",
        lambda: {"spec": {"limits": [{"type": "Container", "max": {f"a.b/c{i}": "1" for i in range(60_000)}}]}},
    ),
    "17,000 subjects": (
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
        lambda: {"spec": {"priorityLevelConfiguration": {"name": "x"}, "rules": [{
            "subjects": [{"kind": "User", "user": {"name": f"u{i}"}} for i in range(17_000)],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
        }]}},
    ),
    "89,000 groups that are asked about": (
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        lambda: {"spec": {"user": "u", "groups": [f"g{i}" for i in range(89_000)], "resourceAttributes": {"verb": "get"}}},
    ),
    "a token of 2.9 MB": ("/apis/authentication.k8s.io/v1/tokenreviews", lambda: {"spec": {"token": "a." * 1_450_000}}),
    "a signing request of 2.8 MB": (
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        lambda: {"spec": {"request": "QUFB" * 700_000, "signerName": "example.com/s", "usages": ["client auth"]}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LARGE)
def test_large_objects(victim: Victim, what: str) -> None:
    path, make = LARGE[what]
    with victim.watched(f"create: {what}") as cost:
        status, answer = victim.ask("POST", path, {"metadata": {"name": "large"}, **make()})
    assert status in (201, 400, 403, 413, 422, 500), answer
    assert status != 500 or answer["message"] == "etcdserver: request is too large"
    cost.check()
    if status == 201:
        victim.ask("DELETE", f"{path}/large")


def test_many_conditions(victim: Victim) -> None:
    create(victim, PODS, pod("conditions"))
    conditions = [{"type": f"t{i}", "status": "True"} for i in range(8000)]
    with victim.watched("strategic merge patch: 8,000 conditions of a status") as cost:
        status, answer = patch(victim, f"{PODS}/conditions/status", "strategic", {"status": {"conditions": conditions}})
    assert status == 200, answer
    cost.check()


def test_a_budget_with_a_long_selector(victim: Victim) -> None:
    create(victim, PODS, {**pod("evicted"), "metadata": {"name": "evicted", "labels": {"k": "v1"}}})
    budgets = f"{GROUPS.format('policy/v1')}/poddisruptionbudgets"
    create(victim, budgets, {"metadata": {"name": "long"}, "spec": {"minAvailable": 1, "selector": values(89_000)}})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"}}
    with victim.watched("eviction under a budget with 89,000 values") as cost:
        status, answer = victim.ask("POST", f"{PODS}/evicted/eviction", eviction)
    assert status in (201, 429), answer
    cost.check()
