"""Each row of the list of strategies does something. Most have rules in a file, whose tests look them up in the list; here are the rest."""

from collections.abc import Callable

import pytest

from kapi.registry import catalogue
from kapi.registry.kind import Kind
from kapi.registry.kinds import STRATEGIES
from kapi.registry.validation.part import PlainStrategy
from tests.registry.kinds import test_rules
from tests.registry.kinds.making import made
from tests.rows import missed

Key = tuple[str, str]
BEHAVIOURS: dict[Key, Callable[[Kind], None]] = {}


def behaviour(group: str, plural: str) -> Callable[[Callable[[Kind], None]], None]:
    def note(test: Callable[[Kind], None]) -> None:
        BEHAVIOURS[group, plural] = test

    return note


def kind_of(key: Key, without: bool = False) -> Kind:
    """The kind as a server has it whose list is whole, or lacks this row."""
    listed = {row: strategy for row, strategy in STRATEGIES.items() if not (without and row == key)}
    served = catalogue.standard({"api/all": True}, listed)
    return next(kind for kind in served if (kind.resource.group, kind.resource.plural) == key)


def test_every_row_has_a_behaviour_or_rules() -> None:
    ruled = {type(strategy) for _, strategy, _ in test_rules.kinds()} | {PlainStrategy}
    assert {key for key, strategy in STRATEGIES.items() if strategy not in ruled} == set(BEHAVIOURS)


@pytest.mark.parametrize("key", BEHAVIOURS, ids="/".join)
def test_with_the_row(key: Key) -> None:
    BEHAVIOURS[key](kind_of(key))


@pytest.mark.parametrize("key", BEHAVIOURS, ids="/".join)
def test_without_the_row(key: Key) -> None:
    with missed():
        BEHAVIOURS[key](kind_of(key, without=True))


def titles(kind: Kind) -> list[str]:
    return [column.name for column in kind.strategy.columns]


@behaviour("", "componentstatuses")
def component_statuses(kind: Kind) -> None:
    assert titles(kind) == ["Name", "Status", "Message", "Error"]


@behaviour("", "namespaces")
def namespaces(kind: Kind) -> None:
    assert made(kind.strategy, {"metadata": {"name": "a"}, "spec": {}})["spec"] == {"finalizers": ["kubernetes"]}


@behaviour("", "serviceaccounts")
def service_accounts(kind: Kind) -> None:
    assert titles(kind) == ["Name", "Age"]


@behaviour("events.k8s.io", "events")
def events(kind: Kind) -> None:
    stored = kind.strategy.to_storage({"metadata": {}, "note": "it happened"}, kind.resource.api_version)
    assert stored["message"] == "it happened"


@behaviour("internal.apiserver.k8s.io", "storageversions")
def storage_versions(kind: Kind) -> None:
    [cause] = kind.strategy.validate({"metadata": {"name": "x"}}, None)
    assert cause.message == 'Invalid value: "x": name must be in the form of <group>.<resource>'
