"""/metrics/resource and /metrics in Prometheus' text form: stock's names and labels, out of the same figures as /stats/summary."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kapi.objects import time

Object = dict[str, Any]
MEDIA = b"text/plain; version=0.0.4; charset=utf-8"
_SAMPLES = (
    ("cpu_usage_seconds_total", "counter", "CPU time consumed, in core-seconds", "cpu", "usageCoreNanoSeconds", 1e-9),
    ("memory_working_set_bytes", "gauge", "Working set, in bytes", "memory", "workingSetBytes", 1),
)
"""What nodes, pods and containers all have: name, type, help, where in the summary, factor."""


def resource(summary: Object) -> bytes:
    """What metrics-server asks for; samples carry the time they were taken at."""
    pods = summary["pods"]
    owners = {
        "container": [(_labels(c["name"], p["podRef"]), c) for p in pods for c in p["containers"]],
        "node": [("", summary["node"])],
        "pod": [(_labels("", p["podRef"]), p) for p in pods],
    }
    lines = [line for owner, found in owners.items() for line in _usage(owner, found)]
    started = [(labels, time.parse(c["startTime"])) for labels, c in owners["container"]]
    lines += _family("container_start_time_seconds", "gauge", "Start of the container since the epoch", started)
    lines += _family("resource_scrape_error", "gauge", "1 when the figures could not be had", [("", 0)])
    return _text(lines)


def own(node: str, pods: int, states: Mapping[str, int]) -> bytes:
    """The kubelet about itself; `states` counts containers by their state."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    counted = [(f'{{container_state="{state}"}}', count) for state, count in sorted(states.items())]
    lines = [
        *_family("kubelet_node_name", "gauge", "The node's name; the count is always 1", [(f'{{node="{node}"}}', 1)]),
        *_family("kubelet_running_pods", "gauge", "Pods with a running sandbox", [("", pods)]),
        *_family("kubelet_running_containers", "gauge", "Containers by state", counted),
        *_family("process_cpu_seconds_total", "counter", "CPU time of this process in seconds", [("", cpu)]),
        *_family("process_resident_memory_bytes", "gauge", "Resident memory of this process", [("", pages * os.sysconf("SC_PAGE_SIZE"))]),
    ]
    return _text(lines)


def _usage(owner: str, found: list[tuple[str, Object]]) -> Iterator[str]:
    for name, kind, help, part, field, factor in _SAMPLES:
        values = [(labels, _number(o[part][field] * factor), _stamp(o[part]["time"])) for labels, o in found]
        yield from _family(f"{owner}_{name}", kind, help, values)


def _family(name: str, kind: str, help: str, samples: list[Any]) -> Iterator[str]:
    """A metric with its samples, each (labels, value) or (labels, value, milliseconds since the epoch)."""
    if samples:
        yield f"# HELP {name} {help}"
        yield f"# TYPE {name} {kind}"
    for labels, *values in samples:
        yield f"{name}{labels} {' '.join(map(str, values))}"


def _labels(container: str, pod: Object) -> str:
    """{container="web",namespace="default",pod="p"}; names need no escapes."""
    first = f'container="{container}",' if container else ""
    return f'{{{first}namespace="{pod["namespace"]}",pod="{pod["name"]}"}}'


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 9)


def _stamp(text: str) -> int:
    return int(time.parse(text) * 1000)


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
