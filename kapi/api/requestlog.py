"""The requests that are logged: with -v 6 all of them, otherwise those that took long, and those whose handler broke.

Of what a client sent, only the path without the query and the User-Agent are logged: queries, bodies and headers may hold secrets.
"""

import logging
import time
from typing import Any

from kapi import limits, logs
from kapi.api.request import Request

log = logging.getLogger(__name__)
_LONG = frozenset({"attach", "exec", "log", "portforward", "proxy"})
"""Subresources whose requests last as long as their client likes."""


def threshold() -> float:
    """Seconds from which `ended` is to be called; all that a short request costs is the comparison."""
    return 0.0 if log.isEnabledFor(logs.REQUESTS) else limits.SLOW_REQUEST_SECONDS


def ended(request: Request) -> None:
    """A request that took `threshold` or longer is over."""
    seconds = time.perf_counter() - request.began
    if seconds > limits.SLOW_REQUEST_SECONDS and not _long_running(request):
        log.warning("Slow request", extra=logs.fields(**_about(request), code=request.code, seconds=round(seconds, 3)))
    elif log.isEnabledFor(logs.REQUESTS):
        log.log(logs.REQUESTS, "Request", extra=logs.fields(**_about(request), code=request.code, seconds=round(seconds, 6)))


def broke(request: Request) -> None:
    """A handler raised what it should not have; to be called where that was caught."""
    log.exception("Handler broke", extra=logs.fields(**_about(request)))


def _long_running(request: Request) -> bool:
    return request.verb == "watch" or (request.target is not None and request.target.subresource in _LONG)


def _about(request: Request) -> dict[str, Any]:
    client = request.scope.get("client")
    return {
        "audit_id": request.audit_id, "user": request.user.name, "verb": request.verb or request.method.lower(), "path": _path(request),
        "client": client[0] if client else "", "user_agent": request.user_agent,
    }  # fmt: skip


def _path(request: Request) -> str:
    """Without what is behind /proxy/: that is the backend's, and may hold anything."""
    behind = request.target.rest if request.target else ""
    return request.path.removesuffix(behind) if behind else request.path
