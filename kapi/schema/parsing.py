"""Text to JSON values: `plain` for speed, `exact` with all that a dict would lose (repeated keys, how numbers were written).

YAML is read as sigs.k8s.io/yaml reads it: the first document, no dates, keys as texts. Types are checked in kapi.schema.decode.
"""

import json
import math
import re
from typing import Any

import orjson
import yaml

from kapi import limits
from kapi.objects import sizes
from kapi.objects.errors import BadRequest, RequestEntityTooLarge
from kapi.objects.quoting import go_quote
from kapi.schema import syntax
from kapi.schema.reading import DecodeError, Number, Pairs

SURROGATE = re.compile(r"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..")
TOO_DEEP, ALIASING = "exceeded max depth", "document contains excessive aliasing"
SPACED_KEY = re.compile(rb'"\s+:')
_TAB, _LF, _CR = b"\t\n\r"
"""As integers, which are found in bytes without a detour."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def may_repeat(raw: bytes, value: Any) -> bool:
    """Whether a key of the JSON text may stand twice in its object: cheap, and sure only when the answer is no.

    Raises BadRequest for what is nested too deeply to be kept (254 levels).
    """
    if raw.find(b"\\u") >= 0:
        return True
    if (raw.find(b" :") >= 0 or _LF in raw or _TAB in raw or _CR in raw) and SPACED_KEY.search(raw):
        return True
    try:
        return raw.count(b'":') != orjson.dumps(value).count(b'":')
    except TypeError:
        raise BadRequest(TOO_DEEP) from None  # it was read, so its depth is all that can keep it from being written


def _constant(text: str) -> Any:
    raise ValueError(text)


def exact(raw: bytes, form: str, strict: list[str]) -> Any:
    """Pairs of a 'json' or 'yaml' text. Raises DecodeError; duplicate keys of YAML are appended to `strict`."""
    if form == "yaml":
        return _yaml(raw, strict)
    try:
        text = SURROGATE.sub(_sound, raw.decode(errors="replace"))
        return json.loads(text, object_pairs_hook=Pairs, parse_float=Number, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise DecodeError(syntax.error(raw) or TOO_DEEP) from None


def _sound(found: re.Match[str]) -> str:
    """Half a surrogate pair is not a character: Go decodes it as U+FFFD."""
    return found[0] if len(found[0]) != 6 else "\\ufffd"


class _Loader(_LOADER):  # type: ignore[misc, valid-type]
    """Makes Pairs, and remembers which keys stood twice and where."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.repeated: list[str] = []
        self._members = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Spell out merge keys, as far as that makes no more members than a document may have."""
        super().flatten_mapping(node)
        self._members += len(node.value)
        if self._members > limits.YAML_NODES:
            raise yaml.YAMLError(ALIASING)

    def pairs(self, node: yaml.MappingNode) -> Pairs:
        self.flatten_mapping(node)
        out, seen = Pairs(), set[str]()
        for key_node, value_node in node.value:
            key = _key(self.construct_object(key_node, deep=True))
            if key in seen:
                self.repeated.append(f"  line {key_node.start_mark.line + 1}: key {go_quote(str(key))} already set in map")
            seen.add(key)
            out.append((key, self.construct_object(value_node, deep=True)))
        return Pairs(dict(out).items())


def _float(loader: Any, node: yaml.ScalarNode) -> float | str:
    """A float; what no double holds stays a text."""
    value: float = loader.construct_yaml_float(node)
    if math.isfinite(value):
        return value
    if node.value.strip("+-.").isalpha():
        raise ValueError(f"json: unsupported value: {node.value}")
    return str(node.value)


_TAG = "tag:yaml.org,2002:"
_NUMBERS = {
    "int": re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
}
"""How numbers are written: as in Go, which knows no sexagesimal ones."""
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, _NUMBERS.get(tag.removeprefix(_TAG), pattern))
        for tag, pattern in sorted(resolvers, key=lambda pair: pair[0] == _TAG + "float")
        if tag not in (_TAG + "timestamp", _TAG + "value")
    ]
    for first, resolvers in _LOADER.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(_TAG + "float", _float)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]$"), list("yYnN"))
_Loader.bool_values = {**_LOADER.bool_values, "y": True, "n": False}
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.pairs)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return orjson.dumps(key).decode() if isinstance(key, bool | int | float) else str(key)


def _yaml_words(found: Exception) -> str:
    """An error as go-yaml words it; its lines count from 0, those of its scanner from 1, and line 0 is not named."""
    if not isinstance(found, yaml.MarkedYAMLError):
        return str(found)
    line = found.problem_mark.line if found.problem_mark else 0
    if line and isinstance(found, yaml.scanner.ScannerError):
        line += 1
    if not line and found.context_mark:
        line = found.context_mark.line
    return f"line {line}: {found.problem}" if line else str(found.problem)


def check_size(raw: bytes) -> None:
    """Refuse JSON of more values than are taken up, unless it is refused for its depth. Raises RequestEntityTooLarge."""
    if sizes.exceeds(raw, limits.BODY_VALUES) and not _deep(raw):
        raise RequestEntityTooLarge(f"Request entity too large: limit is {limits.BODY_VALUES} values", {})


def _deep(raw: bytes) -> bool:
    """Whether the parser fails at the first token."""
    try:
        orjson.loads(raw[:_BEGINNING])
    except orjson.JSONDecodeError as found:
        return found.msg.startswith("depth limit exceeded")
    return False


_BEGINNING = 64 * 1024
_MARKS = (b"\n", b",", b":", b"-", b"?", b"[", b"{")
"""Every node of a YAML document but the first has one of these before it."""


def _check_nodes(raw: bytes) -> None:
    """Refuse a document of too many nodes or too many levels; looks closely only at those that might be."""
    flow, most = raw.count(b"[") + raw.count(b"{"), sum(map(raw.count, _MARKS))
    if most < limits.YAML_NODES and flow + 2 * max(map(len, raw.splitlines()), default=0) < limits.YAML_DEPTH:
        return
    depth = nodes = 0
    for event in yaml.parse(raw, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > limits.YAML_DEPTH:
            raise yaml.YAMLError(TOO_DEEP)
        if nodes > limits.YAML_NODES:
            raise RequestEntityTooLarge(f"Request entity too large: limit is {limits.YAML_NODES} values", {})


def _yaml(raw: bytes, strict: list[str]) -> Any:
    loader = _Loader(raw)
    try:
        _check_nodes(raw)
        value = loader.get_data() if loader.check_data() else None
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as found:
        raise DecodeError(f"yaml: {_yaml_words(found)}") from None
    finally:
        loader.dispose()
    if b"*" in raw and _weight(value, {}) > limits.YAML_ALIASED_VALUES:
        raise DecodeError(f"yaml: {ALIASING}")
    if loader.repeated:
        strict.append("\n".join(["yaml: unmarshal errors:", *loader.repeated]))
    return value


def _weight(value: Any, known: dict[int, int]) -> int:
    """How many values there are, each counted as often as it is referred to."""
    if not isinstance(value, list):
        return 1
    if id(value) not in known:
        known[id(value)] = limits.YAML_ALIASED_VALUES + 1  # a document that holds itself
        inner = (item for _, item in value) if isinstance(value, Pairs) else value
        known[id(value)] = 1 + sum(_weight(item, known) for item in inner)
    return known[id(value)]
