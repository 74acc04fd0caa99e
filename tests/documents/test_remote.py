"""Documents of other API servers: read into the form ours have, refused when they are none."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapi import limits
from kapi.documents import remote
from kapi.documents.remote import Junk
from tests import extension
from tests.extension import GROUP


def raw(obj: Any) -> bytes:
    return orjson.dumps(obj)


@pytest.mark.parametrize(
    ("media", "whether"),
    [
        (extension.AGGREGATED, True), (extension.AGGREGATED.replace("v2", "v2beta1"), True), ("application/json", False),
        (extension.AGGREGATED.replace("v2", "v3"), False), ("application/json; v=v2 ;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList", True),
    ],
)  # fmt: skip
def test_which_form_an_answer_has(media: str, whether: bool) -> None:
    assert remote.is_aggregated(media) is whether


def test_aggregated_discovery() -> None:
    found = remote.aggregated(raw(extension.DISCOVERY))
    assert orjson.loads(found[GROUP, "v1"]) == extension._resources()


def test_a_resource_without_a_kind_has_an_empty_one() -> None:
    version = {"version": "v1", "resources": [{"resource": "a", "scope": "Cluster", "verbs": ["get"], "more": 1}], "x": 2}
    found = remote.aggregated(raw({"items": [{"metadata": {"name": "g"}, "versions": [version]}]}))
    empty = {"group": "", "version": "", "kind": ""}
    assert orjson.loads(found["g", "v1"]) == [
        {"resource": "a", "responseKind": empty, "scope": "Cluster", "singularResource": "", "verbs": ["get"]}
    ]


def test_a_subresource_without_its_resource() -> None:
    listed = [{"name": "a/scale", "namespaced": True, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]}]
    (found,) = orjson.loads(remote.legacy(raw({"resources": listed})))
    assert (found["resource"], found["scope"], found["verbs"]) == ("a", "Namespaced", [])
    kind = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert found["subresources"] == [{"subresource": "scale", "responseKind": kind, "verbs": ["get"]}]


def test_the_order_of_a_resource_and_its_subresource_is_nothing() -> None:
    listed = extension.LEGACY["resources"]
    assert isinstance(listed, list)
    (one,), (other,) = (orjson.loads(remote.legacy(raw({"resources": order}))) for order in (listed, listed[::-1]))
    assert one == other


def test_the_index_of_openapi() -> None:
    paths = {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=1"} for name in (f"apis/{GROUP}/v1", f"apis/{GROUP}/v2", "version")}
    assert remote.index(raw({"paths": paths}), GROUP, "v1") == ((f"apis/{GROUP}/v1", f"/openapi/v3/apis/{GROUP}/v1?hash=1"),)
    paths[f"apis/{GROUP}/v1"]["serverRelativeURL"] = "x" * 2000
    assert remote.index(raw({"paths": paths}), GROUP, "v1") == ()


def test_openapi_of_a_group_version() -> None:
    paths, definitions, digest = remote.openapi2(raw(extension.OPENAPI2), GROUP, "v1")
    assert paths.keys() == {extension.PATH}
    assert definitions.keys() == {extension.TYPE, extension.META}
    assert orjson.loads(paths[extension.PATH])["parameters"] == [{"name": "name", "in": "path", "required": True, "type": "string"}]
    assert digest == remote.openapi2(raw(extension.OPENAPI2), GROUP, "v1")[2]
    assert remote.openapi2(raw(extension.OPENAPI2), GROUP, "v2")[:2] == ({}, {})


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"7", b"[]", b"{", b"nul", b'{"items":7}', b'{"items":[7]}', b'{"items":[{"metadata":[]}]}',
        b'{"items":[{"versions":[{"version":1}]}]}', b'{"items":[{"versions":[{"resources":[{"verbs":[1]}]}]}]}',
        b"[" * 2000, b'{"items":[' + b"{}," * limits.AGGREGATED_VALUES + b"{}]}",
    ],
)  # fmt: skip
def test_junk(bad: bytes) -> None:
    with pytest.raises(Junk):
        remote.aggregated(bad)


@pytest.mark.parametrize("item", [{"get": {"parameters": [7]}}, {"get": {"responses": {"200": {"schema": [7]}}}}, {"get": 7}, 7, [7]])
def test_openapi_that_is_none(item: Any) -> None:
    with pytest.raises(Junk):
        remote.openapi2(raw({"paths": {f"/apis/{GROUP}/v1/x": item}}), GROUP, "v1")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["items", "metadata", "name", "versions", "version", "resources", "verbs", "paths", "get", "$ref", "definitions"]),
        inner, max_size=3,
    ),
)  # fmt: skip


@given(VALUES)
def test_whatever_is_sent_is_read_or_junk(value: Any) -> None:
    for read in (remote.aggregated, remote.legacy, lambda sent: remote.index(sent, "g", "v"), lambda sent: remote.openapi2(sent, "g", "v")):
        with suppress(Junk):
            read(raw(value))
