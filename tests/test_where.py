"""The table "Where is …" of ARCHITECTURE.md: each file is there and holds what it is said to hold; each question has a row."""

import re

import pytest

from tests.house import ROOT

ROW = re.compile(r"^\| (?P<what>.+?) \| [^|]*`(?P<file>[^`|]+)` \| `(?P<name>\w+)` \|$", re.MULTILINE)
SECTION = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Where is …\n")[2].partition("\n## ")[0]
ROWS = [pytest.param(row["file"], row["name"], id=row["what"]) for row in ROW.finditer(SECTION)]
QUESTIONS = (
    "sessionAffinity", "immutable", "STATUS", "410", "CrashLoopBackOff", "QoS", "NodeRestriction", "preemption",
    "bookmarks", "$retainKeys", "ServiceAccount's token", "affinity in nft", "in the foreground", "exec", "volume",
    "group commit", "order of admission", "printed column",
)  # fmt: skip


def test_every_row_is_read() -> None:
    assert len(ROWS) == sum(line.startswith("| ") for line in SECTION.splitlines()) - 1  # its head


@pytest.mark.parametrize(("file", "name"), ROWS)
def test_the_file_defines_the_name(file: str, name: str) -> None:
    """It is assigned, defined or raised there: a name that only another file defines would lead astray."""
    text = (ROOT / file).read_text()
    assert re.search(rf"^\s*(async )?(def|class) {name}\b|^\s*\w*(, )?{name}\b[^=\n]*= |raise {name}\b", text, re.MULTILINE)


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_asked_for_has_a_row(question: str) -> None:
    assert any(question in row["what"] for row in ROW.finditer(SECTION))
