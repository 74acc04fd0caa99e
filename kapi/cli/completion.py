"""`kapi completion`: scripts that complete commands and options of `kapi` and `kubelet` in bash, zsh and fish.

They are generated from the table of commands and the settings classes, so the shell does not run kapi while the user types.
"""

import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from kapi import settings
from kubelet.settings import Settings as KubeletSettings

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class Settings:
    """A completion script."""

    shell: Shell = field(kw_only=True)
    """Which shell's: bash, zsh or fish."""


class Command(Protocol):
    """A row of the table of commands."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def load(self) -> Callable[[], tuple[type[Any], Callable[[Any], int]]]: ...
    @property
    def positional(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Option:
    """A flag, or the values of a positional argument."""

    flag: str
    text: str
    words: tuple[str, ...]
    """Allowed values; none: any."""
    takes_value: bool


def options(cls: type[Any], positional: tuple[str, ...] = ()) -> tuple[list[Option], list[str]]:
    """The flags of a settings class, and the words that positional arguments may be."""
    texts, hints = settings.help_texts(cls), typing.get_type_hints(cls, include_extras=True)
    flags: list[Option] = [Option("--help", "show help", (), False)]
    words: list[str] = []
    for each in settings.options(cls):
        choices = settings.choices(hints[each.name]) or ()
        if each.name in positional:
            words += choices
            continue
        text, switch = texts.get(each.name, "").partition(". ")[0].rstrip("."), hints[each.name] is bool
        flags += [Option(name, text, choices, not switch) for name in (settings.flag_of(each.name), each.metadata.get("short")) if name]
        if switch and each.default:
            flags.append(Option(f"--no-{settings.flag_of(each.name)[2:]}", f"not: {text}", (), False))
    return flags, words


def run(config: Settings, commands: Iterable[Command]) -> int:
    """Print the script."""
    listed = [(command.name, command.summary, *options(command.load()[0], command.positional)) for command in commands]
    kubelet = options(KubeletSettings)[0]
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[config.shell](listed, kubelet))
    return 0


Listed = list[tuple[str, str, list[Option], list[str]]]


def _case(flags: list[Option]) -> str:
    """Branches of `case $previous in`: what follows an option that takes a value."""
    chosen = [f'    {option.flag}) words="{" ".join(option.words)}";;' for option in flags if option.words]
    files = "|".join(option.flag for option in flags if option.takes_value and not option.words)
    return "\n".join([*chosen, f"    {files}) files=1;;"] if files else chosen)


def _bash(listed: Listed, kubelet: list[Option]) -> str:
    every = {option.flag: option for _, _, flags, _ in listed for option in flags}
    branches = "\n".join(f'    {name}) words="{" ".join([*words, *(f.flag for f in flags)])}";;' for name, _, flags, words in listed)
    names = " ".join(name for name, *_ in listed)
    return f"""\
_kapi() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words="" files=""
  if [ "$COMP_CWORD" = 1 ]; then COMPREPLY=($(compgen -W "{names} --help --version" -- "$word")); return; fi
  case $previous in
{_case(list(every.values()))}
  esac
  [ -n "$words$files" ] || case ${{COMP_WORDS[1]}} in
{branches}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  [ "${{#COMPREPLY[@]}}" -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}}
_kubelet() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words="" files=""
  case $previous in
{_case(kubelet)}
  esac
  [ -n "$files" ] || words="{" ".join([*(option.flag for option in kubelet), "--version"])}"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  [ "${{#COMPREPLY[@]}}" -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -F _kapi kapi
complete -o filenames -F _kubelet kubelet"""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _spec(option: Option) -> str:
    """An argument of zsh's _arguments."""
    text = option.text.replace("[", "(").replace("]", ")").replace(":", r"\:")
    value = "" if not option.takes_value else f":value:({' '.join(option.words)})" if option.words else ":value:_files"
    return _quoted(f"{option.flag}[{text}]{value}")


def _specs(flags: list[Option], words: list[str]) -> str:
    first = [_quoted(f":word:({' '.join(words)})")] if words else []
    return " ".join([*map(_spec, flags), *first])


def _zsh(listed: Listed, kubelet: list[Option]) -> str:
    names = "\n".join(f"    {_quoted(f'{name}:{summary}')}" for name, summary, *_ in listed)
    branches = "\n".join(f"    {name}) _arguments {_specs(flags, words)} '*:file:_files';;" for name, _, flags, words in listed)
    return f"""\
#compdef kapi kubelet
_kapi() {{
  if (( CURRENT == 2 )); then
    local -a commands=(
{names}
    )
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words; (( CURRENT-- ))
  case $command in
{branches}
  esac
}}
_kubelet() {{ _arguments {" ".join(map(_spec, kubelet))} '--version[print the version]' }}
compdef _kapi kapi
compdef _kubelet kubelet"""


def _fish(listed: Listed, kubelet: list[Option]) -> str:
    lines = ["complete -c kapi -f -n __fish_use_subcommand -l version -d 'print the version'"]
    for name, summary, flags, words in listed:
        seen = f"'__fish_seen_subcommand_from {name}'"
        lines.append(f"complete -c kapi -f -n __fish_use_subcommand -a {name} -d {_quoted(summary)}")
        lines += [f"complete -c kapi -n {seen} {_fish_option(option)}" for option in flags]
        if words:
            lines.append(f"complete -c kapi -f -n {seen} -a {_quoted(' '.join(words))}")
    return "\n".join([*lines, *(f"complete -c kubelet {_fish_option(option)}" for option in kubelet), "complete -c kubelet -l version"])


def _fish_option(option: Option) -> str:
    name = f"-l {option.flag[2:]}" if option.flag.startswith("--") else f"-s {option.flag[1:]}"
    value = "" if not option.takes_value else f" -x -a {_quoted(' '.join(option.words))}" if option.words else " -r"
    return f"{name}{value} -d {_quoted(option.text)}"
