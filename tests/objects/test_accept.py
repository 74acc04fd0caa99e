"""Accept headers as kube-apiserver reads them."""

import time

import pytest

from kapi.objects.accept import JSON, PROTOBUF, YAML, Accepted, Target, first

TABLE = Target("meta.k8s.io", "v1", "Table")
AS_TABLE = ";as=Table;v=v1;g=meta.k8s.io"


def allows(media: str, target: Target | None) -> bool:
    """Everything as it is; tables, though not in protobuf."""
    return target is None or (target == TABLE and media != PROTOBUF)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", Accepted()),
        (JSON, Accepted()),
        (f"{PROTOBUF},{JSON}", Accepted(PROTOBUF)),
        (f"{PROTOBUF}, */*", Accepted(PROTOBUF)),
        (f"*/*, {PROTOBUF}", Accepted(PROTOBUF)),
        (f"application/*, {YAML}", Accepted(YAML)),
        ("*", Accepted()),
        (f"{PROTOBUF};q=0.5, {JSON};q=0.9", Accepted(JSON)),
        (f"{JSON};q=0.5;pretty=1,{YAML};q=0.4", Accepted(JSON, pretty=True)),
        (f"{JSON};q=a, {YAML};q=0.1", Accepted(YAML)),
        (f"application/*;q=1, {YAML};q=0.1", Accepted(YAML)),
        ("text/html, application/xhtml+xml, */*;q=0.8", Accepted()),
        ("application/json/x, a;b, ;, application/cbor, " + YAML, Accepted(YAML)),
        (JSON + AS_TABLE, Accepted(JSON, TABLE)),
        (f"{PROTOBUF}{AS_TABLE},{JSON}{AS_TABLE},{JSON}", Accepted(JSON, TABLE)),
        (f"*/*{AS_TABLE}", Accepted(JSON, TABLE)),
        (f"{JSON};as=Chart;v=v1;g=meta.k8s.io, {YAML}", Accepted(YAML)),
        (f"{JSON};g=meta.k8s.io, {YAML}", Accepted(YAML)),
        (f"{PROTOBUF};stream=watch", Accepted(PROTOBUF)),
        (f"{PROTOBUF};stream=other,{JSON};stream=", Accepted(JSON)),
        (f"{YAML};stream=watch,{JSON}", Accepted(JSON)),
        (f"{JSON};charset=utf-8", Accepted(JSON)),
        ("application/cbor", None), ("text/*", None), ("application/json/x", None), (f"{PROTOBUF}{AS_TABLE}", None),
    ],
)  # fmt: skip
def test_the_first_that_can_be_answered(header: str, found: Accepted | None) -> None:
    assert first(header, allows) == found


def test_many_clauses() -> None:
    """More than Go sorts by insertion; and as many as are looked at take their time, but little."""
    assert first(",".join(f"{media};q=0.{at}" for at in range(1, 10) for media in (JSON, YAML)), allows) == Accepted(JSON)
    worst = ",".join(f"*/*;as=x;q=0.{at:03}" for at in range(450))
    began = time.process_time()
    assert first(worst, allows) is None
    assert time.process_time() - began < 0.05
