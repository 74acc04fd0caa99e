"""Node selector terms, tolerations and pod affinity terms."""

from typing import Any

import pytest

from kapi.scheduler import matching


@pytest.mark.parametrize(
    ("operator", "values", "labels", "expected"),
    [
        ("In", ["a"], {"k": "a"}, True),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {}, True),
        ("NotIn", ["a"], {"k": "a"}, False),
        ("Exists", [], {"k": ""}, True),
        ("DoesNotExist", [], {"k": ""}, False),
        ("Gt", ["5"], {"k": "6"}, True),
        ("Lt", ["5"], {"k": "5"}, False),
        ("Gt", ["5"], {"k": "many"}, False),
    ],
)
def test_requirements(operator: str, values: list[str], labels: dict[str, str], expected: bool) -> None:
    assert matching.requirement_matches({"key": "k", "operator": operator, "values": values}, labels) is expected


def test_an_empty_term_matches_nothing() -> None:
    assert not matching.term_matches({}, "n", {"a": "b"})


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": wanted}}


def test_selector_and_terms_must_both_hold_and_terms_are_alternatives() -> None:
    a, b = ({"matchExpressions": [{"key": k, "operator": "Exists"}]} for k in "ab")
    test = matching.required_nodes({"nodeSelector": {"x": "y"}, **required(a, b)})
    assert test is not None
    assert test("n", {"x": "y", "b": "1"})
    assert not test("n", {"b": "1"})
    assert not test("n", {"x": "y"})
    assert matching.required_nodes({}) is None


def name_term(*names: str) -> dict[str, Any]:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": list(names)}]}


def test_nodes_named_by_affinity() -> None:
    assert matching.named_nodes(required(name_term("a"), name_term("b"))) == (frozenset("ab"), False)
    conflicting = {"matchFields": name_term("a")["matchFields"] + name_term("b")["matchFields"]}
    assert matching.named_nodes(required(conflicting)) == (frozenset(), True)
    assert matching.named_nodes(required(name_term("a"), {"matchExpressions": []})) == (None, False)


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], expected: bool) -> None:
    assert matching.tolerates([toleration], {"key": "k", "value": "v", "effect": "NoSchedule"}) is expected


def test_a_term_looks_in_the_pods_namespace_unless_told_otherwise() -> None:
    selector = {"matchLabels": {"a": "b"}}
    own = matching.term({"labelSelector": selector, "topologyKey": "z"}, "mine")
    assert own.selects("mine", {"a": "b"}, {})
    assert not own.selects("other", {"a": "b"}, {})
    everywhere = matching.term({"labelSelector": selector, "namespaceSelector": {}, "topologyKey": "z"}, "mine")
    assert everywhere.selects("other", {"a": "b"}, {})
    nothing = matching.term({"topologyKey": "z"}, "mine")
    assert not nothing.selects("mine", {"a": "b"}, {})
