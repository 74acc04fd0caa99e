"""Every bound on what a client, a peer or a file may cost, in one table: the constant is the value, the string behind it says the rest.

The string has three parts parted by `|`: what is bounded, stock Kubernetes' own value, what happens beyond it. `python -m kapi.limits`
prints the table of docs/limits.md; which modules use a limit is read from their source.
"""

import ast
import itertools
from dataclasses import dataclass
from pathlib import Path

REQUEST_BODY_BYTES = 3 << 20
"""Bytes of a request's body, also once unpacked | 3 MiB (limitedReadBody) | 413 RequestEntityTooLarge"""

# what a body, a patch or a selector may make the server do

BODY_VALUES = 90_000
"""Values in a request's body: scalars, and objects and lists twice | none | 413 RequestEntityTooLarge"""
OBJECT_BYTES = 3 << 20
"""Bytes of an object as it is stored, in JSON | 1.5 MiB, of built-in kinds in protobuf (etcd --max-request-bytes) | 500, as by stock"""
YAML_NODES = 100_000
"""Values in a YAML body | none | 413 RequestEntityTooLarge"""
YAML_DEPTH = 500
"""Levels of a YAML body | 10,000 (go-yaml) | 400 BadRequest, as for JSON that is nested too deeply"""
YAML_ALIASED_VALUES = 1_000_000
"""Values a YAML body stands for, its aliases spelled out | a share of the document that shrinks with its size (go-yaml)
| 400 BadRequest"""
STRICT_ERRORS = 100
"""Unknown and repeated fields told of a body | 100 (sigs.k8s.io/json) | further ones are not told"""
CAUSES = 1_000
"""Field errors told of an object | none | further ones are not looked for or not told"""
CAUSES_LENGTH = 1 << 20
"""Characters of field errors after which no more are told of an object | none | further ones are not looked for or not told"""
JSONPATH_VISITS = 100_000
"""Values a JSONPath of a printer column comes by | none | it finds nothing: the cell is empty"""
PATCH_OPERATIONS = 10_000
"""Operations of a JSON patch | 10,000 | 413 RequestEntityTooLarge"""
PATCH_COPY_BYTES = 3 << 20
"""Bytes all copy operations of a JSON patch make | 3 MiB (JSONPatchMaxCopyBytes) | 422 Invalid"""
POINTER_STEPS = 1_000
"""Steps of a JSON pointer, more than a document has levels | none | 422 Invalid: the path is missing"""
EXPRESSION_COST = 1_000_000
"""Cost units of one evaluation of an expression | 1,000,000 (PerCallLimit) | the evaluation is an error"""
RULES_COST = 10_000_000
"""Cost units of all rules of a custom object, or of the expressions of one policy | 10,000,000 (RuntimeCELCostBudget)
| no further ones are run"""
EXPRESSION_LENGTH = 100_000
"""Characters of an expression | 100,000 (cel-go) | it does not compile"""
CONDITIONS_COST = 2_500_000
"""Cost units of the match conditions of a webhook or policy | 2,500,000 (RuntimeCELCostBudgetMatchConditions)
| they cannot be evaluated"""
KEPT_TEXT = 1024
"""Characters of a text (selector, path, quantity, pattern …) whose reading is kept for the next time | none | it is read each time"""
OFFLOAD_QUERY = 2 << 10
"""Bytes of a query from which it is read, and its selectors are, beside the event loop | none | it goes to a worker thread"""
OFFLOAD_BYTES = 16 << 10
"""Bytes of a body or object from which it is worked on beside the event loop | none | it goes to a worker thread"""
OFFLOAD_COST = 100_000
"""Cost units the rules of a kind may need at worst on the event loop | none | its objects go to a worker thread"""
OFFLOAD_THREADS = 2
"""Threads that work beside the event loop | GOMAXPROCS | further work waits"""


@dataclass(frozen=True)
class Limit:
    """A row of the table. `users` are the modules that apply it."""

    name: str
    value: int | float
    what: str
    stock: str
    beyond: str
    users: tuple[str, ...]


def table() -> list[Limit]:
    """All limits in the order of this file. Raises ValueError for one that is not described in three parts."""
    body = ast.parse(Path(__file__).read_text()).body
    sources = _sources()
    rows = []
    for place, text in itertools.pairwise(body):
        if not (isinstance(place, ast.Assign) and isinstance(place.targets[0], ast.Name)):
            continue
        name = place.targets[0].id
        said = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else ""
        try:
            what, stock, beyond = (" ".join(part.split()) for part in str(said).split("|"))
        except ValueError:
            raise ValueError(f"{name}: what is bounded | stock's value | what happens beyond") from None
        users = tuple(sorted(module for module, source in sources.items() if f"limits.{name}" in source))
        rows.append(Limit(name, globals()[name], what, stock, beyond, users))
    return rows


def _sources() -> dict[str, str]:
    """Module -> source of every module beside this one and of the kubelet."""
    root = Path(__file__).parent.parent
    files = [path for top in ("kapi", "kubelet", "certs") for path in (root / top).rglob("*.py")]
    return {".".join(path.relative_to(root).with_suffix("").parts): path.read_text() for path in files if path != Path(__file__)}


def markdown() -> str:
    """The table as docs/limits.md holds it."""
    lines = [
        "# Limits", "", "Made by `python -m kapi.limits > docs/limits.md` from `kapi/limits.py`; a test holds the two together.", "",
        "| what | limit | stock v1.36 | beyond it | where |", "|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {row.what} | {row.value:,} (`{row.name}`) | {row.stock} | {row.beyond} | {', '.join(f'`{u}`' for u in row.users)} |"
        for row in table()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
