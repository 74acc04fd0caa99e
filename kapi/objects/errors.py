"""The exceptions of API errors; each class is a Status reason.

Raised anywhere, converted to a Status object in one place (kapi.api.app), and raised again by kapi.client.
Field errors (the causes of an Invalid) are created by the functions of kapi.objects.causes.
Source of codes and reasons: Kubernetes API conventions, "Response Status Kind".
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from kapi import limits
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote


class Cause(NamedTuple):
    """One field error, e.g. Cause("FieldValueRequired", "Required value", "spec.containers")."""

    reason: str
    message: str
    field: str


class Causes(list[Cause]):
    """A list of causes that stops growing once the response would be long enough."""

    _length = 0

    @property
    def full(self) -> bool:
        """Whether further causes would not be returned, so that validation may stop."""
        return len(self) >= limits.CAUSES or self._length > limits.CAUSES_LENGTH

    def append(self, cause: Cause) -> None:
        if not self.full:
            super().append(cause)
            self._length += len(cause.message) + len(cause.field)

    def extend(self, found: Iterable[Cause]) -> None:
        for cause in found:
            self.append(cause)

    def __iadd__(self, found: Iterable[Cause]) -> Self:  # type: ignore[misc, override]
        if found:
            self.extend(found)
        return self


class StatusError(Exception):
    """An error response; subclasses set `code` and `reason`."""

    code = 500
    reason = "InternalError"

    def __init__(self, message: str, details: Object | None = None, *, code: int = 0, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if code:
            self.code = code
        if reason is not None:
            self.reason = reason
        self.warnings: list[str] = []
        self.metadata: Object = {}
        """metadata.continue of the Status: where an expired list may be resumed."""

    def status(self) -> Object:
        """The Status object of the response."""
        out: Object = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure"}
        out["message"] = self.message
        if self.reason:
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        out["code"] = self.code
        return out


class BadRequest(StatusError):
    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    code, reason = 401, "Unauthorized"

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message)


class Forbidden(StatusError):
    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(StatusError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(StatusError):
    code, reason = 409, "AlreadyExists"


class Conflict(StatusError):
    code, reason = 409, "Conflict"


class Gone(StatusError):
    code, reason = 410, "Gone"


class Expired(Gone):
    reason = "Expired"


class RequestEntityTooLarge(StatusError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    code, reason = 422, "Invalid"

    def __init__(self, message: str, details: Object | None = None, causes: Sequence[Cause] = (), **more: Any) -> None:
        super().__init__(message, details, **more)
        self.causes = list(causes)


class TooManyRequests(StatusError):
    code, reason = 429, "TooManyRequests"


class InternalError(StatusError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(StatusError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(StatusError):
    code, reason = 504, "Timeout"


class ServerTimeout(StatusError):
    code, reason = 500, "ServerTimeout"


def qualified(plural: str, group: str) -> str:
    """'pods' or 'deployments.apps': a resource in messages."""
    return f"{plural}.{group}" if group else plural


def _named(name: str, group: str, plural: str) -> Object:
    details: Object = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if plural:
        details["kind"] = plural
    return details


def not_found(plural: str, group: str, name: str) -> NotFound:
    return NotFound(f"{qualified(plural, group)} {go_quote(name)} not found", _named(name, group, plural))


def already_exists(plural: str, group: str, name: str) -> AlreadyExists:
    return AlreadyExists(f"{qualified(plural, group)} {go_quote(name)} already exists", _named(name, group, plural))


def conflict(plural: str, group: str, name: str, why: str) -> Conflict:
    return Conflict(f"Operation cannot be fulfilled on {qualified(plural, group)} {go_quote(name)}: {why}", _named(name, group, plural))


def internal(why: str) -> InternalError:
    """An internal error, of the server or of a backend it called."""
    return InternalError(f"Internal error occurred: {why}", {"causes": [{"message": why}]})


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def forbidden(plural: str, group: str, name: str, why: str) -> Forbidden:
    subject = f"{qualified(plural, group)} {go_quote(name)}" if name else qualified(plural, group)
    return Forbidden(f"{subject} is forbidden: {why}", _named(name, group, plural))


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> Invalid:
    """The 422 for an object of `kind` (e.g. "Pod"); the message lists every cause, as stock's aggregate does."""
    texts = list(dict.fromkeys(f"{c.field}: {c.message}" for c in causes))
    listed = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    head = f"{kind}.{group}" if group else kind
    details = _named(name, group, kind)
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return Invalid(f"{head} {go_quote(name)} is invalid: {listed}", details, causes)


def _tree(cls: type[StatusError]) -> list[type[StatusError]]:
    return [cls, *(c for sub in cls.__subclasses__() for c in _tree(sub))]


_BY_REASON = {c.reason: c for c in _tree(StatusError)}
_BY_CODE = {c.code: c for c in reversed(_tree(StatusError))}


def from_status(status: Object) -> StatusError:
    """The exception of a Status object, for the client."""
    code, reason, message = status.get("code") or 500, status.get("reason") or "", status.get("message") or ""
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code) or StatusError
    error = cls.__new__(cls)
    StatusError.__init__(error, message, status.get("details"), code=code, reason=reason)
    error.metadata = status.get("metadata") or {}
    if isinstance(error, Invalid):
        causes = (error.details or {}).get("causes") or ()
        error.causes = [Cause(c.get("reason", ""), c.get("message", ""), c.get("field", "")) for c in causes]
    return error
