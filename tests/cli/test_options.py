"""The options of every command: each is explained, the examples are understood, and README knows the commands."""

import re
from pathlib import Path

import pytest

from kapi import settings
from kapi.cli import commands as cli
from kapi.cli import components
from kapi.scheduler.settings import Settings as SchedulerSettings

README = (Path(__file__).parents[2] / "README.md").read_text()
by_name = pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda c: c.name)


@by_name
def test_help_has_a_line_for_every_setting(command: cli.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([command.name, "--help"])
    output = capsys.readouterr().out
    cls, _ = command.load()
    texts = settings.help_texts(cls)
    for field in settings.options(cls):
        assert texts.get(field.name), f"{command.name} says nothing of {field.name}"
        assert "--" + field.name.replace("_", "-") in output or field.name in command.positional


@by_name
def test_examples_are_of_the_command(command: cli.Command) -> None:
    for example in command.examples:
        assert f"kapi {command.name}" in example


@by_name
def test_readme_names_it(command: cli.Command) -> None:
    assert re.search(rf"\| .*`(kapi )?{command.name}\b.*\|", README)


def test_a_component_alone_takes_the_settings_of_its_room(tmp_path: Path) -> None:
    cls, _ = components.command("scheduler")
    kubeconfig = tmp_path / "s.conf"
    kubeconfig.touch()
    parsed = settings.parse(cli.parser(cli.BY_NAME["scheduler"]), cls, ["--leader-elect", "--kubeconfig", str(kubeconfig)])
    assert isinstance(parsed, SchedulerSettings)
    assert parsed.leader_elect
    assert vars(parsed)["kubeconfig"] == kubeconfig


def test_only_known_actions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["image", "remove", "busybox.tar"])
    assert "invalid value 'remove': must be load" in capsys.readouterr().err
