from typing import Any

import orjson
import pytest

from kapi.objects.errors import BadRequest
from kapi.schema import builtin, decode

POD: dict[str, Any] = {"schema": builtin.schema("io.k8s.api.core.v1.Pod"), "api_version": "v1", "kind": "Pod"}
MAP: dict[str, Any] = {"schema": builtin.schema("io.k8s.api.core.v1.ConfigMap"), "api_version": "v1", "kind": "ConfigMap"}
SERVICE: dict[str, Any] = {"schema": builtin.schema("io.k8s.api.core.v1.Service"), "api_version": "v1", "kind": "Service"}
ROLE: dict[str, Any] = {"schema": builtin.schema("io.k8s.api.rbac.v1.Role"), "api_version": "rbac.authorization.k8s.io/v1", "kind": "Role"}

NO_KIND = "couldn't get version/kind; json parse error"


def body(what: dict[str, Any], **fields: Any) -> bytes:
    return orjson.dumps({"apiVersion": what["api_version"], "kind": what["kind"], "metadata": {"name": "a"}} | fields)


def decoded(kind: dict[str, Any], validation: str = "Strict", **fields: Any) -> dict[str, Any]:
    return decode.decode(body(kind, **fields), "json", **kind, validation=validation)[0]


def refusal(kind: dict[str, Any], raw: bytes, form: str = "json", validation: str = "Strict") -> str:
    with pytest.raises(BadRequest) as found:
        decode.decode(raw, form, **kind, validation=validation)
    return found.value.message


def test_what_stock_always_writes_is_filled_in() -> None:
    pod = decoded(POD, spec={"containers": [{"name": "c"}], "volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "p"}]}}]})
    assert pod["status"] == {}
    assert pod["spec"]["containers"] == [{"name": "c", "resources": {}}]
    assert decoded(ROLE)["rules"] is None
    assert decoded(ROLE, rules=[{}])["rules"] == [{"verbs": None}]


def test_zero_values_are_left_out_unless_a_pointer_holds_them() -> None:
    spec: dict[str, Any] = {"containers": None, "hostNetwork": False, "priority": 0, "hostname": "", "tolerations": [], "nodeSelector": {}}
    spec["enableServiceLinks"] = False
    assert decoded(POD, spec=spec)["spec"] == {"containers": None, "priority": 0, "enableServiceLinks": False}


def test_nulls() -> None:
    meta = {"name": "a", "creationTimestamp": None, "labels": {"x": None}}
    pod = decoded(POD, metadata=meta, spec={"containers": [None], "affinity": None})
    assert pod["metadata"] == {"name": "a", "labels": {"x": ""}}
    assert pod["spec"] == {"containers": [{"name": "", "resources": {}}]}


def test_scalars_take_their_canonical_form() -> None:
    resources = {"limits": {"cpu": "1000m", "memory": 1024}, "requests": {"cpu": 0.5}}
    container = {"name": "c", "resources": resources, "livenessProbe": {"httpGet": {"port": "http"}}}
    out = decoded(POD, spec={"containers": [container]})["spec"]["containers"][0]
    assert out["resources"] == {"limits": {"cpu": "1", "memory": "1024"}, "requests": {"cpu": "500m"}}
    assert out["livenessProbe"]["httpGet"]["port"] == "http"
    assert decoded(SERVICE, spec={"ports": [{"port": 80}]})["spec"]["ports"][0]["targetPort"] == 0
    meta = {"name": "a", "creationTimestamp": "2026-01-01T02:00:00.5+02:00"}
    assert decoded(MAP, metadata=meta)["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("fields", "value", "where"),
    [
        ({"data": "x"}, "string", "ConfigMap.data of type map[string]string"),
        ({"data": {"a": 1}}, "number", "ConfigMap.data of type string"),
        ({"immutable": 7, "data": [1]}, "number", "ConfigMap.immutable of type bool"),
        ({"metadata": {"finalizers": {}}}, "object", "ObjectMeta.metadata.finalizers of type []string"),
        ({"metadata": {"generation": 1.5}}, "number 1.5", "ObjectMeta.metadata.generation of type int64"),
        ({"metadata": 5, "extra": 1}, "number", "ConfigMap.metadata of type v1.ObjectMeta"),
    ],
)
def test_type_errors(fields: dict[str, Any], value: str, where: str) -> None:
    head = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal'
    assert refusal(MAP, body(MAP, **fields)) == f"{head} {value} into Go struct field {where}"


def test_paths_show_embedded_structs_and_number_literals() -> None:
    raw = b'{"apiVersion":"v1","kind":"Pod","spec":{"volumes":[{"name":"v","emptyDir":7}]}}'
    assert refusal(POD, raw).endswith("Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource")
    raw = b'{"apiVersion":"v1","kind":"Pod","spec":{"priority":1e0}}'
    assert refusal(POD, raw).endswith("number 1e0 into Go struct field PodSpec.spec.priority of type int32")
    raw = b'{"apiVersion":"v1","kind":"Pod","spec":{"priority":12345678901234567890123}}'
    assert refusal(POD, raw).endswith("number 12345678901234567890123 into Go struct field PodSpec.spec.priority of type int32")


def test_types_that_read_themselves_win_over_earlier_errors() -> None:
    raw = body(POD, spec={"hostname": 7, "overhead": {"cpu": "x y"}})
    assert "quantities must match" in refusal(POD, raw)


def test_unknown_and_repeated_fields() -> None:
    raw = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","name":"b"},"Data":{},"data":{"k":"1","k":"2"}}'
    texts = ['duplicate field "metadata.name"', 'unknown field "Data"', 'duplicate field "data.k"']
    assert refusal(MAP, raw).endswith("strict decoding error: " + ", ".join(texts))
    obj, warnings = decode.decode(raw, "json", **MAP, validation="Warn")
    assert (obj["metadata"]["name"], obj["data"], warnings) == ("b", {"k": "2"}, texts)
    assert decode.decode(raw, "json", **MAP, validation="Ignore")[1] == []
    raw = body(POD, spec={"containers": [{"name": "c", "ports": [{"containerPort": 1, "x": 1}]}]})
    assert refusal(POD, raw).endswith('unknown field "spec.containers[0].ports[0].x"')


@pytest.mark.parametrize("data", [b'{"a":"\\":"}', b'{"a" : "\\u0022:"}'])
def test_text_that_only_looks_repeated(data: bytes) -> None:
    raw = b'{"kind":"ConfigMap","apiVersion":"v1","data":%s}' % data
    assert decode.decode(raw, "json", **MAP, validation="Strict")[0]["data"] == {"a": '":'}


def test_kinds_that_do_not_fit() -> None:
    head = 'Secret in version "v1" cannot be handled as a ConfigMap: '
    assert refusal(MAP, body(MAP, kind="Secret")) == head + "converting (v1.Secret) to (core.ConfigMap): unknown conversion"
    text = 'no kind "ConfigMap" is registered for version "apps/v9" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    assert refusal(MAP, body(MAP, apiVersion="apps/v9")).endswith(text)
    schema = builtin.schema("io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler")
    kind: dict[str, Any] = {"schema": schema, "api_version": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    text = "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    assert refusal(kind, body(kind, apiVersion="autoscaling/v1")) == text
    assert decode.decode(b"{}", "json", **MAP)[0] == {"metadata": {}, "kind": "ConfigMap", "apiVersion": "v1"}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", NO_KIND + ": unexpected end of JSON input (<empty>)"),
        (b"{]", NO_KIND + ": invalid character ']' looking for beginning of object key string ({])"),
        (b'{"kind":7}', NO_KIND + ': json: cannot unmarshal number into Go struct field .kind of type string ({"kind":7})'),
        (b'{"apiVersion":"a/b/c"}', 'unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})'),
    ],
)
def test_bodies_nobody_recognizes(raw: bytes, why: str) -> None:
    assert refusal(MAP, raw) == f"the object provided is unrecognized (must be of type ConfigMap): {why}"


def test_yaml() -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, name: b}\ndata: {date: '1', x: 2026-01-01}\n---\nnext: 1\n"
    obj, warnings = decode.decode(text, "yaml", **MAP)
    assert (obj["metadata"]["name"], obj["data"]) == ("b", {"date": "1", "x": "2026-01-01"})
    assert warnings == ['yaml: unmarshal errors:\n  line 3: key "name" already set in map']
    assert "yaml: line 1: " in refusal(MAP, b"a: [", "yaml")


def test_applied_objects_stay_as_written() -> None:
    raw = b"apiVersion: v1\nkind: ConfigMap\ndata: {a: null}\n"
    assert decode.decode_applied(raw, "v1") == ({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": None}}, [])
    with pytest.raises(BadRequest, match="Specified patch version: v1, expected: v2"):
        decode.decode_applied(raw, "v2")
    twice = b'{"apiVersion":"v1","a":1,\n"a":2}'
    warning = 'error converting YAML to JSON: yaml: unmarshal errors:\n  line 2: key "a" already set in map'
    assert decode.decode_applied(twice, "v1")[1] == [warning]
    with pytest.raises(BadRequest, match="error strict decoding YAML"):
        decode.decode_applied(twice, "v1", validation="Strict")
    with pytest.raises(BadRequest, match="error decoding YAML: error converting YAML to JSON: yaml: line 1"):
        decode.decode_applied(b"a: [", "v1")
    with pytest.raises(BadRequest, match="cannot unmarshal array into Go value"):
        decode.decode_applied(b"[]", "v1")


def test_parsing_alone() -> None:
    assert decode.parse(b'{"a":1.5}', "json") == {"a": 1.5}
    assert decode.parse(b"a: {1: yes}", "yaml") == {"a": {"1": True}}
    assert decode.parse(b"a: [y, N, 'y', yo]", "yaml") == {"a": [True, False, "y", "yo"]}
    for raw, form, text in ((b"[]", "json", "array"), (b"{", "json", "unexpected end"), (b"a: [", "yaml", "error converting YAML")):
        with pytest.raises(BadRequest, match=text):
            decode.parse(raw, form)


def test_both_ways_agree() -> None:
    spec = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}], "terminationGracePeriodSeconds": 0}
    value = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "labels": {"a": "b"}}, "spec": spec}
    from_bytes = decode.decode(orjson.dumps(value), "json", **POD)[0]
    careful = decode.read({**value, "unknown": 1}, builtin.schema("io.k8s.api.core.v1.Pod"))
    assert careful == (from_bytes, ['unknown field "unknown"'])
    assert list(careful[0]) == list(from_bytes)


def test_half_a_surrogate_pair_is_no_character() -> None:
    raw = rb'{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"\ud800x","b":"\ud83d\ude00","c":"\\ud800","d":"\udc00"}}'
    data = decode.decode(raw, "json", **MAP)[0]["data"]
    assert data == {"a": "\ufffdx", "b": "\U0001f600", "c": "\\ud800", "d": "\ufffd"}
    broken = b'{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"\xff"}}'
    assert decode.decode(broken, "json", **MAP)[0]["data"] == {"a": "\ufffd"}


def test_aliases_may_not_blow_up() -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{new}: &{new} [{', '.join(['*' + old] * 10)}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)]
    assert "yaml: document contains excessive aliasing" in refusal(MAP, "\n".join(lines).encode(), "yaml")
    assert decode.parse(b"a: &x {k: v}\nb: *x\nc: {<<: *x, l: w}", "yaml") == {"a": {"k": "v"}, "b": {"k": "v"}, "c": {"k": "v", "l": "w"}}


def test_the_zero_time_is_as_good_as_none() -> None:
    """Of a body in canonical form, which is read by the compiled way otherwise."""
    meta = {"name": "a", "creationTimestamp": "0001-01-01T00:00:00Z"}
    assert decoded(MAP, metadata=meta)["metadata"] == {"name": "a"}
