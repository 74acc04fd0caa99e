"""`python -m tests.house`: the structure of the source in figures, and what in it breaks a rule of ARCHITECTURE.md.

Read from the source alone; exit status 1 when a figure is above what LIMITS allows. Single files against the floors: tests/test_layers.py.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOPS = ("kapi", "kubelet", "openapi", "certs", "conformance")
FLOORS = {
    "kapi.limits": -2, "kapi.logs": -1,
    "kapi.objects": 0, "openapi": 0, "certs": 0,
    "kapi.settings": 1, "kapi.http": 1,
    "kapi.cel": 1,
    "kapi.process": 2, "kapi.storage": 2, "kapi.schema": 2,
    "kapi.registry": 3,
    "kapi.admission": 4, "kapi.access": 4, "kapi.documents": 4,
    "kapi.api": 5,
    "kapi.apiserver": 6,
    "kapi.client": 7,
    "kapi.controllers": 8, "kapi.scheduler": 8, "kapi.proxy": 8, "kubelet": 8,
    "kapi.cli": 9, "conformance": 9, "kubelet.__main__": 9,
    "kapi.testing": 10, "kapi.__main__": 10,
}  # fmt: skip
LONGEST_FILE, LONGEST_FUNCTION = 500, 60
OLD_WORDS = re.compile(
    r"furnish\w*|allotment|allotted|deeds?|forgiven|vanish\w*|loudness|last_words|establishing|upkeep|previews|understood|wish|rouse|crowd|"
    r"judge_once|tally|tallies|harm|surroundings|pieces|sight|teller|willing|pretended|misfit|boards|imagined?|hopeful|crowded|understand|"
    r"derived|catch_up|doomed|bonds|unscalable|beat|faces|unfile|stretch\w*|calm|alien|endured|collide|unfit|thin_out|mortal|conclude|amend|"
    r"risen|fallen|dying|affine|uneven|levelled|promise|give_up|happened|anybody|undisturbed|keeper|as_keeper|at_home|launching|holding|"
    r"all_or_nothing|housed|put_aside|no_traces|frugal|misunderstood|goodbye|say_ready|say_failed|started_as|concerns|unwell|strays|useless|fate|lent|judging|judged|young|"
    r"everyone|wild|stays|always_restarts|switched_off|keep_allocated|drop_unneeded|at_rest|ranges_stay|"
    r"showable|unshowable|speaks_v1",
    re.IGNORECASE,
)
"""Private words that have a standard term by now; whole identifiers, or a part of one between underscores."""
LIMITS = {
    "import cycles": 0, "upward imports": 0, f"files over {LONGEST_FILE} lines": 0, f"functions over {LONGEST_FUNCTION} lines": 0,
    "definitions of Object": 1, "old words": 0,
}  # fmt: skip
"""The most there may be of each. They only go down."""


@dataclass(frozen=True, eq=False)
class Module:
    """A source file: its dotted name, its text and its tree."""

    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The longest name of FLOORS that the module's name starts with; '' outside every room."""
        return max((r for r in FLOORS if self.name == r or self.name.startswith(r + ".")), key=len, default="")


@cache
def modules() -> dict[str, Module]:
    """Every module of the source by its name."""
    found = {}
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            text = path.read_text()
            found[name] = Module(name, text, ast.parse(text))
    return found


@cache
def imports(module: Module) -> set[str]:
    """Names of the modules it imports, those inside functions and for types only included."""
    known, out = modules(), set[str]()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            out |= {full if full in known else node.module for full in names.values()}
    return (out & set(known)) - {module.name}


def cycles() -> list[list[str]]:
    """Groups of modules that import each other in a circle (strongly connected components, Tarjan)."""
    edges = {name: sorted(imports(module)) for name, module in modules().items()}
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in edges[name]:
            if other not in number:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            place = stack.index(name)
            if len(stack) - place > 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for name in edges:
        if name not in number:
            visit(name)
    return found


def upward() -> Iterator[str]:
    """'a imports b' where b is on a's floor or above, in another room."""
    known = modules()
    for module in known.values():
        for name in sorted(imports(module)):
            there = known[name].room
            if module.room and there and there != module.room and FLOORS[there] >= FLOORS[module.room]:
                yield f"{module.name} imports {name}"


def long_files() -> Iterator[str]:
    return (module.name for module in modules().values() if module.text.count("\n") > LONGEST_FILE)


def long_functions() -> Iterator[str]:
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION:
                yield f"{module.name}.{node.name}"


def definitions(name: str) -> Iterator[str]:
    """Modules that assign `name` at their top level."""
    for module in modules().values():
        targets = [t for node in module.tree.body if isinstance(node, ast.Assign) for t in node.targets]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            yield module.name


def identifiers(module: Module) -> Iterator[str]:
    """What the module defines or is called: its file, classes, functions, arguments, variables, attributes it assigns."""
    yield module.name.rpartition(".")[2]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def old_words() -> Iterator[str]:
    """'module: identifier', each once."""
    for module in modules().values():
        for name in sorted(set(identifiers(module))):
            words = name.split("_") + re.findall(r"[A-Z][a-z]+", name)
            if OLD_WORDS.fullmatch(name) or any(OLD_WORDS.fullmatch(word) for word in words if word):
                yield f"{module.name}: {name}"


def lines() -> dict[str, Counter[str]]:
    """Room -> lines of code, of documentation (comments and docstrings), and blank ones."""
    out: dict[str, Counter[str]] = {}
    for module in modules().values():
        counts = out.setdefault(module.room or module.name, Counter())
        documented = _documentation(module.text)
        for number, line in enumerate(module.text.splitlines(), 1):
            counts["blank" if not line.strip() else "documentation" if number in documented else "code"] += 1
    return out


def _documentation(text: str) -> set[int]:
    """Numbers of lines that hold nothing but comments or strings that are statements."""
    found: set[int] = set()
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            found.add(token.start[0])
        elif token.type == tokenize.STRING and begins:
            found |= set(range(token.start[0], token.end[0] + 1))
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            begins = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
    return found


@cache
def figures() -> dict[str, list[str]]:
    """What breaks a rule, by the name of the rule (see LIMITS)."""
    found: tuple[Iterable[str], ...] = (
        (" <-> ".join(names) for names in cycles()), upward(), long_files(), long_functions(), definitions("Object"), old_words(),
    )  # fmt: skip
    return {rule: list(broken) for rule, broken in zip(LIMITS, found, strict=True)}


def main() -> int:
    worse = False
    for rule, broken in figures().items():
        print(f"{rule:26} {len(broken):5}   at most {LIMITS[rule]}")
        if len(broken) > LIMITS[rule]:
            worse = True
            print("\n".join(f"    {row}" for row in broken))
    print(f"\n{'room':26} {'code':>6} {'docs':>6} {'blank':>6}")
    total: Counter[str] = Counter()
    for room, counts in sorted(lines().items()):
        total += counts
        print(f"{room:26} {counts['code']:6} {counts['documentation']:6} {counts['blank']:6}")
    print(f"{'all':26} {total['code']:6} {total['documentation']:6} {total['blank']:6}")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
