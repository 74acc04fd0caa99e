"""A static pod refers to nothing in the API: its node could not show it there, and does not run it."""

import orjson
import pytest

from kapi.objects.meta import Object
from kubelet.manifests import static_pod


def manifest(**spec: object) -> bytes:
    containers = [{"name": "c", "image": "i"}]
    return orjson.dumps({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {"containers": containers, **spec}})


def volumes(**source: object) -> bytes:
    return manifest(volumes=[{"name": "v", **source}])


def test_a_pod_of_a_manifest() -> None:
    pod = static_pod(volumes(hostPath={"path": "/x"}), "n1")
    assert (pod["metadata"]["name"], pod["spec"]["nodeName"]) == ("p-n1", "n1")


def test_a_volume_without_a_source_is_an_empty_directory() -> None:
    pod: Object = static_pod(volumes(), "n1")
    assert pod["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (manifest(serviceAccountName="s"), "serviceaccounts"),
        (volumes(secret={"secretName": "s"}), "secrets"),
        (volumes(persistentVolumeClaim={"claimName": "c"}), "persistentvolumeclaims"),
        (volumes(projected={"sources": [{"serviceAccountToken": {}}]}), r"serviceaccounts \(via projected volumes\)"),
    ],
)
def test_references_are_refused(text: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=f"^static pods may not reference {what}$"):
        static_pod(text, "n1")
