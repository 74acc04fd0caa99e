"""The text Prometheus reads."""

from kapi.objects import metrics
from kapi.objects.metrics import Family, Histogram


def test_a_counter() -> None:
    family = Family("asked_total", "What was asked.", ("code", "path"))
    family.values["200", 'a"b\\c'] += 2
    assert list(family.lines()) == [
        "# HELP asked_total What was asked.",
        "# TYPE asked_total counter",
        'asked_total{code="200",path="a\\"b\\\\c"} 2',
    ]


def test_a_histogram_counts_up() -> None:
    histogram = Histogram("took_seconds", "How long.", ("verb",), (0.1, 1))
    for seconds in (0.05, 0.1, 0.5, 3):
        histogram.cell("GET").observe(seconds)
    assert list(histogram.lines())[2:] == [
        'took_seconds_bucket{verb="GET",le="0.1"} 2',
        'took_seconds_bucket{verb="GET",le="1"} 3',
        'took_seconds_bucket{verb="GET",le="+Inf"} 4',
        'took_seconds_sum{verb="GET"} 3.65',
        'took_seconds_count{verb="GET"} 4',
    ]


def test_a_process_tells_of_itself() -> None:
    numbers = dict(line.split() for line in metrics.process() if not line.startswith("#"))
    assert float(numbers["process_resident_memory_bytes"]) > 1 << 20
    assert float(numbers["process_cpu_seconds_total"]) > 0
    assert int(numbers["process_open_fds"]) >= 3
