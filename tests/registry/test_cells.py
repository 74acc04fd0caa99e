"""Cells of tables that several kinds share."""

import pytest

from kapi.objects.meta import Object
from kapi.registry.validation import rules


@pytest.mark.parametrize(("selector", "cell"), [
    (None, "<none>"), ({}, "<none>"), ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
    ({"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}, "a,b=1"),
    ({"matchExpressions": [{"key": "k", "operator": "In", "values": ["y", "x"]}, {"key": "k", "operator": "DoesNotExist"}]},
     "k in (x,y),!k"),
    ({"matchLabels": {"k": "v"}, "matchExpressions": [{"key": "k", "operator": "DoesNotExist"}]}, "k=v,!k"),
])  # fmt: skip
def test_selectors_are_in_the_order_of_their_keys(selector: Object | None, cell: str) -> None:
    """What is about one key stays as it was written, labels first."""
    assert rules.selector_cell(selector) == cell
