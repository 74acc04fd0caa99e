"""Checks of file paths and modes that volumes, mounts and security profiles share."""

from kapi.registry.validation.part import Part

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def backsteps(part: Part, field: str) -> bool:
    """No '..' among the elements. Returns whether that holds."""
    path = part.text(field)
    if ".." in path and ".." in path.split("/"):
        part.invalid(field, "must not contain '..'")
        return False
    return True


def descending(part: Part, field: str) -> None:
    """A relative path without '..'."""
    if part.text(field).startswith("/"):
        part.invalid(field, "must be a relative path")
    backsteps(part, field)


def unreserved(part: Part, field: str) -> None:
    """A relative path that does not begin with '..': names that begin so are the volume's own."""
    descending(part, field)
    path = part.text(field)
    if path.startswith("..") and not path.startswith("../"):
        part.invalid(field, "must not start with '..'")


def file_mode(part: Part, field: str) -> None:
    if field in part and not 0 <= part.number(field) <= 0o777:
        part.invalid(field, _MODE)


def key_to_path(item: Part) -> None:
    item.need("key")
    item.need("path")
    unreserved(item, "path")
    file_mode(item, "mode")
