"""What a kubelet may: its own things, and what its pods use."""

import pytest

from kapi.access.node_authorizer import NodeAuthorizer
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


MIRROR = {"annotations": {"kubernetes.io/config.mirror": "x"}}


@pytest.fixture
async def nodes(store: Store) -> NodeAuthorizer:
    await put(store, "core/pods", "p", namespace="ns", spec=POD)
    await put(store, "core/pods", "q", namespace="ns", spec={"nodeName": "n2", "imagePullSecrets": [{"name": "theirs"}]})
    grasping = {"nodeName": "n1", "serviceAccountName": "m", "volumes": [{"name": "v", "cinder": {"secretRef": {"name": "grasped"}}}]}
    await put(store, "core/pods", "mirror", namespace="ns", metadata=MIRROR, spec=grasping)
    claim = {"claimRef": {"namespace": "ns", "name": "claim"}}
    staged = {"nodeStageSecretRef": {"name": "staged", "namespace": "storage"}}
    unseen = {"controllerExpandSecretRef": {"name": "unseen", "namespace": "storage"}}
    await put(store, "core/persistentvolumes", "pv", spec={**claim, "csi": {**staged, **unseen}})
    await put(store, "core/persistentvolumes", "free", spec={"rbd": {"secretRef": {"name": "free", "namespace": "ns"}}})
    await put(store, "storage.k8s.io/volumeattachments", "va", spec={"nodeName": "n1"})
    await put(store, "resource.k8s.io/resourceslices", "slice", spec={"nodeName": "n1"})
    await put(store, "resource.k8s.io/resourceslices", "other", spec={"nodeName": "n2"})
    return NodeAuthorizer(store)


def asks(
    verb: str, resource: str, name: str = "", namespace: str = "", group: str = "", user: User = N1, **selected: str
) -> Attributes:
    plural, _, subresource = resource.partition("/")
    fields = tuple((field.replace("_", "."), value) for field, value in selected.items())
    return Attributes(user, verb, group, "v1", plural, subresource, namespace, name, selected=fields)


DEVICES, STORAGE = "resource.k8s.io", "storage.k8s.io"


@pytest.mark.parametrize(
    "asked",
    [
        asks("get", "pods", "p", "ns"),
        asks("get", "pods", "mirror", "ns"),
        asks("list", "pods", spec_nodeName="n1"),
        asks("watch", "pods", spec_nodeName="n1", status_phase="Running"),
        asks("watch", "pods", "p", "ns"),
        asks("create", "pods", namespace="ns"),
        asks("delete", "pods", "p", "ns"),
        asks("create", "pods/eviction", "p", "ns"),
        asks("create", "nodes"),
        asks("get", "nodes", "n1"),
        asks("watch", "nodes", "n1"),
        asks("patch", "nodes/status", "n1"),
        asks("patch", "pods/status", "p", "ns"),
        asks("create", "events", namespace="ns", group="events.k8s.io"),
        asks("get", "secrets", "env-from", "ns"),
        asks("watch", "secrets", "pull", "ns"),
        asks("get", "secrets", "volume", "ns"),
        asks("get", "secrets", "staged", "storage"),
        asks("get", "configmaps", "key", "ns"),
        asks("list", "configmaps", "projected", "ns"),
        asks("get", "persistentvolumeclaims", "claim", "ns"),
        asks("get", "persistentvolumeclaims", "p-d", "ns"),
        asks("patch", "persistentvolumeclaims/status", "claim", "ns"),
        asks("get", "persistentvolumes", "pv"),
        asks("create", "serviceaccounts/token", "s", "ns"),
        asks("get", "serviceaccounts", "s", "ns"),
        asks("get", "volumeattachments", "va", group=STORAGE),
        asks("create", "leases", namespace="kube-node-lease", group="coordination.k8s.io"),
        asks("update", "leases", "n1", "kube-node-lease", "coordination.k8s.io"),
        asks("get", "csinodes", "n1", group=STORAGE),
        asks("create", "resourceslices", group=DEVICES),
        asks("delete", "resourceslices", "slice", group=DEVICES),
        asks("list", "resourceslices", group=DEVICES, spec_nodeName="n1"),
    ],
)
def test_a_kubelet_may(nodes: NodeAuthorizer, asked: Attributes) -> None:
    assert nodes.authorize(asked) == Decision(True)


UNRELATED = "no relationship found between node 'n1' and this object"
SLICES = "can only list/watch/deletecollection resourceslices with nodeName field selector"
SELECT = "can only list/watch pods with spec.nodeName field selector"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (asks("get", "pods", "q", "ns"), UNRELATED),
        (asks("list", "pods"), SELECT),
        (asks("watch", "pods", spec_nodeName="n2"), SELECT),
        (asks("watch", "pods", "q", "ns"), UNRELATED),
        (asks("deletecollection", "pods", spec_nodeName="n1"), ""),
        (asks("update", "pods", "p", "ns"), ""),
        (asks("create", "pods/ephemeralcontainers", "p", "ns"), ""),
        (asks("get", "nodes", "n2"), "node 'n1' cannot read 'n2', only its own Node object"),
        (asks("list", "nodes"), "node 'n1' cannot read all nodes, only its own Node object"),
        (asks("get", "secrets", "grasped", "ns"), UNRELATED),
        (asks("get", "secrets", "unseen", "storage"), UNRELATED),
        (asks("get", "secrets", "free", "ns"), UNRELATED),
        (asks("create", "serviceaccounts/token", "m", "ns"), UNRELATED),
        (asks("get", "secrets", "volume"), "can only read namespaced object of this type"),
        (asks("list", "serviceaccounts", namespace="ns"), "can only create tokens for individual service accounts"),
        (asks("get", "persistentvolumeclaims/status", "claim", "ns"), "can only get/update/patch this type"),
        (asks("list", "persistentvolumes"), "can only get individual resources of this type"),
        (asks("get", "resourceslices", "other", group=DEVICES), UNRELATED),
        (asks("list", "resourceslices", group=DEVICES), SLICES),
        (asks("deletecollection", "resourceslices", group=DEVICES, spec_nodeName="n2"), SLICES),
        (asks("get", "csinodes/status", "n1", group=STORAGE), "cannot authorize CSINode subresources"),
        (asks("get", "secrets", "theirs", "ns"), UNRELATED),
        (asks("get", "secrets", "volume", "other"), UNRELATED),
        (asks("list", "secrets", namespace="ns"), "No Object name found"),
        (asks("update", "secrets", "volume", "ns"), "can only read resources of this type"),
        (asks("create", "serviceaccounts/token", "default", "ns"), UNRELATED),
        (asks("update", "leases", "n2", "kube-node-lease", "coordination.k8s.io"), "can only access node lease with the same name"),
        (asks("update", "leases", "n1", "default", "coordination.k8s.io"), 'can only access leases in the "kube-node-lease"'),
        (asks("delete", "nodes", "n1"), ""),
        (asks("get", "secrets", "volume", "ns", user=User("system:node:", ("system:nodes",))), "unknown node"),
        (asks("get", "secrets", "volume", "ns", user=User("system:node:n1")), ""),
    ],
)
def test_a_kubelet_may_not(nodes: NodeAuthorizer, asked: Attributes, reason: str) -> None:
    decision = nodes.authorize(asked)
    assert not decision.allowed
    assert decision.reason.startswith(reason)


async def test_a_secret_of_a_volume_is_known_as_soon_as_the_volume_is(store: Store, nodes: NodeAuthorizer) -> None:
    asked = asks("get", "secrets", "late", "storage")
    assert not nodes.authorize(asked).allowed
    reference = {"claimRef": {"namespace": "ns", "name": "claim"}, "rbd": {"secretRef": {"name": "late", "namespace": "storage"}}}
    await put(store, "core/persistentvolumes", "late", spec=reference)
    assert nodes.authorize(asked).allowed


async def test_what_pods_use_is_kept_up_to_date(store: Store, nodes: NodeAuthorizer) -> None:
    asked = asks("get", "secrets", "late", "ns")
    assert not nodes.authorize(asked).allowed
    late = [{"name": "late"}]
    await put(store, "core/pods", "late", namespace="ns", spec={"imagePullSecrets": late})
    assert not nodes.authorize(asked).allowed
    await put(store, "core/pods", "late", namespace="ns", spec={"nodeName": "n1", "imagePullSecrets": late})
    assert nodes.authorize(asked).allowed
    await put(store, "core/pods", "late", namespace="ns", spec={"nodeName": "n2", "imagePullSecrets": late})
    assert not nodes.authorize(asked).allowed
    await put(store, "core/pods", "late", namespace="ns", spec={"nodeName": "n1", "imagePullSecrets": late})
    await store.commit("/core/pods/ns/late", None, expect=None)
    assert not nodes.authorize(asked).allowed


async def test_steps_that_are_forgotten(store: Store, nodes: NodeAuthorizer) -> None:
    asked = asks("get", "secrets", "late", "ns")
    assert not nodes.authorize(asked).allowed
    await put(store, "core/pods", "late", namespace="ns", spec={"nodeName": "n1", "imagePullSecrets": [{"name": "late"}]})
    await put(store, "core/configmaps", "c", namespace="ns")
    store.compact(store.revision)
    assert nodes.authorize(asked).allowed


async def test_a_volume_that_leaves_its_claim(store: Store, nodes: NodeAuthorizer) -> None:
    asked = asks("get", "secrets", "staged", "storage")
    assert nodes.authorize(asked).allowed
    await put(store, "core/persistentvolumes", "pv", spec={"csi": {"nodeStageSecretRef": {"name": "staged", "namespace": "storage"}}})
    assert not nodes.authorize(asked).allowed
