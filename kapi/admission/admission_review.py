"""AdmissionReview on the wire: what a webhook is shown, and what its answer says.

`Subject` is the object as the webhook wants to see it: in the version it asked for, a Scale for /scale. Source: admission.k8s.io/v1.
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
from kapi.registry.admission import Review
from kapi.registry.catalogue import GroupVersionKind, subresource_kind
from kapi.registry.kind import Kind
from kapi.schema import builtin, decode, syntax

VERSIONS = ("v1", "v1beta1")
JSON_PATCH = "JSONPatch"
_LOOKED_AT = 4096
"""Bytes of what is no JSON that are searched for the fault: that takes a microsecond each."""
GROUP = "admission.k8s.io"


class BadAnswer(Exception):
    """The answer is none; the text says why."""


def spoken(kind: Kind, subresource: str) -> GroupVersionKind:
    """What a request's object is: the resource's kind, or what the subresource speaks."""
    group, version, name = subresource_kind(kind, subresource)
    return (group, version, name) if version else (kind.resource.group, kind.resource.version, name)


class Subject:
    """The objects of a review as `kind` shows them."""

    def __init__(self, review: Review, kind: Kind) -> None:
        self.review, self.kind = review, kind
        self.gvk = spoken(kind, review.subresource)
        self.scaled = review.subresource == "scale"

    def show(self, obj: Object | None) -> Object | None:
        """As the webhook sees it, with kind and apiVersion."""
        if obj is None:
            return None
        if self.scaled:
            return scale.of(obj)
        group, version, name = self.gvk
        if self.kind is not self.review.kind:
            stored = self.review.kind.strategy.to_storage(obj, self.review.kind.resource.api_version)
            obj = self.kind.strategy.from_storage(stored, self.kind.resource.api_version)
        return {**obj, "kind": name, "apiVersion": f"{group}/{version}" if group else version}

    def take(self, patched: Any) -> None:
        """Make a patched object the one that is reviewed. Raises DecodeError, and StatusError for one of another kind."""
        review, current = self.review, self.review.new
        assert current is not None
        if isinstance(patched, dict):
            self._check_kind(patched)
        plain = not review.subresource or self.gvk == spoken(self.kind, "")
        obj: Object = decode.read(patched, self.kind.schema if plain else builtin.schema(builtin.named(*self.gvk)))[0]
        if plain:
            self.kind.strategy.default(obj)
        if self.scaled:
            obj = scale.put(current, obj)
        elif self.kind is not review.kind:
            stored = self.kind.strategy.to_storage(obj, self.kind.resource.api_version)
            own = review.kind.resource
            obj = {**review.kind.strategy.from_storage(stored, own.api_version), "kind": own.kind, "apiVersion": own.api_version}
        if obj.get("metadata") is None:
            obj["metadata"] = {}
        current.clear()
        current.update(obj)


    def _check_kind(self, patched: Object) -> None:
        """Raises StatusError, in stock's words, when what was patched is now of another kind."""
        group, version, kind = self.gvk
        api_version = f"{group}/{version}" if group else version
        given = (patched.get("apiVersion") or api_version, patched.get("kind") or kind)
        if given == (api_version, kind):
            return
        if self.kind.custom:
            pairs = zip(("kind", "apiVersion"), given[::-1], (kind, api_version), strict=True)
            wrong = [causes.invalid(field, said, f"must be {own}") for field, said, own in pairs if said != own]
            raise errors.invalid(kind, group, name_of(self.review), wrong)
        if builtin.named(*split_api_version(given[0]), given[1]) == "":
            where = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'
            raise errors.internal(f"no kind {go_quote(given[1])} is registered for version {go_quote(given[0])} {where}")
        package = "core" if group in ("", "events.k8s.io") else group.partition(".")[0]
        text = f"converting ({given[0].rpartition('/')[2]}.{given[1]}) to ({package}.{kind}): unknown conversion"
        raise errors.StatusError(text, reason="")


# the question ---------------------------------------------------------------------------------------------------------------------------


def question(review: Review, subject: Subject, version: str) -> tuple[str, bytes]:
    """(uid, body) of an AdmissionReview."""
    uid = str(uuid.uuid4())
    shown = {"object": subject.show(review.new), "oldObject": subject.show(review.old)}
    body = {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": {"uid": uid, **request(review, subject), **shown}}
    return uid, orjson.dumps(body)


def request(review: Review, subject: Subject) -> Object:
    """An AdmissionRequest without its uid and the objects."""
    out: Object = {"kind": _kind(subject.gvk), "resource": _resource(subject.kind.resource)}
    if review.subresource:
        out["subResource"] = review.subresource
    out["requestKind"] = _kind(spoken(review.kind, review.subresource))
    out["requestResource"] = _resource(review.kind.resource)
    if review.subresource:
        out["requestSubResource"] = review.subresource
    out |= {key: value for key, value in (("name", name_of(review)), ("namespace", namespace_of(review))) if value}
    user, options = review.user.info(), _options(review)
    return out | {"operation": review.operation, "userInfo": user, "dryRun": review.dry_run, "options": options}


def _kind(gvk: GroupVersionKind) -> Object:
    return dict(zip(("group", "version", "kind"), gvk, strict=True))


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def _options(review: Review) -> Object | None:
    """The options of the request; a CONNECT has none."""
    kind = _OPTIONS.get(review.operation)
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **review.options} if kind else None


# the answer -----------------------------------------------------------------------------------------------------------------------------

_SERVER_SAID = {
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
"""client-go's words for a status code that comes without a Status."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook says."""

    allowed: bool
    status: Object | None = None
    patch: bytes = b""
    patch_type: str = ""
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


def values(raw: bytes) -> Any:
    """JSON that a webhook sent. Raises BadAnswer when it would be too much in memory, JSONDecodeError."""
    if sum(map(raw.count, b"[{,")) > limits.WEBHOOK_ANSWER_VALUES:  # a quick look: values of 3 bytes take 64 once parsed
        raise BadAnswer(f"JSON of more than {limits.WEBHOOK_ANSWER_VALUES} values")
    return orjson.loads(raw)


def _shown(raw: bytes) -> str:
    """An answer, or as much of it as a message may hold."""
    return raw[: limits.PEER_TEXT_BYTES].decode(errors="replace")


def parsed(status: int, raw: bytes) -> Object:
    """The AdmissionReview of an HTTP answer. Raises BadAnswer with client-go's words."""
    try:
        found = values(raw)
    except orjson.JSONDecodeError:
        found = None
    if status >= 300 or status < 200:
        if isinstance(found, dict) and found.get("kind") == "Status" and found.get("message"):
            raise BadAnswer(str(found["message"])[: limits.PEER_TEXT_BYTES])
        raise BadAnswer(_said(status, _shown(raw).strip()))
    if not isinstance(found, dict):
        why = syntax.error(raw[:_LOOKED_AT]) if found is None else "json: cannot unmarshal into Go value of type struct"
        raise BadAnswer(f"couldn't get version/kind; json parse error: {why}")
    for name in ("apiVersion", "kind"):
        if not isinstance(found.get(name), str | None):
            why = f"json: cannot unmarshal {go_kind(found[name])} into Go struct field .{name} of type string"
            raise BadAnswer(f"couldn't get version/kind; json parse error: {why}")
    if not found.get("kind"):
        raise BadAnswer(f"Object 'Kind' is missing in '{_shown(raw)}'")
    if isinstance(found.get("response"), dict):
        _check_types(found["response"])
    return found


_RESPONSE: dict[str, tuple[type, str]] = {
    "uid": (str, "types.UID"), "allowed": (bool, "bool"), "status": (dict, "v1.Status"), "patch": (str, "[]uint8"),
    "patchType": (str, "v1.PatchType"), "auditAnnotations": (dict, "map[string]string"), "warnings": (list, "[]string"),
}  # fmt: skip
_STATUS: dict[str, tuple[type, str]] = {"code": (int, "int32"), "message": (str, "string"), "reason": (str, "v1.StatusReason")}
"""Field -> what it must be, and what Go calls that."""


def _check_types(response: Object) -> None:
    """Raises BadAnswer with the words of Go's decoder."""
    status = response.get("status")
    inner: Object = status if isinstance(status, dict) else {}
    for given, fields, where in (response, _RESPONSE, "AdmissionResponse.response"), (inner, _STATUS, "Status.response.status"):
        for name, (kind, go) in fields.items():
            value = given.get(name)
            if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
                raise BadAnswer(f"json: cannot unmarshal {go_kind(value)} into Go struct field {where}.{name} of type {go}")


def _said(status: int, text: str) -> str:
    if status == 403:
        return text
    if status in _SERVER_SAID:
        return _SERVER_SAID[status]
    if status >= 500:
        return f"an error on the server ({go_quote(text or 'unknown')}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more details"


def verdict(answer: Object, uid: str, version: str, *, mutating: bool) -> Verdict:
    """The answer checked: it must be to this question, in this version. Raises BadAnswer with stock's words."""
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if version == "v1":
        _check(answer, response, uid, mutating)
    try:
        patch = base64.b64decode(response.get("patch") or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as why:
        raise BadAnswer(f"illegal base64 data: {why}") from None
    type_ = response.get("patchType") or (JSON_PATCH if patch and version != "v1" else "")
    return Verdict(
        response.get("allowed") is True, response.get("status"), patch, type_,
        [str(text) for text in response.get("warnings") or ()], dict(response.get("auditAnnotations") or {}),
    )  # fmt: skip


def _check(answer: Object, response: Object, uid: str, mutating: bool) -> None:
    given = response.get("uid") or ""
    if given != uid:
        raise BadAnswer(f"expected response.uid={go_quote(uid)}, got {go_quote(given)}")
    group, version = split_api_version(answer.get("apiVersion") or "")
    got = f"{group}/{version}, Kind={answer['kind']}"
    if got != f"{GROUP}/v1, Kind=AdmissionReview":
        raise BadAnswer(f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {got}")
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
        raise BadAnswer(wrong)


def refusal(webhook: str, status: Object | None) -> errors.StatusError:
    """What the client is told when a webhook says no: the webhook's own Status, with stock's words before its message."""
    given = dict(status or {})
    head = f"admission webhook {go_quote(webhook)} denied the request"
    told = str(given.get("message") or given.get("reason") or "")[: limits.PEER_TEXT_BYTES]
    code = max(int(given.get("code") or 0), 400)
    return errors.StatusError(
        f"{head}: {told}" if told else f"{head} without explanation", given.get("details"),
        code=code if code < 600 else 500, reason=given.get("reason") or "",
    )  # fmt: skip

