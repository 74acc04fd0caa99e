"""Sets of completion indexes in the API's format: "1,3-5,7". Pure."""

from collections.abc import Iterable


def parse(text: str | None, limit: int) -> set[int]:
    """The indexes below `limit`; unparsable parts are ignored."""
    out: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            out.update(range(int(first), min(int(last or first), limit - 1) + 1))
    return out


def text(indexes: Iterable[int]) -> str:
    """The text of sorted indexes; runs of two are written "3,4", longer ones "3-5"."""
    runs: list[list[int]] = []
    for i in sorted(indexes):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ",".join(str(a) if a == b else f"{a}{',' if b == a + 1 else '-'}{b}" for a, b in runs)
