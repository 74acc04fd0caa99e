"""Field sets: the form they have, their algebra, and what is new, changed and gone between objects."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kapi.schema import builtin, difference, fieldset
from kapi.schema.schema import Schema

POD = builtin.schema(builtin.named("", "v1", "Pod"))
CONFIG = builtin.schema(builtin.named("", "v1", "ConfigMap"))


def paths(fields: Any) -> set[tuple[str, ...]]:
    return set(fieldset.members(fields))


def test_a_new_object_is_owned_field_by_field() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}},
        "spec": {
            "containers": [{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {}}],
            "nodeSelector": {"x": "y"},
            "securityContext": {},
        },
        "status": {"phase": "Running"},
    }
    assert difference.created(POD, pod, frozenset({"status"})) == {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:name": {},
                    "f:ports": {".": {}, 'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                    "f:resources": {},
                }
            },
            "f:nodeSelector": {},
            "f:securityContext": {},
        },
    }


def test_a_configuration_owns_leaves_and_items_but_no_structs() -> None:
    container = {"name": "c", "ports": [{"containerPort": 80}]}
    applied = {"metadata": {"labels": {"a": "b"}, "finalizers": ["x"]}, "spec": {"containers": [container]}}
    assert fieldset.to_field_set(POD, applied) == {
        "f:metadata": {"f:finalizers": {'v:"x"': {}}, "f:labels": {"f:a": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:name": {},
                    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                }
            }
        },
    }


def test_what_changed_and_what_went() -> None:
    old = {"metadata": {"labels": {"a": "1", "b": "2"}}, "data": {"k": "v"}}
    new = {"metadata": {"labels": {"a": "3"}}, "data": {"k": "v", "l": "w"}}
    changed, removed = difference.between(CONFIG, old, new)
    assert changed == {"f:data": {"f:l": {}}, "f:metadata": {"f:labels": {"f:a": {}}}}
    assert removed == {"f:metadata": {"f:labels": {"f:b": {}}}}


def test_order_of_keyed_lists_is_no_change_and_atomic_lists_change_whole() -> None:
    a, b = {"name": "a", "image": "i"}, {"name": "b", "image": "j"}
    assert difference.between(POD, {"spec": {"containers": [a, b]}}, {"spec": {"containers": [b, a]}}) == ({}, {})
    old = {"spec": {"tolerations": [{"key": "x"}]}}
    assert difference.between(POD, old, {"spec": {"tolerations": [{"key": "y"}]}})[0] == {"f:spec": {"f:tolerations": {}}}


def test_paths_are_shown_as_conflicts_show_them() -> None:
    assert fieldset.path_text(["f:spec", 'k:{"containerPort":80,"protocol":"TCP"}', "f:x", 'v:"a"']) == (
        '.spec[containerPort=80,protocol="TCP"].x[="a"]'
    )


def test_has_and_prune() -> None:
    fields: Any = {"f:spec": {"f:a": {}, "f:b": {".": {}, "f:c": {}}}}
    assert fieldset.has(fields, ["f:spec", "f:b"])
    assert not fieldset.has(fields, ["f:spec"])
    assert fieldset.prune(fields, ("spec", "b")) == {"f:spec": {"f:a": {}}}
    assert fieldset.prune(fields, ("status",)) is fields


steps = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
many_paths = st.lists(st.lists(steps, min_size=1, max_size=3).map(tuple), max_size=6)


def built(all_paths: list[tuple[str, ...]]) -> Any:
    out: Any = {}
    for path in all_paths:
        node: Any = {}
        for step in reversed(path):
            node = {step: node}
        out = fieldset.union(out, node)
    return out


@given(many_paths, many_paths)
@settings(max_examples=25)
def test_the_algebra_is_that_of_sets_of_paths(a: Any, b: Any) -> None:
    x, y = built(a), built(b)
    assert paths(x) == set(a)
    assert paths(fieldset.union(x, y)) == set(a) | set(b)
    assert paths(fieldset.difference(x, y)) == set(a) - set(b)
    assert paths(fieldset.intersection(x, y)) == set(a) & set(b)
    assert fieldset.difference(x, x) == {}


values = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


@given(values, values)
@settings(max_examples=25)
def test_changed_and_removed_tell_apart_any_two_maps(old: Any, new: Any) -> None:
    schema = Schema("object", fields={"data": Schema("map", item=Schema("string"))})
    changed, removed = difference.between(schema, {"data": old}, {"data": new})
    leaves = {path[1][2:] for path in paths(changed) if len(path) > 1}
    assert leaves == {k for k in new if old.get(k) != new[k]}
    assert {path[1][2:] for path in paths(removed) if len(path) > 1} == set(old) - set(new)
