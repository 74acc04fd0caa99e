"""Node selection of pods: nodeSelector, required node affinity, tolerations. Pure."""

from collections.abc import Callable, Iterable, Mapping

from kapi.objects import integers
from kapi.objects.meta import Object

Labels = Mapping[str, str]
NodeTest = Callable[[str, Labels], bool]
"""(node name, node labels) -> whether they match."""


def _integer(text: str | None) -> int | None:
    try:
        return integers.parse(text) if text is not None else None
    except ValueError:
        return None


def requirement_matches(requirement: Object, labels: Labels) -> bool:
    """One matchExpressions entry of a node selector term (In, NotIn, Exists, DoesNotExist, Gt, Lt)."""
    key, values = requirement.get("key", ""), requirement.get("values") or ()
    match requirement.get("operator"):
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt" as operator:
            have, bound = _integer(labels.get(key)), _integer(values[0] if values else None)
            return have is not None and bound is not None and (have > bound if operator == "Gt" else have < bound)
    return False


def term_matches(term: Object, name: str, labels: Labels) -> bool:
    """A node selector term; a term without requirements matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    named = {"metadata.name": name}
    return all(requirement_matches(r, labels) for r in expressions) and all(requirement_matches(r, named) for r in fields)


def fits_node(spec: Object, name: str, labels: Labels) -> bool:
    """Whether nodeSelector and required node affinity of a pod match the node."""
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(term_matches(t, name, labels) for t in required.get("nodeSelectorTerms") or ())


def tolerates(tolerations: Iterable[Object], taint: Object) -> bool:
    """Whether any toleration tolerates the taint."""
    return any(covers(t, taint) for t in tolerations)


def covers(toleration: Object, taint: Object) -> bool:
    """Whether one toleration tolerates the taint (core/v1 Toleration.ToleratesTaint): empty fields match everything."""
    effect, key, operator = toleration.get("effect"), toleration.get("key"), toleration.get("operator") or "Equal"
    if (effect and effect != taint.get("effect")) or (key and key != taint.get("key")):
        return False
    if operator == "Exists":
        return True
    return bool(operator == "Equal" and (toleration.get("value") or "") == (taint.get("value") or ""))
