"""What the API server counts, under stock's metric names: requests, who asks and whether they may, watches, stored objects, admission,
health; and how long its loop was held.

A request costs a few look-ups and additions. The loop is measured only while there are requests: an idle server sleeps.
Names, labels and buckets: the Kubernetes metrics reference, v1.36.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

from kapi import limits
from kapi.api.request import Request, Target
from kapi.documents import version
from kapi.objects import metrics
from kapi.objects.metrics import Cell, Family, Histogram
from kapi.objects.user import User
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.storage.store import Store

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_FINE = 2
"""How many of these the SLI leaves out."""
_SIZES = tuple(10.0**power for power in range(3, 10))
_ACCESS = tuple(0.001 * 2**power for power in range(15))
_HELD = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_SHORT = ("component", "group", "resource", "scope", "subresource", "verb", "version")
_LABELS = ("component", "dry_run", *_SHORT[1:])
_TICK = 0.02
"""Seconds between two looks at the loop: a callback that held it longer than this is never missed."""
_MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CONNECTING = frozenset({"attach", "exec", "portforward", "proxy", "log"})
_VERBS = {"create": "POST", "update": "PUT", "get": "GET", "list": "LIST", "watch": "WATCH", "delete": "DELETE", "patch": "PATCH",
          "deletecollection": "DELETECOLLECTION"}  # fmt: skip
_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})
_NAMED_USERS = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})
"""The only users metrics tell apart."""

Key = tuple[str, ...]


class _Counted(NamedTuple):
    """What is counted for one kind of request and one code."""

    number: list[int]
    seconds: Cell | None
    sizes: Cell | None


class Metrics:
    """Counts of one API server."""

    def __init__(self) -> None:
        self._durations = Histogram(
            "apiserver_request_duration_seconds", "Seconds from the head of a request to the end of its answer.", _LABELS, _BUCKETS
        )
        self._sizes = Histogram("apiserver_response_sizes", "Bytes of the answers to GET and LIST.", _SHORT, _SIZES)
        self._inflight = Family(
            "apiserver_current_inflight_requests", "Requests under way, without the long-running ones.", ("request_kind",), gauge=True
        )
        self._long = Family("apiserver_longrunning_requests", "Watches and streams under way.", _SHORT, gauge=True)
        self._ended = Family("apiserver_request_terminations_total", "Requests the server ended in self-defense.", ("code", *_SHORT))
        self._deprecated = Family(
            "apiserver_requested_deprecated_apis", "Deprecated APIs that were asked for.",
            ("group", "removed_release", "resource", "subresource", "version"), gauge=True,
        )  # fmt: skip
        self._events = Family("apiserver_watch_events_total", "Events written to watching clients.", ("group", "resource", "version"))
        self._users = Family("authenticated_user_requests", "Requests of users that were identified.", ("username",))
        self._identifying = Histogram("authentication_duration_seconds", "Seconds to identify a user.", ("result",), _ACCESS)
        self._allowing = Histogram("authorization_duration_seconds", "Seconds to answer whether a user may.", ("result",), _ACCESS)
        self._lag = Histogram("kapi_event_loop_lag_seconds", "Seconds a timer came late because the event loop was held.", (), _HELD)
        self._more: list[Family | Histogram] = []
        self._cells: dict[tuple[Key, int], _Counted] = {}
        self._counts: dict[Key, list[int]] = {}
        """Requests by the labels of apiserver_request_total."""
        self._inflight.values[("mutating",)] = self._inflight.values[("readOnly",)] = 0
        self._held = self._lag.cell()
        self.most = (limits.REQUESTS_IN_FLIGHT, limits.MUTATING_REQUESTS_IN_FLIGHT)
        """Requests that may be under way: those that read, those that write. 0: any number."""
        self._ticking = False
        self._asked = False
        self._health = Family("kubernetes_healthcheck", "The last result of a health check.", ("name", "type"), gauge=True)
        self._healths = Family("kubernetes_healthchecks_total", "Results of health checks.", ("name", "status", "type"))

    def checked(self, check: str, which: str, well: bool) -> None:
        """A health check of healthz, livez or readyz was made."""
        self._health.values[check, which] = int(well)
        self._healths.values[check, "success" if well else "error", which] += 1

    # requests -----------------------------------------------------------------------------------------------------------------------

    def begin(self, request: Request) -> bool:
        """A request has come. Whether that is one more than may be under way."""
        values = self._inflight.values
        mutating = request.method in _MUTATING
        which = ("mutating",) if mutating else ("readOnly",)
        values[which] = number = values[which] + 1
        self._asked = True
        if not self._ticking:
            self._ticking = True
            loop = asyncio.get_running_loop()
            loop.call_later(_TICK, self._tick, loop, loop.time() + _TICK)
        return number > self.most[mutating] > 0

    def identified(self, user: User | None, seconds: float) -> None:
        """It is known who asks, or it is not."""
        self._identifying.cell("success" if user else "failure").observe(seconds)
        if user:
            name = user.name
            self._users.values[(name if name in _NAMED_USERS else "email_id" if "@" in name else "other",)] += 1

    def authorized(self, allowed: bool, seconds: float) -> None:
        """It is known whether they may."""
        self._allowing.cell("allowed" if allowed else "no-opinion").observe(seconds)

    def deprecated(self, kind: Kind, subresource: str) -> None:
        """A deprecated API was asked for."""
        what = kind.resource
        self._deprecated.values[what.group, "", what.plural, subresource, what.version] = 1

    def observe(self, request: Request) -> None:
        """A request is done."""
        self._inflight.values[("mutating",) if request.method in _MUTATING else ("readOnly",)] -= 1
        if request.target is None and request.path not in _HEALTH:
            return
        key = _asked(request, dry=(query := request.scope["query_string"]) != b"" and b"dryRun=All" in query)
        counted = self._cells.get((key, request.code))
        if counted is None:
            if len(self._cells) >= limits.METRIC_SERIES:
                key = UNKNOWN
            counted = self._cells[key, request.code] = self._cell(key, request.code)
        count, cell, sizes = counted
        count[0] += 1
        if cell is not None:
            cell.observe(time.perf_counter() - request.began)
            if sizes is not None:
                sizes.observe(request.size)

    def _cell(self, key: Key, code: int) -> _Counted:
        count = self._counts.setdefault((str(code), *key), [0])
        verb = key[6]
        seconds = None if verb in ("WATCH", "CONNECT") else self._durations.cell(*key)
        return _Counted(count, seconds, self._sizes.cell(key[0], *key[2:]) if verb in ("GET", "LIST") else None)

    def ended(self, request: Request, code: int) -> None:
        """A request was given up in self-defense."""
        key = _asked(request)
        self._ended.values[(str(code), key[0], *key[2:])] += 1

    @contextmanager
    def running_long(self, request: Request) -> Iterator[None]:
        """A watch or a stream is under way: it counts as one of those, not as a request in flight."""
        asked = _asked(request)
        key = (asked[0], *asked[2:])
        self._long.values[key] += 1
        counted = ("mutating",) if request.method in _MUTATING else ("readOnly",)
        self._inflight.values[counted] -= 1
        try:
            yield
        finally:
            self._long.values[key] -= 1
            self._inflight.values[counted] += 1

    def counter(self, kind: Kind) -> Callable[[int], None]:
        """Called with how many events were written to a client watching this kind."""
        key, values = (kind.resource.group, kind.resource.plural, kind.resource.version), self._events.values

        def count(events: int) -> None:
            values[key] += events

        return count

    # the loop -----------------------------------------------------------------------------------------------------------------------

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._held.observe(max(0.0, now - due))
        self._ticking, self._asked = self._asked, False
        if self._ticking:
            loop.call_later(_TICK, self._tick, loop, now + _TICK)

    def add(self, *more: Family | Histogram) -> None:
        """Show these as well."""
        self._more += more

    # text ---------------------------------------------------------------------------------------------------------------------------

    def lines(self, store: Store, catalogue: Catalogue) -> Iterator[str]:
        """The Prometheus exposition, a line at a time: there may be many."""
        requests = Family("apiserver_request_total", "Requests answered, by what they asked and their code.", ("code", *_LABELS))
        requests.values.update((labels, count) for labels, (count,) in self._counts.items())
        build = Family("kubernetes_build_info", "What this server says it is.", tuple(version.BUILD), gauge=True)
        build.values[tuple(version.BUILD.values())] = 1
        size = Family("apiserver_storage_size_bytes", "Bytes of the file objects are kept in.", ("storage_cluster_id",), gauge=True)
        size.values[("",)] = store.size()
        parts: list[Family | Histogram] = [requests, self._inflight, self._long, self._ended, self._deprecated, self._events]
        parts += [*_stored(store, catalogue), size, build]
        identified = self._identifying.counted("authentication_attempts", "Attempts to identify a user.")
        allowed = self._allowing.counted("authorization_attempts_total", "Questions whether a user may.")
        parts += [self._users, identified, self._identifying, allowed, self._allowing, self._durations]
        return chain(_lines(parts), self._sli(), _lines((self._sizes, *self._more, self._lag)), metrics.process())

    def slis(self) -> Iterator[str]:
        """What /metrics/slis shows: the results of health checks."""
        return _lines((self._health, self._healths))

    def _sli(self) -> Iterable[str]:
        """How long requests took: the durations without dry_run, in fewer buckets. The time of webhooks, which stock leaves out, is in."""
        alike: dict[Key, list[Cell]] = {}
        for labels, cell in self._durations.cells():
            alike.setdefault((labels[0], *labels[2:]), []).append(cell)
        out = Histogram("apiserver_request_sli_duration_seconds", "Seconds a request took.", _SHORT, _BUCKETS[_FINE:])
        return out.lines_of((labels, _joined(cells)) for labels, cells in alike.items())


def _joined(cells: Iterable[Cell]) -> Cell:
    """The counts of several cells in one of fewer buckets."""
    out = Cell(_BUCKETS[_FINE:])
    for cell in cells:
        out.sum += cell.sum
        for index, count in enumerate(cell.counts):
            out.counts[max(0, index - _FINE)] += count
    return out


def _lines(parts: Iterable[Family | Histogram]) -> Iterator[str]:
    return (line for part in parts for line in part.lines())


def _stored(store: Store, catalogue: Catalogue) -> tuple[Family, Family]:
    """How many objects there are of each resource, under the new name and the old one."""
    new = Family("apiserver_resource_objects", "Objects stored, by resource.", ("group", "resource"), gauge=True)
    old = Family("apiserver_storage_objects", "[DEPRECATED] Objects stored, by resource.", ("resource",), gauge=True)
    for kind in catalogue:
        if "list" in kind.verbs:
            what = kind.resource
            new.values[what.group, what.plural] = old.values[what.qualified,] = store.count(kind.collection)
    return new, old


UNKNOWN: Key = ("apiserver", "", "", "", "", "", "OTHER", "")
"""The labels of requests for resources that are not served: made-up names must not become labels."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def _asked(request: Request, *, dry: bool = False) -> Key:
    """The values of _LABELS for a request."""
    where = request.target
    if where is None:
        method = request.method if request.method in _METHODS else "OTHER"
        return "", "", "", "", "", request.path if request.path in _HEALTH else "", method, ""
    if not request.known:
        return UNKNOWN
    scope = "resource" if where.name or request.verb == "create" else "namespace" if where.namespace else "cluster"
    return "apiserver", "All" if dry else "", where.group, where.plural, scope, where.subresource, _verb(request, where), where.version


def _verb(request: Request, where: Target) -> str:
    """The verb of stock's metrics: a method's name, or what it means."""
    if where.subresource in CONNECTING:
        return "CONNECT"
    if request.verb == "patch" and request.content_type.startswith("application/apply-patch"):
        return "APPLY"
    return _VERBS.get(request.verb, "OTHER")
