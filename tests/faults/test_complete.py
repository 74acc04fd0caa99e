"""The matrix has every file that kapi makes."""

import fnmatch
from collections.abc import Iterator

from kapi.cli import layout
from tests.faults import files


def known(table: layout.Table, above: str = "") -> Iterator[str]:
    """Patterns of all the files that kapi makes."""
    for name, rule in table.items():
        if isinstance(rule, dict):
            yield from known(rule, f"{above}{name}/")
        elif rule == layout.FILE:
            yield above + name


def test_every_file_of_a_data_directory_is_broken() -> None:
    names = files.listed()
    assert [pattern for pattern in known(layout.KNOWN) if not fnmatch.filter(names, pattern)] == []
