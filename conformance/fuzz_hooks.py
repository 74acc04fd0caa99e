"""Hooks of schemathesis (SCHEMATHESIS_HOOKS): arguments that reach further than generated ones, and checks of responses.

Loaded only by schemathesis, which a cluster does not need; see conformance.fuzz.
"""

from typing import Any

import schemathesis

NAMES = ("a", "b", "web", "default")
SECONDS = 10.0
"""The longest response time."""


def answered(ctx: Any, response: Any, case: Any) -> None:
    """A failure is a Status (a page that is not there: a line of text), and never the server's own.

    Stock answers a few refusals of an apply or a binding with 500 but no reason; these are not faults.
    """
    assert response.elapsed < SECONDS, f"took {response.elapsed} s"
    if response.status_code < 400 or (response.status_code == 404 and response.headers["content-type"][0].startswith("text/plain")):
        return
    status = response.json() if response.content and "json" in response.headers["content-type"][0] else {"kind": "Status"}
    assert status["kind"] == "Status", "a failure that is no Status"
    if response.status_code >= 500:
        assert response.status_code == 504 or not status.get("reason"), "a failure of the server"


def map_path_parameters(ctx: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Use names that exist in most requests."""
    for key, value in (path_parameters or {}).items():
        if hash(str(value)) % 4:
            path_parameters[key] = "default" if key == "namespace" else NAMES[hash(str(value)) % len(NAMES)]  # type: ignore[index]
    return path_parameters


def map_body(ctx: Any, body: Any) -> Any:
    """Use an object of the right kind with an existing name in most requests."""
    if isinstance(body, dict) and len(repr(body)) % 4:
        if gvk := ctx.operation.definition.raw.get("x-kubernetes-group-version-kind"):
            body |= {"kind": gvk["kind"], "apiVersion": "/".join(filter(None, (gvk["group"], gvk["version"])))}
        body["metadata"] = {"name": NAMES[len(repr(body)) % len(NAMES)]}
    return body


def before_call(ctx: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Skip watches, whose response does not end; `make soak` tests them."""
    case.query = {key: value for key, value in (case.query or {}).items() if key != "watch"}


def protobuf(ctx: Any, value: Any) -> bytes:
    """A body in protobuf: the right envelope around a message whose fields are numbered as they come."""
    head = {name: value.get(name) or "" for name in ("apiVersion", "kind")} if isinstance(value, dict) else {}
    return b"k8s\0" + _field(1, _message(head)) + _field(2, _message(value))


def _message(value: Any) -> bytes:
    if isinstance(value, dict | list):
        held = value.values() if isinstance(value, dict) else value
        return b"".join(_field(number, one) for number, one in enumerate(held, 1))
    return str(value).encode(errors="replace")


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & (1 << 64) - 1)
    body = value if isinstance(value, bytes) else _message(value)
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    return (bytes([value & 0x7F | 0x80]) + _varint(value >> 7)) if value > 0x7F else bytes([value])


schemathesis.check(answered)
schemathesis.serializer("application/vnd.kubernetes.protobuf")(protobuf)
for hook in (map_path_parameters, map_body, before_call):
    schemathesis.hook(hook)
