"""What a kubelet may: its own things, and what its pods use."""

import pytest

from kapi.access.nodes import Nodes
from kapi.objects.user import Attributes, Decision, User
from kapi.storage.store import Store
from tests.access.conftest import put

N1 = User("system:node:n1", ("system:nodes",))
POD = {
    "nodeName": "n1",
    "serviceAccountName": "s",
    "containers": [{"envFrom": [{"secretRef": {"name": "env-from"}}], "env": [{"valueFrom": {"configMapKeyRef": {"name": "key"}}}]}],
    "imagePullSecrets": [{"name": "pull"}],
    "volumes": [
        {"name": "a", "secret": {"secretName": "volume"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "projected"}}, {"serviceAccountToken": {"path": "t"}}]}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "d", "ephemeral": {}},
    ],
}  # fmt: skip


@pytest.fixture
async def nodes(store: Store) -> Nodes:
    await put(store, "core/pods", "p", namespace="ns", spec=POD)
    await put(store, "core/pods", "q", namespace="ns", spec={"nodeName": "n2", "imagePullSecrets": [{"name": "theirs"}]})
    await put(store, "core/persistentvolumes", "pv", spec={"claimRef": {"namespace": "ns", "name": "claim"}})
    await put(store, "storage.k8s.io/volumeattachments", "va", spec={"nodeName": "n1"})
    return Nodes(store)


def asks(verb: str, resource: str, name: str = "", namespace: str = "", group: str = "", user: User = N1) -> Attributes:
    plural, _, subresource = resource.partition("/")
    return Attributes(user, verb, group, "v1", plural, subresource, namespace, name)


@pytest.mark.parametrize(
    "asked",
    [
        asks("list", "pods"),
        asks("create", "nodes"),
        asks("patch", "nodes/status", "n1"),
        asks("patch", "pods/status", "p", "ns"),
        asks("create", "events", namespace="ns", group="events.k8s.io"),
        asks("get", "secrets", "env-from", "ns"),
        asks("watch", "secrets", "pull", "ns"),
        asks("get", "secrets", "volume", "ns"),
        asks("get", "configmaps", "key", "ns"),
        asks("list", "configmaps", "projected", "ns"),
        asks("get", "persistentvolumeclaims", "claim", "ns"),
        asks("get", "persistentvolumeclaims", "p-d", "ns"),
        asks("get", "persistentvolumes", "pv"),
        asks("create", "serviceaccounts/token", "s", "ns"),
        asks("get", "volumeattachments", "va", group="storage.k8s.io"),
        asks("create", "leases", namespace="kube-node-lease", group="coordination.k8s.io"),
        asks("update", "leases", "n1", "kube-node-lease", "coordination.k8s.io"),
        asks("get", "csinodes", "n1", group="storage.k8s.io"),
    ],
)
def test_a_kubelet_may(nodes: Nodes, asked: Attributes) -> None:
    assert nodes.authorize(asked) == Decision(True)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (asks("get", "secrets", "theirs", "ns"), "no relationship found between node 'n1' and this object"),
        (asks("get", "secrets", "volume", "other"), "no relationship found between node 'n1' and this object"),
        (asks("list", "secrets", namespace="ns"), "No Object name found"),
        (asks("update", "secrets", "volume", "ns"), "can only get, list or watch resources of this type"),
        (asks("create", "serviceaccounts/token", "default", "ns"), "no relationship found between node 'n1' and this object"),
        (asks("update", "leases", "n2", "kube-node-lease", "coordination.k8s.io"), "can only access node lease with the same name"),
        (asks("update", "leases", "n1", "default", "coordination.k8s.io"), 'can only access leases in the "kube-node-lease"'),
        (asks("delete", "nodes", "n1"), ""),
        (asks("get", "secrets", "volume", "ns", user=User("system:node:", ("system:nodes",))), "unknown node"),
        (asks("get", "secrets", "volume", "ns", user=User("system:node:n1")), ""),
    ],
)
def test_a_kubelet_may_not(nodes: Nodes, asked: Attributes, reason: str) -> None:
    decision = nodes.authorize(asked)
    assert not decision.allowed
    assert decision.reason.startswith(reason)
