"""Options made of a dataclass, and the dataclass made of what was given."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from kapi import settings


@dataclass(frozen=True)
class Base:
    place: Path = Path("there")
    """Where it is;
    on two lines."""


@dataclass(frozen=True)
class Sample(Base):
    port: int = 6443
    """A port."""
    verbose: bool = False
    """Say 100 % more."""
    color: bool = True
    """In color."""
    labels: tuple[str, ...] = ("a",)
    """Labels."""
    limit: int | None = None
    """No more than that."""
    action: Literal["load", "save"] = field(kw_only=True)
    """What to do."""


def parsed(*given: str) -> Sample:
    parser = settings.Parser("sample", "", ())
    settings.add_arguments(parser, Sample, positional=("action",))
    return settings.parse(parser, Sample, given)


def test_texts_stand_behind_their_fields() -> None:
    assert settings.help_texts(Sample)["place"] == "Where it is; on two lines."
    assert settings.help_texts(Sample)["port"] == "A port."


def test_defaults() -> None:
    assert parsed("load") == Sample(action="load")


def test_an_empty_text_is_an_empty_default_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("load", "--limit", "") == Sample(action="load")
    for wrong in (("load", "--port", ""), ("load", "--place="), ("",)):
        with pytest.raises(SystemExit, match="2"):
            parsed(*wrong)
    assert "argument --port: invalid value '': must be an integer (see sample --help)" in capsys.readouterr().err


def test_every_sort_of_option() -> None:
    given = parsed("save", "--place", "here", "--port", "1", "--verbose", "--no-color", "--labels", "x", "--labels", "y", "--limit", "3")
    assert given == Sample(Path("here"), 1, True, False, ("x", "y"), 3, action="save")


@pytest.mark.parametrize("wrong", [("burn",), ("load", "--port", "x"), ()])
def test_what_is_wrong_is_refused(wrong: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(*wrong)
    assert "error: " in capsys.readouterr().err
