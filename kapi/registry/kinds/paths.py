"""Checks of file paths and modes that volumes, mounts and security profiles share."""

from typing import Any

from kapi.registry.kinds.rules import Errors

Object = dict[str, Any]

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def backsteps(e: Errors, field: str, path: str) -> bool:
    """No '..' among the elements; says whether there was none."""
    if ".." in path and ".." in path.split("/"):
        e.invalid(field, path, "must not contain '..'")
        return False
    return True


def descending(e: Errors, field: str, path: str) -> None:
    """A relative path without '..'."""
    if path.startswith("/"):
        e.invalid(field, path, "must be a relative path")
    backsteps(e, field, path)


def unreserved(e: Errors, field: str, path: str) -> None:
    """A relative path that does not begin with '..': names that begin so are the volume's own."""
    descending(e, field, path)
    if path.startswith("..") and not path.startswith("../"):
        e.invalid(field, path, "must not start with '..'")


def file_mode(e: Errors, field: str, mode: int | None) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        e.invalid(field, mode, _MODE)


def key_to_path(e: Errors, field: str, item: Object) -> None:
    e.need(f"{field}.key", item.get("key"))
    e.need(f"{field}.path", item.get("path"))
    unreserved(e, f"{field}.path", item.get("path") or "")
    file_mode(e, f"{field}.mode", item.get("mode"))
