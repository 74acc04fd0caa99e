from kapi.registry import catalogue, table
from kapi.registry.kind import Kind
from kapi.registry.validation import rules
from kapi.schema import texts

STANDARD = catalogue.standard({"api/all": True})


def kind(group: str, plural: str) -> Kind:
    found = STANDARD.get(group, "v1", plural)
    assert found is not None
    return found


def test_columns_by_title() -> None:
    count, flag, wide = rules.columns("Data#=core.v1.ConfigMap.data", "Suspend!: Whether it waits", "Node+")
    assert (count.name, count.type, count.source, count.priority) == ("Data", "integer", "core.v1.ConfigMap.data", 0)
    assert (flag.name, flag.type, flag.description) == ("Suspend", "boolean", "Whether it waits")
    assert (wide.name, wide.priority, wide.source) == ("Node", 1, "")


def test_fields_describe_their_columns() -> None:
    name, ready, *_ = table.columns(kind("", "pods"))
    assert (name["name"], name["format"], name["description"][:28]) == ("Name", "name", "Name must be unique within a")
    assert ready["description"].startswith("The aggregate readiness")


def test_every_field_that_describes_a_column_is_there() -> None:
    sources = {column.source for kind in STANDARD for column in kind.strategy.columns if column.source}
    assert [source for source, text in texts.of(sources).items() if not text] == []
    assert len(sources) > 80


def test_a_table_has_cells_for_its_columns() -> None:
    meta = {"name": "a", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k": "v"}}
    out = table.table(kind("", "configmaps"), [obj], {"resourceVersion": "5"}, "Metadata")
    assert [c["name"] for c in out["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert out["rows"][0]["cells"][:2] == ["a", 1]
    assert out["rows"][0]["object"] == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    assert table.table(kind("", "configmaps"), [], {}, "None", headed=False) == {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": None, "rows": [],
    }  # fmt: skip


def test_the_row_of_a_finished_pod_says_so() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": []}, "status": {"phase": "Succeeded"}}
    over = {"type": "Completed", "status": "True", "reason": "Succeeded", "message": "The pod has completed successfully."}
    assert table.row(kind("", "pods"), pod, "None", 0.0)["conditions"] == [over]
    assert "conditions" not in table.row(kind("", "pods"), {**pod, "status": {"phase": "Running"}}, "None", 0.0)
