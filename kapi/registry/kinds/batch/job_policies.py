"""When a Job fails and when it succeeds: podFailurePolicy, successPolicy, and lists of indexes such as "0-2,5"."""


from kapi.objects import integers
from kapi.objects.quoting import go_quote
from kapi.registry.validation.part import Part

_MOST = 20
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_STATUSES = ("False", "True", "Unknown")
_LONGEST = 64 * 1024


def _wanted(*values: str) -> str:
    return "valid values: [" + " ".join(f'"{v}"' for v in values) + "]"


def _exit_codes(codes: Part, containers: set[str]) -> None:
    values = codes.get("values")
    codes.enum("operator", ("In", "NotIn"), _wanted("In", "NotIn"))
    if "containerName" in codes and codes.get("containerName") not in containers:
        codes.invalid("containerName", "must be one of the container or initContainer names in the pod template")
    if not values:
        codes.invalid("values", "at least one value is required")
        return
    codes.limit("values", 255)
    seen: set[int] = set()
    for at, value in codes.values("values"):
        if codes.get("operator") == "In" and value == 0:
            codes.e.invalid(at, value, "must not be 0 for the In operator")
        codes.e.unique(at, value, seen)
    if values != sorted(values):
        codes.invalid("values", "must be ordered")


def failure(spec: Part) -> None:
    """The podFailurePolicy of a JobSpec."""
    policy, pod = spec.part("podFailurePolicy"), spec.part("template").part("spec")
    containers = {c.get("name") or "" for kind in ("containers", "initContainers") for c in pod.items(kind)}
    policy.limit("rules", _MOST)
    for rule in policy.parts("rules"):
        known = rule.enum("action", _ACTIONS, _wanted(*_ACTIONS))
        if known and rule.get("action") == "FailIndex" and "backoffLimitPerIndex" not in spec:
            rule.invalid("action", "requires the backoffLimitPerIndex to be set")
        if "onExitCodes" in rule:
            _exit_codes(rule.part("onExitCodes"), containers)
        rule.limit("onPodConditions", _MOST)
        for condition in rule.parts("onPodConditions"):
            condition.qualified("type")
            condition.enum("status", _STATUSES, _wanted(*_STATUSES))
        if "onExitCodes" in rule and rule.items("onPodConditions"):
            rule.e.omitted(rule.at, "specifying both OnExitCodes and OnPodConditions is not supported")
        if "onExitCodes" not in rule and not rule.items("onPodConditions"):
            rule.e.omitted(rule.at, "specifying one of OnExitCodes and OnPodConditions is required")


def _interval(text: str, completions: int) -> range:
    ends = text.split("-")
    if len(ends) > 2:
        rule = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f"the fragment {go_quote(text)} {rule}")
    for end in ends:
        if not (end.removeprefix("+").isdigit() and end.isascii()):
            raise ValueError(f"cannot convert string to integer for index: {go_quote(end)}")
        if integers.parse(end) >= completions:
            raise ValueError(f"too large index: {go_quote(end)}")
    first, last = integers.parse(ends[0]), integers.parse(ends[-1])
    if len(ends) == 2 and last <= first:
        raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
    return range(first, last + 1)


def indexes(text: str, completions: int) -> list[range]:
    """What "0-2,5" lists; raises ValueError with stock's message."""
    ranges: list[range] = []
    for piece in text.split(",") if text else ():
        interval = _interval(piece, completions)
        if ranges and interval[0] <= ranges[-1][-1]:
            raise ValueError(f"non-increasing order, previous: {ranges[-1][-1]}, current: {interval[0]}")
        ranges.append(interval)
    return ranges


def success(spec: Part) -> None:
    """The successPolicy of an indexed JobSpec."""
    policy = spec.part("successPolicy")
    policy.need("rules", "at least one rules must be specified when the successPolicy is specified")
    policy.limit("rules", _MOST)
    for rule in policy.parts("rules"):
        _success_rule(rule, spec.number("completions"))


def _success_rule(rule: Part, completions: int) -> None:
    listed, total = rule.get("succeededIndexes"), 0
    if listed is None and "succeededCount" not in rule:
        rule.e.required(rule.at, "at least one of succeededCount or succeededIndexes must be specified")
        return
    if listed is not None:
        rule.longest("succeededIndexes", _LONGEST)
        try:
            total = sum(map(len, indexes(listed, completions)))
        except ValueError as bad:
            rule.invalid("succeededIndexes", f"error parsing succeededIndexes: {bad}")
    rule.non_negative("succeededCount")
    limits = [(completions, "specified completions")]
    if listed is not None:
        limits.append((total, "indexes in the specified succeededIndexes field"))
    for limit, what in limits:
        if rule.number("succeededCount") > limit:
            rule.invalid("succeededCount", f"must be less than or equal to {limit} (the number of {what})")
