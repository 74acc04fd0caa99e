"""The tables of references against the type facts, and what they find in pods and volumes."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from kapi.objects import references
from openapi import tables

CORE = "io.k8s.api.core.v1."
LOOKS_LIKE_A_REFERENCE = re.compile(
    r"(?i)(secret|configmap|claim|account|ref\b|bundle|certificate|driver|endpoints|template|credential|(?-i:Name)$)"
)
"""Paths one of these words stands in are looked at."""
NO_REFERENCES = re.compile(
    r"""(?x)
    .* \. (fieldRef|resourceFieldRef|fileKeyRef) \. .*   # the pod itself and its own files
  | .* \. (key|path|optional|defaultMode|mode|readOnly|fsType|volumeAttributes|options|shareName)
  | volumes\.ephemeral\.volumeClaimTemplate\. .*         # the claim that is made for the pod: what it names is not read by the node
  | volumes\.projected\.sources\.(serviceAccountToken|podCertificate|clusterTrustBundle\.(labelSelector|signerName)) .*
  | volumes\.(cephfs\.secretFile|flexVolume\.driver)      # files on the node
  | .* (container|targetContainer|dataset|disk|initiator|pd|resource|runAsUser|storagePolicy|volume)Name
  | (node|podGroup|priorityClass|runtimeClass|scheduler)Name | schedulingGroup\.podGroupName  # not read by the node
  | resourceClaims\.(name|resourceClaimTemplateName)     # the name within the pod; the claim made of a template stands in the status
  | (.*\.)? resources\.claims\.(name|request)
  | .* windowsOptions\.gmsaCredentialSpec(Name)?
  | automountServiceAccountToken
    """
)
"""What they turn out not to be."""


def leaves(name: str, path: str = "", seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The paths of all fields of a type that hold no further type."""
    types = tables.types()
    for field, notation in types[name].items():
        if field:
            kind = re.sub(r"^(\*|\[\]|map\[.*?\])*", "", notation.split(" ")[0].rpartition("=")[2])
            here = f"{path}.{field}" if path else field
            if kind in types and kind not in seen:
                yield from leaves(kind, here, seen | {kind})
            else:
                yield here


def test_the_table_holds_every_reference_of_a_pod() -> None:
    suspected = {path for path in leaves(f"{CORE}PodSpec") if LOOKS_LIKE_A_REFERENCE.search(path) and not NO_REFERENCES.fullmatch(path)}
    assert suspected == {path for _, path in references.POD}


def test_every_type_of_volume_and_projection_is_known() -> None:
    types = tables.types()
    assert set(references.VOLUME) == set(types[f"{CORE}Volume"]) - {"name", ""}
    assert set(references.PROJECTION) == set(types[f"{CORE}VolumeProjection"]) - {""}


def test_the_table_holds_every_secret_of_a_persistent_volume() -> None:
    paths = {path for path in leaves(f"{CORE}PersistentVolumeSpec") if "ecret" in path and path.endswith(("name", "secretName"))}
    for_controllers = {f"csi.controller{step}SecretRef.name" for step in ("Publish", "Expand")}
    assert paths == for_controllers | {"azureFile.secretName"} | {f"{path}.name" for path, _ in references.VOLUME_SECRETS}


def planted(path: str, name: str) -> dict[str, Any]:
    """A spec that holds `name` at the path."""
    value: Any = name
    for field in reversed(path.split(".")):
        value = {field: [value] if field in LISTS and not isinstance(value, str) else value}
    found: dict[str, Any] = value
    return found


LISTS = {"imagePullSecrets", "env", "envFrom", "volumes", "sources", "resourceClaims", *references.CONTAINERS}


@pytest.mark.parametrize(("resource", "path"), references.POD)
def test_a_name_is_found_wherever_it_stands(resource: str, path: str) -> None:
    spec = planted(path, "x")
    assert list(references.in_spec(spec, resource)) == ["x"]
    assert references.first(spec)
    assert list(references.in_spec(planted(path, ""), resource)) == []


def test_objects_made_for_a_pod() -> None:
    claims = [{"name": "a", "resourceClaimTemplateName": "t"}, {"name": "b", "resourceClaimName": "own"}]
    made = [{"name": "a", "resourceClaimName": "p-a-x"}, {"name": "gone", "resourceClaimName": "another"}]
    pod = {
        "metadata": {"name": "p"}, "spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}], "resourceClaims": claims},
        "status": {"resourceClaimStatuses": made, "extendedResourceClaimStatus": {"resourceClaimName": "extended"}},
    }  # fmt: skip
    assert list(references.of_pod(pod, references.CLAIMS)) == ["p-v"]
    assert list(references.of_pod(pod, references.RESOURCE_CLAIMS)) == ["own", "p-a-x", "extended"]


def test_the_words_for_volumes() -> None:
    def said(**volume: Any) -> str:
        return references.first({"volumes": [{"name": "v", **volume}]})

    assert said(csi={"driver": "d"}) == "csidrivers (via CSI volumes)"
    assert said(csi={"driver": "d", "nodePublishSecretRef": {"name": "s"}}) == "secrets"
    assert said(ephemeral={"volumeClaimTemplate": {}}) == "persistentvolumeclaims (via ephemeral volumes)"
    assert said(projected={"sources": [{"downwardAPI": {}}, {"serviceAccountToken": {}}]}) == "serviceaccounts (via projected volumes)"
    assert said(projected={"sources": [{"downwardAPI": {}}]}) == said(hostPath={}) == ""
    with pytest.raises(ValueError, match='unknown volume type for volume  "v"'):
        said(holographic={})
    with pytest.raises(ValueError, match='unknown source for projected volume "v"'):
        said(projected={"sources": [{"holographic": {}}]})


def test_secrets_of_persistent_volumes() -> None:
    claim = {"claimRef": {"namespace": "ns", "name": "c"}}
    found: list[dict[str, Any]] = [
        {"rbd": {"secretRef": {"name": "a"}}}, {"iscsi": {"secretRef": {"name": "b", "namespace": "other"}}},
        {"csi": {"nodeStageSecretRef": {"name": "c", "namespace": "other"}, "controllerPublishSecretRef": {"name": "d"}}},
        {"azureFile": {"secretName": "e"}}, {"azureFile": {"secretName": "f", "secretNamespace": "other"}},
    ]  # fmt: skip
    assert [secret for spec in found for secret in references.volume_secrets({"spec": {**claim, **spec}})] == [
        ("ns", "a"), ("other", "b"), ("other", "c"), ("ns", "e"), ("other", "f"),
    ]  # fmt: skip
