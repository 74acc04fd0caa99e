"""ConversionReview on the wire: what a conversion webhook is asked, and which of its answers are taken.

Of an object's metadata only labels and annotations may be changed by a conversion: the rest is put back, and where name, namespace or uid
differ the answer is refused. Source: apiextensions-apiserver's webhook converter (v1.36), also for the texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kapi import limits
from kapi.objects import nested
from kapi.objects.errors import Cause, StatusError
from kapi.objects.meta import Object
from kapi.objects.patch import go_kind
from kapi.objects.quoting import go_quote
from kapi.objects.resource import Resource, split_api_version
from kapi.registry import metadata, reviews
from kapi.registry.reviews import InvalidResponse

GROUP = "apiextensions.k8s.io"
VERSIONS = ("v1", "v1beta1")
_GO_TYPES = {"object": "map[string]interface {}", "array": "[]interface {}", "number": "float64", "null": "<nil>"}
_UNCHANGED = (("name", "name"), ("namespace", "namespace"), ("uid", "UID"))
_RESPONSE: dict[str, tuple[type, str]] = {
    "uid": (str, "types.UID"), "convertedObjects": (list, "[]runtime.RawExtension"), "result": (dict, "v1.Status"),
}  # fmt: skip
_RESULT: dict[str, tuple[type, str]] = {"status": (str, "string"), "message": (str, "string")}


class ConversionFailed(StatusError):
    """The error of a request whose objects cannot be converted: a 500 without a reason, as stock has it."""

    reason = ""


def named(resource: Resource) -> str:
    """'example.com/v1, Kind=Thing'."""
    return f"{resource.api_version}, Kind={resource.kind}"


def encode(version: str, uid: str, objects: Sequence[bytes], target: Resource) -> bytes:
    """A review that asks for these objects (JSON) in the version of `target`."""
    head = orjson.dumps({"kind": "ConversionReview", "apiVersion": f"{GROUP}/{version}", "request": {
        "uid": uid, "desiredAPIVersion": target.api_version,
    }})[:-2]  # fmt: skip
    tail = b'"response":{"uid":"","convertedObjects":null,"result":{"metadata":{}}}'
    return b'%s,"objects":[%s]},%s}' % (head, b",".join(objects), tail)


def converted(
    answer: tuple[int, Mapping[str, str], bytes], version: str, uid: str, objects: Sequence[bytes], source: Resource, target: Resource
) -> list[Object]:
    """The objects of an HTTP answer to a review. Raises ConversionFailed."""
    what = f"conversion webhook for {named(source)}"
    try:
        found = _objects(reviews.decode(*answer), version, uid)
    except InvalidResponse as why:
        raise ConversionFailed(f"{what} failed: {why}") from None
    if len(found) != len(objects):
        raise ConversionFailed(f"{what} returned {len(found)} objects, expected {len(objects)}")
    for i, (raw, obj) in enumerate(zip(objects, found, strict=True)):
        at = ("converted ", f" at index {i}", f" in object at index {i}") if len(found) > 1 else ("", "", "")
        _check(what, at, nested.loads(raw), obj, source, target)
    return found


def _objects(review: Object, version: str, uid: str) -> list[Any]:
    """The objects of a review that says it succeeded."""
    group, got = split_api_version(review.get("apiVersion") or "")
    if version == "v1" and (group, got, review["kind"]) != (GROUP, "v1", "ConversionReview"):
        shown = f"{group}/{got}, Kind={review['kind']}"
        raise InvalidResponse(f"expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {shown}")
    response = review.get("response")
    if response is None:
        raise InvalidResponse("no response provided")
    result = _checked(response, _RESPONSE, "ConversionReview.response", "ConversionResponse.response").get("result") or {}
    _checked(result, _RESULT, "ConversionResponse.response.result", "Status.response.result")
    if version == "v1" and (response.get("uid") or "") != uid:
        raise InvalidResponse(f"expected response.uid={go_quote(uid)}, got {go_quote(response.get('uid') or '')}")
    if (status := result.get("status") or "") != "Success":
        text = result.get("message") or f"response.result.status was '{status}', not 'Success'"
        raise InvalidResponse(text[: limits.PEER_TEXT_BYTES])
    return response.get("convertedObjects") or []


def _checked(value: Any, fields: Mapping[str, tuple[type, str]], where: str, inside: str) -> Object:
    """The value, an object whose fields have the right types."""
    if not isinstance(value, dict):
        raise InvalidResponse(f"json: cannot unmarshal {go_kind(value)} into Go struct field {where} of type {inside.partition('.')[0]}")
    for name, (kind, go) in fields.items():
        if value.get(name) is not None and not isinstance(value[name], kind):
            raise InvalidResponse(f"json: cannot unmarshal {go_kind(value[name])} into Go struct field {inside}.{name} of type {go}")
    return value


# one object -----------------------------------------------------------------------------------------------------------------------------


def _check(what: str, at: tuple[str, str, str], original: Object, obj: Any, source: Resource, target: Resource) -> None:
    """Check a converted object, and put back its metadata; `at` tells which of several it is. Raises ConversionFailed."""
    sort, index, inside = at
    invalid = f"{what} returned invalid {sort}object{index}: "
    if not isinstance(obj, dict) or not obj.get("kind"):
        raise ConversionFailed(f"{invalid}Object 'Kind' is missing in '{orjson.dumps(obj).decode()[: limits.PEER_TEXT_BYTES]}'")
    where = invalid if index else f"{what} returned invalid object at index 0: "
    if obj.get("apiVersion") != target.api_version:
        raise ConversionFailed(f"{where}invalid groupVersion (expected {target.api_version}, received {obj.get('apiVersion') or ''})")
    if obj["kind"] != source.kind:
        raise ConversionFailed(f"{where}invalid kind (expected {source.kind}, received {obj['kind']})")
    meta = obj["metadata"] if isinstance(obj.get("metadata"), dict) else {}
    for field, name in _UNCHANGED:
        before, after = original["metadata"].get(field) or "", meta.get(field) or ""
        if before != after:
            raise ConversionFailed(f"{invalid}must have the same {name}: {before} != {after}")
    try:
        obj["metadata"] = _restored(original["metadata"], obj)
    except InvalidResponse as why:
        raise ConversionFailed(f"{what} returned invalid metadata{inside}: {why}") from None


def _restored(original: Object, obj: Object) -> Object:
    """The metadata of a converted object: that of the original, with its own labels and annotations."""
    if "metadata" not in obj:
        raise InvalidResponse("missing metadata in converted object")
    meta, out = obj["metadata"], dict(original)
    if not isinstance(meta, dict):
        raise InvalidResponse(f"invalid metadata of type {_go_type(meta)} in converted object")
    for field, check in ("labels", metadata.label_causes), ("annotations", metadata.annotation_causes):
        given = meta.get(field)
        if given is None:
            out.pop(field, None)
            continue
        if not isinstance(given, dict):
            raise InvalidResponse(f"invalid metadata.{field} of type {_go_type(given)} in converted object")
        for key, value in given.items():
            if not isinstance(value, str):
                raise InvalidResponse(f"metadata.{field}[{key}] must be a string, but is {_go_type(value)} in converted object")
        if given != original.get(field) and (wrong := check(given, f"metadata.{field.replace('annotations', 'annotation')}")):
            raise InvalidResponse(_aggregate(wrong))
        out[field] = given
    return out


def _go_type(value: Any) -> str:
    kind = go_kind(value)
    return "int64" if isinstance(value, int) and kind == "number" else _GO_TYPES.get(kind, kind)


def _aggregate(wrong: Sequence[Cause]) -> str:
    """Several errors as Go's aggregate prints them."""
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in wrong))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
