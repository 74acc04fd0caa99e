"""The RBAC authorizer: decides by the roles and bindings in the store.

Bindings are indexed by subject. The rules of a user and decisions are cached until one of the four collections changes. An aggregated
ClusterRole grants the rules in its `rules` field, which the ClusterRole aggregation controller fills in.
"""

from collections.abc import Iterator
from typing import NamedTuple

from kapi import limits
from kapi.access.rules import CompiledRule, Rule
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.user import CONTROLLERS, Attributes, Decision, User
from kapi.storage.store import Entry, Store

GROUP = "rbac.authorization.k8s.io"
_ROOT = f"/{GROUP}/"
CLUSTER_ROLES, ROLES = f"{_ROOT}clusterroles/", f"{_ROOT}roles/"
CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS = f"{_ROOT}clusterrolebindings/", f"{_ROOT}rolebindings/"
_COLLECTIONS = (CLUSTER_ROLES, ROLES, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS)
CONTROLLER = "system:controller:"
"""What the names of the controllers' own roles begin with."""


class Binding(NamedTuple):
    """A binding for one of its subjects."""

    namespace: str
    """"" for a ClusterRoleBinding."""
    role: tuple[str, str]
    """(kind, name)."""
    source: str
    """The binding and subject as the reason of a decision names them."""
    order: tuple[str, int]
    """(key of the binding, index of the subject in it); if several subjects of a binding match, the first counts."""


class UserRules:
    """The rules of a user by its bindings, with cached decisions."""

    def __init__(self) -> None:
        self.rules: dict[str, list[tuple[CompiledRule, str]]] = {}
        """Namespace ("": all namespaces) -> (rule, source)."""
        self.errors: dict[str, list[str]] = {}
        """Namespace -> errors for roles that are bound but do not exist."""
        self.decisions: dict[tuple[str, ...], Decision] = {}
        """Decisions by request attributes, without the user and the selector requirements."""

    def for_namespace(self, namespace: str) -> Iterator[tuple[CompiledRule, str]]:
        yield from self.rules.get("", ())
        if namespace:
            yield from self.rules.get(namespace, ())

    def errors_for(self, namespace: str) -> list[str]:
        return [*self.errors.get("", ()), *(self.errors.get(namespace, ()) if namespace else ())]


class RBAC:
    """The authorizer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counters = [store.counter(prefix) for prefix in _COLLECTIONS]
        self._version = -1
        self._cached_decisions = 0
        """Number of cached decisions of all users."""
        self._bindings: dict[str, list[Binding]] = {}
        """"User:x" or "Group:y" -> its bindings, cluster-wide ones first."""
        self._granted: dict[tuple[str, tuple[str, ...]], UserRules] = {}
        self._parsed_bindings: dict[str, tuple[Entry, list[tuple[str, Binding]]]] = {}
        self._roles: dict[str, tuple[CompiledRule, ...] | None] = {}

    def authorize(self, attributes: Attributes) -> Decision:
        granted = self._rules_of(attributes.user)
        question = attributes[1:9]
        decision = granted.decisions.get(question)
        if decision is None:
            decision = self._evaluate(granted, attributes)
            if sum(map(len, question)) <= limits.DECISION_REMEMBERED_CHARACTERS:
                self._cache_decision(granted, question, decision)
        return decision

    def _cache_decision(self, granted: UserRules, question: tuple[str, ...], decision: Decision) -> None:
        if self._cached_decisions >= limits.DECISIONS_REMEMBERED:
            self._cached_decisions = 0
            for other in self._granted.values():
                other.decisions.clear()
        granted.decisions[question] = decision
        self._cached_decisions += 1

    def _evaluate(self, granted: UserRules, attributes: Attributes) -> Decision:
        for rule, source in granted.for_namespace(attributes.namespace):
            if rule.allows(attributes):
                return Decision(True, f"RBAC: allowed by {source}")
        failures = granted.errors_for(attributes.namespace)
        if not failures:
            return Decision(False)
        return Decision(False, f"RBAC: {failures[0] if len(failures) == 1 else '[' + ', '.join(dict.fromkeys(failures)) + ']'}")

    def rules_for(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """(rules that apply to the user in the namespace, errors for roles that could not be resolved)."""
        granted = self._rules_of(user)
        return [rule.rule for rule, _ in granted.for_namespace(namespace)], granted.errors_for(namespace)

    def role_rules(self, kind: str, name: str, namespace: str) -> list[Rule]:
        """The rules of a Role or ClusterRole. Raises NotFound."""
        self._refresh()
        found = self._role(kind, name, namespace)
        if found is None:
            raise errors.not_found(f"{kind.lower()}s", GROUP, name)
        return [rule.rule for rule in found]

    # --- the index

    def _rules_of(self, user: User) -> UserRules:
        self._refresh()
        key = (user.name, user.groups)
        granted = self._granted.get(key)
        if granted is None:
            granted = self._collect_rules(user)
            if len(user.name) + sum(map(len, user.groups)) <= limits.USER_REMEMBERED_CHARACTERS:
                if len(self._granted) >= limits.USERS_REMEMBERED:
                    self._granted, self._cached_decisions = {}, 0
                self._granted[key] = granted
        return granted

    def _collect_rules(self, user: User) -> UserRules:
        granted = UserRules()
        subjects = (f"User:{user.name}", *(f"Group:{group}" for group in user.groups))
        held = [b for subject in subjects for b in self._bindings.get(subject, ())]
        if CONTROLLERS in user.groups:
            held += [b for bindings in self._bindings.values() for b in bindings if b.role[1].startswith(CONTROLLER)]
        found = sorted(held, key=lambda b: b.order, reverse=True)
        for binding in reversed({b.order[0]: b for b in found}.values()):
            role = self._role(*binding.role, binding.namespace)
            if role is None:
                kind, name = binding.role
                text = errors.not_found(f"{kind.lower()}", GROUP, name).message
                granted.errors.setdefault(binding.namespace, []).append(text)
            else:
                granted.rules.setdefault(binding.namespace, []).extend((rule, binding.source) for rule in role)
        return granted

    def _refresh(self) -> None:
        """Clear all caches if a role or binding has changed."""
        roles, local_roles, bindings, local_bindings = self._counters
        version = roles() + local_roles() + bindings() + local_bindings()
        if version == self._version:
            return
        self._version = version
        self._granted, self._roles, self._bindings, self._cached_decisions = {}, {}, {}, 0
        before, self._parsed_bindings = self._parsed_bindings, {}
        for prefix in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            for entry in self._store.list(prefix).entries:
                known = before.get(entry.key)
                if known is None or known[0] is not entry:
                    known = (entry, list(_subjects(entry.key, entry.obj)))
                self._parsed_bindings[entry.key] = known
                for subject, binding in known[1]:
                    self._bindings.setdefault(subject, []).append(binding)

    def _role(self, kind: str, name: str, namespace: str) -> tuple[CompiledRule, ...] | None:
        key = f"{ROLES}{namespace}/{name}" if kind == "Role" else f"{CLUSTER_ROLES}{name}"
        if key not in self._roles:
            entry = self._store.get(key)
            self._roles[key] = None if entry is None else tuple(CompiledRule(rule) for rule in entry.obj.get("rules") or ())
        return self._roles[key]


def _subjects(key: str, binding: Object) -> Iterator[tuple[str, Binding]]:
    """(subject, Binding) for each subject of a binding."""
    meta, reference = binding["metadata"], binding.get("roleRef") or {}
    namespace, role = meta.get("namespace") or "", (reference.get("kind") or "", reference.get("name") or "")
    head = f'RoleBinding "{meta["name"]}/{namespace}"' if namespace else f'ClusterRoleBinding "{meta["name"]}"'
    for position, subject in enumerate(binding.get("subjects") or ()):
        kind, name = subject.get("kind"), subject.get("name") or ""
        shown = name
        if kind == "ServiceAccount":
            home = subject.get("namespace") or namespace
            shown, name = f"{name}/{home}", f"system:serviceaccount:{home}:{name}"
        source = f'{head} of {role[0]} "{role[1]}" to {kind} "{shown}"'
        yield f"{'Group' if kind == 'Group' else 'User'}:{name}", Binding(namespace, role, source, (key, position))


def forbidden(attributes: Attributes, reason: str = "") -> errors.Forbidden:
    """The Forbidden error for a denied request, with stock's message."""
    tail = f": {reason}" if reason else ""
    user = go_quote(attributes.user.name)
    if not attributes.resource:
        return errors.Forbidden(f"forbidden: User {user} cannot {attributes.verb} path {go_quote(attributes.path)}{tail}", {})
    resource = f"{attributes.resource}/{attributes.subresource}" if attributes.subresource else attributes.resource
    where = f"in the namespace {go_quote(attributes.namespace)}" if attributes.namespace else "at the cluster scope"
    what = f"resource {go_quote(resource)} in API group {go_quote(attributes.group)}"
    text = f"User {user} cannot {attributes.verb} {what} {where}{tail}"
    return errors.forbidden(attributes.resource, attributes.group, attributes.name, text)


def resource_rules(found: list[Rule]) -> tuple[list[Object], list[Object]]:
    """The two lists in the status of a SelfSubjectRulesReview: resource rules and non-resource rules."""
    resources = [_only(rule, "verbs", "apiGroups", "resources", "resourceNames") for rule in found if rule.get("resources")]
    urls = [_only(rule, "verbs", "nonResourceURLs") for rule in found if rule.get("nonResourceURLs")]
    return resources, urls


def _only(rule: Rule, *fields: str) -> Object:
    return {field: rule[field] for field in fields if rule.get(field)}
