"""May they? The authorizers in order: the first that says yes decides; when none does, the reasons are told together."""

from typing import Protocol

from kapi.access.node_authorizer import Nodes
from kapi.access.rbac import RBAC
from kapi.access.rules import Rule
from kapi.objects.user import MASTERS, Attributes, Decision, User, node_of
from kapi.storage.store import Store

_YES = Decision(True)


class Answering(Protocol):
    """Answers a question; the reason of a no is shown to the one who asked."""

    def authorize(self, asked: Attributes) -> Decision: ...


class Authorization:
    """What an API server asks: system:masters may all, then nodes, then RBAC (stock's --authorization-mode=Node,RBAC)."""

    def __init__(self, store: Store) -> None:
        self.rbac = RBAC(store)
        self._chain: tuple[Answering, ...] = (Nodes(store), self.rbac)

    def authorize(self, asked: Attributes) -> Decision:
        if MASTERS in asked.user.groups:
            return _YES
        reasons: list[str] = []
        for authorizer in self._chain:
            decision = authorizer.authorize(asked)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons))

    def rules_for(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """Every rule that holds for the user in the namespace, and why they are not all."""
        found, problems = self.rbac.rules_for(user, namespace)
        return found, problems if node_of(user) is None else ["node authorizer does not support user rule resolution", *problems]
