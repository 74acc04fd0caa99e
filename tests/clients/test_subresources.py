"""The official client's methods that are about no object of their own: reviews, bindings, evictions, tokens, approvals and the like."""

import json
from typing import Any

import pytest
from kubernetes import client

from tests.clients.test_generated import signing_request
from tests.e2e.cluster import Kubectl

pytestmark = pytest.mark.slow

POD: dict[str, Any] = {
    "metadata": {"name": "p", "labels": {"app": "p"}},
    "spec": {"containers": [{"name": "c", "image": "localhost/kapi/busybox:1", "resources": {"requests": {"cpu": "10m"}}}]},
}


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture
def running(kubectl: Kubectl, core: client.CoreV1Api) -> str:
    """The namespace of a pod p that runs."""
    core.create_namespaced_pod(kubectl.namespace, POD)
    kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s")
    return kubectl.namespace


def test_reviews(api: client.ApiClient, core: client.CoreV1Api, kubectl: Kubectl) -> None:
    who, may = client.AuthenticationV1Api(api), client.AuthorizationV1Api(api)
    assert "system:masters" in who.create_self_subject_review({}).status.user_info.groups
    asked = {"resource": "pods", "verb": "get", "namespace": kubectl.namespace}
    assert may.create_self_subject_access_review({"spec": {"resourceAttributes": asked}}).status.allowed
    assert not may.create_subject_access_review({"spec": {"user": "nobody", "resourceAttributes": asked}}).status.allowed
    local = {"metadata": {"namespace": kubectl.namespace}, "spec": {"user": "nobody", "resourceAttributes": asked}}
    assert not may.create_namespaced_local_subject_access_review(kubectl.namespace, local).status.allowed
    rules = may.create_self_subject_rules_review({"spec": {"namespace": kubectl.namespace}}).status
    assert any("*" in rule.verbs for rule in rules.resource_rules)
    token = core.create_namespaced_service_account_token("default", kubectl.namespace, {"spec": {"audiences": None}}).status.token
    user = who.create_token_review(client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))).status.user
    assert user.username == f"system:serviceaccount:{kubectl.namespace}:default"


def test_bindings(core: client.CoreV1Api, kubectl: Kubectl) -> None:
    node = core.list_node().items[0].metadata.name
    spec = {**POD["spec"], "schedulerName": "nobody"}
    for name in ("one", "two"):
        core.create_namespaced_pod(kubectl.namespace, {"metadata": {"name": name}, "spec": spec})
    target = client.V1Binding(metadata=client.V1ObjectMeta(name="one"), target=client.V1ObjectReference(kind="Node", name=node))
    # The server answers with a Status, which the client does not expect.
    core.create_namespaced_binding(kubectl.namespace, target, _preload_content=False)
    target.metadata.name = "two"
    core.create_namespaced_pod_binding("two", kubectl.namespace, target, _preload_content=False)
    kubectl("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=20s")


def test_a_pod_that_runs(core: client.CoreV1Api, running: str) -> None:
    debug = {"spec": {"ephemeralContainers": [{"name": "look", "image": "localhost/kapi/busybox:1"}]}}
    assert core.patch_namespaced_pod_ephemeralcontainers("p", running, debug).spec.ephemeral_containers[0].name == "look"
    assert core.read_namespaced_pod_ephemeralcontainers("p", running).spec.ephemeral_containers[0].name == "look"
    more = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "20m"}}}]}}
    assert core.patch_namespaced_pod_resize("p", running, more).spec.containers[0].resources.requests == {"cpu": "20m"}
    assert core.read_namespaced_pod_resize("p", running).metadata.generation > 1
    core.create_namespaced_pod_eviction("p", running, client.V1Eviction(metadata=client.V1ObjectMeta(name="p")), _preload_content=False)


def test_an_eviction_too_many(api: client.ApiClient, core: client.CoreV1Api, running: str, kubectl: Kubectl) -> None:
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}
    client.PolicyV1Api(api).create_namespaced_pod_disruption_budget(running, budget)
    kubectl("wait", "--for=jsonpath={.status.currentHealthy}=1", "pdb/b", "--timeout=20s")
    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_pod_eviction("p", running, {"metadata": {"name": "p"}})
    assert refused.value.status == 429
    assert json.loads(refused.value.body)["details"]["causes"][0]["reason"] == "DisruptionBudget"


def test_an_approval(api: client.ApiClient) -> None:
    certificates = client.CertificatesV1Api(api)
    spec = {"request": signing_request(), "signerName": "example.com/nobody", "usages": ["client auth"]}
    made = certificates.create_certificate_signing_request({"metadata": {"name": "approved"}, "spec": spec})
    yes = client.V1CertificateSigningRequestCondition(type="Approved", status="True", reason="Test", message="because")
    made.status.conditions = [yes]
    approved = certificates.replace_certificate_signing_request_approval("approved", made)
    assert approved.status.conditions[0].last_update_time is not None
    assert certificates.read_certificate_signing_request_approval("approved").status.conditions[0].type == "Approved"
    change = {"metadata": {"annotations": {"a": "b"}}}
    assert certificates.patch_certificate_signing_request_approval("approved", change).metadata.name == "approved"
    certificates.delete_certificate_signing_request("approved")


def test_a_namespace_is_finalized(core: client.CoreV1Api) -> None:
    made = core.create_namespace({"metadata": {"name": "finalized"}})
    assert core.replace_namespace_finalize("finalized", made).spec.finalizers == ["kubernetes"]
    core.delete_namespace("finalized")


def test_component_statuses(core: client.CoreV1Api) -> None:
    assert {c.metadata.name for c in core.list_component_status().items} == {"scheduler", "controller-manager", "etcd-0"}
    assert core.read_component_status("etcd-0").conditions[0].message == "ok"
    with pytest.raises(client.ApiException) as unknown:
        core.read_component_status("nobody")
    assert unknown.value.status == 500
