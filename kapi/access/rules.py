"""RBAC rules: whether a rule allows a request, whether rules cover others, and their text in messages. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from kapi.objects.quoting import go_quote
from kapi.objects.user import Attributes

Rule = dict[str, Any]
"""A PolicyRule of a Role: {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}."""

EVERYTHING: tuple[Rule, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


class CompiledRule:
    """A rule prepared for repeated evaluation."""

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
    """Whether 'pods/log' is covered: by itself, by '*', or by '*/log'."""
    if resource in resources or "*" in resources:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in resources


def parts(rule: Rule) -> Iterator[Rule]:
    """Break a rule down into rules of one verb and one resource (and name), or one verb and one URL."""
    verbs = rule.get("verbs") or ()
    for group, resource, verb in product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs):
        part: Rule = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
        names = rule.get("resourceNames")
        yield from ({**part, "resourceNames": [name]} for name in names) if names else (part,)
    for url, verb in product(rule.get("nonResourceURLs") or (), verbs):
        yield {"verbs": [verb], "nonResourceURLs": [url]}


def covers(owner: Rule, part: Rule) -> bool:
    """Whether a rule covers `part`, a broken-down rule."""
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
    """The broken-down rules of `wanted` that are not covered by `owned`."""
    return [part for rule in wanted for part in parts(rule) if not any(covers(owner, part) for owner in owned)]


def compact(apart: Iterable[Rule]) -> list[Rule]:
    """Join rules on the same single resource (and name) into one with all their verbs; URL rules are unchanged."""
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
    """A rule as in stock's messages: '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}'."""
    return "{" + ", ".join(f"{title}:{listed(rule[field])}" for title, field in _FIELDS if rule.get(field)) + "}"


def listed(texts: Iterable[str]) -> str:
    """A list of strings as Go's %q prints it: '["a" "b"]'."""
    return "[" + " ".join(go_quote(text) for text in texts) + "]"
