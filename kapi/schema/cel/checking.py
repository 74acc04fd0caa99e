"""What can be said of an expression of which only the names it may use are known: its syntax, its names, its calls."""

from collections.abc import Collection, Mapping

from kapi.schema.cel import compiling
from kapi.schema.cel.types import DYN, Type


def check(text: str, known: Collection[str], fields: Mapping[str, Collection[str]] | None = None) -> str:
    """'' for a good expression, else 'compilation failed: ERROR: …'. `fields` lists what the named objects have."""
    parts = {name: Type(name, fields=dict.fromkeys(inside, DYN)) for name, inside in (fields or {}).items()}
    try:
        compiling.compiled(text, {name: parts.get(name, DYN) for name in known})
    except compiling.CompilationError as fault:
        return f"compilation failed: {fault}"
    return ""
