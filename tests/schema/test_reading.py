from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kapi.schema import builtin, compiled, reading
from kapi.schema.schema import Schema

POD = builtin.schema("io.k8s.api.core.v1.Pod")
KINDS = (
    *("core.v1.Pod", "core.v1.Service", "apps.v1.Deployment", "rbac.v1.Role"),
    *("networking.v1.NetworkPolicy", "autoscaling.v2.HorizontalPodAutoscaler"),
)
VALIDATORS = {name: compiled.validator(builtin.schema(f"io.k8s.api.{name}")) for name in KINDS}
TEXT = st.sampled_from(["", "a", "b-c", "é"])
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "int32": st.sampled_from([0, 1, -5]),
    "int64": st.sampled_from([0, 2**40]),
    "number": st.sampled_from([0, 1.5]),
    "boolean": st.booleans(),
    "bytes": st.sampled_from(["", "dg=="]),
    "quantity": st.sampled_from(["0", "1000m", "1Gi", 5]),
    "time": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+01:00"]),
    "microtime": st.just("2026-01-01T00:00:00.000001Z"),
    "intstr": st.sampled_from([0, 80, "http", ""]),
    "duration": st.just("5s"),
    "any": st.sampled_from([None, {}, {"a": 1}]),
}


@st.composite
def values(draw: st.DrawFn, node: Schema, depth: int = 0) -> Any:
    """A value of the type with nulls, zero values and short forms here and there."""
    if draw(st.integers(0, 9)) == 0:
        return None
    if node.type in SCALARS:
        return draw(SCALARS[node.type])
    if node.type == "list" and node.item:
        return [draw(values(node.item, depth + 1)) for _ in range(draw(st.integers(0, 2)))]
    if node.type == "map" and node.item:
        return {key: draw(values(node.item, depth + 1)) for key in draw(st.sets(st.sampled_from(["a", "b"])))}
    chance = 4 if depth < 3 else 12
    return {name: draw(values(field, depth + 1)) for name, field in node.fields.items() if draw(st.integers(0, chance)) == 0}


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_what_is_read_is_in_the_form_the_compiled_way_accepts(name: str, data: st.DataObject) -> None:
    schema = builtin.schema(f"io.k8s.api.{name}")
    value = data.draw(values(schema)) or {}
    careful = reading.Reading()
    out = careful.whole(value, schema)
    assert careful.strict == []
    assert reading.Reading().whole(out, schema) == out
    careful.empties.write_nulls(out)
    assert VALIDATORS[name](out) == out


def test_zero_of_structs_is_what_stock_always_writes() -> None:
    assert reading.zero(POD) == {"metadata": {}, "spec": {"containers": None}, "status": {}}
    condition = builtin.schema("io.k8s.api.core.v1.PodCondition")
    assert reading.zero(condition) == {"type": "", "lastProbeTime": None, "lastTransitionTime": None, "status": ""}
    selector = builtin.schema("io.k8s.api.core.v1.ResourceFieldSelector")
    assert reading.zero(selector) == {"resource": "", "divisor": "0"}


def test_hand_made_types() -> None:
    inner = Schema("object", fields={"n": Schema("int64", pointer=True)})
    schema = Schema("object", fields={"list": Schema("list", item=inner, pointer=True), "free": Schema("any")})
    careful = reading.Reading()
    assert careful.whole({"list": [{"n": 0, "x": 1}], "free": {"y": None}}, schema) == {"list": [{"n": 0}], "free": {"y": None}}
    assert careful.strict == ['unknown field "list[0].x"']


def test_the_first_type_error_is_told() -> None:
    schema = Schema("object", name="io.example.v1.Thing", fields={"a": Schema("boolean"), "b": Schema("list", item=Schema("string"))})
    with pytest.raises(reading.DecodeError, match=r"cannot unmarshal number into Go struct field Thing\.b of type string"):
        reading.Reading().whole({"b": [1], "a": "x"}, schema)
    with pytest.raises(reading.DecodeError, match=r"cannot unmarshal array into Go value of type v1\.Thing"):
        reading.Reading().whole([], schema)
