"""What /healthz, /livez and /readyz tell (kapi.api.healthz): stock's checks by their names, each asking the part of this server that does
what stock's does.

A part is asked now (the store, the log, the certificate, the kinds of CRDs), or is a step of the start, or work that goes on after it:
`Parts` knows which steps are done and whether the work still goes on.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

from certs import files
from kapi.documents import openapi
from kapi.objects import time
from kapi.registry.catalogue import Catalogue
from kapi.storage.store import Store

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
    _HOOK + "start-legacy-token-tracking-controller": "token tracking",
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
"""Stock's message for a post-start hook that is still running."""


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


class Health:
    """The health checks of one server. `certificate` is the file of the certificate that clients are shown."""

    closing = False
    """The server is about to stop: /readyz returns 500."""

    def __init__(self, store: Store, catalogue: Catalogue, certificate: Path) -> None:
        self.store, self.catalogue, self.certificate = store, catalogue, certificate
        self.parts = Parts()

    def names(self, which: str) -> list[str]:
        """The checks of healthz, livez or readyz."""
        return [*checks(which)]

    def wrong(self, which: str, name: str) -> str:
        """What is wrong by one of their checks, "" when nothing is."""
        part = checks(which)[name]
        return ASKED[part](self) if part in ASKED else self.parts.wrong(part)


def _log(health: Health) -> str:
    """Whether what is logged can still be written."""
    streams = (getattr(handler, "stream", None) for handler in logging.root.handlers)
    return "logging blocked" if any(getattr(stream, "closed", False) for stream in streams) else ""


ASKED: dict[str, Callable[[Health], str]] = {
    "process": lambda health: "",
    "log": _log,
    "certificate": lambda health: "serving certificate has expired" if files.expiry(health.certificate) < time.now() else "",
    "store": lambda health: "" if health.store.healthy else "the store cannot be written",
    "discovery": lambda health: "" if health.catalogue.groups() else "nothing to discover",
    "OpenAPI": lambda health: "" if openapi.find(health.catalogue, "/openapi/v3/version", {}, "") else "no document",
    "shutdown": lambda health: "process is shutting down" if health.closing else "",
}
"""Parts that are asked: what is wrong with them, "" when nothing is. All others are in the server's Parts."""


@cache
def checks(which: str) -> dict[str, str]:
    """The checks of healthz, livez or readyz with the part each asks."""
    if which != "readyz":
        return CHECKS
    after = list(CHECKS).index("etcd") + 1
    rows = list(CHECKS.items())
    return dict([*rows[:after], *READY_ONLY.items(), *rows[after:], ("shutdown", "shutdown")])
