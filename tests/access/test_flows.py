from kapi.access import flows
from kapi.registry import catalogue


def test_objects_are_valid_and_schemas_name_levels_that_are_there() -> None:
    kinds, made = catalogue.standard(), list(flows.objects())
    for obj in made:
        kind = kinds.by_kind(obj["apiVersion"], obj["kind"])
        assert kind is not None
        kind.strategy.default(obj)
        assert kind.strategy.validate(obj, None) == []
    levels = {obj["metadata"]["name"] for obj in made if obj["kind"] == "PriorityLevelConfiguration"}
    schemas = [obj for obj in made if obj["kind"] == "FlowSchema"]
    assert (len(levels), len(schemas)) == (8, 13)
    assert {obj["spec"]["priorityLevelConfiguration"]["name"] for obj in schemas} == levels


def test_rules_of_a_schema() -> None:
    spec = next(obj["spec"] for obj in flows.objects() if obj["metadata"]["name"] == "system-node-high")
    assert spec["rules"][0]["subjects"] == [{"kind": "Group", "group": {"name": "system:nodes"}}]
    assert spec["rules"][0]["resourceRules"] == [
        {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": True, "namespaces": ["*"]},
        {"verbs": ["*"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]},
    ]


def test_a_schema_without_rules_takes_everything() -> None:
    spec = next(obj["spec"] for obj in flows.objects() if obj["metadata"]["name"] == "exempt" and obj["kind"] == "FlowSchema")
    assert "distinguisherMethod" not in spec
    assert spec["rules"][0]["nonResourceRules"] == [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
