"""Metrics in Prometheus' text format: counters and gauges are dicts, histograms are lists, so that counting is cheap.

Which metrics there are is defined in the packages that count them.
"""

import resource
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

Labels = tuple[str, ...]


class Family:
    """A metric family: its name, help text, label names, and values by label values."""

    def __init__(self, name: str, text: str, labels: Labels = (), *, gauge: bool = False) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.kind = "gauge" if gauge else "counter"
        self.values: defaultdict[Labels, float] = defaultdict(int)

    def lines(self) -> Iterable[str]:
        """The exposition lines."""
        yield from head(self.name, self.text, self.kind)
        for values, number in list(self.values.items()):
            yield f"{self.name}{written(self.labels, values)} {number:.10g}"


class Histogram:
    """A histogram of durations. A cell has the counts for one combination of label values."""

    def __init__(self, name: str, text: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        self.name, self.text, self.labels, self.bounds = name, text, labels, bounds
        self._cells: dict[Labels, Cell] = {}

    def cell(self, *values: str) -> "Cell":
        found = self._cells.get(values)
        if found is None:
            found = self._cells[values] = Cell(self.bounds)
        return found

    def cells(self) -> Iterable[tuple[Labels, "Cell"]]:
        return list(self._cells.items())

    def counted(self, name: str, text: str) -> Family:
        """A counter of the values that were observed, by the same labels."""
        out = Family(name, text, self.labels)
        out.values.update((labels, cell.number) for labels, cell in self.cells())
        return out

    def lines(self) -> Iterable[str]:
        """The exposition lines of all cells."""
        yield from self.lines_of(self.cells())

    def lines_of(self, cells: Iterable[tuple[Labels, "Cell"]]) -> Iterable[str]:
        """The exposition lines of these cells."""
        yield from head(self.name, self.text, "histogram")
        for values, cell in cells:
            total = 0
            for bound, count in zip((*self.bounds, "+Inf"), cell.counts, strict=True):
                total += count
                yield f"{self.name}_bucket{written((*self.labels, 'le'), (*values, str(bound)))} {total}"
            labels = written(self.labels, values)
            yield f"{self.name}_sum{labels} {cell.sum:.10g}"
            yield f"{self.name}_count{labels} {total}"


class Cell:
    """Counts of one histogram for one combination of label values."""

    __slots__ = ("_bounds", "_least", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._least = bounds, bounds[0]
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[0 if seconds <= self._least else bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    @property
    def number(self) -> int:
        """How many values were observed."""
        return sum(self.counts)


def head(name: str, text: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def written(names: Labels, values: Labels) -> str:
    """{code="200",verb="GET"}; '' without labels."""
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_STARTED = time.time()


def process() -> Iterable[str]:
    """process_*: CPU, memory and file descriptors of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    size, resident = (int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2])
    numbers: tuple[tuple[str, str, str, float], ...] = (
        ("cpu_seconds_total", "counter", "Seconds of CPU this process has used, user and system mode.", usage.ru_utime + usage.ru_stime),
        ("resident_memory_bytes", "gauge", "Bytes of memory this process has resident.", resident),
        ("virtual_memory_bytes", "gauge", "Bytes of address space this process has mapped.", size),
        ("open_fds", "gauge", "File descriptors this process has open.", len(list(Path("/proc/self/fd").iterdir()))),
        ("max_fds", "gauge", "File descriptors this process may have open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ("start_time_seconds", "gauge", "When this process started, in seconds since the epoch.", _STARTED),
    )
    for name, kind, text, number in numbers:
        yield from head(f"process_{name}", text, kind)
        yield f"process_{name} {number:.12g}"
