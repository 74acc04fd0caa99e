"""The table of limits is whole, applied and written down."""

from pathlib import Path

from kapi import limits

ROOT = Path(__file__).parent.parent


def test_every_limit_is_used() -> None:
    assert [row.name for row in limits.table() if not row.users] == []


def test_the_document_is_the_table() -> None:
    assert (ROOT / "docs" / "limits.md").read_text() == limits.markdown(), "python -m kapi.limits > docs/limits.md"
