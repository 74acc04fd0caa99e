"""NodeRestriction: a kubelet writes its own node, mirror pods that refer to nothing, and what belongs to its pods."""

import base64
import re
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from kapi.admission import node_restriction
from kapi.admission.node_restriction import NodeRestriction
from kapi.objects import errors
from kapi.objects.resource import (
    CERTIFICATE_SIGNING_REQUESTS,
    CSI_DRIVERS,
    CSI_NODES,
    LEASES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICE_ACCOUNTS,
    Resource,
)
from kapi.objects.user import Attributes, Decision

RESOURCE_SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", False)
MIRROR = {"kubernetes.io/config.mirror": "hash"}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": True}


class Authorizer:
    """Allows the questions it is given."""

    def __init__(self) -> None:
        self.allowed: list[tuple[str, str]] = []

    def authorize(self, asked: Attributes) -> Decision:
        return Decision((asked.verb, asked.resource) in self.allowed)


class Kubelet:
    """Requests of system:node:n1; `says` gives the reason of a refusal."""

    def __init__(self, world: Any) -> None:
        self.world, self.authorizer = world, Authorizer()
        self.plugin = NodeRestriction(world.reader, self.authorizer)
        world.add(NODES, "n1", uid="u1")

    def says(self, resource: Resource, new: Any, operation: str = "CREATE", **more: Any) -> str:
        attrs = self.world.attrs(resource, new, operation, **{"user": "system:node:n1", "groups": ("system:nodes",), **more})
        assert self.plugin.handles(operation, resource, attrs.subresource)
        try:
            self.plugin.mutate(attrs)
        except errors.Forbidden as error:
            return error.message.partition(" is forbidden: ")[2]
        return ""


@pytest.fixture
def kubelet(world: Any) -> Kubelet:
    return Kubelet(world)


def named(name: str, **rest: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **rest}


def mirror(owners: Any = (OWNER,), **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "m", "annotations": MIRROR, "ownerReferences": list(owners)}, "spec": {"nodeName": "n1", **spec}}


def test_others_are_left_alone(kubelet: Kubelet) -> None:
    assert kubelet.says(NODES, named("n2"), user="admin", groups=()) == ""
    assert kubelet.says(NODES, named("n2"), groups=()) == ""
    assert kubelet.says(NODES, named("n2"), user="admin") == ""
    assert kubelet.says(NODES, named("n2"), user="system:node:") == 'could not determine node from user "system:node:"'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (named("n1"), named("n1"), ""),
        (named("n2"), named("n2"), 'node "n1" is not allowed to modify node "n2"'),
        ({"metadata": {"name": "n1", "labels": {"x": "y"}}}, {"metadata": {"name": "n1", "labels": {"x": "z"}}}, ""),
        (
            named("n1"), {"metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/x": "", "a.k8s.io/b": ""}}},
            "is not allowed to modify labels: a.k8s.io/b, node-role.kubernetes.io/x",
        ),
        (
            {"metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/a": "b"}}}, named("n1"),
            "is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
        (
            named("n1", spec={"taints": [{"key": "a", "effect": "NoSchedule"}]}), named("n1", spec={}),
            'node "n1" is not allowed to modify taints',
        ),
        (named("n1"), {"metadata": {"name": "n1", "ownerReferences": [OWNER]}}, 'node "n1" is not allowed to modify ownerReferences'),
        (
            named("n1"), named("n1", spec={"configSource": {"configMap": {"name": "c"}}}),
            'node "n1" is not allowed to update configSource to a new non-nil configSource',
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("subresource", ["", "status"])
def test_changes_of_nodes(kubelet: Kubelet, old: Any, new: Any, reason: str, subresource: str) -> None:
    assert kubelet.says(NODES, new, "UPDATE", old=old, subresource=subresource) == reason


def test_new_nodes(kubelet: Kubelet) -> None:
    fine = {"kubernetes.io/hostname": "n1", "node.kubernetes.io/x": "1", "x": "y"}
    assert kubelet.says(NODES, {"metadata": {"name": "n1", "labels": fine}, "spec": {"taints": [{"key": "a"}]}}) == ""
    said = kubelet.says(NODES, {"metadata": {"name": "n1", "labels": {"kubernetes.io/role": "a"}}})
    assert said == 'node "n1" is not allowed to set the following labels: kubernetes.io/role'
    said = kubelet.says(NODES, named("n1", spec={"configSource": {"configMap": {}}}))
    assert said == 'node "n1" is not allowed to create pods with a non-nil configSource'


def test_labels_a_kubelet_may_set() -> None:
    assert node_restriction.forbidden_labels({}, {"kubernetes.io/hostname": "a", "node.kubernetes.io/x": "1", "x": "y"}) == []
    assert node_restriction.forbidden_labels({}, {"kubernetes.io/role": "a", "a.node-restriction.kubernetes.io/b": "c"}) == [
        "a.node-restriction.kubernetes.io/b",
        "kubernetes.io/role",
    ]


def volume(**source: Any) -> dict[str, Any]:
    return mirror(volumes=[{"name": "v", **source}])


REFERENCES = {
    "serviceaccounts": mirror(serviceAccountName="s"),
    "secrets": volume(cinder={"volumeID": "x", "secretRef": {"name": "s"}}),
    "configmaps": mirror(containers=[{"env": [{"name": "e", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}]),
    "resourceclaims": mirror(resourceClaims=[{"name": "r", "resourceClaimTemplateName": "t"}]),
    "persistentvolumeclaims": volume(persistentVolumeClaim={"claimName": "c"}),
    "persistentvolumeclaims (via ephemeral volumes)": volume(ephemeral={"volumeClaimTemplate": {}}),
    "csidrivers (via CSI volumes)": volume(csi={"driver": "d"}),
    "endpoints (via glusterFS volumes)": volume(glusterfs={"endpoints": "e", "path": "/"}),
    "serviceaccounts (via projected volumes)": volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
    "clustertrustbundles": volume(projected={"sources": [{"clusterTrustBundle": {"path": "t", "signerName": "x/y"}}]}),
    "podcertificates": volume(projected={"sources": [{"podCertificate": {}}]}),
}


@pytest.mark.parametrize("what", REFERENCES)
def test_a_mirror_pod_refers_to_nothing(kubelet: Kubelet, what: str) -> None:
    assert kubelet.says(PODS, REFERENCES[what]) == f'node "n1" can not create pods that reference {what}'


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (mirror(), ""),
        (volume(hostPath={"path": "/"}), ""),
        (volume(holographic={}), 'error checking mirror pod for API references: unknown volume type for volume  "v"'),
        (
            named("m", spec={"nodeName": "n1"}),
            'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods',
        ),
        (mirror(nodeName="n2"), 'node "n1" can only create pods with spec.nodeName set to itself'),
        (mirror(()), 'node "n1" can only create pods with an owner reference set to itself'),
        (mirror((OWNER, OWNER)), 'node "n1" can only create pods with a single owner reference set to itself'),
        (mirror(({**OWNER, "kind": "Pod"},)), 'node "n1" can only create pods with an owner reference set to itself'),
        (mirror(({**OWNER, "controller": False},)), 'node "n1" can only create pods with a controller owner reference set to itself'),
        (mirror(({**OWNER, "blockOwnerDeletion": True},)), 'node "n1" must not set blockOwnerDeletion on an owner reference'),
        (mirror(({**OWNER, "uid": "u2"},)), "node n1 UID mismatch: expected u2 got u1"),
    ],
)
def test_new_pods(kubelet: Kubelet, pod: Any, reason: str) -> None:
    assert kubelet.says(PODS, pod) == reason


def test_pods_that_are_there(kubelet: Kubelet) -> None:
    for name, node in (("mine", "n1"), ("theirs", "n2")):
        kubelet.world.add(PODS, name, "ns", spec={"nodeName": node})
    mine, theirs = named("mine", spec={"nodeName": "n1"}), named("theirs", spec={"nodeName": "n2"})
    assert kubelet.says(PODS, None, "DELETE", old=mine) == kubelet.says(PODS, named("mine"), subresource="eviction") == ""
    assert kubelet.says(PODS, None, "DELETE", old=theirs) == 'node "n1" can only delete pods with spec.nodeName set to itself'
    assert kubelet.says(PODS, named("theirs"), subresource="eviction") == "node n1 can only evict pods with spec.nodeName set to itself"
    said = kubelet.says(PODS, theirs, "UPDATE", old=theirs, subresource="status")
    assert said == 'node "n1" can only update pod status for pods with spec.nodeName set to itself'
    assert "can only create and delete mirror pods" in kubelet.says(PODS, mine, "UPDATE", old=mine)
    said = kubelet.says(PODS, mine, "UPDATE", old=mine, subresource="resize")
    assert said == "unexpected pod subresource \"resize\", only 'status' and 'eviction' are allowed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": {"phase": "Running", "resourceClaimStatuses": [{"name": "r", "resourceClaimName": "mine"}]}}, ""),
        ({"metadata": {"name": "p", "labels": {"a": "c"}}}, 'node "n1" cannot update labels through pod status'),
        ({"status": {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "other"}]}}, "resource claim statues"),
        ({"status": {}}, "resource claim statues"),
        (
            {"status": {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "mine"}], "extendedResourceClaimStatus": {"x": 1}}},
            "extended resource claim status",
        ),
    ],
)
def test_pods_status(kubelet: Kubelet, change: Any, reason: str) -> None:
    old = {
        "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": "n1"},
        "status": {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "mine"}]},
    }  # fmt: skip
    said = kubelet.says(PODS, {**old, **change}, "UPDATE", old=old, subresource="status")
    assert said.endswith(reason)
    assert bool(said) is bool(reason)


def test_claims(kubelet: Kubelet) -> None:
    old = {"metadata": {"name": "c", "resourceVersion": "1"}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}
    grown = {**old, "metadata": {"name": "c"}, "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}, "conditions": []}}
    assert kubelet.says(PERSISTENT_VOLUME_CLAIMS, grown, "UPDATE", old=old, subresource="status") == ""
    taken = {**old, "metadata": {"name": "c", "finalizers": ["x"]}, "status": {"phase": "Lost"}}
    said = kubelet.says(PERSISTENT_VOLUME_CLAIMS, taken, "UPDATE", old=old, subresource="status")
    head = 'node "n1" is not allowed to update fields other than status.quantity and status.conditions: '
    assert said == head + "metadata.finalizers, status.phase"
    assert kubelet.says(PERSISTENT_VOLUME_CLAIMS, old, "UPDATE", old=old) == "may only update PVC status"


def wanted(*audiences: str, name: str = "p", uid: str = "uid") -> dict[str, Any]:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
    return named("s", spec={"boundObjectRef": reference, "audiences": list(audiences)})


def test_tokens(kubelet: Kubelet) -> None:
    def says(new: Any) -> str:
        return kubelet.says(SERVICE_ACCOUNTS, new, subresource="token")

    add = kubelet.world.add
    sources = [{"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"audience": "vault"}}]
    token = {"name": "t", "projected": {"sources": sources}}
    volumes = [token, {"name": "c", "csi": {"driver": "inline"}}, {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}}]
    add(PODS, "p", "ns", uid="uid", spec={"nodeName": "n1", "volumes": volumes})
    add(PODS, "q", "ns", uid="uid", spec={"nodeName": "n2"})
    add(CSI_DRIVERS, "inline", spec={"tokenRequests": [{"audience": "one"}]})
    add(CSI_DRIVERS, "bound", spec={"tokenRequests": [{"audience": "two"}]})
    add(PERSISTENT_VOLUME_CLAIMS, "claim", "ns", spec={"volumeName": "pv"})
    add(PERSISTENT_VOLUMES, "pv", spec={"csi": {"driver": "bound"}})
    assert [says(wanted(*audiences)) for audiences in ((), ("vault",), ("one",), ("two",))] == [""] * 4
    assert says(wanted("three")) == 'system:node:n1 is not authorized to request tokens for audience "three"'
    assert says(wanted("one", "two")) == "node may only request 0 or 1 audiences"
    kubelet.authorizer.allowed.append(("request-serviceaccounts-token-audience", "three"))
    assert says(wanted("three")) == ""
    assert says(named("s", spec={})) == "node requested token not bound to a pod"
    assert says(wanted(uid="")) == "node requested token with a pod binding without a uid"
    assert "does not match the UID in record" in says(wanted(uid="another"))
    assert says(wanted(name="q")) == "node requested token bound to a pod scheduled on a different node"


def test_an_audience_of_a_claim_that_is_not_there(kubelet: Kubelet) -> None:
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "claim"}}]
    kubelet.world.add(PODS, "p", "ns", uid="uid", spec={"nodeName": "n1", "volumes": volumes})
    said = kubelet.says(SERVICE_ACCOUNTS, wanted("a"), subresource="token")
    assert said == 'error validating audience "a": persistentvolumeclaims "claim" not found'


def test_what_bears_the_nodes_name(kubelet: Kubelet) -> None:
    assert kubelet.says(LEASES, named("n1"), namespace="kube-node-lease") == kubelet.says(CSI_NODES, named("n1")) == ""
    assert kubelet.says(LEASES, named("n1")) == 'can only access leases in the "kube-node-lease" system namespace'
    said = kubelet.says(LEASES, named("n2"), namespace="kube-node-lease")
    assert said == "can only access node lease with the same name as the requesting node"
    assert kubelet.says(CSI_NODES, named("n2")) == "can only access CSINode with the same name as the requesting node"
    mine, theirs = named("s", spec={"nodeName": "n1"}), named("s", spec={"nodeName": "n2"})
    assert kubelet.says(RESOURCE_SLICES, mine) == kubelet.says(RESOURCE_SLICES, None, "DELETE", old=mine) == ""
    refused = "can only {} ResourceSlice with the same NodeName as the requesting node"
    assert kubelet.says(RESOURCE_SLICES, theirs) == refused.format("create")
    assert kubelet.says(RESOURCE_SLICES, None, "DELETE", old=theirs) == refused.format("delete")


def request(name: str) -> str:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder(subject).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(made.public_bytes(Encoding.PEM)).decode()


@pytest.mark.parametrize("signer", ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"])
def test_certificates(kubelet: Kubelet, signer: str) -> None:
    def says(text: str, signer: str = signer) -> str:
        return kubelet.says(CERTIFICATE_SIGNING_REQUESTS, named("r", spec={"signerName": signer, "request": text}))

    assert says(request("system:node:n1")) == says(request("system:node:n2"), "example.com/x") == ""
    assert says(request("system:node:n2")) == says(request("admin")) == "can only create a node CSR with CN=system:node:n1"
    assert re.match("unable to parse csr: ", says("bm9uc2Vuc2U="))
