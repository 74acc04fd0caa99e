"""RBAC rules: what they allow, what covers what, how they are written."""

import pytest

from kapi.access import rules
from kapi.access.rules import CompiledRule
from kapi.objects.user import Attributes, User

U = User("u")


def rule(verbs: str, groups: str, resources: str, names: str = "") -> rules.Rule:
    out = {"verbs": verbs.split(), "apiGroups": [g if g != "-" else "" for g in groups.split()], "resources": resources.split()}
    return {**out, "resourceNames": names.split()} if names else out


@pytest.mark.parametrize(
    ("given", "asked", "allowed"),
    [
        (rule("get", "-", "pods"), Attributes(U, "get", resource="pods"), True),
        (rule("get", "-", "pods"), Attributes(U, "list", resource="pods"), False),
        (rule("*", "-", "pods"), Attributes(U, "anything", resource="pods"), True),
        (rule("get", "-", "pods"), Attributes(U, "get", group="apps", resource="pods"), False),
        (rule("get", "*", "pods"), Attributes(U, "get", group="apps", resource="pods"), True),
        (rule("get", "-", "pods"), Attributes(U, "get", resource="pods", subresource="log"), False),
        (rule("get", "-", "pods/log"), Attributes(U, "get", resource="pods", subresource="log"), True),
        (rule("get", "-", "*/log"), Attributes(U, "get", resource="pods", subresource="log"), True),
        (rule("get", "-", "*/log"), Attributes(U, "get", resource="pods"), False),
        (rule("get", "-", "*"), Attributes(U, "get", resource="pods", subresource="log"), True),
        (rule("get", "-", "pods", "a"), Attributes(U, "get", resource="pods", name="a"), True),
        (rule("get", "-", "pods", "a"), Attributes(U, "get", resource="pods", name="b"), False),
        (rule("list", "-", "pods", "a"), Attributes(U, "list", resource="pods"), False),
        (rule("get", "-", "*"), Attributes(U, "get", path="/healthz"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/healthz"]}, Attributes(U, "get", path="/healthz"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/healthz"]}, Attributes(U, "get", path="/healthz/ping"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}, Attributes(U, "get", path="/healthz/ping"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/healthz*"]}, Attributes(U, "get", path="/healthz"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["*"]}, Attributes(U, "get", path="/"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["*"]}, Attributes(U, "get", resource="pods"), False),
    ],
)
def test_a_rule_allows(given: rules.Rule, asked: Attributes, allowed: bool) -> None:
    assert CompiledRule(given).allows(asked) is allowed


@pytest.mark.parametrize(
    ("owned", "wanted", "missing"),
    [
        ([rule("get list", "-", "pods")], rule("get", "-", "pods"), []),
        ([rule("get", "-", "pods"), rule("list", "-", "pods")], rule("get list", "-", "pods"), []),
        ([rule("get", "-", "pods")], rule("get list", "-", "pods secrets"), ["get secrets", "list pods", "list secrets"]),
        ([rule("*", "*", "*")], rule("get", "apps", "deployments/scale"), []),
        ([rule("get", "-", "*/scale")], rule("get", "-", "pods/scale"), []),
        ([rule("get", "-", "pods", "a")], rule("get", "-", "pods"), ["get pods"]),
        ([rule("get", "-", "pods", "a")], rule("get", "-", "pods", "a b"), ["get pods"]),
        ([rule("get", "-", "pods")], rule("get", "-", "pods", "a"), []),
        ([rule("get", "-", "pods")], rule("*", "-", "pods"), ["* pods"]),
    ],
)
def test_what_is_missing(owned: list[rules.Rule], wanted: rules.Rule, missing: list[str]) -> None:
    found = rules.missing(owned, [wanted])
    assert sorted(f"{part['verbs'][0]} {part['resources'][0]}" for part in found) == missing


def test_urls_are_covered_by_wildcards() -> None:
    wanted = [{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]}]
    assert rules.missing([{"verbs": ["get"], "nonResourceURLs": ["/logs/*", "/met*"]}], wanted) == []
    left = rules.missing([{"verbs": ["get"], "nonResourceURLs": ["/logs/*"]}], wanted)
    assert left == [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]


def test_missing_rules_are_joined_by_resource_and_written_as_stock_does() -> None:
    found = rules.compact(rules.missing([], [rule("get list", "- apps", "pods"), rule("delete", "-", "secrets", "x")]))
    assert [rules.written(part) for part in found] == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
        '{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list"]}',
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["x"], Verbs:["delete"]}',
    ]
