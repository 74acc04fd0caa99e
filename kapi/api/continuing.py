"""Continue tokens: where the next page of a list begins, and at which revision; texts of clients, so nothing in them is trusted.

Source of the form and of the refusals: apiserver's storage.DecodeContinue, encoding/base64 and encoding/json of Go (v1.36).
"""

import base64
import posixpath
import re
from typing import Any

import orjson

from kapi.objects.errors import BadRequest
from kapi.schema import syntax
from kapi.schema.scalars import described

ANY_STATE = -1
"""The revision in the token of a 410 that continues the list at the newest state."""
_VERSION = "meta.k8s.io/v1"
_FIELDS: dict[str, tuple[type, str]] = {"v": (str, "string"), "rv": (int, "int64"), "start": (str, "string")}
"""Fields of a token, with what Go calls their types."""
_FOREIGN = re.compile(rb"[^A-Za-z0-9_-]")


def encode(revision: int, after: str) -> str:
    """The token for the page behind `after` (a key without its collection's prefix)."""
    raw = orjson.dumps({"v": _VERSION, "rv": revision, "start": after + "\0"})
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(token: str) -> tuple[int, str]:
    """(revision, or 0 for any state, and the key the page before ended with). Raises BadRequest."""
    try:
        return _decode(token)
    except ValueError as why:
        raise BadRequest(f"invalid continue token: continue key is not valid{why}") from None


def _decode(token: str) -> tuple[int, str]:
    value = _object(_bytes(token.encode("utf-8", "replace")))
    if value.get("v") != _VERSION:
        raise ValueError(f": server does not recognize this encoded version {value.get('v') or ''}")
    revision, start = value.get("rv") or 0, value.get("start") or ""
    if revision == 0:
        raise ValueError(f": incorrect encoded start resourceVersion (version {_VERSION})")
    if not start:
        raise ValueError(f": encoded start key empty (version {_VERSION})")
    key = start if start.startswith("/") else f"/{start}"
    if key.startswith("//") or posixpath.normpath(key) != key:  # no way out of the collection
        raise ValueError(f": {start}")
    return max(revision, 0), key[1:].removesuffix("\0")


def _bytes(token: bytes) -> bytes:
    """What the base64 stands for."""
    plain = token.replace(b"\r", b"").replace(b"\n", b"")
    wrong = _FOREIGN.search(token.replace(b"\r", b"-").replace(b"\n", b"-"))
    if wrong or len(plain) % 4 == 1:
        raise ValueError(f": illegal base64 data at input byte {wrong.start() if wrong else len(token) - 1}")
    return base64.urlsafe_b64decode(plain + b"=" * (-len(plain) % 4))


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object, its fields of the right types."""
    if why := syntax.error(raw):
        raise ValueError(f": {why}")
    try:
        value = orjson.loads(raw)
    except ValueError:  # a number or a half of a pair that is JSON to Go, but not quite
        value = {}
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f": json: cannot unmarshal {described(value)} into Go value of type storage.continueToken")
    for name, given in value.items():
        type_, go = _FIELDS.get(name, (object, ""))
        if given is not None and not _fits(given, type_):
            shown = f"number {orjson.dumps(given).decode()}" if type_ is int and type(given) in (int, float) else described(given)
            raise ValueError(f": json: cannot unmarshal {shown} into Go struct field continueToken.{name} of type {go}")
    return value


def _fits(value: Any, type_: type) -> bool:
    if type_ is int:
        return type(value) is int and -(2**63) <= value < 2**63
    return isinstance(value, type_)
