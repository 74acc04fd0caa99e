"""The house: imports go downwards only, and no room knows its neighbour where they are columns (ARCHITECTURE.md)."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "kapi.objects": 0, "openapi": 0, "certs": 0, "kapi.settings": 0, "kapi.limits": -1, "kapi.http": 1,
    "kapi.cel": 1,
    "kapi.storage": 2, "kapi.schema": 2,
    "kapi.registry": 3,
    "kapi.admission": 4, "kapi.access": 4,
    "kapi.api": 5,
    "kapi.client": 6,
    "kapi.controllers": 7, "kapi.scheduler": 7, "kapi.proxy": 7, "kubelet": 7,
    "kapi.cli": 8, "conformance": 8,
    "kapi.testing": 9, "kapi.__main__": 9, "kubelet.__main__": 9,
}  # fmt: skip
WIRE = 5
"""Floors above this one speak to an API server only over the wire: they may use the client, and what is SHARED."""
SHARED = 1


def room(module: str) -> str:
    """The room a module is in: the longest name of FLOORS that it starts with."""
    return max((r for r in FLOORS if module == r or module.startswith(r + ".")), key=len, default="")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> set[str]:
    tree = parsed(path)
    out: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            out.add(node.module)
            out |= {f"{node.module}.{alias.name}" for alias in node.names}
    return out


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


SOURCES = [p for top in ("kapi", "kubelet", "openapi", "certs", "conformance") for p in sorted((ROOT / top).rglob("*.py"))]


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_downwards(path: Path) -> None:
    here = room(name(path))
    if not here:
        assert name(path) == "kapi", f"{name(path)} is in no room"
        return
    floor = FLOORS[here]
    for module in imports(path):
        there = room(module)
        if not there or there == here:
            continue
        assert FLOORS[there] < floor, f"{name(path)} (floor {floor}) imports {module} (floor {FLOORS[there]})"
        if WIRE < floor < 8:
            assert there == "kapi.client" or FLOORS[there] <= SHARED, f"{name(path)} must speak over the wire, but imports {module}"


def test_the_wall() -> None:
    """500 lines is the wall for a file."""
    long = {name(p): lines for p in SOURCES if (lines := p.read_text().count("\n")) > 500}
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_rules_of_a_file(path: Path) -> None:
    """It opens with what it is for; no function is longer than 60 lines; nothing reaches for what another room keeps to itself."""
    tree = parsed(path)
    assert ast.get_docstring(tree), f"{name(path)} does not say what it is for"
    for function in functions(tree):
        assert (function.end_lineno or 0) - function.lineno < 60, f"{name(path)}.{function.name} is long"
    private = [n for n in imports(path) if "._" in n and room(n) and not n.endswith("__")]
    assert not private, f"{name(path)} imports {private}"


def test_the_plan_names_every_room() -> None:
    plan = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [r for r in FLOORS if (ROOT / r.replace(".", "/")).is_dir()]
    assert [r for r in rooms if f"| `{r}` |" not in plan] == []
