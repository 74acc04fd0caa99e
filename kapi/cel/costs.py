"""Cost of function calls and sizes of their results, in the cost units of cel-go.

The same functions serve twice: on values, for the actual cost while an expression runs, and on SizeEstimates, for the maximum cost before
it runs. Where stock counts the two differently, so do these. Source: the cost models of cel-go and of the API server's libraries (v1.36).
"""

from math import ceil
from typing import Any, NamedTuple

UNBOUNDED = 2**64 - 1


class SizeEstimate(NamedTuple):
    """How large a value can be, in elements or characters: at most `most`, at least `least`; `item` is the same of its elements."""

    most: int
    least: int = 0
    item: int = UNBOUNDED
    held: str = ""
    """The type of its elements."""


def part(count: int, factor: float) -> int:
    """A share of a count, rounded up."""
    return min(UNBOUNDED, ceil(count * factor))


def size(value: Any, *_: Any) -> int:
    if type(value) is str:
        return len(value)
    if isinstance(value, SizeEstimate):
        return value.most
    return len(value) if isinstance(value, bytes | list | dict) else 1


def traversal(value: Any, *_: Any) -> int:
    return part(size(value), 0.1)


def twice(value: Any, *_: Any) -> int:
    return part(size(value), 0.2)


def both(a: Any, b: Any) -> int:
    return part(size(a) + size(b), 0.1)


def shorter(a: Any, b: Any) -> int:
    return part(min(size(a), size(b)), 0.1)


def crossed(a: Any, b: Any) -> int:
    return size(a) * size(b)


def squared(a: Any) -> int:
    return size(a) ** 2


def search(text: Any, pattern: Any, *_: Any) -> int:
    return part(1 + size(text), 0.1) * part(size(pattern), 0.25)


def within(text: Any, other: Any) -> int:
    return traversal(text) * traversal(other)


def edge(text: Any, other: Any) -> int:
    """startsWith, endsWith."""
    return traversal(other if isinstance(text, SizeEstimate) else text)


def membership(item: Any, held: Any) -> int:
    return size(held)


def walk(held: Any, *_: Any) -> int:
    """A look at everything in a value."""
    if isinstance(held, SizeEstimate):
        if not held.held:
            return part(held.most, 0.1)
        return held.most * (1 + (part(held.item, 0.1) if held.held in ("string", "bytes") else 0))
    if isinstance(held, str):
        return int(len(held.encode()) * 0.1)
    if isinstance(held, bytes):
        return int(len(held) * 0.1)
    return sum(map(walk, held)) if isinstance(held, list) else 1


# sizes of results -------------------------------------------------------------------------------------------------------------------


def together(a: SizeEstimate, b: SizeEstimate) -> int:
    return a.most + b.most


def fourfold(a: SizeEstimate) -> int:
    return a.most * 4


def quoted(a: SizeEstimate) -> int:
    return a.most * 2 + 2


def joined_size(items: SizeEstimate, mark: SizeEstimate | None = None) -> int:
    return items.most * items.item + (mark.most * max(0, items.most - 1) if mark else 0)


def joined(items: Any, mark: Any = "") -> int:
    """The cost of join."""
    if isinstance(items, SizeEstimate):
        return part(joined_size(items, mark or None), 0.1)
    return part(sum(map(len, items)) + len(mark) * max(0, len(items) - 1), 0.2)


def replaced(text: SizeEstimate, old: SizeEstimate, new: SizeEstimate, *_: Any) -> int:
    """The longest that replacing can make of a text."""
    if old.least == 0:
        return (text.most + 1) * new.most + text.most
    return text.most if new.most <= old.least else -(-text.most // old.least) * new.most
