"""When a Job fails and when it succeeds: podFailurePolicy, successPolicy, and lists of indexes such as "0-2,5"."""

from typing import Any

from kapi.registry.kinds.rules import Errors, each

Object = dict[str, Any]

_MOST = 20
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_STATUSES = ("False", "True", "Unknown")
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
    e.most(f"{field}.values", values, 255)
    seen: set[int] = set()
    for at, value in each(field, part, "values"):
        if operator == "In" and value == 0:
            e.invalid(at, value, "must not be 0 for the In operator")
        e.unique(at, value, seen)
    if values != sorted(values):
        e.invalid(f"{field}.values", values, "must be ordered")


def failure(e: Errors, field: str, policy: Object, spec: Object) -> None:
    """spec.podFailurePolicy of the Job `spec`."""
    inner = (spec.get("template") or {}).get("spec") or {}
    containers = {c.get("name") or "" for kind in ("containers", "initContainers") for c in inner.get(kind) or ()}
    e.most(f"{field}.rules", policy.get("rules") or [], _MOST)
    for at, rule in each(field, policy, "rules"):
        action, codes, conditions = rule.get("action") or "", rule.get("onExitCodes"), rule.get("onPodConditions")
        if e.enum(f"{at}.action", action, _ACTIONS, _wanted(*_ACTIONS)) and action == "FailIndex" and "backoffLimitPerIndex" not in spec:
            e.invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set")
        if codes is not None:
            _exit_codes(e, f"{at}.onExitCodes", codes, containers)
        e.most(f"{at}.onPodConditions", conditions or [], _MOST)
        for where, part in each(at, rule, "onPodConditions"):
            e.qualified(f"{where}.type", part.get("type") or "")
            e.enum(f"{where}.status", part.get("status"), _STATUSES, _wanted(*_STATUSES))
        if codes is not None and conditions:
            e.omitted(at, "specifying both OnExitCodes and OnPodConditions is not supported")
        if codes is None and not conditions:
            e.omitted(at, "specifying one of OnExitCodes and OnPodConditions is required")


def _interval(text: str, completions: int) -> range:
    ends = text.split("-")
    if len(ends) > 2:
        rule = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{text}" {rule}')
    for end in ends:
        if not (end.removeprefix("+").isdigit() and end.isascii()):
            raise ValueError(f'cannot convert string to integer for index: "{end}"')
        if int(end) >= completions:
            raise ValueError(f'too large index: "{end}"')
    first, last = int(ends[0]), int(ends[-1])
    if len(ends) == 2 and last <= first:
        raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
    return range(first, last + 1)


def indexes(text: str, completions: int) -> list[range]:
    """What "0-2,5" lists; raises ValueError with stock's message."""
    found: list[range] = []
    for piece in text.split(",") if text else ():
        interval = _interval(piece, completions)
        if found and interval[0] <= found[-1][-1]:
            raise ValueError(f"non-increasing order, previous: {found[-1][-1]}, current: {interval[0]}")
        found.append(interval)
    return found


def success(e: Errors, field: str, policy: Object, spec: Object) -> None:
    """spec.successPolicy of an indexed Job."""
    rules = policy.get("rules") or []
    e.need(f"{field}.rules", rules, "at least one rules must be specified when the successPolicy is specified")
    e.most(f"{field}.rules", rules, _MOST)
    for at, rule in each(field, policy, "rules"):
        _success_rule(e, at, rule, spec.get("completions") or 0)


def _success_rule(e: Errors, at: str, rule: Object, completions: int) -> None:
    listed, count, total = rule.get("succeededIndexes"), rule.get("succeededCount"), 0
    if listed is None and count is None:
        e.required(at, "at least one of succeededCount or succeededIndexes must be specified")
        return
    if listed is not None:
        e.longest(f"{at}.succeededIndexes", listed, _LONGEST)
        try:
            total = sum(map(len, indexes(listed, completions)))
        except ValueError as bad:
            e.invalid(f"{at}.succeededIndexes", listed, f"error parsing succeededIndexes: {bad}")
    if count is None:
        return
    e.non_negative(f"{at}.succeededCount", count)
    limits = [(completions, "specified completions")]
    if listed is not None:
        limits.append((total, "indexes in the specified succeededIndexes field"))
    for limit, what in limits:
        if count > limit:
            e.invalid(f"{at}.succeededCount", count, f"must be less than or equal to {limit} (the number of {what})")
