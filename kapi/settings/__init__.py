"""Settings are frozen dataclasses, one per room; the command line is derived from them.

A field's help is the string literal behind it; `port: int = 6443` becomes `--port`. A bool becomes a switch, a tuple may be given
again, a Literal is a choice.
"""

import argparse
import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
NO_OPTION = {"option": False}
"""Metadata of a field that only programs set: `field(default=(), metadata=NO_OPTION)`."""


def options(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    """The fields that are options of the command line."""
    return [field for field in dataclasses.fields(cls) if field.metadata.get("option", True)]


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
    """An option for every field of the dataclass `cls`; those in `positional` are given without a flag."""
    texts, hints = help_texts(cls), typing.get_type_hints(cls)
    for field in options(cls):
        flag, hint = "--" + field.name.replace("_", "-"), hints[field.name]
        text = texts.get(field.name, "").replace("%", "%%")
        default = None if field.default is dataclasses.MISSING else field.default
        shown = f" (default: {default})" if default not in (None, "", (), False) else ""
        if field.name in positional:
            parser.add_argument(field.name, help=text, choices=_choices(hint))
        elif hint is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction if default else "store_true", default=default, help=text + shown
            )
        elif typing.get_origin(hint) is tuple:
            inner = typing.get_args(hint)[0]
            parser.add_argument(
                flag, action="append", type=inner, default=None, help=f"{text} May be given again.", metavar=_metavar(inner)
            )
        else:
            parser.add_argument(flag, type=_plain(hint), default=default, help=text + shown, metavar=_metavar(hint))


def _choices(hint: Any) -> tuple[str, ...] | None:
    """('load',) of Literal['load']."""
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else None


def _plain(hint: Any) -> Any:
    """int of `int | None`."""
    if isinstance(hint, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def _metavar(hint: Any) -> str:
    return {int: "N", float: "SECONDS", Path: "PATH"}.get(_plain(hint), "TEXT")


def from_arguments(cls: type[T], given: argparse.Namespace) -> T:
    """The settings that the parsed command line says."""
    values = {}
    for field in options(cls):
        value = getattr(given, field.name)
        if value is None and isinstance(field.default, tuple):
            value = field.default
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)
