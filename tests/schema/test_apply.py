"""Server-side apply: ownership, conflicts, removal, lists, and its laws."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapi.objects import errors
from kapi.objects.meta import clone
from kapi.schema import apply, builtin, managed
from kapi.schema.structural import Structural

CONFIG = builtin.schema(builtin.named("", "v1", "ConfigMap"))
DEPLOYMENT = builtin.schema(builtin.named("apps", "v1", "Deployment"))
STAMP = "2026-01-01T00:00:00Z"


def config(**data: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def applied(live: Any, wanted: Any, manager: str = "one", *, force: bool = False, schema: Any = CONFIG, stamp: str = STAMP) -> Any:
    version = wanted["apiVersion"]
    return apply.apply(schema, live, clone(wanted), manager=manager, force=force, api_version=version, stamp=stamp)


def owners(obj: Any) -> dict[str, Any]:
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", [])}


def deployment(*containers: Any, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": list(containers)}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {**spec, "template": template}}


def test_two_managers_share_an_object() -> None:
    both = applied(applied(None, config(k="v")), config(m="n"), "two")
    assert both["data"] == {"k": "v", "m": "n"}
    assert owners(both) == {"one": {"f:data": {"f:k": {}}}, "two": {"f:data": {"f:m": {}}}}


def test_a_conflict_names_manager_and_field() -> None:
    live = applied(None, config(k="v"))
    with pytest.raises(errors.Conflict) as caught:
        applied(live, config(k="other"), "two")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "one": .data.k'
    assert caught.value.status()["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.k"}
    ]
    forced = applied(live, config(k="other"), "two", force=True)
    assert forced["data"] == {"k": "other"}
    assert owners(forced) == {"two": {"f:data": {"f:k": {}}}}


def test_several_conflicts_are_listed_by_manager() -> None:
    live = config(k="v", l="w")
    managed.track(CONFIG, None, live, manager="edit", api_version="v1", stamp=STAMP)
    with pytest.raises(errors.Conflict) as caught:
        applied(live, config(k="1", l="2"), "two")
    assert caught.value.message == 'Apply failed with 2 conflicts: conflicts with "edit" using v1:\n- .data.k\n- .data.l'


def test_what_is_no_longer_applied_goes_unless_someone_else_owns_it() -> None:
    live = applied(applied(None, config(k="v", l="w")), config(l="w"), "two")
    less = applied(live, config())
    assert less["data"] == {"l": "w"}
    assert owners(less) == {"two": {"f:data": {"f:l": {}}}, "one": {"f:data": {}}}


def test_an_apply_that_changes_nothing_has_no_time_of_its_own() -> None:
    live = config(k="v")
    managed.track(CONFIG, None, live, manager="maker", api_version="v1", stamp=STAMP)
    same = applied(live, config(k="v"), stamp="2027-01-01T00:00:00Z")
    assert [e.get("time") for e in same["metadata"]["managedFields"]] == [None, STAMP]
    assert applied(same, config(k="v"), stamp="2028-01-01T00:00:00Z") == same


def test_lists_merge_by_key_in_applied_order() -> None:
    live = applied(None, deployment({"name": "c", "image": "i", "env": [{"name": "A"}]}), schema=DEPLOYMENT)
    both = applied(live, deployment({"name": "side"}, {"name": "c", "env": [{"name": "B"}]}), "two", schema=DEPLOYMENT)
    containers = both["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["side", "c"]
    assert containers[1]["env"] == [{"name": "A"}, {"name": "B"}]
    back = applied(both, deployment({"name": "c"}), "two", schema=DEPLOYMENT)
    assert back["spec"]["template"]["spec"]["containers"] == [{"name": "c", "image": "i", "env": [{"name": "A"}]}]


def test_malformed_configurations() -> None:
    with pytest.raises(errors.BadRequest, match=r"metadata.managedFields must be nil"):
        applied(None, {**config(), "metadata": {"name": "a", "managedFields": []}})
    with pytest.raises(errors.StatusError) as caught:
        applied(None, deployment({"name": "c"}, {"name": "c"}), schema=DEPLOYMENT)
    assert caught.value.message == (
        "failed to create typed patch object (/d; apps/v1, Kind=Deployment): "
        '.spec.template.spec.containers: duplicate entries for key [name="c"]'
    )
    with pytest.raises(errors.StatusError, match=r"\.spec\.bogus: field not declared in schema"):
        applied(None, deployment(bogus=1), schema=DEPLOYMENT)
    with pytest.raises(errors.StatusError, match=r"\.spec\.replicas: expected numeric \(int or float\), got string"):
        applied(None, deployment(replicas="x"), schema=DEPLOYMENT)


CUSTOM = Structural({"type": "object", "properties": {"spec": {"type": "object", "properties": {
    "t": {"type": "string"}, "o": {"type": "boolean"}, "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
}}}}, root=True)  # fmt: skip


def custom(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def test_null_is_a_value_of_custom_objects() -> None:
    live = applied(None, custom(t="a"), schema=CUSTOM)
    with pytest.raises(errors.Conflict, match=r'conflict with "one": \.spec\.t'):
        applied(live, custom(t=None), "two", schema=CUSTOM)
    assert applied(live, custom(t=None), "two", force=True, schema=CUSTOM)["spec"] == {"t": None}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"t": 5}, ".spec.t: expected string, got &{5}"),
        ({"o": "true"}, ".spec.o: expected boolean, got &{true}"),
        ({"s": ["a", "a"]}, '.spec.s: duplicate entries for key [="a"]'),
    ],
)
def test_malformed_custom_objects(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        applied(None, custom(**spec), schema=CUSTOM)
    assert caught.value.message == f"failed to create typed patch object (/x; x.io/v1, Kind=X): {why}"


def test_kubectl_takes_over_what_it_applied_on_the_clients_side() -> None:
    live = config(k="v", l="w")
    live["metadata"]["annotations"] = {apply.LAST_APPLIED: orjson.dumps(config(k="v", l="w")).decode()}
    managed.track(CONFIG, None, live, manager="kubectl-client-side-apply", api_version="v1", stamp=STAMP)
    with pytest.raises(errors.Conflict):
        applied(live, config(k="x"), "other")
    taken = applied(live, config(k="x"), "kubectl")
    assert taken["data"] == {"k": "x", "l": "w"}
    assert orjson.loads(taken["metadata"]["annotations"][apply.LAST_APPLIED])["data"] == {"k": "x"}


def test_an_untracked_object_belongs_to_before_first_apply() -> None:
    live = config(k="v")
    with pytest.raises(errors.Conflict, match=r'conflict with "before-first-apply" using v1: \.data\.k'):
        applied(live, config(k="w"))


data = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"), max_size=4)


@given(data, data)
@settings(max_examples=25)
def test_applying_twice_is_applying_once(before: Any, wanted: Any) -> None:
    once = applied(applied(None, config(**before), "other"), config(**wanted), force=True)
    assert applied(once, config(**wanted), stamp="2030-01-01T00:00:00Z") == once


@given(data.filter(bool), st.dictionaries(st.sampled_from("efgh"), st.sampled_from("xyz"), min_size=1, max_size=4))
@settings(max_examples=25)
def test_disjoint_managers_never_conflict_and_their_order_does_not_matter(a: Any, b: Any) -> None:
    left = applied(applied(None, config(**a), "one"), config(**b), "two")
    right = applied(applied(None, config(**b), "two"), config(**a), "one")
    assert left == right
    assert left["data"] == {**a, **b}


@given(data, st.permutations("abcd"))
@settings(max_examples=25)
def test_the_order_of_keys_does_not_matter(wanted: Any, order: Any) -> None:
    shuffled = {key: wanted[key] for key in order if key in wanted}
    assert applied(None, config(**wanted)) == applied(None, config(**shuffled))
