"""The event recorder: queues events about objects and writes them in the background; callers never wait.

Repeated events increase a count, similar ones are combined, and events of one source about one object are rate-limited. Rules and limits
are those of client-go's EventCorrelator (burst 25, then one in five minutes; combined beyond 10 in 10 minutes).
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from kapi import logs
from kapi.client.client import Client
from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.objects.resource import EVENTS

log = logging.getLogger(__name__)
NORMAL, WARNING = "Normal", "Warning"
CACHE_SIZE = 1024
BURST, REFILL = 25.0, 1 / 300
AGGREGATE_LIMIT, AGGREGATE_SECONDS = 10, 600.0
MAX_PENDING = 1000
MAX_ATTEMPTS = 5


def reference(obj: Object, field_path: str = "") -> Object:
    """The ObjectReference of an object (with kind and apiVersion)."""
    meta = obj.get("metadata") or {}
    out = {
        "kind": obj.get("kind"),
        "namespace": meta.get("namespace"),
        "name": meta.get("name"),
        "uid": meta.get("uid"),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": meta.get("resourceVersion"),
        "fieldPath": field_path,
    }
    return {k: v for k, v in out.items() if v}


@dataclass(slots=True)
class _Aggregate:
    """Messages with one reason about one object. Beyond AGGREGATE_LIMIT different ones they are combined."""

    started: float
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Written:
    """A written event, whose count is increased by repetitions."""

    namespace: str
    name: str
    count: int


class _Correlator:
    """Bounded caches of recent events, for aggregation, deduplication and rate limits (client-go's EventCorrelator)."""

    def __init__(self) -> None:
        self.written: OrderedDict[tuple[str, ...], _Written] = OrderedDict()
        self._aggregates: OrderedDict[tuple[str, ...], _Aggregate] = OrderedDict()
        self._budget: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()
        self._last = 0

    def unique_nanoseconds(self) -> int:
        """Nanoseconds since the epoch, unique in this process, for the end of an event's name."""
        self._last = max(int(time.now() * 1e9), self._last + 1)
        return self._last

    def message(self, group: tuple[str, ...], message: str) -> tuple[str, str]:
        """(deduplication key, message): the message may be replaced by a combined one."""
        now = time.now()
        aggregate = self._aggregates.pop(group, None)
        if aggregate is None or now - aggregate.started > AGGREGATE_SECONDS:
            aggregate = _Aggregate(now)
        aggregate.messages.add(message)
        self._aggregates[group] = aggregate
        _evict_oldest(self._aggregates)
        if len(aggregate.messages) < AGGREGATE_LIMIT:
            return message, message
        aggregate.messages.pop()
        return "", "(combined from similar events): " + message

    def allowed(self, about: tuple[str, ...]) -> bool:
        now = time.now()
        left, at = self._budget.pop(about, (BURST, now))
        left = min(BURST, left + (now - at) * REFILL)
        self._budget[about] = (left - 1 if left >= 1 else left, now)
        _evict_oldest(self._budget)
        return left >= 1


def _evict_oldest(cache: "OrderedDict[Any, Any]") -> None:
    while len(cache) > CACHE_SIZE:
        cache.popitem(last=False)


class Recorder:
    """`event(...)` queues an event of `component`; `run` writes the queue, which holds at most `backlog` events.

    `named` returns a recorder of another component that shares queue and caches.
    """

    def __init__(self, client: Client, component: str, *, host: str = "", backlog: int = MAX_PENDING) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._queue: asyncio.Queue[tuple[tuple[str, ...], Object]] = asyncio.Queue(backlog)
        self._correlator = _Correlator()

    def named(self, component: str, host: str = "") -> "Recorder":
        recorder = Recorder(self._client, component, host=host or self._host)
        recorder._queue, recorder._correlator = self._queue, self._correlator
        return recorder

    def event(
        self,
        obj: Object,
        type: str,
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Object | None = None,
        field_path: str = "",
        annotations: dict[str, str] | None = None,
    ) -> None:
        """Record an event about `obj` (with kind and apiVersion). With `action` it has the fields of events.k8s.io (eventTime, action)."""
        about = reference(obj, field_path)
        subject = (str(about.get(k, "")) for k in ("kind", "namespace", "name", "uid", "fieldPath"))
        identity = (self._component, self._host, *subject)
        distinct, shown = self._correlator.message((*identity, type, reason), message)
        if not self._correlator.allowed(identity):
            return
        event = self._event(about, type, reason, shown)
        if annotations:
            event["metadata"]["annotations"] = annotations
        if related:
            event["related"] = reference(related)
        if action:
            self._set_event_time(event, action)
        try:
            self._queue.put_nowait(((*identity, type, reason, distinct), event))
        except asyncio.QueueFull:
            log.warning("Too many events, some are dropped", extra=logs.once("", reason=reason, about=about.get("name")))

    async def run(self) -> None:
        while True:
            key, event = await self._queue.get()
            for attempt in range(MAX_ATTEMPTS):
                try:
                    await self._write(key, event)
                    break
                except errors.StatusError as error:
                    log.debug("Event could not be written", extra=logs.fields(reason=event["reason"], error=error))
                    break
                except OSError as error:
                    log.debug("Event could not be written", extra=logs.fields(reason=event["reason"], error=error))
                    await asyncio.sleep(2**attempt)

    def _event(self, about: Object, type: str, reason: str, message: str) -> Object:
        stamp = time.stamp()
        source = {"component": self._component}
        if self._host:
            source["host"] = self._host
        name = f"{about.get('name', '')}.{self._correlator.unique_nanoseconds():x}"
        return {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": about.get("namespace", "default")},
            "involvedObject": about,
            "reason": reason,
            "message": message[:1024],
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": type,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }

    def _set_event_time(self, event: Object, action: str) -> None:
        instance = f"{self._component}-{self._host}" if self._host else self._component
        event |= {"action": action, "eventTime": time.micro_stamp(), "source": {}, "reportingInstance": instance}
        event |= {"firstTimestamp": None, "lastTimestamp": None}
        del event["count"]

    async def _write(self, key: tuple[str, ...], event: Object) -> None:
        previous = self._correlator.written.get(key)
        if previous is not None:
            try:
                patch = self._count_patch(previous, event)
                await self._client.patch(EVENTS, previous.name, patch, namespace=previous.namespace, kind="strategic")
                previous.count += 1
                return
            except errors.NotFound:
                del self._correlator.written[key]
        meta = event["metadata"]
        await self._client.create(EVENTS, event)
        self._correlator.written[key] = _Written(meta["namespace"], meta["name"], 1)
        _evict_oldest(self._correlator.written)

    def _count_patch(self, previous: _Written, event: Object) -> Object:
        if event["eventTime"]:
            return {"series": {"count": previous.count + 1, "lastObservedTime": event["eventTime"]}}
        return {"count": previous.count + 1, "lastTimestamp": event["lastTimestamp"], "message": event["message"]}
