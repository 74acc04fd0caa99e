"""When a Job fails and when it succeeds: podFailurePolicy, successPolicy, and lists of indexes such as "0-2,5"."""

from typing import Any

from kapi.objects.errors import Cause
from kapi.registry.kinds import internal
from kapi.registry.kinds.rules import Errors

Object = dict[str, Any]

_MOST = 20
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_LONGEST = 64 * 1024


def _wanted(*values: str) -> str:
    return "valid values: [" + " ".join(f'"{v}"' for v in values) + "]"


def _exit_codes(e: Errors, field: str, part: Object, containers: set[str]) -> None:
    operator, values, name = part.get("operator") or "", part.get("values"), part.get("containerName")
    e.enum(f"{field}.operator", operator, ("In", "NotIn"), _wanted("In", "NotIn"))
    if name is not None and name not in containers:
        e.invalid(f"{field}.containerName", name, "must be one of the container or initContainer names in the pod template")
    if not values:
        e.invalid(f"{field}.values", values, "at least one value is required")
        return
    if len(values) > 255:
        e.too_many(f"{field}.values", len(values), 255)
    seen: set[int] = set()
    for i, value in enumerate(values):
        if not e.unique(f"{field}.values[{i}]", value, seen):
            continue
        if operator == "In" and value == 0:
            e.invalid(f"{field}.values[{i}]", value, "must not be 0 for the In operator")
    if values != sorted(values):
        e.invalid(f"{field}.values", values, "must be ordered")


def _conditions(e: Errors, field: str, listed: list[Object]) -> None:
    if len(listed) > _MOST:
        e.too_many(field, len(listed), _MOST)
    for i, part in enumerate(listed):
        e.qualified(f"{field}[{i}].type", part.get("type") or "")
        e.enum(f"{field}[{i}].status", part.get("status") or "", ("False", "True", "Unknown"), _wanted("False", "True", "Unknown"))


def failure(e: Errors, field: str, policy: Object, spec: Object) -> None:
    """spec.podFailurePolicy of the Job `spec`."""
    inner = (spec.get("template") or {}).get("spec") or {}
    containers = {c.get("name") or "" for kind in ("containers", "initContainers") for c in inner.get(kind) or ()}
    rules = policy.get("rules") or []
    if len(rules) > _MOST:
        e.too_many(f"{field}.rules", len(rules), _MOST)
    for i, rule in enumerate(rules):
        at, action = f"{field}.rules[{i}]", rule.get("action") or ""
        if e.enum(f"{at}.action", action, _ACTIONS, _wanted(*_ACTIONS)) and action == "FailIndex" and "backoffLimitPerIndex" not in spec:
            e.invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set")
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None:
            _exit_codes(e, f"{at}.onExitCodes", codes, containers)
        if conditions:
            _conditions(e, f"{at}.onPodConditions", conditions)
        if codes is not None and conditions:
            e.append(Cause("FieldValueInvalid", "Invalid value: specifying both OnExitCodes and OnPodConditions is not supported", at))
        if codes is None and not conditions:
            e.append(Cause("FieldValueInvalid", "Invalid value: specifying one of OnExitCodes and OnPodConditions is required", at))


def _index(text: str, completions: int) -> int:
    if not (text.removeprefix("-").removeprefix("+").isdigit() and text.isascii()):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def count_indexes(text: str, completions: int) -> int:
    """How many indexes "0-2,5" lists; raises ValueError with stock's message."""
    total, last = 0, -1
    for piece in text.split(",") if text else ():
        ends = piece.split("-")
        if len(ends) > 2:
            raise ValueError(
                f'the fragment "{piece}" violates the requirement that an index interval can have at most two parts separated by \'-\''
            )
        first = _index(ends[0], completions)
        if first <= last:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total, last = total + 1, first
        if len(ends) == 2:
            end = _index(ends[1], completions)
            if end <= last:
                raise ValueError(f"non-increasing order, previous: {last}, current: {end}")
            total, last = total + end - first, end
    return total


def success(e: Errors, field: str, policy: Object, spec: Object) -> None:
    """spec.successPolicy of an indexed Job."""
    rules, completions = policy.get("rules") or [], spec.get("completions") or 0
    if not rules:
        e.required(f"{field}.rules", "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > _MOST:
        e.too_many(f"{field}.rules", len(rules), _MOST)
    for i, rule in enumerate(rules):
        _success_rule(e, f"{field}.rules[{i}]", rule, completions)


def _success_rule(e: Errors, at: str, rule: Object, completions: int) -> None:
    indexes, count, total = rule.get("succeededIndexes"), rule.get("succeededCount"), 0
    if indexes is None and count is None:
        e.required(at, "at least one of succeededCount or succeededIndexes must be specified")
        return
    if indexes is not None:
        if len(indexes) > _LONGEST:
            e.too_long(f"{at}.succeededIndexes", _LONGEST)
        try:
            total = count_indexes(indexes, completions)
        except ValueError as bad:
            e.invalid(f"{at}.succeededIndexes", indexes, f"error parsing succeededIndexes: {bad}")
    if count is not None:
        e.non_negative(f"{at}.succeededCount", count)
        if count > completions:
            e.invalid(f"{at}.succeededCount", count,
                      f"must be less than or equal to {completions} (the number of specified completions)")
        if indexes is not None and count > total:
            e.invalid(f"{at}.succeededCount", count,
                      f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)")


def shown(policy: Object | None, kind: str) -> Object | None:
    """The policy as messages show it."""
    return None if policy is None else internal.to_internal(kind, policy)
