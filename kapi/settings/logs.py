"""The log options of a component, which follow its own in the help; `kapi.logs` applies them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from kapi.settings import types


@dataclass(frozen=True, kw_only=True)
class Verbosity:
    """How much is logged, and how."""

    v: types.NonNegative = field(default=0, metadata={"short": "-v"})
    """How much is logged: 0 what matters, 2 more, 4 what helps to find a fault, 6 every request."""
    log_format: Literal["text", "json"] = "text"
    """Lines of text, or a JSON object a line."""


@dataclass(frozen=True, kw_only=True)
class Settings(Verbosity):
    """What a component logs, and where."""

    log_file: types.OutputFile = ""
    """File to log to, rotated by its size; empty: standard error."""


def configurable(cls: type[Any]) -> type[Any]:
    """The settings class of a component with the log options added."""

    @dataclass(frozen=True)
    class Logged(Settings, cls):  # type: ignore[misc]
        pass

    return Logged
