"""kubectl 1.20, sixteen minors older than the server: it knows neither aggregated discovery nor OpenAPI v3, neither WebSockets nor
the /openapi/v2 of today without its protobuf form. What it can't do, a stock server of this version can't do for it either.
"""

import json
from typing import Any

import pytest

from tests.clients.programs import program
from tests.e2e.cluster import IMAGE, Kubectl

pytestmark = pytest.mark.slow


@pytest.fixture
def old(kubectl: Kubectl) -> Kubectl:
    return Kubectl(kubectl.cluster, kubectl.namespace, str(program("old", "kubectl")))


def config_map(**data: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, **data}


def deploy(old: Kubectl) -> None:
    old("create", "deployment", "web", f"--image={IMAGE}", "--replicas=2", "--", "sleep", "3600")
    old("rollout", "status", "deployment/web", "--timeout=30s")


def test_what_there_is(old: Kubectl) -> None:
    assert 'GitVersion:"v1.20' in old("version").splitlines()[0]
    resources = old("api-resources").splitlines()
    assert resources[0].split() == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in [line.split() for line in resources]
    assert "apps/v1" in old("api-versions").split()
    assert "is running at" in old("cluster-info")
    assert "KIND:     Deployment" in old("explain", "deployment.spec.strategy")
    assert old("auth", "can-i", "create", "pods") == "yes\n"
    assert old("get", "--raw", "/healthz") == "ok"


def test_a_deployment_s_life(old: Kubectl) -> None:
    deploy(old)
    header, row = (line.split() for line in old("get", "deployments", "-o", "wide").splitlines())
    assert header == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    assert row[1] == "2/2"
    assert "NewReplicaSetAvailable" in old("describe", "deployment", "web")
    assert "ScalingReplicaSet" in old("get", "events")
    old("expose", "deployment", "web", "--port=80")
    assert "Port:              <unset>  80/TCP" in old("describe", "service", "web")
    old("scale", "deployment/web", "--replicas=3")
    old("set", "image", "deployment/web", f"busybox={IMAGE}0")
    old("rollout", "status", "deployment/web", "--timeout=40s")
    old("rollout", "undo", "deployment/web")
    old("rollout", "status", "deployment/web", "--timeout=40s")
    assert old.field("deployment/web", ".spec.template.spec.containers[0].image") == IMAGE
    old("autoscale", "deployment", "web", "--max=4")
    assert "cpu: <unknown>/80%" in old("get", "hpa", "web", "--no-headers")
    old("delete", "deployment/web", "service/web", "hpa/web", "--timeout=30s")
    assert old("get", "replicasets", "-o", "name") == ""


def test_jobs_are_waited_for(old: Kubectl) -> None:
    old("create", "job", "j", f"--image={IMAGE}", "--", "true")
    assert old("wait", "--for=condition=complete", "job/j", "--timeout=20s") == "job.batch/j condition met\n"


def test_changes_of_all_kinds(old: Kubectl) -> None:
    old("create", "configmap", "c", "--from-literal=a=b")
    assert old("label", "configmap", "c", "x=y") == "configmap/c labeled\n"
    assert old("annotate", "configmap", "c", "x=y") == "configmap/c annotated\n"
    old("patch", "configmap", "c", "-p", '{"data":{"q":"r"}}')
    old("patch", "configmap", "c", "--type=json", "-p", '[{"op":"remove","path":"/data/q"}]')
    assert old.json("get", "configmap", "c")["data"] == {"a": "b"}
    changed = json.dumps(config_map(data={"a": "z"}))
    assert "+  a: z" in old("diff", "-f", "-", given=changed, fails=True)
    assert old("apply", "-f", "-", given=changed) == "configmap/c configured\n"
    assert old("apply", "-f", "-", given=changed) == "configmap/c unchanged\n"
    assert old("apply", "--server-side", "--force-conflicts", "-f", "-", given=changed) == "configmap/c serverside-applied\n"
    assert old("replace", "-f", "-", given=json.dumps(config_map(data={}))) == "configmap/c replaced\n"


def test_mistakes_are_found_before_they_are_sent(old: Kubectl) -> None:
    refused = old("apply", "-f", "-", given=json.dumps(config_map(dat={})), fails=True)
    assert 'unknown field "dat" in io.k8s.api.core.v1.ConfigMap' in refused.err


def test_what_is_gone_since_then(old: Kubectl) -> None:
    """batch/v1beta1 and policy/v1beta1 are not served any more."""
    missing = old("create", "cronjob", "cj", "--image=x", "--schedule=0 0 1 1 *", fails=True)
    assert "the server could not find the requested resource" in missing.err
    missing = old("create", "pdb", "p", "--selector=a=b", "--min-available=1", fails=True)
    assert 'no matches for kind "PodDisruptionBudget" in version "policy/v1beta1"' in missing.err


def test_drain(old: Kubectl) -> None:
    node = old.field("nodes", ".items[0].metadata.name")
    deploy(old)
    old("cordon", node)
    assert old.field(f"node/{node}", ".spec.unschedulable") == "true"
    old("delete", "deployment", "web", "--timeout=30s")
    old("uncordon", node)
    assert old.field(f"node/{node}", ".spec.unschedulable") == ""
