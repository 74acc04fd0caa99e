"""What is installed: every package of ours tells type checkers that it is typed, and the file that says so is packed."""

import fnmatch
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PATTERNS: list[str] = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
PACKAGES = sorted(p.parent.name for p in ROOT.glob("*/__init__.py") if any(fnmatch.fnmatch(p.parent.name, one) for one in PATTERNS))


def test_each_pattern_finds_a_package() -> None:
    assert sorted(one.removesuffix("*") for one in PATTERNS) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").read_text() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_directory_with_source_is_a_package(package: str) -> None:
    """One without __init__.py is not packed."""
    assert [path for path in (ROOT / package).rglob("*.py") if not (path.parent / "__init__.py").exists()] == []


def test_what_is_not_source_is_packed() -> None:
    packed = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    assert "py.typed" in packed
    files = [p for package in PACKAGES for p in (ROOT / package).rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert [str(p) for p in files if not any(fnmatch.fnmatch(p.name, pattern) for pattern in packed)] == []


def test_every_public_name_is_typed() -> None:
    """mypy's strict mode refuses a function without annotations; nothing is left out of it."""
    settings = PROJECT["tool"]["mypy"]
    assert settings["strict"] is True
    loosened = {"ignore_errors", "allow_untyped_defs", "disallow_untyped_defs", "disallow_incomplete_defs"}
    assert [o for o in [settings, *settings["overrides"]] if loosened & set(o)] == []
    lint = (ROOT / "Makefile").read_text().partition("lint: install")[2].partition("\n\n")[0]
    assert [package for package in PACKAGES if f" {package} " not in lint] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
@pytest.mark.parametrize("target", ["up", "down"])
def test_make_says_that_sudo_is_missing(target: str, tmp_path: Path) -> None:
    """A cluster with real containers is root's."""
    command = [str(shutil.which("make")), "-o", "install", "-o", "machine", target, "SUDO=sudo", "PY=false"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path), "SHELL": "/bin/sh"}, capture_output=True, text=True, check=False)
    assert done.returncode
    assert f"there is no sudo. As root: make {target}; or " in done.stdout
