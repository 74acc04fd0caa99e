"""The house: imports go downwards only, and no room knows its neighbour where they are columns (ARCHITECTURE.md)."""

import ast

import pytest

from tests.house import FLOORS, ROOT, Module, figures, imports, modules

WIRE = 6
"""Floors above this one speak to an API server only over the wire: they may use the client, and what is SHARED."""
SHARED = 1
MODULES = [pytest.param(module, id=name) for name, module in modules().items()]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module: Module) -> None:
    if not module.room:
        assert module.name == "kapi", f"{module.name} is in no room"
        return
    floor = FLOORS[module.room]
    for name in imports(module):
        there = modules()[name].room
        if not there or there == module.room:
            continue
        assert FLOORS[there] < floor, f"{module.name} (floor {floor}) imports {name} (floor {FLOORS[there]})"
        if WIRE < floor < FLOORS["kapi.cli"]:
            assert there == "kapi.client" or FLOORS[there] <= SHARED, f"{module.name} must speak over the wire, but imports {name}"


@pytest.mark.parametrize("rule", [rule for rule in figures() if "Object" not in rule and "word" not in rule])
def test_the_house_breaks_no_rule(rule: str) -> None:
    assert figures()[rule] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_rules_of_a_file(module: Module) -> None:
    """It opens with what it is for; nothing reaches for what another room keeps to itself."""
    assert ast.get_docstring(module.tree), f"{module.name} does not say what it is for"
    private = [
        node.module for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in {room.split(".")[0] for room in FLOORS}
        and any(alias.name.startswith("_") and not alias.name.endswith("__") for alias in node.names)
    ]  # fmt: skip
    assert not private, f"{module.name} imports private names of {private}"


def test_the_plan_names_every_room() -> None:
    plan = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [r for r in FLOORS if (ROOT / r.replace(".", "/")).is_dir()]
    assert [r for r in rooms if f"| `{r}` |" not in plan] == []
