"""Strategic merge patch: directives, lists by key, order, errors."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapi.objects import errors
from kapi.objects.meta import clone
from kapi.schema import builtin, strategic

DEPLOYMENT = builtin.schema(builtin.named("apps", "v1", "Deployment"))


def pod_spec(**more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": more}}}


def patched(live: dict[str, Any], patch: dict[str, Any]) -> Any:
    return strategic.apply(DEPLOYMENT, clone(live), patch)["spec"]["template"]["spec"]


LIVE = pod_spec(
    containers=[{"name": "c", "image": "i", "args": ["a", "b"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
    volumes=[{"name": "v", "emptyDir": {}}, {"name": "w"}],
    tolerations=[{"key": "k"}],
)


def test_lists_merge_by_key_and_new_items_come_in_patch_order() -> None:
    change = pod_spec(
        containers=[{"name": "c", "image": "j", "env": [{"name": "A", "$patch": "delete"}, {"name": "C"}]}, {"name": "d", "image": "k"}]
    )
    containers = patched(LIVE, change)["containers"]
    assert [c["name"] for c in containers] == ["c", "d"]
    assert containers[0]["image"] == "j"
    assert containers[0]["env"] == [{"name": "C"}, {"name": "B", "value": "2"}]


def test_element_order_and_replaced_scalars() -> None:
    live = pod_spec(containers=[{"name": "c", "args": ["a"]}, {"name": "d"}])
    order = {"$setElementOrder/containers": [{"name": "d"}, {"name": "c"}]}
    change = pod_spec(**order, containers=[{"name": "c", "args": ["z"]}])
    assert patched(live, change)["containers"] == [{"name": "d"}, {"name": "c", "args": ["z"]}]


def test_replacing_a_list_and_lists_without_strategy() -> None:
    assert patched(LIVE, pod_spec(containers=[{"$patch": "replace"}, {"name": "only"}]))["containers"] == [{"name": "only"}]
    assert patched(LIVE, pod_spec(tolerations=[{"key": "q"}]))["tolerations"] == [{"key": "q"}]


def test_primitive_lists() -> None:
    live = {"metadata": {"finalizers": ["a", "b"]}}
    less = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic.apply(DEPLOYMENT, clone(live), less) == {"metadata": {"finalizers": ["b"]}}
    assert strategic.apply(DEPLOYMENT, clone(live), {"metadata": {"finalizers": ["c"]}})["metadata"]["finalizers"] == ["c", "a", "b"]


def test_retain_keys() -> None:
    change = pod_spec(volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}])
    assert patched(LIVE, change)["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w"}]
    with pytest.raises(errors.BadRequest, match="invalid patch format of retainKeys"):
        patched(LIVE, pod_spec(volumes=[{"name": "v", "$retainKeys": ["name"], "hostPath": {}}]))


def test_nulls_and_maps() -> None:
    out = patched(LIVE, pod_spec(containers=None, hostNetwork=True))
    assert "containers" not in out
    assert out["hostNetwork"] is True
    assert strategic.apply(DEPLOYMENT, {"spec": {"strategy": {"type": "x"}}}, {"spec": {"strategy": {"$patch": "replace", "a": 1}}}) == {
        "spec": {"strategy": {"a": 1}}
    }


def test_an_item_without_its_key_is_stocks_500() -> None:
    with pytest.raises(errors.StatusError) as caught:
        patched(LIVE, pod_spec(containers=[{"image": "noname"}]))
    assert caught.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "map: map[image:noname] does not contain declared merge key: name",
        "code": 500,
    }


envs = st.lists(st.sampled_from("ABCD"), unique=True).map(lambda names: [{"name": n, "value": n} for n in names])


@given(envs, envs)
@settings(max_examples=40)
def test_a_patch_twice_is_once(live: Any, change: Any) -> None:
    before = pod_spec(containers=[{"name": "c", "env": live}])
    patch = pod_spec(containers=[{"name": "c", "env": change}])
    once = strategic.apply(DEPLOYMENT, clone(before), patch)
    assert strategic.apply(DEPLOYMENT, clone(once), patch) == once
    names = [e["name"] for e in once["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert [n for n in names if n in {e["name"] for e in change}] == [e["name"] for e in change]
    assert set(names) == {e["name"] for e in live + change}
