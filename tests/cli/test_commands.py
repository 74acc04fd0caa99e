"""The command line: every command explains itself, its examples are right, and README knows them all."""

import re
from pathlib import Path

import pytest

from kapi import __main__ as cli
from kapi import settings

README = (Path(__file__).parents[2] / "README.md").read_text()
by_name = pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda c: c.name)


@by_name
def test_help_has_a_line_for_every_setting(command: cli.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([command.name, "--help"])
    said = capsys.readouterr().out
    cls, _ = command.load()
    texts = settings.help_texts(cls)
    for field in cls.__dataclass_fields__:
        assert texts.get(field), f"{command.name} says nothing of {field}"
        assert "--" + field.replace("_", "-") in said or field in command.positional
    assert all(example in said for example in command.examples)


@by_name
def test_examples_are_understood(command: cli.Command) -> None:
    cls, _ = command.load()
    for example in command.examples:
        words = example.partition(" > ")[0].split()
        assert words[:2] == ["kapi", command.name]
        given = settings.from_arguments(cls, cli.parser(command.name).parse_args(words[1:]))
        assert isinstance(given, cls)


@by_name
def test_readme_names_it(command: cli.Command) -> None:
    assert re.search(rf"\| .*`(kapi )?{command.name}\b.*\|", README)


def test_nothing_given_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 1
    assert "Start with: kapi up" in capsys.readouterr().out


def test_only_known_actions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["image", "remove", "busybox.tar"])
    assert "invalid choice: 'remove'" in capsys.readouterr().err


def test_a_failure_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["token", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"kapi token: There is no cluster in {tmp_path}. Start one with: kapi up\n"


def test_a_kubeconfig_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["scheduler", "--kubeconfig", str(tmp_path / "none")]) == 1
    assert "There is no usable kubeconfig" in capsys.readouterr().err
