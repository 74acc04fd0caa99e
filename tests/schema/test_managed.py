"""managedFields over a life of writes."""

from typing import Any

from kapi.objects.meta import clone
from kapi.schema import builtin, managed
from kapi.schema.schema import Schema

CONFIG = builtin.schema(builtin.named("", "v1", "ConfigMap"))
DEPLOYMENT = builtin.schema(builtin.named("apps", "v1", "Deployment"))


def config(**data: str) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "data": data}


def write(old: Any, new: Any, manager: str, stamp: str = "2026-01-01T00:00:00Z", **how: Any) -> Any:
    new = clone(new)
    managed.track(how.pop("schema", CONFIG), old, new, manager=manager, api_version="v1", stamp=stamp, **how)
    return new


def owners(obj: Any) -> dict[str, Any]:
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", [])}


def test_create_then_update() -> None:
    first = write(None, config(k="v", l="w"), "one")
    assert first["metadata"]["managedFields"] == [
        {
            "manager": "one",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}, "f:k": {}, "f:l": {}}},
        }
    ]
    second = write(first, config(k="x"), "two", "2026-01-02T00:00:00Z")
    assert owners(second) == {"one": {"f:data": {}}, "two": {"f:data": {"f:k": {}}}}
    assert [e["time"] for e in second["metadata"]["managedFields"]] == ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]


def test_no_change_keeps_times_and_the_very_entries() -> None:
    first = write(None, config(k="v"), "one")
    again = write(first, config(k="v"), "one", "2027-01-01T00:00:00Z")
    assert again["metadata"]["managedFields"] == first["metadata"]["managedFields"]
    assert managed.unchanged_but_times(again, first)


def test_times_alone_are_no_change() -> None:
    first = write(None, config(k="v"), "one")
    later = clone(first)
    later["metadata"]["managedFields"][0]["time"] = "2027-01-01T00:00:00Z"
    assert managed.unchanged_but_times(later, first)
    later["data"]["k"] = "w"
    assert not managed.unchanged_but_times(later, first)


def test_clients_may_drop_all_and_then_nothing_is_tracked() -> None:
    first = write(None, config(k="v"), "one")
    empties: list[Any] = [[], [{}]]
    for empty in empties:
        dropped = write(first, {**config(k="w"), "metadata": {"name": "a", "managedFields": empty}}, "two")
        assert "managedFields" not in dropped["metadata"]
    assert "managedFields" not in write(dropped, config(k="x"), "two")["metadata"]


def test_nonsense_from_clients_is_ignored() -> None:
    first = write(None, config(k="v"), "one")
    bad = {**config(k="v"), "metadata": {"name": "a", "managedFields": [{"manager": "x", "operation": "Steal"}]}}
    assert owners(write(first, bad, "two")) == owners(first)


def test_reset_fields_and_subresources_are_their_own_entries() -> None:
    made = {"metadata": {"name": "d"}, "spec": {"replicas": 1}, "status": {"replicas": 5}}
    first = write(None, made, "one", schema=DEPLOYMENT, reset=(("status",),))
    assert owners(first) == {"one": {"f:spec": {"f:replicas": {}}}}
    changed = {**clone(first), "status": {"replicas": 6, "readyReplicas": 1}}
    second = write(first, changed, "one", schema=DEPLOYMENT, subresource="status", reset=(("spec",),))
    assert [e.get("subresource", "") for e in second["metadata"]["managedFields"]] == ["", "status"]
    assert second["metadata"]["managedFields"][1]["fieldsV1"] == {"f:status": {"f:readyReplicas": {}, "f:replicas": {}}}


def test_parts_of_what_is_atomic_now_become_the_whole() -> None:
    granular = Schema("object", fields={"m": Schema("map", item=Schema("string"))})
    atomic = Schema("object", fields={"m": Schema("map", item=Schema("string"), atomic=True)})
    first = write(None, {"metadata": {}, "m": {"a": "1"}}, "one", schema=granular)
    assert owners(first) == {"one": {"f:m": {".": {}, "f:a": {}}}}
    second = write(first, {"metadata": {}, "m": {"a": "1"}, "n": "2"}, "two", schema=atomic)
    assert owners(second) == {"one": {"f:m": {}}, "two": {"f:n": {}}}


def test_items_without_a_name_leave_nothing_to_own() -> None:
    account = builtin.schema(builtin.named("", "v1", "ServiceAccount"))
    nameless = {"metadata": {"name": "a"}, "secrets": [{"kind": "Secret"}]}
    assert "managedFields" not in write(None, nameless, "one", schema=account)["metadata"]


def test_the_oldest_updaters_are_folded() -> None:
    obj = write(None, config(k0="0"), "m0", "2026-01-01T00:00:00Z")
    for i in range(1, 13):
        obj = write(obj, config(**obj["data"], **{f"k{i}": "0"}), f"m{i:02}", f"2026-01-01T00:00:{i:02}Z")
    entries = obj["metadata"]["managedFields"]
    assert len(entries) == managed.MAX_UPDATERS
    assert entries[0]["manager"] == managed.ANCIENT
    assert entries[0]["fieldsV1"] == {"f:data": {".": {}, "f:k0": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}}}
    assert entries[0]["time"] == "2026-01-01T00:00:03Z"


def test_a_list_that_go_always_writes_is_owned_even_if_empty() -> None:
    node = builtin.schema("io.k8s.api.storage.v1.CSINode")
    fields, _ = managed.changes(node, None, {"metadata": {"name": "n"}, "spec": {"drivers": []}})
    assert fields == {"f:spec": {"f:drivers": {}}}
