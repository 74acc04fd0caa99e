"""FlowSchema and PriorityLevelConfiguration: how requests share the API server."""

from collections.abc import Callable
from math import comb, log2, perm
from typing import Any

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy

HIGHEST_PRECEDENCE = 10000
SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
NAMESPACE_FORM = "each member of this list must be '*' or a DNS-1123 label; "
URL_FAULTS: dict[str, Callable[[str], bool]] = {
    "must not be empty": lambda url: not url,
    "must start with slash": lambda url: not url.startswith("/"),
    "must not contain white-space": lambda url: " " in url,
    "must not contain double slash": lambda url: "//" in url,
    "wildcard can only do suffix matching": lambda url: "*" in url and not (url.endswith("/*") and url.count("*") == 1),
}
MOST_QUEUES, MOST_ENTROPY = 10_000_000, 60


class FlowSchemaStrategy(RuledStrategy):
    """flowcontrol.apiserver.k8s.io FlowSchema."""

    columns = rules.columns(
        "Name", "PriorityLevel@spec.priorityLevelConfiguration.name",
        "MatchingPrecedence#@spec.matchingPrecedence",
        "DistinguisherMethod@spec.distinguisherMethod.type|<none>=flowcontrol.v1.FlowSchemaSpec.distinguisherMethod", "Age",
        "MissingPL: references a broken or non-existent PriorityLevelConfiguration",
        of="flowcontrol.v1.FlowSchema",
    )  # fmt: skip
    defaults_of_empty = {"spec.matchingPrecedence": 1000}

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        _check_precedence(spec, new.part("metadata").text("name"))
        method = spec.part("distinguisherMethod")
        if "distinguisherMethod" in spec and method.text("type") not in ("ByNamespace", "ByUser"):
            new.e.unsupported(method.path("type"), {"Type": method.text("type")}, ("ByNamespace", "ByUser"))
        spec.part("priorityLevelConfiguration").named("name", names.dns_subdomain, "must reference a priority level")
        for rule in spec.parts("rules"):
            _check_rule(rule)

    def cells(self, obj: Object) -> list[Any]:
        dangling = next((c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "Dangling"), None)
        return ["?" if dangling is None else str(dangling.get("status") == "True")]


def _check_precedence(spec: Part, name: str) -> None:
    field, value = "matchingPrecedence", spec.number("matchingPrecedence")
    spec.at_least(field, 1, "must be a positive value")
    spec.at_most(field, HIGHEST_PRECEDENCE, f"must not be greater than {HIGHEST_PRECEDENCE}")
    if value == 1 and name != "exempt":
        spec.invalid(field, "only the schema named 'exempt' may have matchingPrecedence 1")


def _check_rule(rule: Part) -> None:
    rule.need("subjects", "subjects must contain at least one value")
    for subject in rule.parts("subjects"):
        _check_subject(subject)
    if not rule.items("resourceRules") and not rule.items("nonResourceRules"):
        rule.e.required(rule.at, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for part in rule.parts("resourceRules"):
        _check_resources(part)
    for part in rule.parts("nonResourceRules"):
        _check_urls(part)


def _check_subject(subject: Part) -> None:
    kind = subject.text("kind")
    if kind not in SUBJECTS:
        subject.unsupported("kind", SUBJECTS)
        return
    own = SUBJECTS[kind]
    if own not in subject:
        subject.required(own, f"{own} is required when subject kind is '{kind}'")
    elif kind == "ServiceAccount":
        _check_account(subject.part(own))
    else:
        subject.part(own).need("name")
    for other, field in SUBJECTS.items():
        if field != own and field in subject:
            subject.forbidden(field, f"{field} is forbidden when subject kind is not '{other}'")


def _check_account(account: Part) -> None:
    if account.text("name") != "*":
        account.named("name", names.dns_subdomain)
    account.named("namespace", names.dns_label, "must specify namespace for service account")


def _check_wildcard(rule: Part, field: str, what: str, needed: str) -> bool:
    """'*' alone or others; False when there is nothing more to ask."""
    values = rule.items(field)
    if rule.need(field, needed) and len(values) > 1 and "*" in values:
        rule.invalid(field, f"if '*' is present, must not specify other {what}")
    return bool(values) and "*" not in values


def _check_verbs(rule: Part) -> None:
    if _check_wildcard(rule, "verbs", "verbs", "verbs must contain at least one value") and not set(rule.items("verbs")) <= set(VERBS):
        rule.e.unsupported(rule.path("verbs"), rule.items("verbs"), VERBS)


def _check_resources(rule: Part) -> None:
    _check_verbs(rule)
    _check_wildcard(rule, "apiGroups", "api groups", "resource rules must supply at least one api group")
    _check_wildcard(rule, "resources", "resources", "resource rules must supply at least one resource")
    if not rule.items("namespaces") and rule.get("clusterScope"):
        return
    if _check_wildcard(rule, "namespaces", "namespaces", "resource rules that are not cluster scoped must supply at least one namespace"):
        for at, namespace in rule.values("namespaces"):
            for message in names.dns_label(namespace):
                rule.e.invalid(at, namespace, NAMESPACE_FORM + message)


def _check_urls(rule: Part) -> None:
    _check_verbs(rule)
    if _check_wildcard(rule, "nonResourceURLs", "non-resource URLs", "nonResourceURLs must contain at least one value"):
        for at, url in rule.values("nonResourceURLs"):
            if url != "/" and (fault := next((text for text, wrong in URL_FAULTS.items() if wrong(url)), None)):
                rule.e.invalid(at, url, fault)


class PriorityLevelStrategy(RuledStrategy):
    """flowcontrol.apiserver.k8s.io PriorityLevelConfiguration."""

    columns = rules.columns(
        "Name", "Type@spec.type",
        "NominalConcurrencyShares@spec.limited.nominalConcurrencyShares|<none>",
        "Queues@spec.limited.limitResponse.queuing.queues|<none>", "HandSize@spec.limited.limitResponse.queuing.handSize|<none>",
        "QueueLengthLimit@spec.limited.limitResponse.queuing.queueLengthLimit|<none>", "Age",
        of="flowcontrol.v1.PriorityLevelConfiguration",
    )  # fmt: skip
    defaults = {
        "spec.limited.nominalConcurrencyShares": 30, "spec.limited.lendablePercent": 0,
        "spec.exempt.nominalConcurrencyShares": 0, "spec.exempt.lendablePercent": 0,
    }  # fmt: skip
    defaults_of_empty = {
        "spec.limited.limitResponse.queuing.handSize": 8, "spec.limited.limitResponse.queuing.queues": 64,
        "spec.limited.limitResponse.queuing.queueLengthLimit": 50,
    }  # fmt: skip

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        if spec.get("type") == "Exempt":
            if "limited" in spec:
                spec.forbidden("limited", "must be nil if the type is not Limited")
            _check_exempt(spec.part("exempt"))
        elif spec.get("type") == "Limited":
            if "exempt" in spec:
                spec.forbidden("exempt", "must be nil if the type is Limited")
            if "limited" in spec:
                _check_limited(spec.part("limited"))
            else:
                spec.required("limited", "must not be empty when type is Limited")
        else:
            spec.unsupported("type", ("Exempt", "Limited"))


def _check_exempt(exempt: Part) -> None:
    exempt.at_least("nominalConcurrencyShares", 0, "must be a non-negative integer")
    _check_lendable_percent(exempt)


def _check_lendable_percent(part: Part) -> None:
    if not 0 <= part.number("lendablePercent") <= 100:
        part.invalid("lendablePercent", "must be between 0 and 100, inclusive")


def _check_limited(limited: Part) -> None:
    limited.at_least("nominalConcurrencyShares", 0, "must be a non-negative integer")
    response = limited.part("limitResponse")
    if response.get("type") == "Reject":
        if "queuing" in response:
            response.forbidden("queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif response.get("type") == "Queue":
        if "queuing" in response:
            _check_queuing(response.part("queuing"))
        else:
            response.required("queuing", "must not be empty if limited.limitResponse.type is Limited")
    else:
        response.unsupported("type", ("Queue", "Reject"))
    _check_lendable_percent(limited)
    limited.at_least("borrowingLimitPercent", 0, "if specified, must be a non-negative integer")


def _check_queuing(queuing: Part) -> None:
    queues, hand = queuing.number("queues"), queuing.number("handSize")
    queuing.at_least("queueLengthLimit", 1, "must be positive")
    if queuing.at_least("queues", 1, "must be positive") and queues > MOST_QUEUES:
        queuing.invalid("queues", f"must not be greater than {MOST_QUEUES}")
    if not queuing.at_least("handSize", 1, "must be positive"):
        return
    if hand > queues:
        queuing.invalid("handSize", f"should not be greater than queues ({queues})")
    elif hand <= 128 and log2(max(comb(queues, hand) if hand > 32 else perm(queues, hand), 1)) > MOST_ENTROPY:
        text = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MOST_ENTROPY}"
        queuing.invalid("handSize", text)
