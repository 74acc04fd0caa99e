"""AdmissionReview on the wire: encodes requests to webhooks, decodes and verifies their responses.

`VersionedAttributes` converts the objects to the version the webhook matches, and to a Scale for /scale. Source: admission.k8s.io/v1.
"""

import base64
import binascii
import uuid
from collections.abc import Mapping
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
from kapi.registry import conversion, reviews, scale
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import GroupVersionKind, subresource_kind
from kapi.registry.conversion_review import ConversionFailed
from kapi.registry.kind import Kind
from kapi.registry.reviews import InvalidResponse
from kapi.schema import builtin, decode

VERSIONS = ("v1", "v1beta1")
JSON_PATCH = "JSONPatch"
GROUP = "admission.k8s.io"


def group_version_kind(kind: Kind, subresource: str) -> GroupVersionKind:
    """The kind of the request's object: the resource's, or the subresource's (Scale, Eviction …)."""
    group, version, name = subresource_kind(kind, subresource)
    return (group, version, name) if version else (kind.resource.group, kind.resource.version, name)


class VersionedAttributes:
    """Converts the objects of a request to another served version, and patched ones back.

    Where a webhook converts, that takes two more steps: `of` asks it for what is there, `settle` for what was replaced.
    """

    def __init__(self, attrs: AdmissionAttributes, kind: Kind) -> None:
        self.attrs, self.kind = attrs, kind
        self.gvk = group_version_kind(kind, attrs.subresource)
        self.scaled = attrs.subresource == "scale"
        self._converts = kind is not attrs.kind and kind.strategy.converter is not None and not self.scaled
        self._converted: dict[int, Object] = {}
        """What a webhook made of the new and the old object, by their ids."""
        self._replaced = False

    @classmethod
    async def of(cls, attrs: AdmissionAttributes, kind: Kind) -> "VersionedAttributes":
        """Raises InternalError."""
        out = cls(attrs, kind)
        await out.prepare()
        return out

    async def prepare(self) -> None:
        """Have the objects converted as they are now. Raises InternalError."""
        given = [obj for obj in (self.attrs.new, self.attrs.old) if obj is not None] if self._converts else []
        self._converted = {id(obj): await self._to(self.kind, self.attrs.kind, obj) for obj in given}

    async def settle(self) -> None:
        """Have a patched object converted back, if it was replaced. Raises InternalError."""
        if self._converts and self._replaced:
            self._replaced = False
            assert self.attrs.new is not None
            self._set(await self._to(self.attrs.kind, self.kind, self._converted[id(self.attrs.new)]))

    async def _to(self, target: Kind, source: Kind, obj: Object) -> Object:
        try:
            return await conversion.to(target, source, obj, self.attrs)
        except ConversionFailed as why:
            raise errors.internal(why.message) from None

    def _set(self, obj: Object) -> None:
        """Make this the request's new object."""
        assert self.attrs.new is not None
        if obj.get("metadata") is None:
            obj["metadata"] = {}
        self.attrs.new.clear()
        self.attrs.new.update(obj)

    def convert(self, obj: Object | None) -> Object | None:
        """The object in the webhook's version, with kind and apiVersion."""
        if obj is None:
            return None
        if self.scaled:
            return scale.of(obj, self.attrs.kind.strategy.scale)
        if self._converts:
            obj = self._converted[id(obj)]
        elif self.kind is not self.attrs.kind:
            stored = self.attrs.kind.strategy.to_storage(obj, self.attrs.kind.resource.api_version)
            obj = self.kind.strategy.from_storage(stored, self.kind.resource.api_version)
        return {**obj, **self._header()}

    def _header(self) -> Object:
        group, version, name = self.gvk
        return {"kind": name, "apiVersion": f"{group}/{version}" if group else version}

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
        if self._converts:
            self._converted[id(current)], self._replaced = {"metadata": {}, **obj, **self._header()}, True
            return
        if self.scaled:
            obj = scale.put(current, obj, attrs.kind.strategy.scale)
        elif self.kind is not attrs.kind:
            stored = self.kind.strategy.to_storage(obj, self.kind.resource.api_version)
            own = attrs.kind.resource
            obj = {**attrs.kind.strategy.from_storage(stored, own.api_version), "kind": own.kind, "apiVersion": own.api_version}
        self._set(obj)

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

@dataclass(frozen=True, slots=True)
class AdmissionResponse:
    """The verified response of a webhook. `patch` is the decoded JSON patch, b'' for none."""

    allowed: bool
    status: Object | None = None
    patch: bytes = b""
    patch_type: str = ""
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


def decode_review(status: int, headers: Mapping[str, str], raw: bytes) -> Object:
    """The AdmissionReview of an HTTP response. Raises InvalidResponse with client-go's texts."""
    review = reviews.decode(status, headers, raw)
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

