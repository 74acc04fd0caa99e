"""What the holder of a kubelet's certificate gets at: its own node and pods, what these use, and nothing by way of a mirror pod."""

from typing import Any
from urllib.parse import quote

import pytest

from kapi.objects import references
from kapi.objects.meta import Object
from tests.attacks.identities import Identity, kubelet
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
PODS, SECRETS = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/secrets"
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
LISTS = {"imagePullSecrets", "env", "envFrom", "volumes", "sources", "resourceClaims", *references.CONTAINERS}
KINDS = {"secrets": "Secret", "configmaps": "ConfigMap", "persistentvolumeclaims": "PersistentVolumeClaim"}


class Node:
    """A kubelet's identity and what it gets for an answer."""

    def __init__(self, victim: Victim, name: str) -> None:
        self.victim, self.name = victim, name
        self.certificate: Identity = kubelet(victim, name)
        code, created = self.ask("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        assert code == 201, created
        self.uid = created["metadata"]["uid"]

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        return self.victim.ask(method, path, body, certificate=self.certificate, **more)

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> str:
        """The reason of a 403."""
        code, answer = self.ask(method, path, body, **more)
        assert code == 403, (code, answer)
        text: str = answer["message"]
        return text

    def mirror(self, name: str, spec: Object) -> Object:
        owner: Object = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": self.uid, "controller": True}
        about: Object = {"name": name, "annotations": {references.MIRROR: "x"}, "ownerReferences": [owner]}
        containers: list[Object] = spec.get("containers") or [{}]
        complete: list[Object] = [{"name": f"c{i}", "image": "i"} | container for i, container in enumerate(containers)]
        filled: Object = dict(spec, nodeName=self.name, containers=complete)
        return {"metadata": about, "spec": filled}


@pytest.fixture(scope="module")
def nodes(victim: Victim) -> tuple[Node, Node]:
    """Two nodes with a pod each, and a Secret and ConfigMap for each pod and for nobody."""
    created = Node(victim, "n1"), Node(victim, "n2")
    requests: list[tuple[str, Object]] = [("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})]
    for name in ("n1", "n2", "nobody"):
        requests += [(SECRETS, {"metadata": {"name": name}}), ("/api/v1/namespaces/default/configmaps", {"metadata": {"name": name}})]
    for name in ("n1", "n2"):
        containers = [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": name}}, {"configMapRef": {"name": name}}]}]
        requests.append((PODS, {"metadata": {"name": name}, "spec": {"nodeName": name, "containers": containers}}))
    for path, body in requests:
        assert victim.ask("POST", path, body)[0] in (201, 409), path
    return created


def planted(path: str, name: str) -> Object:
    """A spec that holds `name` at the path."""
    value: Any = name
    for field in reversed(path.split(".")):
        value = {field: [value] if field in LISTS else value}
    found: Object = value
    return found


@pytest.mark.parametrize(("resource", "path"), references.POD)
def test_a_mirror_pod_opens_nothing(nodes: tuple[Node, Node], resource: str, path: str) -> None:
    mine = nodes[0]
    message = mine.refused("POST", PODS, mine.mirror("m", planted(path, "nobody")))
    assert 'node "n1" can not create pods that reference' in message or "a mirror pod may not" in message
    if resource in KINDS:
        message = mine.refused("GET", f"/api/v1/namespaces/default/{resource}/nobody")
        assert "no relationship found between node 'n1' and this object" in message


def test_a_plain_mirror_pod_stays_one(nodes: tuple[Node, Node]) -> None:
    mine = nodes[0]
    code, created = mine.ask("POST", PODS, mine.mirror("plain", {}))
    assert code == 201, created
    for change in ({"metadata": {"annotations": {references.MIRROR: None}}}, {"spec": {"imagePullSecrets": [{"name": "nobody"}]}}):
        code, answer = mine.ask("PATCH", f"{PODS}/plain/status", change, headers=STRATEGIC)
        assert code in (200, 403, 422), answer
        found = mine.ask("GET", f"{PODS}/plain")[1]
        assert references.MIRROR in found["metadata"]["annotations"]
        assert "imagePullSecrets" not in found["spec"]
    mine.refused("GET", f"{SECRETS}/nobody")
    assert mine.ask("DELETE", f"{PODS}/plain?gracePeriodSeconds=0")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        PODS, "/api/v1/pods", "/api/v1/pods?watch=true", "/api/v1/watch/pods", f"{PODS}/n2", f"{PODS}?fieldSelector=spec.nodeName=n2",
        f"{PODS}?fieldSelector=spec.nodeName!=n1", f"{PODS}?fieldSelector=spec.nodeName=n1,spec.nodeName=n2",
        f"{PODS}?fieldSelector=spec.nodeName=n2&fieldSelector=spec.nodeName=n1", f"{PODS}?fieldSelector=metadata.name=n2",
        f"{PODS}?labelSelector=spec.nodeName=n1", f"{PODS}?fieldSelector=status.phase=Pending", f"{PODS}/n2/log", f"{PODS}/n1/exec",
        "/api/v1/nodes", "/api/v1/nodes?watch=true", "/api/v1/nodes/n2", "/api/v1/nodes?fieldSelector=metadata.name=n2",
        "/api/v1/nodes?fieldSelector=metadata.name!=n2", "/api/v1/nodes/n1/proxy/", "/api/v1/watch/nodes/n2",
        SECRETS, f"{SECRETS}/n2", f"{SECRETS}/nobody", f"{SECRETS}?fieldSelector=metadata.name=n2", f"{SECRETS}?watch=true",
        "/api/v1/secrets", "/api/v1/secrets?fieldSelector=metadata.name=n1",
        "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/n2",
        "/api/v1/namespaces/default/serviceaccounts", "/api/v1/persistentvolumes", "/apis/storage.k8s.io/v1/volumeattachments",
        "/apis/storage.k8s.io/v1/csinodes", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", "/apis/resource.k8s.io/v1/resourceslices",
        "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName=n2", "/api/v1/namespaces",
        "/apis/rbac.authorization.k8s.io/v1/roles",
    ],
)  # fmt: skip
def test_what_a_kubelet_does_not_see(nodes: tuple[Node, Node], path: str) -> None:
    nodes[0].refused("GET", path)


@pytest.mark.parametrize(
    "path",
    [
        f"{PODS}/n1", "/api/v1/pods?fieldSelector=spec.nodeName=n1", f"{PODS}?fieldSelector=metadata.name%3Dn1",
        f"/api/v1/pods?fieldSelector={quote('spec.nodeName=n1,status.phase!=Failed')}", "/api/v1/nodes/n1", "/api/v1/services",
        "/api/v1/nodes?fieldSelector=metadata.name=n1", f"{SECRETS}/n1", f"{SECRETS}?fieldSelector=metadata.name=n1",
        "/api/v1/namespaces/default/configmaps/n1", "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName=n1",
        "/apis/node.k8s.io/v1/runtimeclasses", "/apis/storage.k8s.io/v1/csidrivers", "/api/v1/namespaces/default/serviceaccounts/default",
    ],
)  # fmt: skip
def test_what_a_kubelet_sees(nodes: tuple[Node, Node], path: str) -> None:
    code, answer = nodes[0].ask("GET", path)
    assert code == 200, answer
    names = {item["metadata"]["name"] for item in answer.get("items") or ()}
    assert "n2" not in names


OWNED = {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "gone"}]}}
LABELLED = {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}
CLAIMED = {"status": {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "x"}]}}


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        *((f"/api/v1/nodes/n1{sub}", OWNED, 'node "n1" is not allowed to modify ownerReferences') for sub in ("", "/status")),
        *((f"/api/v1/nodes/n1{sub}", LABELLED, "is not allowed to modify labels") for sub in ("", "/status")),
        ("/api/v1/nodes/n1", {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}}, 'node "n1" is not allowed to modify taints'),
        ("/api/v1/nodes/n2", {"metadata": {"labels": {"a": "b"}}}, 'node "n1" is not allowed to modify node "n2"'),
        ("/api/v1/nodes/n2/status", {"status": {"phase": "x"}}, 'node "n1" is not allowed to modify node "n2"'),
        (f"{PODS}/n2/status", {"status": {"phase": "Failed"}}, "can only update pod status for pods with spec.nodeName set to itself"),
        (f"{PODS}/n1/status", {"metadata": {"labels": {"a": "b"}}}, "cannot update labels through pod status"),
        (f"{PODS}/n1/status", CLAIMED, "cannot update resource claim"),
        (f"{PODS}/n1", {"metadata": {"annotations": {"a": "b"}}}, "cannot patch resource"),
        (f"{PODS}/n1/ephemeralcontainers", {"spec": {}}, "cannot patch resource"),
    ],
)  # fmt: skip
def test_what_a_kubelet_does_not_change(nodes: tuple[Node, Node], path: str, change: Object, message: str) -> None:
    assert message in nodes[0].refused("PATCH", path, change, headers=STRATEGIC)


def test_what_a_kubelet_does_not_make_or_remove(nodes: tuple[Node, Node]) -> None:
    mine = nodes[0]
    mine.refused("DELETE", "/api/v1/nodes/n1")
    mine.refused("DELETE", "/api/v1/nodes/n2")
    mine.refused("DELETE", f"{PODS}/n2")
    mine.refused("DELETE", PODS)
    mine.refused("POST", f"{PODS}/n2/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "n2"}})
    mine.refused("POST", "/api/v1/nodes", {"metadata": {"name": "n3"}})
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "n2", "uid": "x"}
    mine.refused("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"boundObjectRef": bound}})
    mine.refused("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})


def test_reading_what_thousands_of_pods_use_costs_little(victim: Victim, nodes: tuple[Node, Node]) -> None:
    """A kubelet that asks for what is not its own has every pod of the namespace looked at, and every volume."""
    assert victim.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "full"}})[0] == 201
    assert victim.ask("POST", "/api/v1/namespaces/full/serviceaccounts", {"metadata": {"name": "default"}})[0] == 201
    for number in range(1500):
        pod = {"metadata": {"name": f"p-{number}"}, "spec": {"nodeName": "n2", "containers": [{"name": "c", "image": "i"}]}}
        assert victim.ask("POST", "/api/v1/namespaces/full/pods", pod)[0] == 201
    for number in range(300):
        source = {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": "x", "namespace": "full"}}
        claim = {"namespace": "full", "name": f"c-{number}", "uid": "u"}
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": source, "claimRef": claim}
        code, answer = victim.ask("POST", "/api/v1/persistentvolumes", {"metadata": {"name": f"v-{number}"}, "spec": spec})
        assert code == 201, answer
    with victim.watched("a kubelet asks for 50 Secrets of 1,500 pods and 300 volumes") as cost:
        for number in range(50):
            nodes[0].refused("GET", f"/api/v1/namespaces/full/secrets/{'x' if number % 2 else f's-{number}'}")
    cost.check()
