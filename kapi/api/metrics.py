"""What the API server counts, under stock's metric names: requests, watches, stored objects, admission; and how long its loop was held.

A request costs two look-ups and a few additions. The loop is measured only while there are requests: an idle server sleeps.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kapi.api.request import Request, Target
from kapi.objects import metrics
from kapi.objects.metrics import Cell, Family, Histogram
from kapi.registry.kind import Kind
from kapi.storage.store import Store

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_HELD = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_LABELS = ("component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version")
_LONG = ("component", "group", "resource", "scope", "subresource", "verb", "version")
_TICK = 0.02
"""Seconds between two looks at the loop: a callback that held it longer than this is never missed."""
_MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_CONNECTING = frozenset({"attach", "exec", "portforward", "proxy", "log"})
_VERBS = {"create": "POST", "update": "PUT", "get": "GET", "list": "LIST", "watch": "WATCH", "delete": "DELETE", "patch": "PATCH"}

Key = tuple[str, ...]


class Metrics:
    """Counts of one API server."""

    def __init__(self) -> None:
        self._durations = Histogram(
            "apiserver_request_duration_seconds", "Seconds from the head of a request to the end of its answer.", _LABELS, _BUCKETS
        )
        self._inflight = Family(
            "apiserver_current_inflight_requests", "Requests under way, without the long-running ones.", ("request_kind",), gauge=True
        )
        self._long = Family("apiserver_longrunning_requests", "Watches and streams under way.", _LONG, gauge=True)
        self._events = Family("apiserver_watch_events_total", "Events written to watching clients.", ("group", "resource", "version"))
        self._lag = Histogram("kapi_event_loop_lag_seconds", "Seconds a timer came late because the event loop was held.", (), _HELD)
        self._more: list[Histogram] = []
        self._cells: dict[tuple[Key, int], tuple[list[int], Cell | None]] = {}
        self._counts: dict[Key, list[int]] = {}
        """Requests by the labels of apiserver_request_total."""
        self._inflight.values[("mutating",)] = self._inflight.values[("readOnly",)] = 0
        self._held = self._lag.cell()
        self._ticking = False
        self._asked = False

    # requests -----------------------------------------------------------------------------------------------------------------------

    def begin(self, request: Request) -> None:
        """A request has come."""
        self._inflight.values[("mutating",) if request.method in _MUTATING else ("readOnly",)] += 1
        self._asked = True
        if not self._ticking:
            self._ticking = True
            loop = asyncio.get_running_loop()
            loop.call_later(_TICK, self._tick, loop, loop.time() + _TICK)

    def observe(self, request: Request, code: int, seconds: float) -> None:
        """A request is done."""
        self._inflight.values[("mutating",) if request.method in _MUTATING else ("readOnly",)] -= 1
        where = request.target
        if where is None:
            return
        dry = "All" if b"dryRun=All" in request.scope["query_string"] else ""
        asked = (_verb(request, where), where.group, where.version, where.plural, where.subresource, _scope(request, where), dry)
        found = self._cells.get((asked, code))
        if found is None:
            found = self._cells[asked, code] = self._cell(asked, code)
        count, cell = found
        count[0] += 1
        if cell is not None:
            cell.observe(seconds)

    def _cell(self, asked: Key, code: int) -> tuple[list[int], Cell | None]:
        verb, group, version, plural, subresource, scope, dry = asked
        labels = ("apiserver", dry, group, plural, scope, subresource, verb, version)
        count = self._counts.setdefault((str(code), *labels), [0])
        return count, None if verb in ("WATCH", "CONNECT") else self._durations.cell(*labels)

    @contextmanager
    def running_long(self, request: Request, kind: Kind) -> Iterator[None]:
        """A watch or a stream is under way: it counts as one of those, not as a request in flight."""
        where, what = request.target or Target(), kind.resource
        key = (
            "apiserver", what.group, what.plural, _scope(request, where), where.subresource, _verb(request, where), what.version
        )  # fmt: skip
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

    def add(self, *histograms: Histogram) -> None:
        """Show these as well."""
        self._more += histograms

    # text ---------------------------------------------------------------------------------------------------------------------------

    def text(self, store: Store, collections: dict[str, str]) -> str:
        """The Prometheus exposition; `collections` maps a metric's resource name to its key prefix."""
        stored = Family("apiserver_storage_objects", "Objects stored, by resource.", ("resource",), gauge=True)
        for name, prefix in collections.items():
            stored.values[name,] = store.count(prefix)
        requests = Family("apiserver_request_total", "Requests answered, by what they asked and their code.", ("code", *_LABELS))
        requests.values.update((labels, count) for labels, (count,) in self._counts.items())
        counts = (requests, self._inflight, self._long, self._events, stored)
        parts: tuple[Family | Histogram, ...] = (*counts, self._durations, *self._more, self._lag)
        lines = [line for part in parts for line in part.lines()]
        return "\n".join([*lines, *metrics.process()]) + "\n"


def _verb(request: Request, where: Target) -> str:
    """The verb of stock's metrics: a method's name, or what it means."""
    if where.subresource in _CONNECTING:
        return "CONNECT"
    if request.verb == "patch" and request.content_type.startswith("application/apply-patch"):
        return "APPLY"
    return _VERBS.get(request.verb) or request.verb.upper()


def _scope(request: Request, where: Target) -> str:
    if where.name or request.verb == "create":
        return "resource"
    return "namespace" if where.namespace else "cluster"
