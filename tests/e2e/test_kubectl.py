"""The commands of everyday life, as kubectl prints them: workloads, all forms of get, describe, explain, apply, edit, drain."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import IMAGE, KUBECTL, Cluster, Kubectl, line_with

SCRIPT = "trap 'exit 0' TERM; httpd -p 8080; sleep 3600 & wait"


def deploy(kubectl: Kubectl, replicas: int = 2) -> None:
    """A deployment named web, available."""
    made = kubectl("create", "deployment", "web", f"--image={IMAGE}", f"--replicas={replicas}", "--", "sh", "-c", SCRIPT)
    assert made == "deployment.apps/web created\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")


def manifest(replicas: int = 1, **data: str) -> dict[str, Any]:
    meta = {"name": "settings"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"replicas": str(replicas), **data}}


def test_a_deployment_s_life(either: Kubectl) -> None:
    kubectl = either
    kubectl("create", "deployment", "web", f"--image={IMAGE}", "--replicas=3", "--", "sh", "-c", SCRIPT)
    status = kubectl("rollout", "status", "deployment/web", "--timeout=30s").splitlines()
    assert status[-1] == 'deployment "web" successfully rolled out'
    assert kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080") == "service/web exposed\n"
    assert kubectl("scale", "deployment/web", "--replicas=4") == "deployment.apps/web scaled\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert kubectl.field("deployment/web", ".status.readyReplicas") == "4"
    kubectl("wait", "--for=jsonpath={.endpoints[3].conditions.ready}=true", "endpointslice", "-l", "kubernetes.io/service-name=web")
    kubectl("scale", "deployment/web", "--replicas=1")
    kubectl("wait", "--for=jsonpath={.status.replicas}=1", "deployment/web", "--timeout=20s")


def test_rolling_on_and_back(either: Kubectl) -> None:
    kubectl = either
    deploy(kubectl)
    assert kubectl("set", "env", "deployment/web", "COLOR=red") == "deployment.apps/web env updated\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    history = kubectl("rollout", "history", "deployment/web").split()
    assert history[0] == "deployment.apps/web"
    assert {"1", "2"} <= set(history)
    assert kubectl("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert kubectl.field("deployment/web", ".spec.template.spec.containers[0].env") == ""
    assert kubectl("set", "image", "deployment/web", "busybox=localhost/kapi/nothing:1") == "deployment.apps/web image updated\n"
    kubectl("rollout", "undo", "deployment/web")
    assert kubectl("rollout", "restart", "deployment/web") == "deployment.apps/web restarted\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")


@pytest.mark.containers
def test_an_image_that_is_not_there(kubectl: Kubectl) -> None:
    kubectl("run", "lost", "--image=localhost/kapi/nothing:1", "--image-pull-policy=Never")
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    kubectl("wait", f"--for=jsonpath={reason}=ErrImageNeverPull", "pod/lost", "--timeout=20s")
    assert "ErrImageNeverPull" in kubectl("get", "pod", "lost")


def test_all_forms_of_get(either: Kubectl) -> None:
    kubectl = either
    deploy(kubectl, 1)
    pod = kubectl.field("pod", ".items[0].metadata.name")
    header, row = (line.split() for line in kubectl("get", "pods").splitlines())
    assert (header, row[:4]) == (["NAME", "READY", "STATUS", "RESTARTS", "AGE"], [pod, "1/1", "Running", "0"])
    wide = kubectl("get", "pods", "-o", "wide").splitlines()[0]
    assert re.split(r"\s{2,}", wide)[5:] == ["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    assert kubectl("get", "pods", "-o", "name") == f"pod/{pod}\n"
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Running"
    assert kubectl("get", "pods", "-o", "custom-columns=N:.metadata.name,P:.status.phase").split() == ["N", "P", pod, "Running"]
    assert kubectl("get", "pod", pod, "-o", "go-template={{.metadata.name}}") == pod
    assert kubectl.json("get", "pod", pod)["kind"] == "Pod"
    assert kubectl("get", "pod", pod, "-o", "yaml").startswith("apiVersion: v1\nkind: Pod\n")
    assert kubectl("get", "deploy,rs,pods", "-o", "name").count("\n") == 3
    assert len(kubectl("get", "all", "--no-headers").splitlines()) == 3
    assert kubectl("get", "pods", "-l", "app=web", "--show-labels", "--no-headers").split()[5].startswith("app=web,pod-template-hash=")
    assert kubectl("get", "pods", "--field-selector=status.phase=Failed").err == f"No resources found in {kubectl.namespace} namespace.\n"
    assert kubectl("get", "pods", "-A", "--sort-by=.metadata.name", "--no-headers").count(pod) == 1
    missing = kubectl("get", "pod", "nobody", fails=True)
    assert (missing.code, missing.err) == (1, 'Error from server (NotFound): pods "nobody" not found\n')


def test_get_and_watch(either: Kubectl) -> None:
    kubectl = either
    with kubectl.running("get", "configmaps", "-w", "--output-watch-events", "--no-headers") as watching:
        kubectl.apply(manifest())
        assert line_with(watching.stdout, "settings").split()[:3] == ["ADDED", "settings", "1"]
        kubectl.apply(manifest(2, more="data"))
        assert line_with(watching.stdout, "settings").split()[:3] == ["MODIFIED", "settings", "2"]
        kubectl("delete", "configmap", "settings")
        assert line_with(watching.stdout, "settings").split()[:2] == ["DELETED", "settings"]


def test_describe(either: Kubectl) -> None:
    kubectl = either
    deploy(kubectl, 1)
    kubectl("expose", "deployment", "web", "--port=80")
    pod = kubectl("describe", "pods", "-l", "app=web")
    for text in ("Status:           Running", "Controlled By:  ReplicaSet/web-", "Ready:          True", "BestEffort"):
        assert text in pod
    events = [line.split()[:2] for line in pod.partition("Events:")[2].splitlines()[3:]]
    assert ["Normal", "Scheduled"] in events
    assert ["Normal", "Started"] in events
    deployment = kubectl("describe", "deployment", "web")
    assert "Replicas:               1 desired | 1 updated | 1 total | 1 available | 0 unavailable" in deployment
    assert "ScalingReplicaSet" in deployment
    assert re.search(r"Endpoints:\s+\d+\.\d+\.\d+\.\d+:80", kubectl("describe", "service", "web"))
    node = kubectl("describe", "nodes")
    assert "Allocated resources:" in node
    assert "Ready            True" in node


@pytest.mark.slow
def test_explain(sim: Kubectl) -> None:
    text = sim("explain", "pod.spec.containers", "--recursive")
    assert text.startswith("KIND:       Pod\nVERSION:    v1\n\nFIELD: containers <[]Container>\n")
    assert "  livenessProbe\t<Probe>\n    exec\t<ExecAction>\n      command\t<[]string>\n" in text
    field = sim("explain", "deployment.spec.replicas")
    assert "GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nFIELD: replicas <integer>" in field
    assert "does not exist" in sim("explain", "pod.spec.nothing", fails=True).err


@pytest.mark.slow
def test_discovery(sim: Kubectl) -> None:
    rows = {line.split()[0]: line.split() for line in sim("api-resources", "--no-headers").splitlines()}
    assert rows["deployments"] == ["deployments", "deploy", "apps/v1", "true", "Deployment"]
    assert rows["nodes"] == ["nodes", "no", "v1", "false", "Node"]
    assert {"apps/v1", "batch/v1", "v1"} <= set(sim("api-versions").split())
    assert "v1.36." in sim("version")
    assert "is running at https://127.0.0.1:" in sim("cluster-info")


def test_top_fails_as_where_nobody_measures(either: Kubectl) -> None:
    for what in ("nodes", "pods"):
        failed = either("top", what, fails=True)
        assert (failed.code, failed.err) == (1, "error: Metrics API not available\n")


@pytest.mark.slow
def test_apply(sim: Kubectl) -> None:
    assert sim.apply(manifest()) == "configmap/settings created\n"
    assert sim.apply(manifest()) == "configmap/settings unchanged\n"
    changed = json.dumps(manifest(2, more="data"))
    diff = sim("diff", "-f", "-", given=changed, fails=True)
    assert diff.code == 1
    assert '+  more: data' in diff
    assert sim("apply", "-f", "-", given=changed) == "configmap/settings configured\n"
    assert sim("diff", "-f", "-", given=changed) == ""
    sim.apply(manifest(3))
    assert sim.json("get", "configmap", "settings")["data"] == {"replicas": "3"}, "what is not applied any more is gone"
    assert sim("apply", "--server-side", "--force-conflicts", "-f", "-", given=changed) == "configmap/settings serverside-applied\n"
    assert sim("replace", "--force", "-f", "-", given=changed).splitlines()[-1] == "configmap/settings replaced"
    conflict = sim("apply", "--server-side", "--field-manager=other", "-f", "-", given=json.dumps(manifest(9)), fails=True)
    assert "Apply failed with 1 conflict" in conflict.err


@pytest.mark.slow
def test_edit(sim: Kubectl, tmp_path: Path) -> None:
    sim.apply(manifest())
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/replicas: \"1\"/replicas: \"7\"/' \"$1\"\n")
    editor.chmod(0o755)
    sim.cluster.env["KUBE_EDITOR"] = str(editor)
    assert sim("edit", "configmap", "settings") == "configmap/settings edited\n"
    assert sim.field("configmap/settings", ".data.replicas") == "7"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["strategic", "merge", "json"])
def test_patch(sim: Kubectl, kind: str) -> None:
    sim.apply(manifest())
    patch = '[{"op": "add", "path": "/data/k", "value": "v"}]' if kind == "json" else '{"data": {"k": "v"}}'
    assert sim("patch", "configmap", "settings", f"--type={kind}", "-p", patch) == "configmap/settings patched\n"
    again = sim("patch", "configmap", "settings", f"--type={kind}", "-p", patch)
    assert again == "configmap/settings patched (no change)\n"


@pytest.mark.slow
def test_labels_and_annotations(sim: Kubectl) -> None:
    sim.apply(manifest())
    assert sim("label", "configmap", "settings", "tier=front") == "configmap/settings labeled\n"
    assert "--overwrite is false" in sim("label", "configmap", "settings", "tier=back", fails=True).err
    assert sim("annotate", "configmap", "settings", "note=this") == "configmap/settings annotated\n"
    assert sim("get", "configmaps", "-l", "tier=front", "-o", "name") == "configmap/settings\n"


@pytest.mark.slow
def test_what_the_server_refuses(sim: Kubectl) -> None:
    bad = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "BAD", "colour": "red"}]}}
    refused = sim("create", "-f", "-", given=json.dumps(bad), fails=True)
    assert 'strict decoding error: unknown field "spec.containers[0].colour"' in refused.err
    del bad["spec"]["containers"][0]["colour"]  # type: ignore[index]
    refused = sim("create", "-f", "-", given=json.dumps(bad), fails=True)
    assert 'The Pod "p" is invalid' in refused.err
    assert "* spec.containers[0].image: Required value" in refused.err


@pytest.mark.slow
def test_may_i(sim: Kubectl) -> None:
    assert sim("auth", "can-i", "create", "pods") == "yes\n"
    account = f"system:serviceaccount:{sim.namespace}:default"
    assert sim("auth", "can-i", "create", "pods", f"--as={account}", fails=True) == "no\n"
    sim("create", "rolebinding", "edits", "--clusterrole=edit", f"--serviceaccount={sim.namespace}:default")
    assert sim("auth", "can-i", "create", "pods", f"--as={account}") == "yes\n"
    assert "system:masters" in sim("auth", "whoami")


def test_delete_in_the_foreground(either: Kubectl) -> None:
    kubectl = either
    deploy(kubectl)
    assert kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s").startswith('deployment.apps "web" deleted')
    assert kubectl("get", "rs,pods", "-o", "name") == ""


@pytest.mark.slow
def test_delete_and_leave_orphans(sim: Kubectl) -> None:
    deploy(sim, 1)
    sim("delete", "deployment", "web", "--cascade=orphan")
    assert sim("get", "rs,pods", "-o", "name").count("\n") == 2
    sim("delete", "rs", "--all")
    sim("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=20s")


@pytest.mark.slow
def test_drain(sim: Kubectl) -> None:
    deploy(sim, 6)
    node = sim.field("pods", ".items[0].spec.nodeName")
    drained = sim("drain", node, "--ignore-daemonsets", "--force", "--timeout=40s")
    assert drained.startswith(f"node/{node} cordoned\n")
    assert drained.endswith(f"node/{node} drained\n")
    assert "SchedulingDisabled" in sim("get", "node", node)
    assert sim("get", "pods", f"--field-selector=spec.nodeName={node},status.phase=Running", "-o", "name") == ""
    sim("rollout", "status", "deployment/web", "--timeout=30s")
    assert sim("uncordon", node) == f"node/{node} uncordoned\n"


@pytest.mark.containers
def test_drain_with_containers(kubectl: Kubectl) -> None:
    """One node only: its pods wait until it is open again."""
    deploy(kubectl, 1)
    node = kubectl.field("nodes", ".items[0].metadata.name")
    try:
        assert kubectl("drain", node, "--ignore-daemonsets", "--force", "--timeout=40s").endswith(f"node/{node} drained\n")
        kubectl("wait", "--for=condition=PodScheduled=false", "pod", "-l", "app=web", "--timeout=20s")
        assert "0/1 nodes are available: 1 node(s) were unschedulable" in kubectl("describe", "pods")
    finally:
        assert kubectl("uncordon", node) == f"node/{node} uncordoned\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")


def test_jobs(either: Kubectl) -> None:
    kubectl = either
    kubectl("create", "job", "sum", f"--image={IMAGE}", "--", "sh", "-c", "echo $((6 * 7))")
    kubectl("wait", "--for=condition=Complete", "job/sum", "--timeout=30s")
    row = kubectl("get", "job", "sum", "--no-headers").split()
    assert row[:3] == ["sum", "Complete", "1/1"]
    kubectl("create", "cronjob", "later", f"--image={IMAGE}", "--schedule=0 0 1 1 *", "--", "true")
    assert kubectl("create", "job", "now", "--from=cronjob/later") == "job.batch/now created\n"
    kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=30s")


def test_a_namespace_goes_with_all_that_is_in_it(either: Kubectl) -> None:
    kubectl = either
    kubectl("create", "namespace", f"{kubectl.namespace}-more")
    inside = Kubectl(kubectl.cluster, f"{kubectl.namespace}-more")
    inside("wait", "--for=create", "serviceaccount/default", "--timeout=10s")
    deploy(inside, 1)
    inside.apply(manifest())
    assert inside("delete", "namespace", inside.namespace, "--timeout=40s") == f'namespace "{inside.namespace}" deleted\n'
    assert inside("get", "pods,configmaps", "-o", "name") == ""


def programs() -> list[str]:
    """This project's kubectl, and whatever others the machine has."""
    found = [shutil.which("kubectl", path=directory) for directory in os.environ["PATH"].split(":")]
    return list({os.path.realpath(p): p for p in [KUBECTL, *found] if p}.values())


@pytest.mark.slow
@pytest.mark.parametrize("program", programs())
def test_every_kubectl_there_is(simulated: Cluster, program: str) -> None:
    """Older ones ask for older forms: discovery group by group, tables of v1beta1, other stream protocols."""
    kubectl = Kubectl(simulated, "default", program)
    kubectl.apply(manifest())
    deploy(kubectl, 1)
    assert kubectl("get", "deployment", "web", "--no-headers").split()[1] == "1/1"
    assert "NewReplicaSetAvailable" in kubectl("describe", "deployment", "web")
    assert kubectl("explain", "pod.spec").startswith("KIND:       Pod")
    kubectl("scale", "deployment/web", "--replicas=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("delete", "deployment/web", "configmap/settings", "--timeout=30s")
