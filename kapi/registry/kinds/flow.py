"""FlowSchema and PriorityLevelConfiguration: how requests share the API server."""

from math import comb, log2, perm
from typing import Any

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

HIGHEST_PRECEDENCE = 10000
SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
NAMESPACE_FORM = "each member of this list must be '*' or a DNS-1123 label; "
MOST_QUEUES, MOST_ENTROPY = 10_000_000, 60


class FlowSchemaStrategy(Strategy):
    """flowcontrol.apiserver.k8s.io FlowSchema."""

    columns = rules.columns(
        "Name", "PriorityLevel=flowcontrol.v1.PriorityLevelConfigurationReference.name",
        "MatchingPrecedence#=flowcontrol.v1.FlowSchemaSpec.matchingPrecedence",
        "DistinguisherMethod=flowcontrol.v1.FlowSchemaSpec.distinguisherMethod", "Age",
        "MissingPL: references a broken or non-existent PriorityLevelConfiguration",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("matchingPrecedence"):
            spec["matchingPrecedence"] = 1000
        spec.setdefault("priorityLevelConfiguration", {}).setdefault("name", "")
        for rule in spec.get("rules") or ():
            for part in rule.get("resourceRules") or ():
                part.setdefault("namespaces", None)
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec, name = new["spec"], new["metadata"].get("name") or ""
        _validate_precedence(e, spec["matchingPrecedence"], name)
        method = spec.get("distinguisherMethod")
        if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
            e.unsupported("spec.distinguisherMethod.type", {"Type": method.get("type") or ""}, ("ByNamespace", "ByUser"))
        level = (spec.get("priorityLevelConfiguration") or {}).get("name") or ""
        e.named("spec.priorityLevelConfiguration.name", level, names.dns_subdomain, "must reference a priority level")
        for i, rule in enumerate(spec.get("rules") or ()):
            _validate_rule(e, f"spec.rules[{i}]", rule)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        dangling = next((c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "Dangling"), None)
        missing = "?" if dangling is None else str(dangling.get("status") == "True")
        method = (spec.get("distinguisherMethod") or {}).get("type") or "<none>"
        level = spec["priorityLevelConfiguration"].get("name", "")
        return [obj["metadata"]["name"], level, spec["matchingPrecedence"], method, rules.age(obj, now), missing]


def _validate_precedence(e: Errors, value: int, name: str) -> None:
    field = "spec.matchingPrecedence"
    if value <= 0:
        e.invalid(field, value, "must be a positive value")
    if value > HIGHEST_PRECEDENCE:
        e.invalid(field, value, f"must not be greater than {HIGHEST_PRECEDENCE}")
    if value == 1 and name != "exempt":
        e.invalid(field, value, "only the schema named 'exempt' may have matchingPrecedence 1")


def _validate_rule(e: Errors, at: str, rule: Object) -> None:
    e.need(f"{at}.subjects", rule.get("subjects"), "subjects must contain at least one value")
    for i, subject in enumerate(rule.get("subjects") or ()):
        _validate_subject(e, f"{at}.subjects[{i}]", subject)
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        e.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for i, part in enumerate(rule.get("resourceRules") or ()):
        _validate_resources(e, f"{at}.resourceRules[{i}]", part)
    for i, part in enumerate(rule.get("nonResourceRules") or ()):
        _validate_urls(e, f"{at}.nonResourceRules[{i}]", part)


def _validate_subject(e: Errors, at: str, subject: Object) -> None:
    kind = subject.get("kind") or ""
    if kind not in SUBJECTS:
        e.unsupported(f"{at}.kind", kind, SUBJECTS)
        return
    own = SUBJECTS[kind]
    if subject.get(own) is None:
        e.required(f"{at}.{own}", f"{own} is required when subject kind is '{kind}'")
    elif kind == "ServiceAccount":
        _validate_account(e, f"{at}.{own}", subject[own])
    else:
        e.need(f"{at}.{own}.name", subject[own].get("name"))
    for other, field in SUBJECTS.items():
        if field != own and subject.get(field) is not None:
            e.forbidden(f"{at}.{field}", f"{field} is forbidden when subject kind is not '{other}'")


def _validate_account(e: Errors, at: str, account: Object) -> None:
    name, namespace = account.get("name") or "", account.get("namespace") or ""
    if e.need(f"{at}.name", name) and name != "*":
        e.text(f"{at}.name", name, names.dns_subdomain)
    e.named(f"{at}.namespace", namespace, names.dns_label, "must specify namespace for service account")


def _wild(e: Errors, field: str, values: list[str], what: str, needed: str) -> bool:
    """'*' alone or others; False when there is nothing more to ask."""
    if not e.need(field, values, needed):
        return False
    if len(values) > 1 and "*" in values:
        e.invalid(field, values, f"if '*' is present, must not specify other {what}")
        return False
    return "*" not in values


def _validate_verbs(e: Errors, field: str, verbs: list[str]) -> None:
    if _wild(e, field, verbs, "verbs", "verbs must contain at least one value") and not set(verbs) <= set(VERBS):
        e.unsupported(field, verbs, VERBS)


def _validate_resources(e: Errors, at: str, rule: Object) -> None:
    _validate_verbs(e, f"{at}.verbs", rule.get("verbs") or [])
    _wild(e, f"{at}.apiGroups", rule.get("apiGroups") or [], "api groups", "resource rules must supply at least one api group")
    _wild(e, f"{at}.resources", rule.get("resources") or [], "resources", "resource rules must supply at least one resource")
    namespaces = rule.get("namespaces") or []
    if not namespaces and rule.get("clusterScope"):
        return
    needed = "resource rules that are not cluster scoped must supply at least one namespace"
    if _wild(e, f"{at}.namespaces", namespaces, "namespaces", needed):
        for i, namespace in enumerate(namespaces):
            for message in names.dns_label(namespace):
                e.invalid(f"{at}.namespaces[{i}]", namespace, NAMESPACE_FORM + message)


def _validate_urls(e: Errors, at: str, rule: Object) -> None:
    _validate_verbs(e, f"{at}.verbs", rule.get("verbs") or [])
    urls = rule.get("nonResourceURLs") or []
    if not _wild(e, f"{at}.nonResourceURLs", urls, "non-resource URLs", "nonResourceURLs must contain at least one value"):
        return
    for i, url in enumerate(urls):
        field = f"{at}.nonResourceURLs[{i}]"
        if not url:
            e.invalid(field, url, "must not be empty")
        elif url == "/":
            continue
        elif not url.startswith("/"):
            e.invalid(field, url, "must start with slash")
        elif " " in url:
            e.invalid(field, url, "must not contain white-space")
        elif "//" in url:
            e.invalid(field, url, "must not contain double slash")
        elif "*" in url and not (url.endswith("/*") and url.count("*") == 1):
            e.invalid(field, url, "wildcard can only do suffix matching")


class PriorityLevelStrategy(Strategy):
    """flowcontrol.apiserver.k8s.io PriorityLevelConfiguration."""

    columns = rules.columns(
        "Name", "Type=flowcontrol.v1.PriorityLevelConfigurationSpec.type",
        "NominalConcurrencyShares=flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares",
        "Queues=flowcontrol.v1.QueuingConfiguration.queues", "HandSize=flowcontrol.v1.QueuingConfiguration.handSize",
        "QueueLengthLimit=flowcontrol.v1.QueuingConfiguration.queueLengthLimit", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "")
        if (limited := spec.get("limited")) is not None:
            if limited.get("nominalConcurrencyShares") is None:
                limited["nominalConcurrencyShares"] = 30
            limited.setdefault("lendablePercent", 0)
            response = limited.setdefault("limitResponse", {})
            response.setdefault("type", "")
            if (queuing := response.get("queuing")) is not None:
                for field, value in (("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)):
                    queuing[field] = queuing.get(field) or value
        if (exempt := spec.get("exempt")) is not None:
            exempt.setdefault("nominalConcurrencyShares", 0)
            exempt.setdefault("lendablePercent", 0)
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
        if kind == "Exempt":
            if limited is not None:
                e.forbidden("spec.limited", "must be nil if the type is not Limited")
            _validate_shares(e, "spec.exempt", exempt or {})
        elif kind == "Limited":
            if exempt is not None:
                e.forbidden("spec.exempt", "must be nil if the type is Limited")
            if limited is None:
                e.required("spec.limited", "must not be empty when type is Limited")
            else:
                _validate_limited(e, "spec.limited", limited)
        else:
            e.unsupported("spec.type", kind, ("Exempt", "Limited"))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        limited = spec.get("limited") or {}
        shares = limited.get("nominalConcurrencyShares", "<none>") if spec.get("limited") else "<none>"
        queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
        cells = [str(queuing.get(field, "<none>")) for field in ("queues", "handSize", "queueLengthLimit")]
        return [obj["metadata"]["name"], spec.get("type", ""), str(shares), *cells, rules.age(obj, now)]


def _validate_shares(e: Errors, at: str, part: Object) -> None:
    e.at_least(f"{at}.nominalConcurrencyShares", part.get("nominalConcurrencyShares", 0), 0, "must be a non-negative integer")
    if not 0 <= part.get("lendablePercent", 0) <= 100:
        e.invalid(f"{at}.lendablePercent", part["lendablePercent"], "must be between 0 and 100, inclusive")


def _validate_limited(e: Errors, at: str, limited: Object) -> None:
    e.at_least(f"{at}.nominalConcurrencyShares", limited.get("nominalConcurrencyShares", 0), 0, "must be a non-negative integer")
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            e.forbidden(f"{at}.limitResponse.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif kind == "Queue":
        if queuing is None:
            e.required(f"{at}.limitResponse.queuing", "must not be empty if limited.limitResponse.type is Limited")
        else:
            _validate_queuing(e, f"{at}.limitResponse.queuing", queuing)
    else:
        e.unsupported(f"{at}.limitResponse.type", kind, ("Queue", "Reject"))
    if not 0 <= limited.get("lendablePercent", 0) <= 100:
        e.invalid(f"{at}.lendablePercent", limited["lendablePercent"], "must be between 0 and 100, inclusive")
    if limited.get("borrowingLimitPercent") is not None:
        e.at_least(f"{at}.borrowingLimitPercent", limited["borrowingLimitPercent"], 0, "if specified, must be a non-negative integer")


def _validate_queuing(e: Errors, at: str, queuing: Object) -> None:
    length, queues, hand = (queuing.get(field, 0) for field in ("queueLengthLimit", "queues", "handSize"))
    e.at_least(f"{at}.queueLengthLimit", length, 1, "must be positive")
    if e.at_least(f"{at}.queues", queues, 1, "must be positive") and queues > MOST_QUEUES:
        e.invalid(f"{at}.queues", queues, f"must not be greater than {MOST_QUEUES}")
    if not e.at_least(f"{at}.handSize", hand, 1, "must be positive"):
        return
    if hand > queues:
        e.invalid(f"{at}.handSize", hand, f"should not be greater than queues ({queues})")
    elif hand <= 128 and log2(max(comb(queues, hand) if hand > 32 else perm(queues, hand), 1)) > MOST_ENTROPY:
        text = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MOST_ENTROPY}"
        e.invalid(f"{at}.handSize", hand, text)
