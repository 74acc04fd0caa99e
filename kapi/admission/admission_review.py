"""AdmissionReview on the wire: encodes requests to webhooks, decodes and verifies their responses.

`VersionedAttributes` converts the objects to the version the webhook matches, and to a Scale for /scale. Source: admission.k8s.io/v1.
"""

import base64
import binascii
import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson

from kapi import limits
from kapi.admission.matching import name_of, namespace_of
from kapi.objects import causes, errors
from kapi.objects.meta import Object
from kapi.objects.patch import go_kind
from kapi.objects.quoting import go_quote
from kapi.objects.resource import Resource, split_api_version
from kapi.registry import scale
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import GroupVersionKind, subresource_kind
from kapi.registry.kind import Kind
from kapi.schema import builtin, decode, syntax

VERSIONS = ("v1", "v1beta1")
JSON_PATCH = "JSONPatch"
_SYNTAX_ERROR_BYTES = 4096
"""Bytes of invalid JSON that are searched for the syntax error, at a microsecond each."""
GROUP = "admission.k8s.io"


class InvalidResponse(Exception):
    """The response is not a valid AdmissionReview; the text says why."""


def group_version_kind(kind: Kind, subresource: str) -> GroupVersionKind:
    """The kind of the request's object: the resource's, or the subresource's (Scale, Eviction …)."""
    group, version, name = subresource_kind(kind, subresource)
    return (group, version, name) if version else (kind.resource.group, kind.resource.version, name)


class VersionedAttributes:
    """Converts the objects of a request to another served version, and patched ones back."""

    def __init__(self, attrs: AdmissionAttributes, kind: Kind) -> None:
        self.attrs, self.kind = attrs, kind
        self.gvk = group_version_kind(kind, attrs.subresource)
        self.scaled = attrs.subresource == "scale"

    def convert(self, obj: Object | None) -> Object | None:
        """The object in the webhook's version, with kind and apiVersion."""
        if obj is None:
            return None
        if self.scaled:
            return scale.of(obj)
        group, version, name = self.gvk
        if self.kind is not self.attrs.kind:
            stored = self.attrs.kind.strategy.to_storage(obj, self.attrs.kind.resource.api_version)
            obj = self.kind.strategy.from_storage(stored, self.kind.resource.api_version)
        return {**obj, "kind": name, "apiVersion": f"{group}/{version}" if group else version}

    def replace(self, patched: Any) -> None:
        """Replace the request's new object by a patched one. Raises DecodeError, and StatusError for an object of another kind."""
        attrs, current = self.attrs, self.attrs.new
        assert current is not None
        if isinstance(patched, dict):
            self._check_kind(patched)
        plain = not attrs.subresource or self.gvk == group_version_kind(self.kind, "")
        obj: Object = decode.read(patched, self.kind.schema if plain else builtin.schema(builtin.named(*self.gvk)))[0]
        if plain:
            self.kind.strategy.default(obj)
        if self.scaled:
            obj = scale.put(current, obj)
        elif self.kind is not attrs.kind:
            stored = self.kind.strategy.to_storage(obj, self.kind.resource.api_version)
            own = attrs.kind.resource
            obj = {**attrs.kind.strategy.from_storage(stored, own.api_version), "kind": own.kind, "apiVersion": own.api_version}
        if obj.get("metadata") is None:
            obj["metadata"] = {}
        current.clear()
        current.update(obj)


    def _check_kind(self, patched: Object) -> None:
        """Raises StatusError when the patch changed kind or apiVersion."""
        group, version, kind = self.gvk
        api_version = f"{group}/{version}" if group else version
        patched_kind = (patched.get("apiVersion") or api_version, patched.get("kind") or kind)
        if patched_kind == (api_version, kind):
            return
        if self.kind.custom:
            pairs = zip(("kind", "apiVersion"), patched_kind[::-1], (kind, api_version), strict=True)
            wrong = [causes.invalid(field, value, f"must be {own}") for field, value, own in pairs if value != own]
            raise errors.invalid(kind, group, name_of(self.attrs), wrong)
        if builtin.named(*split_api_version(patched_kind[0]), patched_kind[1]) == "":
            where = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'
            raise errors.internal(f"no kind {go_quote(patched_kind[1])} is registered for version {go_quote(patched_kind[0])} {where}")
        package = "core" if group in ("", "events.k8s.io") else group.partition(".")[0]
        text = f"converting ({patched_kind[0].rpartition('/')[2]}.{patched_kind[1]}) to ({package}.{kind}): unknown conversion"
        raise errors.StatusError(text, reason="")


# the request ----------------------------------------------------------------------------------------------------------------------------


def encode_review(attrs: AdmissionAttributes, versioned: VersionedAttributes, version: str) -> tuple[str, bytes]:
    """(uid, body) of an AdmissionReview."""
    uid = str(uuid.uuid4())
    objects = {"object": versioned.convert(attrs.new), "oldObject": versioned.convert(attrs.old)}
    request = {"uid": uid, **admission_request(attrs, versioned), **objects}
    return uid, orjson.dumps({"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request})


def admission_request(attrs: AdmissionAttributes, versioned: VersionedAttributes) -> Object:
    """An AdmissionRequest without its uid and the objects."""
    out: Object = {"kind": _kind(versioned.gvk), "resource": _resource(versioned.kind.resource)}
    if attrs.subresource:
        out["subResource"] = attrs.subresource
    out["requestKind"] = _kind(group_version_kind(attrs.kind, attrs.subresource))
    out["requestResource"] = _resource(attrs.kind.resource)
    if attrs.subresource:
        out["requestSubResource"] = attrs.subresource
    out |= {key: value for key, value in (("name", name_of(attrs)), ("namespace", namespace_of(attrs))) if value}
    user, options = attrs.user.info(), _options(attrs)
    return out | {"operation": attrs.operation, "userInfo": user, "dryRun": attrs.dry_run, "options": options}


def _kind(gvk: GroupVersionKind) -> Object:
    return dict(zip(("group", "version", "kind"), gvk, strict=True))


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def _options(attrs: AdmissionAttributes) -> Object | None:
    """The options of the request; a CONNECT has none."""
    kind = _OPTIONS.get(attrs.operation)
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **attrs.options} if kind else None


# the response ---------------------------------------------------------------------------------------------------------------------------

_STATUS_TEXTS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
"""client-go's texts for a status code without a Status body."""


@dataclass(frozen=True, slots=True)
class AdmissionResponse:
    """The verified response of a webhook. `patch` is the decoded JSON patch, b'' for none."""

    allowed: bool
    status: Object | None = None
    patch: bytes = b""
    patch_type: str = ""
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


def parse_json(raw: bytes) -> Any:
    """Parse JSON that a webhook sent. Raises InvalidResponse when it has too many values, JSONDecodeError."""
    if sum(map(raw.count, b"[{,")) > limits.WEBHOOK_ANSWER_VALUES:  # a quick look: values of 3 bytes take 64 once parsed
        raise InvalidResponse(f"JSON of more than {limits.WEBHOOK_ANSWER_VALUES} values")
    return orjson.loads(raw)


def _excerpt(raw: bytes) -> str:
    """The start of a response body, as much as a message may hold."""
    return raw[: limits.PEER_TEXT_BYTES].decode(errors="replace")


def decode_review(status: int, raw: bytes) -> Object:
    """The AdmissionReview of an HTTP response. Raises InvalidResponse with client-go's texts."""
    try:
        review = parse_json(raw)
    except orjson.JSONDecodeError:
        review = None
    if status >= 300 or status < 200:
        if isinstance(review, dict) and review.get("kind") == "Status" and review.get("message"):
            raise InvalidResponse(str(review["message"])[: limits.PEER_TEXT_BYTES])
        raise InvalidResponse(_status_text(status, _excerpt(raw).strip()))
    if not isinstance(review, dict):
        why = syntax.error(raw[:_SYNTAX_ERROR_BYTES]) if review is None else "json: cannot unmarshal into Go value of type struct"
        raise InvalidResponse(f"couldn't get version/kind; json parse error: {why}")
    for name in ("apiVersion", "kind"):
        if not isinstance(review.get(name), str | None):
            why = f"json: cannot unmarshal {go_kind(review[name])} into Go struct field .{name} of type string"
            raise InvalidResponse(f"couldn't get version/kind; json parse error: {why}")
    if not review.get("kind"):
        raise InvalidResponse(f"Object 'Kind' is missing in '{_excerpt(raw)}'")
    if isinstance(review.get("response"), dict):
        _check_types(review["response"])
    return review


_RESPONSE: dict[str, tuple[type, str]] = {
    "uid": (str, "types.UID"), "allowed": (bool, "bool"), "status": (dict, "v1.Status"), "patch": (str, "[]uint8"),
    "patchType": (str, "v1.PatchType"), "auditAnnotations": (dict, "map[string]string"), "warnings": (list, "[]string"),
}  # fmt: skip
_STATUS: dict[str, tuple[type, str]] = {"code": (int, "int32"), "message": (str, "string"), "reason": (str, "v1.StatusReason")}
"""Field -> (Python type, Go type)."""


def _check_types(response: Object) -> None:
    """Raises InvalidResponse with the text of Go's decoder."""
    status = response.get("status")
    inner: Object = status if isinstance(status, dict) else {}
    for obj, fields, where in (response, _RESPONSE, "AdmissionResponse.response"), (inner, _STATUS, "Status.response.status"):
        for name, (kind, go) in fields.items():
            value = obj.get(name)
            if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
                raise InvalidResponse(f"json: cannot unmarshal {go_kind(value)} into Go struct field {where}.{name} of type {go}")


def _status_text(status: int, text: str) -> str:
    if status == 403:
        return text
    if status in _STATUS_TEXTS:
        return _STATUS_TEXTS[status]
    if status >= 500:
        return f"an error on the server ({go_quote(text or 'unknown')}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more details"


def verify_response(review: Object, uid: str, version: str, *, mutating: bool) -> AdmissionResponse:
    """Check that a review answers the request `uid` in this version; decode its response. Raises InvalidResponse with stock's texts."""
    response = review.get("response")
    if not isinstance(response, dict):
        raise InvalidResponse("webhook response was absent")
    if version == "v1":
        _check(review, response, uid, mutating)
    try:
        patch = base64.b64decode(response.get("patch") or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as why:
        raise InvalidResponse(f"illegal base64 data: {why}") from None
    type_ = response.get("patchType") or (JSON_PATCH if patch and version != "v1" else "")
    return AdmissionResponse(
        response.get("allowed") is True, response.get("status"), patch, type_,
        [str(text) for text in response.get("warnings") or ()], dict(response.get("auditAnnotations") or {}),
    )  # fmt: skip


def _check(review: Object, response: Object, uid: str, mutating: bool) -> None:
    got_uid = response.get("uid") or ""
    if got_uid != uid:
        raise InvalidResponse(f"expected response.uid={go_quote(uid)}, got {go_quote(got_uid)}")
    group, version = split_api_version(review.get("apiVersion") or "")
    got = f"{group}/{version}, Kind={review['kind']}"
    if got != f"{GROUP}/v1, Kind=AdmissionReview":
        raise InvalidResponse(f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {got}")
    patch, type_ = response.get("patch"), response.get("patchType")
    wrong = ""
    if not mutating:
        wrong = "validating webhook may not return response.patch" if patch else ""
        wrong = wrong or ("validating webhook may not return response.patchType" if type_ is not None else "")
    elif patch and type_ is None:
        wrong = "webhook returned response.patch but not response.patchType"
    elif type_ is not None and not patch:
        wrong = "webhook returned response.patchType but not response.patch"
    elif type_ == "":
        wrong = 'webhook returned invalid response.patchType of ""'
    if wrong:
        raise InvalidResponse(wrong)


def rejection(webhook: str, status: Object | None) -> errors.StatusError:
    """The error for the client when a webhook denies a request: the webhook's Status, its message after stock's prefix."""
    status = status or {}
    head = f"admission webhook {go_quote(webhook)} denied the request"
    explanation = str(status.get("message") or status.get("reason") or "")[: limits.PEER_TEXT_BYTES]
    code = max(int(status.get("code") or 0), 400)
    return errors.StatusError(
        f"{head}: {explanation}" if explanation else f"{head} without explanation", status.get("details"),
        code=code if code < 600 else 500, reason=status.get("reason") or "",
    )  # fmt: skip

