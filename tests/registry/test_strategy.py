"""What a Strategy defines is used: a misspelt method or table would be ignored without a word."""

import ast
import inspect
from collections.abc import Iterator

from kapi.registry.kinds import STRATEGIES
from kapi.registry.strategy import Strategy


def own(strategy: type[Strategy]) -> Iterator[str]:
    """Public names that a class defines and none of its bases has."""
    inherited = {name for base in strategy.__mro__[1:] for name in vars(base)}
    return (name for name in vars(strategy) if not name.startswith("_") and name not in inherited)


def read(strategy: type[Strategy]) -> set[str]:
    """Attributes that the module of a class reads from `self`."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(strategy) or strategy))
    return {
        node.attr for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }  # fmt: skip


def unused(strategies: set[type[Strategy]]) -> list[str]:
    """'Class.name' of what is neither a name of Strategy nor read by the class itself."""
    return sorted(f"{one.__name__}.{name}" for one in strategies for name in own(one) if name not in read(one))


def test_what_a_strategy_defines_is_used() -> None:
    classes = {base for strategy in STRATEGIES.values() for base in strategy.__mro__ if issubclass(base, Strategy)} - {Strategy}
    assert unused(classes) == []


def test_a_misspelt_name_is_found() -> None:
    class Misspelt(Strategy):
        default_of_empty = {"spec.type": "A"}

        def prepare_staus(self) -> None:
            pass

    assert unused({Misspelt}) == ["Misspelt.default_of_empty", "Misspelt.prepare_staus"]
