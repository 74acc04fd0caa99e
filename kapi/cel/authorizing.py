"""The library `authorizer`: expressions that check what a user may do. The value of the variable holds the Authorizer."""

from dataclasses import dataclass, replace
from typing import Protocol

from kapi.cel import values
from kapi.cel.standard import Add
from kapi.cel.values import EvaluationError
from kapi.objects import names
from kapi.objects.user import AUTHENTICATED, Attributes, Decision, User

_KIND = "kubernetes.authorization."
_CHECK_COST = 350_000
"""Two checks an expression."""


class Authorizer(Protocol):
    """Who may do what (kapi.access.authorization)."""

    def authorize(self, attributes: Attributes) -> Decision: ...


@values.opaque(_KIND + "Authorizer")
@dataclass(frozen=True, slots=True)
class AuthorizerValue:
    """The variable `authorizer`: a user, and who answers."""

    user: User
    authorizer: Authorizer


@dataclass(frozen=True, slots=True)
class _Check:
    """A question in the making."""

    authorizer_value: AuthorizerValue
    attributes: Attributes

    def having(self, part: str, value: str) -> "_Check":
        return replace(self, attributes=Attributes(**(self.attributes._asdict() | {part: value})))

    def check(self, verb: str) -> "_Answer":
        return _Answer(self.authorizer_value.authorizer.authorize(self.attributes._replace(verb=verb)))


@values.opaque(_KIND + "PathCheck")
class PathCheck(_Check):
    """authorizer.path(…)"""


@values.opaque(_KIND + "GroupCheck")
class GroupCheck(_Check):
    """authorizer.group(…)"""


@values.opaque(_KIND + "ResourceCheck")
class ResourceCheck(_Check):
    """authorizer.group(…).resource(…), and the variable `authorizer.requestResource`."""


@values.opaque(_KIND + "Decision")
@dataclass(frozen=True, slots=True)
class _Answer:
    decision: Decision


def request_resource(authorizer_value: AuthorizerValue, attributes: Attributes) -> ResourceCheck:
    """The variable `authorizer.requestResource` of a request."""
    return ResourceCheck(authorizer_value, attributes)


def _path(authorizer_value: AuthorizerValue, path: str) -> PathCheck:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer_value, Attributes(authorizer_value.user, "", path=path))


def _resource(group: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    return ResourceCheck(group.authorizer_value, group.attributes._replace(resource=resource, version="*"))


def _account(authorizer_value: AuthorizerValue, namespace: str, name: str) -> AuthorizerValue:
    if names.dns_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.dns_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return replace(authorizer_value, user=User(f"system:serviceaccount:{namespace}:{name}", groups))


def _group(authorizer: AuthorizerValue, name: str) -> GroupCheck:
    return GroupCheck(authorizer, Attributes(authorizer.user, "", group=name))


def declare(add: Add) -> None:
    authorizer, group, resource = f"{_KIND}Authorizer", f"{_KIND}GroupCheck", f"{_KIND}ResourceCheck"
    add(f"{authorizer}.path(string) {_KIND}PathCheck", _path)
    add(f"{authorizer}.group(string) {group}", _group)
    add(f"{authorizer}.serviceAccount(string, string) {authorizer}", _account)
    add(f"{group}.resource(string) {resource}", _resource)
    for part in ("subresource", "namespace", "name"):
        add(f"{resource}.{part}(string) {resource}", lambda check, value, part=part: check.having(part, value))
    for selector in ("fieldSelector", "labelSelector"):
        add(f"{resource}.{selector}(string) {resource}", lambda check, value: check)  # our authorizers know no selectors
    for kind in ("PathCheck", "ResourceCheck"):
        add(f"{_KIND}{kind}.check(string) {_KIND}Decision", _Check.check, _CHECK_COST)
    decision = f"{_KIND}Decision"
    add(f"{decision}.allowed() bool", lambda answer: answer.decision.allowed)
    add(f"{decision}.reason() string", lambda answer: answer.decision.reason)
    add(f"{decision}.errored() bool", lambda answer: False)
    add(f"{decision}.error() string", lambda answer: "")
