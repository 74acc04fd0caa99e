"""Kubernetes in Python: API server, controllers, scheduler, proxy. The rooms and their floors are in ARCHITECTURE.md."""

__version__ = "0.1.0"
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kapi import testing as testing


def __getattr__(name: str) -> Any:
    """`kapi.testing` is there after `import kapi`, and loaded (40 MB) when it is first used."""
    if name == "testing":
        from importlib import import_module

        return import_module("kapi.testing")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
