"""Validates the rules (x-kubernetes-validations) in the schema of a CustomResourceDefinition: fields, types, estimated cost.

Rules above a part of the schema that is wrong are not compiled. Source: apiextensions-apiserver's validation of definitions (v1.36).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from kapi.objects.meta import Object
from kapi.registry.validation.rules import Errors
from kapi.schema.rules import RULES, variables

if TYPE_CHECKING:
    from kapi.cel.declaring import Declared


REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
RULE_LIMIT, SCHEMA_LIMIT = 10_000_000, 100_000_000
"""Units a rule, and all rules of a schema, may cost at worst."""
_MOST_EXPENSIVE = 4
_HINT = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
_TYPELESS = ("internal error: failed to construct type information for x-kubernetes-validations rules: "
             "unable to convert structural schema to CEL declarations")  # fmt: skip
_RULE = (("Rule", "rule", ""), ("Message", "message", ""), ("MessageExpression", "messageExpression", ""), ("Reason", "reason", None),
         ("FieldPath", "fieldPath", ""), ("OptionalOldSelf", "optionalOldSelf", None))  # fmt: skip


class _Node(NamedTuple):
    """A node with rules, and how it lies in the schema."""

    at: str
    schema: Object
    root: bool
    times: int | None
    """How many values of it an object can have; None: as many as a request holds."""
    unrelated: str
    """The part of the schema within which old values are not found again."""


def words(e: Errors, at: str, rule: Object, has_path: Any) -> None:
    """The errors of a rule before it is compiled; `has_path` checks whether a path exists in the schema."""
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    if not text:
        e.required(f"{at}.rule", "rule is not specified")
    elif message and not message.strip():
        e.invalid(f"{at}.message", message, "must be non-empty if specified")
    elif _broken(message.strip()):
        e.invalid(f"{at}.message", message, "must not contain line breaks")
    elif _broken(text) and not message.strip():
        e.required(f"{at}.message", "must be specified if rule contains line breaks")
    if rule.get("messageExpression") and not rule["messageExpression"].strip():
        e.required(f"{at}.messageExpression", "must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in REASONS:
        e.unsupported(f"{at}.reason", rule["reason"], REASONS)
    path = rule.get("fieldPath") or ""
    if path and not path.strip():
        e.invalid(f"{at}.fieldPath", path, "must be non-empty if specified")
    if _broken(path):
        e.invalid(f"{at}.fieldPath", path, "must not contain line breaks")
    if path and not has_path(path):
        e.invalid(f"{at}.fieldPath", path, "must be a valid path")


def _broken(text: str) -> bool:
    return "\n" in text or "\r" in text


def compiled(e: Errors, at: str, schema: Object, wrong: list[str], *, skip_costs: bool = False) -> None:
    """Compile the rules of a whole schema at path `at`. `wrong`: fields with errors; `skip_costs`: the cost limit does not apply."""
    costs: list[tuple[int, str]] = []
    for node in _nodes(_Node(at, schema, True, 1, "")):
        if not any(field.startswith(node.at) for field in wrong):
            costs += _check(e, node, skip_costs)
    total = sum(cost for cost, _ in costs)
    if total > SCHEMA_LIMIT:
        most_expensive = sorted((cost for cost in costs if cost[0] >= SCHEMA_LIMIT // 100), key=lambda cost: -cost[0])
        for _, path in most_expensive[:_MOST_EXPENSIVE]:
            e.forbidden(path, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema")
        e.forbidden(at, _exceeds(f"{RULES} estimated rule cost total for entire OpenAPIv3 schema", total, SCHEMA_LIMIT))


def _nodes(node: _Node) -> Iterator[_Node]:
    """Nodes with rules, the inner ones first."""
    at, schema, times = node.at, node.schema, _times(node)
    if isinstance(more := schema.get("additionalProperties"), dict):
        yield from _nodes(_Node(f"{at}.additionalProperties", more, _embeds(more), times, node.unrelated))
    for name, part in (schema.get("properties") or {}).items():
        yield from _nodes(_Node(f"{at}.properties[{name}]", part, _embeds(part), times, node.unrelated))
    if isinstance(items := schema.get("items"), dict):
        unrelated = node.unrelated or ("" if schema.get("x-kubernetes-list-type") == "map" else at)
        yield from _nodes(_Node(f"{at}.items", items, _embeds(items), times, unrelated))
    if schema.get(RULES):
        yield node


def _embeds(schema: Object) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def _times(node: _Node) -> int | None:
    """How many values of a part an object can have; None: any number."""
    kind = node.schema.get("type")
    most: int | None = 1
    if kind == "array":
        most = node.schema.get("maxItems")
    elif kind == "object" and node.schema.get("additionalProperties") is not None:
        most = node.schema.get("maxProperties")
    return None if node.times is None or most is None else node.times * max(0, most)


def _check(e: Errors, node: _Node, skip_costs: bool) -> Iterator[tuple[int, str]]:
    """Compiles the rules of a node; yields what they may cost, and where."""
    from kapi.cel import declaring  # only servers that are given rules load CEL

    found = declaring.declared(node.schema, root=node.root)
    if found is None:
        e.internal(f"{node.at}.{RULES}", _TYPELESS)
        return
    for i, rule in enumerate(node.schema[RULES]):
        yield from _check_rule(e, f"{node.at}.{RULES}[{i}]", rule, node, found, skip_costs)


def _check_rule(e: Errors, at: str, rule: Object, node: _Node, found: "Declared", skip_costs: bool) -> Iterator[tuple[int, str]]:
    from kapi.cel import compiling  # see _check

    shown, known = {title: rule.get(name, empty) for title, name, empty in _RULE}, variables(rule, found.type)
    used: frozenset[str] = frozenset()
    try:
        program = compiling.compiled(rule["rule"], known)
    except compiling.CompilationError as fault:
        e.invalid(f"{at}.rule", shown, f"compilation failed: {fault}")
    else:
        if program.code.type.name != "bool":
            e.invalid(f"{at}.rule", shown, "cel expression must evaluate to a bool")
        elif program.broken:
            e.invalid(f"{at}.rule", shown, f"program instantiation failed: {program.broken}")
        else:
            used = program.used
            times = 3 * 1024 * 1024 // (found.least + 1) if node.times is None else node.times
            yield _check_cost(e, f"{at}.rule", "estimated rule cost", program.code.max_cost * times, skip_costs)
            if rule.get("messageExpression"):
                yield from _check_message(e, f"{at}.messageExpression", rule["messageExpression"], shown, known, skip_costs)
    if "oldSelf" in used and node.unrelated:
        e.invalid(f"{at}.rule", rule["rule"], f"oldSelf cannot be used on the uncorrelatable portion of the schema within {node.unrelated}")
    elif "oldSelf" not in used and rule.get("optionalOldSelf") is not None:
        e.invalid(f"{at}.optionalOldSelf", rule["optionalOldSelf"], "may not be set if oldSelf is not used in rule")


def _check_message(e: Errors, at: str, text: str, shown: Object, known: Any, skip_costs: bool) -> Iterator[tuple[int, str]]:
    from kapi.cel import compiling  # see _check

    try:
        program = compiling.compiled(text, known)
    except compiling.CompilationError as fault:
        e.invalid(at, shown, f"messageExpression compilation failed: {fault}")
        return
    if program.code.type.name != "string":
        e.invalid(at, shown, "messageExpression must evaluate to a string")
        return
    if program.broken:
        e.invalid(at, shown, f"messageExpression instantiation failed: {program.broken}")
        return
    yield _check_cost(e, at, "estimated messageExpression cost", program.code.max_cost, skip_costs)


def _check_cost(e: Errors, at: str, what: str, cost: int, skip_costs: bool) -> tuple[int, str]:
    cost = min(cost, 2**64 - 1)
    if cost > RULE_LIMIT and not skip_costs:
        e.forbidden(at, _exceeds(what, cost, RULE_LIMIT))
    return cost, at


def _exceeds(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_HINT}"
