"""What webhooks answer, whatever they are asked: HTTP and JSON, with the texts of client-go. Reviews of each sort are checked elsewhere.

Admission's are in kapi.admission.admission_review, those of conversion in kapi.registry.conversion_review.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from kapi import limits
from kapi.objects.meta import Object
from kapi.objects.patch import go_kind
from kapi.objects.quoting import go_quote
from kapi.schema import syntax

_SYNTAX_ERROR_BYTES = 4096
"""Bytes of invalid JSON that are searched for the syntax error, at a microsecond each."""

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


class InvalidResponse(Exception):
    """The response is not a valid review; the text says why."""


def parse_json(raw: bytes) -> Any:
    """Parse JSON that a webhook sent. Raises InvalidResponse when it has too many values, JSONDecodeError."""
    if sum(map(raw.count, b"[{,")) > limits.WEBHOOK_ANSWER_VALUES:  # a quick look: values of 3 bytes take 64 once parsed
        raise InvalidResponse(f"JSON of more than {limits.WEBHOOK_ANSWER_VALUES} values")
    return orjson.loads(raw)


def _excerpt(raw: bytes) -> str:
    """The start of a response body, as much as a message may hold."""
    return raw[: limits.PEER_TEXT_BYTES].decode(errors="replace")


def decode(status: int, headers: Mapping[str, str], raw: bytes) -> Object:
    """The review of an HTTP response. Raises InvalidResponse."""
    try:
        review = parse_json(raw)
    except orjson.JSONDecodeError:
        review = None
    if status >= 300 or status < 200:
        if isinstance(review, dict) and review.get("kind") == "Status" and review.get("message"):
            raise InvalidResponse(str(review["message"])[: limits.PEER_TEXT_BYTES])
        raise InvalidResponse(_status_text(status, _excerpt(raw).strip()))
    if not raw:
        raise InvalidResponse(f"0-length response with status code: {status} and content type: {headers.get('content-type', '')}")
    if not isinstance(review, dict):
        why = syntax.error(raw[:_SYNTAX_ERROR_BYTES]) if review is None else "json: cannot unmarshal into Go value of type struct"
        raise InvalidResponse(f"couldn't get version/kind; json parse error: {why}")
    for name in ("apiVersion", "kind"):
        if not isinstance(review.get(name), str | None):
            why = f"json: cannot unmarshal {go_kind(review[name])} into Go struct field .{name} of type string"
            raise InvalidResponse(f"couldn't get version/kind; json parse error: {why}")
    if not review.get("kind"):
        raise InvalidResponse(f"Object 'Kind' is missing in '{_excerpt(raw)}'")
    return review


def _status_text(status: int, text: str) -> str:
    if status == 403:
        return text
    if status in _STATUS_TEXTS:
        return _STATUS_TEXTS[status]
    if status >= 500:
        return f"an error on the server ({go_quote(text or 'unknown')}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more details"
