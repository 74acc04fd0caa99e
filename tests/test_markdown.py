"""Documents are right: links lead somewhere, programs and commands exist as they are written, pages are in the table of contents."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests import markdown
from tests.cli.programs import PROGRAMS
from tests.house import ROOT
from tests.markdown import DOCUMENTS

PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCKS = [pytest.param(b, id=f"{path.name}: {b.under}, {i}") for path in DOCUMENTS for i, b in enumerate(markdown.blocks(path))]
COMMANDS = [pytest.param(line, id=f"{path.name}: {line}") for path in DOCUMENTS for line in markdown.commands(path)]
LANGUAGES = {"", "console", "python", "yaml"}
HELP = {program.name: program.parser().format_help() for program in PROGRAMS}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """What a link may name in a document: its headings as GitHub and MyST spell them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in markdown.headings(path)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    for link in markdown.links(path):
        file, _, anchor = link.partition("#")
        assert ":" not in file, f"{link}: the tests do not look at other machines; say where it is in words"
        target = path.parent / file if file else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_a_page_leads_only_to_pages(path: Path) -> None:
    """What is outside docs/ is not in the site."""
    assert [link for link in markdown.links(path) if (path.parent / link.partition("#")[0]).resolve().parent != ROOT / "docs"] == []


def test_every_page_is_in_the_contents() -> None:
    index = ROOT / "docs" / "index.md"
    contents = next(text for text in index.read_text().split("```") if text.startswith("{toctree}"))
    pages = [path.stem for path in PAGES if path != index]
    assert sorted(contents.partition("\n\n")[2].split()) == pages
    assert {Path(link).stem for link in markdown.links(index)} == set(pages)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_what_it_says(block: markdown.Block) -> None:
    assert block.language in LANGUAGES
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "yaml":
        assert all(yaml.safe_load_all(block.text))
    elif block.language == "console":
        assert all(line.startswith("$ ") for line in block.text.splitlines())


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_has_the_options_it_is_given(line: str) -> None:
    """Of kapi, kubelet, make and this repository's modules; that they run is tested where they are cheap (tests/cli, tests/e2e)."""
    words = shlex.split(line.removesuffix("&").removeprefix("sudo "))
    if words[0] == "make":
        assert all(re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for word in words[1:])
    if words[0].rpartition("/")[2] == "python" and words[1] == "-m" and "." in words[2]:
        assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file() or (ROOT / words[2].replace(".", "/")).is_dir()
    assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
    if words[0] not in ("kapi", "kubelet"):
        return
    known = max((name for name in HELP if words[: len(name.split())] == name.split()), key=len)
    for word in words[len(known.split()) :]:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word)}\b", HELP[known]), word


@pytest.mark.parametrize("path", [ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md"], ids=named)
def test_files_that_are_named_are_there(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    files = re.findall(r"`((?:kapi|kubelet|openapi|certs|tests|docs|conformance|bench)/[\w./]+)`", text)
    assert [file for file in files if not (ROOT / file).exists()] == []
