"""Settings are frozen dataclasses, one per component; the command line is derived from them.

The help of an option is the string literal after the field; `port: Port = 6443` becomes `--port`. A bool becomes a flag, a tuple a
repeatable option, a Literal a choice. A value's syntax is defined by the field's type (`kapi.settings.types`), combinations of fields are
checked by the class's `__post_init__`, which raises ValueError. An error is one sentence on stderr and exit status 2.
"""

import argparse
import ast
import dataclasses
import difflib
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
EMPTY: tuple[Any, ...] = (None, "", (), {})
"""Defaults that mean the option is not set."""
SHOWN = 200
"""The most characters of a wrong value that a message repeats."""
NO_OPTION = {"option": False}
"""Metadata of a field that only programs set: `field(default=(), metadata=NO_OPTION)`."""


@dataclass(frozen=True)
class Form:
    """How the text of an option becomes a field's value: `Annotated[int, Form(...)]`."""

    parse: Callable[[str], Any]
    """Raises ValueError with what is allowed: 'must be …'; OSError where it accesses files."""
    metavar: str = "TEXT"
    show: Callable[[Any], str] = str
    """The text of a value, for help."""


class Parser(argparse.ArgumentParser):
    """Reports an error in one sentence, suggests an option for an unknown one, accepts no abbreviations."""

    def __init__(self, prog: str, description: str, examples: Iterable[str]) -> None:
        epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)
        raw = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, epilog=epilog, allow_abbrev=False, formatter_class=raw)

    def error(self, message: str) -> NoReturn:
        line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in message)
        self.exit(2, f"{self.prog}: error: {line} (see {self.prog} --help)\n")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{suggestion(unknown[0], self._option_string_actions)}")
        return parsed


def suggestion(word: str, known: Iterable[str]) -> str:
    """'; did you mean --port?' for '--prot=1', '' when nothing known is similar."""
    close = difflib.get_close_matches(word.partition("=")[0], known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def options(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    """The fields that are options of the command line."""
    return [field for field in dataclasses.fields(cls) if field.metadata.get("option", True)]


def flag_of(name: str) -> str:
    """'--node-name' of the field node_name."""
    return "--" + name.replace("_", "-")


def help_texts(cls: type[Any]) -> dict[str, str]:
    """The string literal behind each field of a dataclass."""
    out: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if named and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                out[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return out


def add_arguments(parser: argparse.ArgumentParser, cls: type[Any], positional: tuple[str, ...] = ()) -> None:
    """Add an option for every field of the dataclass `cls`; the fields in `positional` become positional arguments."""
    texts, hints = help_texts(cls), typing.get_type_hints(cls, include_extras=True)
    for field in options(cls):
        hint, default = hints[field.name], _default(field)
        form = form_of(hint)
        shown = form.show(default) if default not in (*EMPTY, False) else ""
        text = (texts.get(field.name, "") + (f" (default: {shown})" if shown else "")).replace("%", "%%")
        names = [*filter(None, [field.metadata.get("short")]), flag_of(field.name)]
        if field.name in positional:
            parser.add_argument(field.name, help=text, type=_type(form), nargs=_count(hint, field))
        elif hint is bool:
            action = argparse.BooleanOptionalAction if default else "store_true"
            parser.add_argument(*names, action=action, default=default, help=text)
        elif typing.get_origin(hint) is tuple:
            again = f"{texts.get(field.name, '')} May be given again.".replace("%", "%%")
            parser.add_argument(flag_of(field.name), action="append", type=_type(form), default=None, help=again, metavar=form.metavar)
        else:
            parser.add_argument(*names, type=_type(form, default), default=default, help=text, metavar=form.metavar)


def choices(hint: Any) -> tuple[str, ...] | None:
    """('load',) of Literal['load']; None where any text will do."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        hint = typing.get_args(hint)[0]
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else None


def _one_of(words: tuple[str, ...]) -> Form:
    """The form of a Literal."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {words[0]}" if len(words) == 1 else f"must be one of {', '.join(words)}")
        return text

    return Form(parse, f"{{{','.join(words)}}}")


def _count(hint: Any, field: dataclasses.Field[Any]) -> str | None:
    """How many words a positional argument takes: one, any number for a tuple, at most one where there is a default."""
    if typing.get_origin(hint) is tuple:
        return "*"
    return None if field.default is MISSING else "?"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def form_of(hint: Any) -> Form:
    """The form of a type: the one it is annotated with, else that of a Literal, int, Path or str; of a tuple its items'."""
    if typing.get_origin(hint) is typing.Annotated:
        return next(extra for extra in hint.__metadata__ if isinstance(extra, Form))
    if words := choices(hint):
        return _one_of(words)
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        return form_of(next(a for a in typing.get_args(hint) if a is not type(None)))
    if typing.get_origin(hint) is tuple:
        return form_of(typing.get_args(hint)[0])
    return PLAIN.get(hint, PLAIN[str])


def _number(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError("must be an integer")
    return int(text)


def _path(text: str) -> Path:
    if not text:
        raise ValueError("must be a path")
    return Path(text)


PLAIN = {int: Form(_number, "N"), Path: Form(_path, "PATH"), str: Form(str)}
"""The forms of types that are not annotated."""


def abbreviated(text: str) -> str:
    """A value for a message: quoted and truncated."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def _type(form: Form, default: Any = MISSING) -> Callable[[str], Any]:
    """The converter for argparse. An empty text means the default where that is empty, too."""

    def parse(text: str) -> Any:
        if not text and default in EMPTY:
            return default
        try:
            return form.parse(text)
        except ValueError as why:
            raise argparse.ArgumentTypeError(f"invalid value {abbreviated(text)}: {why}") from None
        except OSError as why:
            raise argparse.ArgumentTypeError(f"invalid value {abbreviated(text)}: {why.strerror}") from None

    return parse


def from_arguments(cls: type[T], namespace: argparse.Namespace) -> T:
    """The settings of a parsed command line. Raises ValueError for fields that do not fit together."""
    values = {}
    for field in options(cls):
        value = getattr(namespace, field.name)
        if value is None and isinstance(field.default, tuple):
            value = field.default
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)


def parse(parser: Parser, cls: type[T], arguments: Sequence[str] | None = None) -> T:
    """The settings of a command line; the parser has the arguments of `cls`. Exits with status 2 on an error."""
    try:
        return from_arguments(cls, parser.parse_args(arguments))
    except ValueError as why:
        parser.error(str(why))
