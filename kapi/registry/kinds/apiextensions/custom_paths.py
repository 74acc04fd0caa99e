"""Paths into schemas: those of selectable fields and of the rules' fieldPath, e.g. .spec.ports or .spec['my.key'].

Source: apiextensions-apiserver's ValidFieldPath (v1.36).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from kapi.objects.meta import Object

_TOKEN = re.compile(r"'(?:[^\\]|\\.)*?'|[.\[\]]|'.*|[^.\[\]]+", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}
_END = "unexpected end of JSON path"
_NOWHERE = "does not refer to a valid field"


class PathFault(ValueError):
    """What is wrong with a path."""


class Found(NamedTuple):
    path: str
    """As stock writes it: 'spec.ports', 'spec.labels[app]'."""
    node: Object | None
    """The schema there; None in a map of anything."""


def valid(schema: Object, path: str) -> bool:
    try:
        find(schema, path)
    except PathFault:
        return False
    return True


def find(schema: Object, path: str, *, brackets: bool = True) -> Found:
    """What a path leads to. Raises PathFault."""
    tokens = iter(_TOKEN.findall(path))
    at, node = "", Found("", schema).node
    for token in tokens:
        if token == ".":
            name = _next(tokens)
        elif token == "[":
            if not brackets:
                raise PathFault("array notation is not allowed")
            name = _quoted(_next(tokens))
        else:
            raise PathFault(f"expected [ or . but got: {token}")
        at, node = _step(at, node or {}, name)
        if token == "[" and (close := _next(tokens)) != "]":
            raise PathFault(f"expected ] but got {close}")
    return Found(at, node)


def _next(tokens: Iterator[str]) -> str:
    token = next(tokens, None)
    if token is None:
        raise PathFault(_END)
    return token


def _quoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise PathFault(f"expected single quoted string but got {token}")

    def plain(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise PathFault(f"invalid string literal: invalid escape char {found[0]}")
        return _ESCAPES[found[1]]

    return _ESCAPE.sub(plain, token[1:-1])


def _step(at: str, node: Object, name: str) -> tuple[str, Object | None]:
    if node.get("properties"):
        if name not in node["properties"]:
            raise PathFault(_NOWHERE)
        return (f"{at}.{name}" if at else name), node["properties"][name]
    more = node.get("additionalProperties")
    if more is None:
        raise PathFault(_NOWHERE)
    return f"{at}[{name}]", more if isinstance(more, dict) else None
