"""Where a pod may run: node selectors, affinity, tolerations, taints and topology spread, as stock checks them."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import internal, rules
from kapi.registry.kinds.rules import Errors, Rule, each, one_of, present

Object = dict[str, Any]

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_MATCH_EVERYTHING = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
_IN_BOTH = "exists in both matchLabelKeys and labelSelector"
_NO_SELECTOR = "must not be specified when labelSelector is not set"


def _weight(e: Errors, field: str, term: Object) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        e.invalid(f"{field}.weight", weight, "must be in the range 1-100")


def _node_affinity(e: Errors, field: str, part: Object) -> None:
    present(e, field, part, {REQUIRED: rules.node_selector})
    for at, term in each(field, part, PREFERRED):
        _weight(e, at, term)
        rules.node_selector_term(e, f"{at}.preference", term.get("preference") or {}, values=False)


def _label_keys(e: Errors, field: str, part: Object, name: str) -> None:
    if part.get(name) and part.get("labelSelector") is None:
        e.forbidden(f"{field}.{name}", _NO_SELECTOR)
        return
    for at, key in each(field, part, name):
        e.qualified(at, key)


def match_label_keys(e: Errors, field: str, part: Object) -> None:
    """Keys whose values the pod's own labels give: valid, not selected for otherwise, not excluded at once."""
    keys, others, selector = part.get("matchLabelKeys") or [], part.get("mismatchLabelKeys") or [], part.get("labelSelector")
    _label_keys(e, field, part, "matchLabelKeys")
    _label_keys(e, field, part, "mismatchLabelKeys")
    if keys and selector:
        seen = set(selector.get("matchLabels") or ())
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key") or ""
            if key in keys and key in seen:
                e.invalid(f"{field}[{keys.index(key)}]", key, _IN_BOTH)
            seen.add(key)
    for i, key in enumerate(keys):
        if key in others:
            e.invalid(f"{field}.matchLabelKeys[{i}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")


def _pod_term(e: Errors, field: str, term: Object) -> None:
    rules.label_selector(e, f"{field}.labelSelector", term.get("labelSelector"))
    rules.label_selector(e, f"{field}.namespaceSelector", term.get("namespaceSelector"))
    for name in term.get("namespaces") or ():
        e.text(f"{field}.namespace", name, names.dns_label)
    match_label_keys(e, field, term)
    key = term.get("topologyKey") or ""
    e.need(f"{field}.topologyKey", key, "can not be empty")
    e.qualified(f"{field}.topologyKey", key)


def _pod_affinity(e: Errors, field: str, part: Object) -> None:
    for at, term in each(field, part, REQUIRED):
        _pod_term(e, at, term)
    for at, term in each(field, part, PREFERRED):
        _weight(e, at, term)
        _pod_term(e, f"{at}.podAffinityTerm", term.get("podAffinityTerm") or {})


_AFFINITIES: dict[str, Rule] = {"nodeAffinity": _node_affinity, "podAffinity": _pod_affinity, "podAntiAffinity": _pod_affinity}


def affinity(e: Errors, field: str, part: Object) -> None:
    present(e, field, part, _AFFINITIES)


def tolerations(e: Errors, field: str, listed: list[Object]) -> None:
    for i, part in enumerate(listed):
        at, key, operator, value = f"{field}[{i}]", part.get("key"), part.get("operator") or "", part.get("value") or ""
        if key:
            e.qualified(f"{at}.key", key)
        elif operator != "Exists":
            e.invalid(f"{at}.operator", operator, _MATCH_EVERYTHING)
        if "tolerationSeconds" in part and part.get("effect") != "NoExecute":
            e.invalid(f"{at}.effect", part.get("effect") or "", "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator in ("Equal", ""):
            _value(e, f"{at}.operator", value)
        elif operator == "Exists":
            if value:
                e.invalid(f"{at}.operator", value, "value must be empty when `operator` is 'Exists'")
        elif operator in ("Lt", "Gt"):
            e.unsupported(f"{at}.operator", operator, ("Equal", "Exists", "Lt", "Gt"), sort=False)
        else:
            e.unsupported(f"{at}.operator", operator, ("Equal", "Exists"))
        if part.get("effect"):
            e.enum(f"{at}.effect", part["effect"], EFFECTS, sort=False)


def _value(e: Errors, field: str, value: str) -> None:
    """The value of a taint: all that is wrong with it is one cause."""
    if bad := names.label_value(value):
        e.invalid(field, value, ";".join(bad))


def taints(e: Errors, field: str, listed: list[Object]) -> None:
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(listed):
        at, key, value, what = f"{field}[{i}]", taint.get("key") or "", taint.get("value") or "", taint.get("effect") or ""
        e.qualified(f"{at}.key", key)
        _value(e, f"{at}.value", value)
        e.enum(f"{at}.effect", what, EFFECTS, need="", sort=False)
        if (what, key) in seen:
            e.duplicate(at, internal.to_internal("Taint", taint))
            e[-1] = e[-1]._replace(message=f"{e[-1].message}: taints must be unique by key and effect pair")
        seen.add((what, key))


_POLICIES: dict[str, Rule] = {"nodeAffinityPolicy": one_of("Honor", "Ignore"), "nodeTaintsPolicy": one_of("Honor", "Ignore")}


def topology_spread(e: Errors, field: str, listed: list[Object]) -> None:
    for i, part in enumerate(listed):
        at, key, action = f"{field}[{i}]", part.get("topologyKey") or "", part.get("whenUnsatisfiable") or ""
        e.at_least(f"{at}.maxSkew", part.get("maxSkew") or 0, 1, "must be greater than zero")
        e.need(f"{at}.topologyKey", key, "can not be empty")
        e.enum(f"{at}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        if any((p.get("topologyKey") or "", p.get("whenUnsatisfiable") or "") == (key, action) for p in listed[i + 1 :]):
            e.duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}")
        if "minDomains" in part:
            e.at_least(f"{at}.minDomains", part["minDomains"], 1, "must be greater than zero")
            if action != "DoNotSchedule":
                text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                e.invalid(f"{at}.minDomains", part["minDomains"], text)
        present(e, at, part, _POLICIES)
        match_label_keys(e, at, {k: v for k, v in part.items() if k != "mismatchLabelKeys"})
        rules.label_selector(e, f"{at}.labelSelector", part.get("labelSelector"))


def selector_from_labels(part: Object, labels: dict[str, str]) -> None:
    """Write the requirements that matchLabelKeys and mismatchLabelKeys stand for into the selector, as stock does when a pod is made."""
    selector = part.get("labelSelector")
    if selector is None:
        return
    for kind, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in part.get(kind) or ():
            if key in labels:
                selector.setdefault("matchExpressions", []).append({"key": key, "operator": operator, "values": [labels[key]]})
