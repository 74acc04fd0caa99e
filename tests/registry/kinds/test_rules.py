"""Good objects are accepted, bad ones answered as stock answers: the pairs are in rules/, a file per module of kinds."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from kapi.registry.kinds.config import ConfigMapStrategy
from kapi.registry.strategy import Strategy
from tests.registry.kinds.changing import ABSENT, causes, changed

Object = dict[str, Any]

FILES = sorted(Path(__file__).with_name("rules").glob("*.yaml"))


def kinds() -> Iterator[tuple[str, Strategy, Object]]:
    for file in FILES:
        module = import_module(f"kapi.registry.kinds.{file.stem}")
        for name, pairs in yaml.load(file.read_text(), yaml.CSafeLoader).items():
            yield name, getattr(module, name)(), pairs


def pairs(group: str) -> Iterator[Any]:
    for name, strategy, given in kinds():
        for pair in given.get(group, ()):
            value = ABSENT if pair.get("absent") else pair.get("value")
            yield pytest.param(strategy, given["good"], pair["at"], value, pair["causes"], id=f"{name}-{pair['at']}")


@pytest.mark.parametrize(("strategy", "good"), [pytest.param(s, given["good"], id=name) for name, s, given in kinds()])
def test_good(strategy: Strategy, good: Object) -> None:
    assert causes(strategy, good) == []


@pytest.mark.parametrize(("strategy", "good", "at", "value", "wanted"), [*pairs("bad")])
def test_bad(strategy: Strategy, good: Object, at: str, value: object, wanted: list[str]) -> None:
    assert causes(strategy, good, at, value) == wanted


@pytest.mark.parametrize(("strategy", "good", "at", "value", "wanted"), [*pairs("bad_change")])
def test_bad_change(strategy: Strategy, good: Object, at: str, value: object, wanted: list[str]) -> None:
    assert changed(strategy, good, at, value) == wanted


def test_too_much_data() -> None:
    assert causes(ConfigMapStrategy(), {"data": {"k": "x" * (1 << 20), "l": "y"}}) == [": Too long: may not be more than 1048576 bytes"]
