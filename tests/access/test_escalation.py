"""Nobody grants what they do not have."""

from types import SimpleNamespace
from typing import Any

import pytest

from kapi.access.authorization import Authorization
from kapi.access.escalation import Escalation
from kapi.objects import resource
from kapi.objects.errors import Forbidden, NotFound
from kapi.objects.user import User
from kapi.registry.admission import AdmissionAttributes
from kapi.storage.store import Store
from tests.access.conftest import put

GROUP = "rbac.authorization.k8s.io"
PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}
SECRETS = {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}
KINDS = {r.plural: r for r in (resource.ROLES, resource.CLUSTER_ROLES, resource.ROLE_BINDINGS, resource.CLUSTER_ROLE_BINDINGS)}


@pytest.fixture
async def check(store: Store) -> Escalation:
    """u may read pods everywhere; e may escalate, b may bind the role strong, which reads secrets."""
    for name, rule in (("reader", PODS), ("strong", SECRETS)):
        await put(store, f"{GROUP}/clusterroles", name, rules=[rule])
    for name, verb, plural, names in (("e", "escalate", "clusterroles", []), ("b", "bind", "clusterroles", ["strong"])):
        rule = {"verbs": [verb], "apiGroups": [GROUP], "resources": [plural], "resourceNames": names}
        await put(store, f"{GROUP}/clusterroles", name, rules=[rule])
    for name, role in (("e", "e"), ("b", "b"), ("u", "reader")):
        subjects, reference = [{"kind": "User", "name": name}], {"kind": "ClusterRole", "name": role}
        await put(store, f"{GROUP}/clusterrolebindings", name, subjects=subjects, roleRef=reference)
    return Escalation(Authorization(store))


def attrs(who: str, plural: str, new: dict[str, Any], old: dict[str, Any] | None = None, *groups: str) -> AdmissionAttributes:
    kind: Any = SimpleNamespace(resource=KINDS[plural])
    namespace = "default" if KINDS[plural].namespaced else ""
    obj = {"metadata": {"name": "x"}, **new}
    return AdmissionAttributes(kind, User(who, groups), namespace, "x", operation="UPDATE" if old else "CREATE", new=obj, old=old)


async def test_what_one_has_one_may_grant(check: Escalation) -> None:
    check.check(attrs("u", "roles", {"rules": [PODS]}))
    check.check(attrs("u", "rolebindings", {"roleRef": {"kind": "ClusterRole", "name": "reader"}}))


async def test_what_one_has_not_is_named(check: Escalation) -> None:
    with pytest.raises(Forbidden) as refused:
        check.check(attrs("u", "roles", {"rules": [PODS, SECRETS]}, None, "g", "system:authenticated"))
    assert refused.value.message == (
        'roles.rbac.authorization.k8s.io "x" is forbidden: user "u" (groups=["g" "system:authenticated"]) is attempting to grant '
        'RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )


async def test_binding_a_stronger_role_is_refused(check: Escalation) -> None:
    binding = {"roleRef": {"kind": "ClusterRole", "name": "strong"}}
    with pytest.raises(Forbidden, match="clusterrolebindings"):
        check.check(attrs("u", "clusterrolebindings", binding))
    check.check(attrs("b", "clusterrolebindings", binding))


async def test_binding_a_role_that_is_not_there(check: Escalation) -> None:
    with pytest.raises(NotFound):
        check.check(attrs("u", "rolebindings", {"roleRef": {"kind": "Role", "name": "none"}}))


async def test_escalate_and_masters_may(check: Escalation) -> None:
    check.check(attrs("e", "clusterroles", {"rules": [SECRETS]}))
    check.check(attrs("root", "clusterroles", {"rules": [SECRETS]}, None, "system:masters"))


async def test_a_write_that_leaves_the_rights_alone_is_not_looked_at(check: Escalation) -> None:
    old = {"metadata": {"name": "x"}, "rules": [SECRETS]}
    check.check(attrs("u", "roles", {"rules": [SECRETS]}, old))
    with pytest.raises(Forbidden):
        check.check(attrs("u", "roles", {"rules": [SECRETS, SECRETS]}, old))


async def test_aggregation_needs_everything(check: Escalation) -> None:
    rule = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    with pytest.raises(Forbidden, match="must have cluster-admin privileges to use the aggregationRule"):
        check.check(attrs("u", "clusterroles", {"rules": [], "aggregationRule": rule}))
