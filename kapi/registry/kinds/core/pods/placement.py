"""Where a pod may run: node selectors, affinity, tolerations, taints and topology spread, as stock checks them."""

from collections.abc import Iterator

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, validate_cached

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_MATCH_EVERYTHING = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
_IN_BOTH = "exists in both matchLabelKeys and labelSelector"
_NO_SELECTOR = "must not be specified when labelSelector is not set"


def _weighted(affinity: Part) -> Iterator[Part]:
    for term in affinity.parts(PREFERRED):
        if not 1 <= term.number("weight") <= 100:
            term.e.invalid(term.path("weight"), term.number("weight"), "must be in the range 1-100")
        yield term


def _node_affinity(affinity: Part) -> None:
    if REQUIRED in affinity:
        rules.node_selector(affinity.e, affinity.path(REQUIRED), affinity.get(REQUIRED))
    for term in _weighted(affinity):
        rules.node_selector_term(term.e, term.path("preference"), term.get("preference") or {}, values=False)


def _label_keys(term: Part, field: str) -> None:
    if term.items(field) and "labelSelector" not in term:
        term.forbidden(field, _NO_SELECTOR)
    else:
        term.each(field, names.qualified_name)


def _selected_twice(term: Part) -> None:
    """Keys whose values the pod's own labels give are not selected for otherwise."""
    keys, seen = term.items("matchLabelKeys"), set(term.part("labelSelector").get("matchLabels") or ())
    for expression in term.part("labelSelector").items("matchExpressions") if keys else ():
        key = expression.get("key") or ""
        if key in keys and key in seen:
            term.e.invalid(f"{term.at}[{keys.index(key)}]", key, _IN_BOTH)
        seen.add(key)


def _pod_term(term: Part) -> None:
    term.selector("labelSelector")
    term.selector("namespaceSelector")
    for name in term.items("namespaces"):
        term.e.text(term.path("namespace"), name, names.dns_label)
    _label_keys(term, "matchLabelKeys")
    _label_keys(term, "mismatchLabelKeys")
    _selected_twice(term)
    for at, key in term.values("matchLabelKeys"):
        if key in term.items("mismatchLabelKeys"):
            term.e.invalid(at, key, "exists in both matchLabelKeys and mismatchLabelKeys")
    term.need("topologyKey", "can not be empty")
    term.qualified("topologyKey")


def _pod_affinity(affinity: Part) -> None:
    for term in affinity.parts(REQUIRED):
        _pod_term(term)
    for term in _weighted(affinity):
        _pod_term(term.part("podAffinityTerm"))


def affinity(part: Part) -> None:
    for field, check in (("nodeAffinity", _node_affinity), ("podAffinity", _pod_affinity), ("podAntiAffinity", _pod_affinity)):
        check(part.part(field))


def tolerations(owner: Part) -> None:
    for part in owner.parts("tolerations"):
        validate_cached(_toleration, part)


def _toleration(part: Part) -> None:
    operator = part.text("operator")
    if part.text("key"):
        part.qualified("key")
    elif operator != "Exists":
        part.e.invalid(part.path("operator"), operator, _MATCH_EVERYTHING)
    if "tolerationSeconds" in part and part.get("effect") != "NoExecute":
        part.e.invalid(part.path("effect"), part.text("effect"), "effect must be 'NoExecute' when `tolerationSeconds` is set")
    if operator in ("Equal", ""):
        _value(part, "operator")
    elif operator == "Exists":
        if part.text("value"):
            part.e.invalid(part.path("operator"), part.text("value"), "value must be empty when `operator` is 'Exists'")
    elif operator in ("Lt", "Gt"):
        part.unsupported("operator", ("Equal", "Exists", "Lt", "Gt"), sort=False)
    else:
        part.unsupported("operator", ("Equal", "Exists"))
    if part.text("effect"):
        part.enum("effect", EFFECTS, sort=False)


def _value(part: Part, field: str) -> None:
    """The value of a taint: all that is wrong with it is one cause."""
    if bad := names.label_value(part.text("value")):
        part.e.invalid(part.path(field), part.text("value"), ";".join(bad))


def taints(owner: Part, field: str) -> None:
    """The taints of a node's spec, reported at `field`."""
    seen: set[tuple[str, str]] = set()
    for i, item in enumerate(owner.items("taints")):
        taint = Part(owner.e, f"{field}[{i}]", item)
        pair = taint.text("effect"), taint.text("key")
        taint.qualified("key")
        _value(taint, "value")
        taint.enum("effect", EFFECTS, need="", sort=False)
        if pair in seen:
            owner.e.duplicate(taint.at, internal.to_internal("Taint", item))
            owner.e[-1] = owner.e[-1]._replace(message=f"{owner.e[-1].message}: taints must be unique by key and effect pair")
        seen.add(pair)


def topology_spread(spec: Part) -> None:
    listed = [(p.get("topologyKey") or "", p.get("whenUnsatisfiable") or "") for p in spec.items("topologySpreadConstraints")]
    for i, part in enumerate(spec.parts("topologySpreadConstraints")):
        key, action = listed[i]
        part.at_least("maxSkew", 1, "must be greater than zero")
        part.need("topologyKey", "can not be empty")
        part.enum("whenUnsatisfiable", ("DoNotSchedule", "ScheduleAnyway"))
        if listed[i] in listed[i + 1 :]:
            part.e.duplicate(part.path("{topologyKey, whenUnsatisfiable}"), f"{{{key}, {action}}}")
        if "minDomains" in part:
            part.at_least("minDomains", 1, "must be greater than zero")
            if action != "DoNotSchedule":
                part.invalid("minDomains", f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}")
        part.choice("nodeAffinityPolicy", ("Honor", "Ignore"))
        part.choice("nodeTaintsPolicy", ("Honor", "Ignore"))
        _label_keys(part, "matchLabelKeys")
        _selected_twice(part)
        part.selector("labelSelector")


def selector_from_labels(part: Object, labels: dict[str, str]) -> None:
    """Write the requirements that matchLabelKeys and mismatchLabelKeys stand for into the selector, as stock does when a pod is made."""
    selector = part.get("labelSelector")
    if selector is None:
        return
    for kind, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in part.get(kind) or ():
            if key in labels:
                selector.setdefault("matchExpressions", []).append({"key": key, "operator": operator, "values": [labels[key]]})
