"""Node selectors, node affinity and tolerations."""


import pytest

from kapi.objects import placement
from kapi.objects.meta import Object

LABELS = {"disk": "ssd", "cores": "8"}


@pytest.mark.parametrize(
    ("key", "operator", "values", "wanted"),
    [
        ("disk", "In", ["ssd", "hdd"], True),
        ("zone", "In", ["a"], False),
        ("disk", "NotIn", ["hdd"], True),
        ("zone", "NotIn", ["a"], True),
        ("disk", "Exists", [], True),
        ("zone", "DoesNotExist", [], True),
        ("cores", "Gt", ["4"], True),
        ("cores", "Lt", ["8"], False),
        ("disk", "Gt", ["4"], False),
    ],
)
def test_requirements(key: str, operator: str, values: list[str], wanted: bool) -> None:
    assert placement.requirement_matches({"key": key, "operator": operator, "values": values}, LABELS) is wanted


def affinity(*terms: Object) -> Object:
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}}


def test_one_of_the_terms_is_enough_and_an_empty_one_matches_nothing() -> None:
    named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert placement.fits_node(affinity({}, named), "n1", {})
    assert not placement.fits_node(affinity({}, named), "n2", {})
    assert not placement.fits_node(affinity(), "n1", {})
    assert placement.fits_node({}, "n1", {})
    assert not placement.fits_node({"nodeSelector": {"disk": "hdd"}}, "n1", LABELS)


@pytest.mark.parametrize(
    ("toleration", "wanted"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: Object, wanted: bool) -> None:
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    assert placement.covers(toleration, taint) is wanted
    assert placement.tolerates([{"key": "x", "operator": "Exists"}, toleration], taint) is wanted
