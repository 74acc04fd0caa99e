"""RBAC rules, purely: does a rule allow a request, does a set of rules cover another, how is a rule written in a message."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from kapi.objects.quoting import go_quote
from kapi.objects.user import Attributes

Rule = dict[str, Any]
"""A PolicyRule as it is in a Role: {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}."""

EVERYTHING: tuple[Rule, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


class Compiled:
    """A rule made ready for many questions."""

    __slots__ = ("groups", "names", "resources", "rule", "urls", "verbs")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.verbs = frozenset(rule.get("verbs") or ())
        self.groups = frozenset(rule.get("apiGroups") or ())
        self.resources = frozenset(rule.get("resources") or ())
        self.names = frozenset(rule.get("resourceNames") or ())
        self.urls = tuple(rule.get("nonResourceURLs") or ())

    def allows(self, asked: Attributes) -> bool:
        if asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if not asked.resource:
            return any(_url_covers(url, asked.path) for url in self.urls)
        if asked.group not in self.groups and "*" not in self.groups:
            return False
        if self.names and asked.name not in self.names:
            return False
        combined = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        return _resource_covered(self.resources, combined)


def _url_covers(rule: str, path: str) -> bool:
    return rule in ("*", path) or (rule.endswith("*") and path.startswith(rule.rstrip("*")))


def _resource_covered(resources: Iterable[str], resource: str) -> bool:
    """Whether 'pods/log' is among them: as itself, as '*', or as '*/log'."""
    if resource in resources or "*" in resources:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in resources


def parts(rule: Rule) -> Iterator[Rule]:
    """The rule taken apart into rules of one verb and one resource (and name), or one verb and one URL."""
    verbs = rule.get("verbs") or ()
    for group, resource, verb in product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs):
        part: Rule = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
        names = rule.get("resourceNames")
        yield from ({**part, "resourceNames": [name]} for name in names) if names else (part,)
    for url, verb in product(rule.get("nonResourceURLs") or (), verbs):
        yield {"verbs": [verb], "nonResourceURLs": [url]}


def covers(owner: Rule, part: Rule) -> bool:
    """Whether one rule includes another that was taken apart."""
    if not _has_all(owner.get("verbs") or (), part["verbs"]):
        return False
    if "nonResourceURLs" in part:
        return all(any(_url_covers(url, asked) for url in owner.get("nonResourceURLs") or ()) for asked in part["nonResourceURLs"])
    names, asked_names = owner.get("resourceNames") or (), part.get("resourceNames") or ()
    if names and not (asked_names and set(asked_names) <= set(names)):
        return False
    resources = owner.get("resources") or ()
    return _has_all(owner.get("apiGroups") or (), part["apiGroups"]) and all(_resource_covered(resources, r) for r in part["resources"])


def _has_all(have: Sequence[str], asked: Sequence[str]) -> bool:
    return "*" in have or set(asked) <= set(have)


def missing(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What of the wanted rules is not covered by the owned ones, taken apart."""
    return [part for rule in wanted for part in parts(rule) if not any(covers(owner, part) for owner in owned)]


def compact(apart: Iterable[Rule]) -> list[Rule]:
    """Rules of the same one resource (and name) joined again, with all their verbs; URLs stay as they are."""
    joined: dict[tuple[str, ...], Rule] = {}
    rest: list[Rule] = []
    for part in apart:
        if "nonResourceURLs" in part:
            rest.append(part)
            continue
        key = (*part["apiGroups"], *part["resources"], *part.get("resourceNames", ()))
        rule = joined.setdefault(key, {**part, "verbs": []})
        rule["verbs"] += [verb for verb in part["verbs"] if verb not in rule["verbs"]]
    return [*rest, *joined.values()]


_FIELDS = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def written(rule: Rule) -> str:
    """'{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}'."""
    return "{" + ", ".join(f"{title}:{listed(rule[field])}" for title, field in _FIELDS if rule.get(field)) + "}"


def listed(texts: Iterable[str]) -> str:
    """'["a" "b"]': a list of texts as Go's %q prints it."""
    return "[" + " ".join(go_quote(text) for text in texts) + "]"
