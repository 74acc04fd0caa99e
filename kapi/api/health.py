"""/healthz, /livez and /readyz: stock's checks by their names, each asking the part of this server that does what stock's does.

A part is asked now (the store, the log, the certificate, the kinds of CRDs), or is a step of the start, or work that goes on after it:
`Parts` knows which steps are done and whether the work still goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from certs import files
from kapi.api import openapi, responses
from kapi.api.request import Request
from kapi.objects import time

if TYPE_CHECKING:
    from kapi.api.app import App

_HOOK = "poststarthook/"
CHECKS = {
    "ping": "process",
    "log": "log",
    "loopback-serving-certificate": "certificate",
    "etcd": "store",
    _HOOK + "start-apiserver-admission-initializer": "admission",
    _HOOK + "generic-apiserver-start-informers": "authorization",
    _HOOK + "priority-and-fairness-config-consumer": "flow control kept",
    _HOOK + "priority-and-fairness-filter": "flow control",
    _HOOK + "storage-object-count-tracker-hook": "storage",
    _HOOK + "start-apiextensions-informers": "custom kinds",
    _HOOK + "start-apiextensions-controllers": "custom kinds",
    _HOOK + "crd-informer-synced": "custom kinds",
    _HOOK + "start-system-namespaces-controller": "namespaces",
    _HOOK + "peer-endpoint-reconciler-controller": "endpoints",
    _HOOK + "start-cluster-authentication-info-controller": "authentication",
    _HOOK + "start-kube-apiserver-identity-lease-controller": "identity kept",
    _HOOK + "start-kube-apiserver-identity-lease-garbage-collector": "identity kept",
    _HOOK + "storage-readiness": "storage",
    _HOOK + "start-legacy-token-tracking-controller": "authentication",
    _HOOK + "start-service-ip-repair-controllers": "allocation",
    _HOOK + "rbac/bootstrap-roles": "roles",
    _HOOK + "scheduling/bootstrap-system-priority-classes": "priority classes",
    _HOOK + "priority-and-fairness-config-producer": "flow control",
    _HOOK + "bootstrap-controller": "service",
    _HOOK + "start-kubernetes-service-cidr-controller": "service",
    _HOOK + "start-kube-aggregator-informers": "API services",
    _HOOK + "apiservice-status-local-available-controller": "API services kept",
    _HOOK + "apiservice-status-remote-available-controller": "API services kept",
    _HOOK + "apiservice-registration-controller": "API services",
    _HOOK + "apiservice-wait-for-first-sync": "API services",
    _HOOK + "apiservice-discovery-controller": "discovery",
    _HOOK + "kube-apiserver-autoregistration": "API services",
    "autoregister-completion": "API services",
    _HOOK + "apiservice-openapi-controller": "OpenAPI",
    _HOOK + "apiservice-openapiv3-controller": "OpenAPI",
}
"""Stock's checks in its order -> the part here that is asked."""
READY_ONLY = {"etcd-readiness": "store", "informer-sync": "authorization"}
"""Checks of /readyz alone, behind 'etcd'; 'shutdown' is its last."""
UNFINISHED = "not finished"
"""What stock says of a hook that is still running."""


class Parts:
    """The steps of a server's start that are done, and the tasks that are to go on after them."""

    def __init__(self) -> None:
        self._done: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._settled = asyncio.Event()

    def done(self, name: str) -> None:
        """A step is done; work that goes on has gone round once."""
        self._done.add(name)
        if self._done >= set(CHECKS.values()) - ASKED.keys():
            self._settled.set()

    async def settled(self) -> None:
        """Until every step of the start is done, or work that should go on has stopped."""
        await self._settled.wait()

    def goes_on(self, name: str, task: asyncio.Task[None]) -> None:
        """`task` does this part's work for as long as the server serves."""
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._settled.set())

    def wrong(self, name: str) -> str:
        """What is wrong with a part, "" when nothing is."""
        task = self._tasks.get(name)
        if task and task.done() and (task.cancelled() or task.exception()):
            return "stopped"
        return "" if name in self._done else UNFINISHED


def _log(app: App) -> str:
    """Whether what is logged can still be written."""
    streams = (getattr(handler, "stream", None) for handler in logging.root.handlers)
    return "logging blocked" if any(getattr(stream, "closed", False) for stream in streams) else ""


def _certificate(app: App) -> str:
    """Whether clients can still trust the certificate this server shows; there is none without a socket."""
    ended = app.certificate is not None and files.expiry(app.certificate) < time.now()
    return "serving certificate has expired" if ended else ""


ASKED: dict[str, Callable[[App], str]] = {
    "process": lambda app: "",
    "log": _log,
    "certificate": _certificate,
    "store": lambda app: "" if app.rest.store.healthy else "the store cannot be written",
    "discovery": lambda app: "" if app.catalogue.groups() else "nothing to discover",
    "OpenAPI": lambda app: "" if openapi.find(app.catalogue, "/openapi/v3/version", {}, "") is not None else "no document",
    "shutdown": lambda app: "process is shutting down" if app.closing else "",
}
"""Parts that are asked: what is wrong with them, "" when nothing is. All others are in the server's Parts."""


def names(which: str) -> dict[str, str]:
    """The checks of healthz, livez or readyz with the part each asks."""
    if which != "readyz":
        return CHECKS
    after = list(CHECKS).index("etcd") + 1
    rows = list(CHECKS.items())
    return dict([*rows[:after], *READY_ONLY.items(), *rows[after:], ("shutdown", "shutdown")])


def _wrong(app: App, part: str) -> str:
    return ASKED[part](app) if part in ASKED else app.parts.wrong(part)


async def answer(request: Request, app: App) -> None:
    """/livez, /livez?verbose&exclude=NAME, /livez/NAME."""
    which, _, single = request.path[1:].partition("/")
    if single:
        await _one(request, app, names(which).get(single))
        return
    asked = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    excluded, lines, failed = set(asked.get("exclude", ())), [], False
    for name, part in names(which).items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        well = not _wrong(app, part)
        app.metrics.checked(name, which, well)
        lines.append(f"[+]{name} ok" if well else f"[-]{name} failed: reason withheld")
        failed = failed or not well
    if unknown := sorted(excluded - names(which).keys()):
        listed = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
    text = "".join(f"{line}\n" for line in lines) + f"{which} check {'failed' if failed else 'passed'}\n"
    await responses.send_text(request, 500 if failed else 200, text if failed or "verbose" in asked else "ok")


async def _one(request: Request, app: App, part: str | None) -> None:
    if part is None:
        await responses.send_missing(request)
    elif wrong := _wrong(app, part):
        await responses.send_text(request, 500, f"internal server error: {wrong}\n")
    else:
        await responses.send(request, 200, b"ok", b"text/plain; charset=utf-8")
