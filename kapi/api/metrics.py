"""Counts of what the server does, under stock's metric names. Kept in plain dicts: a request costs one tuple and two additions."""

import resource
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from kapi.api.request import Request
from kapi.registry.kind import Kind
from kapi.storage.store import Store

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_Key = tuple[str, str, str, str, str, str]


class Metrics:
    """Request counts and durations, and watches under way."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[_Key, int], int] = defaultdict(int)
        self._durations: dict[_Key, list[float]] = {}
        self._watches: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._started = time.time()

    def observe(self, request: Request, code: int, seconds: float) -> None:
        """One request is done."""
        where = request.target
        if where is None:
            return
        scope = "resource" if where.name else "namespace" if where.namespace else "cluster"
        key = (request.verb.upper(), where.group, where.version, where.plural, where.subresource, scope)
        self._requests[key, code] += 1
        if request.verb == "watch":
            return
        kept = self._durations.get(key)
        if kept is None:
            kept = self._durations[key] = [0.0] * (len(_BUCKETS) + 3)
        kept[bisect_left(_BUCKETS, seconds)] += 1
        kept[-1] += seconds
        kept[-2] += 1

    @contextmanager
    def watching(self, kind: Kind) -> Iterator[None]:
        """A watch is under way."""
        resource_ = kind.resource
        key = (resource_.group, resource_.version, resource_.kind)
        self._watches[key] += 1
        try:
            yield
        finally:
            self._watches[key] -= 1

    def text(self, store: Store, collections: dict[str, str]) -> str:
        """The Prometheus exposition; `collections` maps a metric's resource name to its key prefix."""
        lines: list[str] = []
        _head(
            lines, "apiserver_request_total", "counter", "Counter of apiserver requests by verb, group, version, resource, scope and code."
        )
        for (key, code), count in self._requests.items():
            lines.append(f'apiserver_request_total{{code="{code}",{_labels(key)}}} {count}')
        self._histogram(lines)
        _head(lines, "apiserver_longrunning_requests", "gauge", "Gauge of all active long-running apiserver requests.")
        for (group, version, kind), count in self._watches.items():
            lines.append(f'apiserver_longrunning_requests{{group="{group}",kind="{kind}",verb="WATCH",version="{version}"}} {count}')
        _head(lines, "apiserver_storage_objects", "gauge", "Number of stored objects by resource.")
        for name, prefix in collections.items():
            lines.append(f'apiserver_storage_objects{{resource="{name}"}} {store.count(prefix)}')
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _head(lines, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.")
        lines.append(f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime}")
        _head(lines, "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.")
        lines.append(f"process_start_time_seconds {self._started}")
        return "\n".join(lines) + "\n"

    def _histogram(self, lines: list[str]) -> None:
        name = "apiserver_request_duration_seconds"
        _head(lines, name, "histogram", "Response latency by verb, group, version, resource, subresource and scope.")
        for key, kept in self._durations.items():
            labels, total = _labels(key), 0.0
            for bound, count in zip(_BUCKETS, kept, strict=False):
                total += count
                lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total:.0f}')
            lines.append(f'{name}_bucket{{{labels},le="+Inf"}} {kept[-2]:.0f}')
            lines.append(f"{name}_sum{{{labels}}} {kept[-1]}")
            lines.append(f"{name}_count{{{labels}}} {kept[-2]:.0f}")


def _head(lines: list[str], name: str, type_: str, text: str) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {type_}"]


def _labels(key: _Key) -> str:
    verb, group, version, plural, subresource, scope = key
    return f'group="{group}",resource="{plural}",scope="{scope}",subresource="{subresource}",verb="{verb}",version="{version}"'
