"""The documents that are read by people: what tests need of their Markdown (headings, code blocks, links)."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.house import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block of code."""

    under: str
    """The heading above it."""
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    return [Block(_heading(text, found.start()), found[1], found[2]) for found in _FENCE.finditer(text)]


def commands(path: Path) -> list[str]:
    """The lines of a document's console blocks that are typed in, without comments."""
    typed = (line[2:] for b in blocks(path) if b.language == "console" for line in b.text.splitlines() if line.startswith("$ "))
    return [re.sub(r"\s+# .*$", "", line) for line in typed]


def headings(path: Path) -> list[str]:
    return _HEADING.findall(_FENCE.sub("", path.read_text()))


def links(path: Path) -> list[str]:
    return _LINK.findall(re.sub(r"`[^`]*`", "", _FENCE.sub("", path.read_text())))


def section(path: Path, heading: str) -> str:
    """What stands below a heading, down to the next one."""
    text = path.read_text()
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"{path.name} has no heading {heading!r}"
    rest = text[start.end() :]
    end = next((found.start() for found in _HEADING.finditer(_FENCE.sub(lambda f: "x" * len(f[0]), rest))), len(rest))
    return rest[:end]


def _heading(text: str, before: int) -> str:
    return str(_HEADING.findall(_FENCE.sub("", text[:before]))[-1])
