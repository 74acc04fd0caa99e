"""The official client's generated API of every group that is served: each kind is created, read, listed, watched, sent back as it was
understood, patched in every way, scaled and deleted. What a typed client leaves out or writes as null must not matter.
"""

import base64
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes import client, watch

from kapi.objects.meta import Object
from tests.clients.generated import Calls, api_name, methods

pytestmark = pytest.mark.slow

OBJECTS: list[Object] = yaml.safe_load((Path(__file__).parent / "objects.yaml").read_text())
UNWATCHABLE = ("ResourceClaim",)
"""The client's Watch looks for the class V1ResourceClaim, and its models call it ResourceV1ResourceClaim."""
ELSEWHERE = re.compile(
    r"^connect_|^get_api_resources$|component_status|_approval$|_finalize$|_pod_(log|ephemeralcontainers|resize)$|"
    r"^create_namespaced_(binding|pod_binding|pod_eviction|service_account_token)$|"
    r"cluster_trust_bundle|pod_certificate_request|device_taint_rule|csi_node_status"
)
LABELS_COUNT = ("EndpointSlice",)
"""A change of labels is a new generation of these."""
APPLY = "application/apply-patch+yaml"


def signing_request() -> str:
    """A PKCS #10 request, as base64."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "me")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def filled(value: Any, words: dict[str, str]) -> Any:
    """A value of the table with its words in capitals replaced."""
    if isinstance(value, dict):
        return {k: filled(v, words) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v, words) for v in value]
    for word, text in words.items():
        value = value.replace(word, text) if isinstance(value, str) else value
    return value


def insisting(change: Callable[[], Any]) -> Any:
    """A change that is tried again when a controller was quicker, as every client does."""
    for _ in range(10):
        try:
            return change()
        except client.ApiException as error:
            if error.status != 409:
                raise
    raise AssertionError("ten conflicts in a row")


def label(one: Object) -> str:
    return f"{one['apiVersion']}/{one['kind']}"


class Story:
    """One object of one kind, from its creation to its end."""

    def __init__(self, api: client.ApiClient, row: Object, space: str) -> None:
        one = filled(row, {"NAMESPACE": space, "REQUEST": signing_request()})
        self.change: Object = one.pop("change", {"metadata": {"annotations": {"changed": "yes"}}})
        name = one.pop("name", f"{space}-{one['kind'].lower()}")
        self.calls = Calls(api, one, name, space)
        self.api, self.body = api, {**one, "metadata": {"name": name, "labels": {"test": space}}}

    def plain(self, typed: Any) -> Any:
        return self.api.sanitize_for_serialization(typed)

    def made_and_found(self) -> None:
        calls, name = self.calls, self.calls.name
        assert calls.create(self.body, dry_run="All").metadata.name == name
        assert calls.create(self.body, field_validation="Strict").metadata.uid
        with pytest.raises(client.ApiException) as again:
            calls.create(self.body)
        assert (again.value.status, again.value.reason) == (409, "Conflict")
        assert [i.metadata.name for i in calls.list(field_selector=f"metadata.name={name}").items] == [name]
        assert name in [i.metadata.name for i in calls.list(label_selector=self.selector, limit=500).items]
        if calls.namespaced:
            assert name in [i.metadata.name for i in calls.list_everywhere(label_selector=self.selector).items]

    @property
    def selector(self) -> str:
        return f"test={self.body['metadata']['labels']['test']}"

    def watched(self) -> None:
        if self.body["kind"] in UNWATCHABLE:
            return
        events = watch.Watch().stream(self.calls.listing, label_selector=self.selector, timeout_seconds=60, **self.calls._where)
        first = next(events)
        assert (first["type"], type(first["object"])) == ("ADDED", type(self.calls.do("read")))
        events.close()

    def sent_back(self, sub: str = "") -> None:
        """What the client understood and writes is what there is: nothing changes but the label."""

        def replace() -> None:
            seen = self.calls.do("read")
            before = self.plain(seen)
            seen.metadata.labels["sent"] = f"back{sub}"
            after = self.plain(self.calls.do("replace", sub, body=seen, field_validation="Strict"))
            before["metadata"]["generation"] = before["metadata"].get("generation", 0) + (before["kind"] in LABELS_COUNT)
            after["metadata"].setdefault("generation", 0)
            for one in (before, after):
                one["metadata"] = {k: v for k, v in one["metadata"].items() if k in ("name", "uid", "generation", "creationTimestamp")}
            assert before == after

        insisting(replace)

    def patched(self) -> None:
        calls, kinds = self.calls, ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")
        steps = [{"op": "add", "path": "/metadata/labels/json", "value": "yes"}]
        assert calls.do("patch", body=steps, _content_type=kinds[0]).metadata.labels["json"] == "yes"
        assert calls.do("patch", body=self.change, _content_type=kinds[1]).metadata.name == calls.name
        if self.body["kind"] != "CustomResourceDefinition":
            labels = {"metadata": {"labels": {"strategic": "yes"}}}
            assert calls.do("patch", body=labels, _content_type=kinds[2]).metadata.labels["strategic"] == "yes"

    def applied(self) -> None:
        """Server-side apply of a label of its own, and then of nothing: the label goes."""
        part = {"apiVersion": self.body["apiVersion"], "kind": self.body["kind"], "metadata": {"name": self.calls.name}}
        labels = {**part, "metadata": {**part["metadata"], "labels": {"applied": "yes"}}}
        options: dict[str, Any] = {"_content_type": APPLY, "field_manager": "test", "force": True}
        assert self.calls.do("patch", body=labels, **options).metadata.labels["applied"] == "yes"
        assert "applied" not in self.calls.do("patch", body=part, **options).metadata.labels

    def statuses(self) -> None:
        if not self.calls.offers("read", "status") or self.body["kind"] == "CSINode":  # whose /status is younger than v1.36
            return
        assert self.calls.do("read", "status").metadata.name == self.calls.name
        self.sent_back("status")
        assert self.calls.do("patch", "status", body={"metadata": {"annotations": {"s": "t"}}}).metadata.name == self.calls.name

    def scaled(self) -> None:
        if not self.calls.offers("read", "scale"):
            return

        def replace() -> Any:
            scale = self.calls.do("read", "scale")
            scale.spec.replicas = 2
            return self.calls.do("replace", "scale", body=scale)

        assert insisting(replace).spec.replicas == 2
        assert not self.calls.do("patch", "scale", body={"spec": {"replicas": 0}}).spec.replicas  # a zero is left out
        assert self.calls.do("read").spec.replicas == 0

    def ended(self) -> None:
        self.calls.do("delete", propagation_policy="Background", grace_period_seconds=0)
        gone = self.calls.list(field_selector=f"metadata.name={self.calls.name}").items
        assert all(i.metadata.deletion_timestamp for i in gone)
        if self.calls.offers("delete_collection"):
            assert self.calls.delete_all(label_selector="all=go", grace_period_seconds=0) is not None


@pytest.mark.parametrize("row", OBJECTS, ids=label)
def test_a_kind(api: client.ApiClient, space: str, row: Object) -> None:
    story = Story(api, row, space)
    story.made_and_found()
    story.watched()
    story.sent_back()
    story.patched()
    story.applied()
    story.statuses()
    story.scaled()
    story.ended()


def test_which_methods_those_were(api: client.ApiClient) -> None:
    """All of the classes there were, but for those that are tested in test_subresources, and what is younger than v1.36."""
    left = {m for c in {c for c, _ in Calls.called} for m in methods(getattr(client, c)) if (c, m) not in Calls.called}
    assert {m for m in left if not ELSEWHERE.search(m)} == set()


def test_every_group(api: client.ApiClient) -> None:
    """Each class tells its group; each version that is served tells its resources, and the others are not found."""
    served = set()
    for name in (n for n in dir(client) if n.endswith("Api")):
        found = getattr(client, name)(api)
        if name != "CustomObjectsApi" and hasattr(found, "get_api_resources"):
            with suppress(client.exceptions.NotFoundException):
                assert found.get_api_resources().resources
                served.add(name)
        elif hasattr(found, "get_api_group") and name not in ("LifecycleApi", "StoragemigrationApi", "InternalApiserverApi"):
            assert found.get_api_group().preferred_version.version
    assert {api_name(one["apiVersion"]) for one in OBJECTS} | {"AuthenticationV1Api", "AuthorizationV1Api"} == served
    assert {g.name for g in client.ApisApi(api).get_api_versions().groups} >= {"apps", "batch"}
    assert client.CoreApi(api).get_api_versions().versions == ["v1"]
    assert client.VersionApi(api).get_code().minor == "36"
