"""The RBAC authorizer: what the roles and bindings in the store allow a user to do.

Bindings are indexed by subject; what a user is granted is gathered once and kept, and so are answers, until one of the four
collections changes. An aggregated ClusterRole grants the rules that are written in it: a controller gathers them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from kapi import limits
from kapi.access.rules import Compiled, Rule
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.user import Attributes, Decision, User
from kapi.storage.store import Entry, Store

GROUP = "rbac.authorization.k8s.io"
_ROOT = f"/{GROUP}/"
CLUSTER_ROLES, ROLES = f"{_ROOT}clusterroles/", f"{_ROOT}roles/"
CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS = f"{_ROOT}clusterrolebindings/", f"{_ROOT}rolebindings/"
_COLLECTIONS = (CLUSTER_ROLES, ROLES, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS)
MANAGER, CONTROLLER = "system:kube-controller-manager", "system:controller:"
"""One process runs every control loop: its user may do what the accounts of the loops may. (It may ask for tokens of any account
anyway; a manager that acts as each of them, as stock's can, needs no more than its own role.)"""


class Binding(NamedTuple):
    """A binding as one of its subjects sees it."""

    namespace: str
    """'' for a ClusterRoleBinding."""
    role: tuple[str, str]
    """Kind and name."""
    source: str
    """How a reason names it."""
    order: tuple[str, int]
    """Key of the binding and position of the subject in it: of several subjects that apply the first counts."""


class Granted:
    """All a user has by name and groups: rules for everywhere, and rules by namespace."""

    def __init__(self) -> None:
        self.rules: dict[str, list[tuple[Compiled, str]]] = {}
        """Namespace ('' is everywhere) -> rules, each with its source."""
        self.errors: dict[str, list[str]] = {}
        """Namespace -> roles that are bound but are not there."""
        self.decisions: dict[tuple[str, ...], Decision] = {}
        """By the question without the user and what a selector requires."""

    def within(self, namespace: str) -> Iterator[tuple[Compiled, str]]:
        yield from self.rules.get("", ())
        if namespace:
            yield from self.rules.get(namespace, ())

    def problems(self, namespace: str) -> list[str]:
        return [*self.errors.get("", ()), *(self.errors.get(namespace, ()) if namespace else ())]


class RBAC:
    """Answers from the store's roles and bindings."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counters = [store.counter(prefix) for prefix in _COLLECTIONS]
        self._version = -1
        self._remembered = 0
        """Decisions kept, of all users."""
        self._bindings: dict[str, list[Binding]] = {}
        """'User:x' or 'Group:y' -> what it is bound to, cluster-wide bindings first."""
        self._granted: dict[tuple[str, tuple[str, ...]], Granted] = {}
        self._parsed: dict[str, tuple[Entry, list[tuple[str, Binding]]]] = {}
        self._roles: dict[str, tuple[Compiled, ...] | None] = {}

    def authorize(self, asked: Attributes) -> Decision:
        granted = self._of(asked.user)
        question = asked[1:9]
        decision = granted.decisions.get(question)
        if decision is None:
            decision = self._decide(granted, asked)
            if sum(map(len, question)) <= limits.DECISION_REMEMBERED_CHARACTERS:
                self._remember(granted, question, decision)
        return decision

    def _remember(self, granted: Granted, question: tuple[str, ...], decision: Decision) -> None:
        if self._remembered >= limits.DECISIONS_REMEMBERED:
            self._remembered = 0
            for other in self._granted.values():
                other.decisions.clear()
        granted.decisions[question] = decision
        self._remembered += 1

    def _decide(self, granted: Granted, asked: Attributes) -> Decision:
        for rule, source in granted.within(asked.namespace):
            if rule.allows(asked):
                return Decision(True, f"RBAC: allowed by {source}")
        problems = granted.problems(asked.namespace)
        if not problems:
            return Decision(False)
        return Decision(False, f"RBAC: {problems[0] if len(problems) == 1 else '[' + ', '.join(dict.fromkeys(problems)) + ']'}")

    def rules_for(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """Every rule that holds for the user in the namespace, and what could not be resolved."""
        granted = self._of(user)
        return [rule.rule for rule, _ in granted.within(namespace)], granted.problems(namespace)

    def role_rules(self, kind: str, name: str, namespace: str) -> list[Rule]:
        """The rules of a Role or ClusterRole. Raises NotFound."""
        self._refresh()
        found = self._role(kind, name, namespace)
        if found is None:
            raise errors.not_found(f"{kind.lower()}s", GROUP, name)
        return [rule.rule for rule in found]

    # --- the index

    def _of(self, user: User) -> Granted:
        self._refresh()
        key = (user.name, user.groups)
        granted = self._granted.get(key)
        if granted is None:
            granted = self._gather(user)
            if len(user.name) + sum(map(len, user.groups)) <= limits.USER_REMEMBERED_CHARACTERS:
                if len(self._granted) >= limits.USERS_REMEMBERED:
                    self._granted, self._remembered = {}, 0
                self._granted[key] = granted
        return granted

    def _gather(self, user: User) -> Granted:
        granted = Granted()
        subjects = (f"User:{user.name}", *(f"Group:{group}" for group in user.groups))
        held = [b for subject in subjects for b in self._bindings.get(subject, ())]
        if user.name == MANAGER:
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
        """Start anew when a role or binding has changed since."""
        roles, local_roles, bindings, local_bindings = self._counters
        version = roles() + local_roles() + bindings() + local_bindings()
        if version == self._version:
            return
        self._version = version
        self._granted, self._roles, self._bindings, self._remembered = {}, {}, {}, 0
        before, self._parsed = self._parsed, {}
        for prefix in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            for entry in self._store.list(prefix).entries:
                known = before.get(entry.key)
                if known is None or known[0] is not entry:
                    known = (entry, list(_subjects(entry.key, entry.obj)))
                self._parsed[entry.key] = known
                for subject, binding in known[1]:
                    self._bindings.setdefault(subject, []).append(binding)

    def _role(self, kind: str, name: str, namespace: str) -> tuple[Compiled, ...] | None:
        key = f"{ROLES}{namespace}/{name}" if kind == "Role" else f"{CLUSTER_ROLES}{name}"
        if key not in self._roles:
            entry = self._store.get(key)
            self._roles[key] = None if entry is None else tuple(Compiled(rule) for rule in entry.obj.get("rules") or ())
        return self._roles[key]


def _subjects(key: str, binding: Object) -> Iterator[tuple[str, Binding]]:
    """Each subject of a binding with the binding as it sees it."""
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


def refused(asked: Attributes, reason: str = "") -> errors.Forbidden:
    """The 403 for a question that was answered no, worded as stock."""
    tail = f": {reason}" if reason else ""
    if not asked.resource:
        return errors.Forbidden(f"forbidden: User {go_quote(asked.user.name)} cannot {asked.verb} path {go_quote(asked.path)}{tail}", {})
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    where = f"in the namespace {go_quote(asked.namespace)}" if asked.namespace else "at the cluster scope"
    what = f"resource {go_quote(resource)} in API group {go_quote(asked.group)}"
    text = f"User {go_quote(asked.user.name)} cannot {asked.verb} {what} {where}{tail}"
    return errors.forbidden(asked.resource, asked.group, asked.name, text)


def resource_rules(found: list[Rule]) -> tuple[list[Object], list[Object]]:
    """The two lists of a SelfSubjectRulesReview's status: rules on resources, and rules on URLs."""
    resources = [_only(rule, "verbs", "apiGroups", "resources", "resourceNames") for rule in found if rule.get("resources")]
    urls = [_only(rule, "verbs", "nonResourceURLs") for rule in found if rule.get("nonResourceURLs")]
    return resources, urls


def _only(rule: Rule, *fields: str) -> Object:
    return {field: rule[field] for field in fields if rule.get(field)}
