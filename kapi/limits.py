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

# --- data directory

IDENTITY_BYTES = 4096
"""Bytes read of a data directory's kapi.json | no counterpart | the file counts as broken"""


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
