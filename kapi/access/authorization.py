"""The chain of authorizers. The first that allows a request decides; if none does, their reasons are joined."""

from typing import Protocol

from kapi.access.node_authorizer import NodeAuthorizer
from kapi.access.rbac import RBAC
from kapi.access.rules import Rule
from kapi.objects.user import MASTERS, Attributes, Decision, User, node_of
from kapi.storage.store import Store

_YES = Decision(True)


class Authorizer(Protocol):
    """Decides a request. The reason of a denial is shown to the client."""

    def authorize(self, attributes: Attributes) -> Decision: ...


class Authorization:
    """The API server's authorizer: system:masters are always allowed, then Node, then RBAC (stock's --authorization-mode=Node,RBAC)."""

    def __init__(self, store: Store) -> None:
        self.rbac = RBAC(store)
        self._chain: tuple[Authorizer, ...] = (NodeAuthorizer(store), self.rbac)

    def authorize(self, attributes: Attributes) -> Decision:
        if MASTERS in attributes.user.groups:
            return _YES
        reasons: list[str] = []
        for authorizer in self._chain:
            decision = authorizer.authorize(attributes)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons))

    def rules_for(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """(rules that apply to the user in the namespace, why the list is incomplete)."""
        found, problems = self.rbac.rules_for(user, namespace)
        return found, problems if node_of(user) is None else ["node authorizer does not support user rule resolution", *problems]
