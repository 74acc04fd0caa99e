"""The kubelet's metrics in Prometheus' text format, with stock's names and labels: its own, its probes', and resource usage of pods.

/metrics/resource is made from /stats/summary. /metrics/cadvisor has the CPU, memory and disk metrics of cAdvisor.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from kapi.objects import metrics, time
from kapi.objects.meta import Object
from kapi.objects.metrics import Family
from kubelet import probes, runtime
from kubelet.runtime import Usage

MEDIA = b"text/plain; version=0.0.4; charset=utf-8"
# what nodes, pods and containers all have: name, type, help, where in the summary, factor
_SAMPLES = (
    ("cpu_usage_seconds_total", "counter", "CPU time consumed, in core-seconds", "cpu", "usageCoreNanoSeconds", 1e-9),
    ("memory_working_set_bytes", "gauge", "Working set, in bytes", "memory", "workingSetBytes", 1),
)
# cAdvisor's: name, type, help, field of a usage, factor, labels of its own
_CADVISOR: tuple[tuple[str, str, str, str, float, dict[str, str]], ...] = (
    ("cpu_usage_seconds_total", "counter", "CPU time consumed, in seconds.", "cpu_ns", 1e-9, {"cpu": "total"}),
    ("memory_working_set_bytes", "gauge", "Working set, in bytes.", "working_set", 1, {}),
    ("memory_usage_bytes", "gauge", "Memory in use, in bytes, caches included.", "usage", 1, {}),
    ("memory_rss", "gauge", "Anonymous memory, in bytes.", "rss", 1, {}),
    ("fs_usage_bytes", "gauge", "Bytes of the container's own layer.", "disk", 1, {}),
    ("fs_inodes_total", "gauge", "Inodes of the container's own layer.", "inodes", 1, {}),
)


def resource(summary: Object) -> bytes:
    """/metrics/resource, as metrics-server reads it; samples have timestamps."""
    pods = summary["pods"]
    owners: dict[str, list[tuple[dict[str, str], Object]]] = {
        "container": [({"container": c["name"], **_named(p["podRef"])}, c) for p in pods for c in p["containers"]],
        "node": [({}, summary["node"])],
        "pod": [(_named(p["podRef"]), p) for p in pods],
    }
    lines = [line for owner, found in owners.items() for line in _usage(owner, found)]
    started = [(labels, time.parse(c["startTime"])) for labels, c in owners["container"]]
    lines += _family("container_start_time_seconds", "gauge", "Start of the container since the epoch", started)
    lines += _family("resource_scrape_error", "gauge", "1 when the figures could not be had", [({}, 0)])
    return _text(lines)


def cadvisor(running: Iterable[tuple[Object, runtime.Container, Usage]]) -> bytes:
    """/metrics/cadvisor: usage of containers, with the labels cAdvisor has."""
    listed = [({"container": c.name, "id": c.id, "image": c.image, "name": c.id, **_named(p["metadata"])}, u) for p, c, u in running]
    lines: list[str] = []
    for name, kind, help, field, factor, more in _CADVISOR:
        samples = [(labels | more, _number(getattr(u, field) * factor), int(u.at * 1000)) for labels, u in listed]
        lines += _family(f"container_{name}", kind, help, samples)
    return _text(lines)


def probed(uids: Container[str]) -> bytes:
    """/metrics/probes of the pods with these uids (a process may run many nodes)."""
    own = Family(probes.COUNTED.name, probes.COUNTED.text, probes.COUNTED.labels)
    own.values.update((labels, count) for labels, count in probes.COUNTED.values.items() if labels[probes.UID] in uids)
    return _text(own.lines())


def own(node: str, pods: int, states: Mapping[str, int]) -> bytes:
    """/metrics of the kubelet itself; `states` counts containers by state."""
    counted = [({"container_state": state}, count) for state, count in sorted(states.items())]
    lines = [
        *_family("kubelet_node_name", "gauge", "The node's name; the count is always 1", [({"node": node}, 1)]),
        *_family("kubelet_running_pods", "gauge", "Pods with a running sandbox", [({}, pods)]),
        *_family("kubelet_running_containers", "gauge", "Containers by state", counted),
        *metrics.process(),
    ]
    return _text(lines)


def _usage(owner: str, found: list[tuple[dict[str, str], Object]]) -> Iterator[str]:
    for name, kind, help, part, field, factor in _SAMPLES:
        values = [(labels, _number(o[part][field] * factor), int(time.parse(o[part]["time"]) * 1000)) for labels, o in found]
        yield from _family(f"{owner}_{name}", kind, help, values)


def _family(name: str, kind: str, help: str, samples: list[Any]) -> Iterator[str]:
    """A metric family; samples are (labels, value) or (labels, value, milliseconds since the epoch)."""
    if samples:
        yield from metrics.head(name, help, kind)
    for labels, *values in samples:
        yield f"{name}{metrics.written(tuple(labels), tuple(labels.values()))} {' '.join(map(str, values))}"


def _named(reference: Object) -> dict[str, str]:
    return {"namespace": reference["namespace"], "pod": reference["name"]}


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 9)


def _text(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
