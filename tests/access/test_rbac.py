"""The authorizer over a store: bindings, roles, aggregation, changes, and the words of a refusal."""

import pytest

from kapi.access import rbac
from kapi.access.authorization import Authorization
from kapi.access.rbac import RBAC
from kapi.objects.errors import NotFound
from kapi.objects.user import CONTROLLERS, Attributes, User
from kapi.storage.store import Store
from tests.access.conftest import put

GROUP = "rbac.authorization.k8s.io"
READ_PODS = [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]


def user(name: str) -> dict[str, str]:
    return {"kind": "User", "name": name, "apiGroup": GROUP}


async def grant(
    store: Store, name: str, subject: dict[str, str], role: str = "reader", *, namespace: str = "", kind: str = "ClusterRole"
) -> None:
    plural = "rolebindings" if namespace else "clusterrolebindings"
    await put(store, f"{GROUP}/{plural}", name, namespace=namespace, subjects=[subject], roleRef={"kind": kind, "name": role})


@pytest.fixture
async def answers(store: Store) -> RBAC:
    await put(store, f"{GROUP}/clusterroles", "reader", rules=READ_PODS)
    return RBAC(store)


def get_pod(who: User, namespace: str = "") -> Attributes:
    return Attributes(who, "get", resource="pods", namespace=namespace, name="p")


async def test_nothing_is_allowed_by_default(answers: RBAC) -> None:
    assert answers.authorize(get_pod(User("u"))) == (False, "")


async def test_a_cluster_role_binding_holds_everywhere(store: Store, answers: RBAC) -> None:
    await grant(store, "b", user("u"))
    decision = answers.authorize(get_pod(User("u"), "default"))
    assert decision == (True, 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "reader" to User "u"')
    assert answers.authorize(get_pod(User("u"))).allowed
    assert not answers.authorize(get_pod(User("v"))).allowed


async def test_the_controller_manager_may_do_what_its_controllers_may(store: Store, answers: RBAC) -> None:
    await put(store, f"{GROUP}/clusterroles", "system:controller:c", rules=READ_PODS)
    account = {"kind": "ServiceAccount", "name": "c", "namespace": "kube-system"}
    await grant(store, "system:controller:c", account, "system:controller:c")
    manager = User("system:kube-controller-manager", (CONTROLLERS,))
    assert answers.authorize(get_pod(manager, "default")).allowed
    assert not answers.authorize(get_pod(User(manager.name), "default")).allowed  # one that uses an account per controller
    assert answers.authorize(get_pod(User("system:serviceaccount:kube-system:c"), "default")).allowed
    assert not answers.authorize(get_pod(User("system:kube-scheduler"), "default")).allowed


async def test_a_role_binding_holds_in_its_namespace(store: Store, answers: RBAC) -> None:
    await grant(store, "b", {"kind": "Group", "name": "g"}, namespace="default")
    decision = answers.authorize(get_pod(User("u", ("g",)), "default"))
    assert decision == (True, 'RBAC: allowed by RoleBinding "b/default" of ClusterRole "reader" to Group "g"')
    assert not answers.authorize(get_pod(User("u", ("g",)), "other")).allowed
    assert not answers.authorize(get_pod(User("u", ("g",)))).allowed


async def test_a_service_account_is_a_subject_of_its_own_namespace_unless_said(store: Store, answers: RBAC) -> None:
    await grant(store, "b", {"kind": "ServiceAccount", "name": "s", "namespace": "x"}, namespace="default")
    assert answers.authorize(get_pod(User("system:serviceaccount:x:s"), "default")).reason.endswith('to ServiceAccount "s/x"')
    await grant(store, "c", {"kind": "ServiceAccount", "name": "t"}, namespace="default")
    assert answers.authorize(get_pod(User("system:serviceaccount:default:t"), "default")).allowed


async def test_a_role_of_the_namespace(store: Store, answers: RBAC) -> None:
    await put(store, f"{GROUP}/roles", "reader", namespace="a", rules=READ_PODS)
    for namespace in ("a", "b"):
        await grant(store, "b", user("u"), namespace=namespace, kind="Role")
    assert answers.authorize(get_pod(User("u"), "a")).allowed
    assert answers.authorize(get_pod(User("u"), "b")) == (False, f'RBAC: role.{GROUP} "reader" not found')


async def test_changes_are_seen_at_once(store: Store, answers: RBAC) -> None:
    await grant(store, "b", user("u"))
    assert answers.authorize(get_pod(User("u"))).allowed
    await put(store, f"{GROUP}/clusterroles", "reader", rules=[])
    assert not answers.authorize(get_pod(User("u"))).allowed
    await put(store, f"{GROUP}/clusterroles", "reader", rules=READ_PODS)
    await store.commit(f"/{GROUP}/clusterrolebindings/b", None, expect=None)
    assert not answers.authorize(get_pod(User("u"))).allowed


async def test_an_aggregated_role_grants_what_is_written_in_it(store: Store, answers: RBAC) -> None:
    selector = {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}
    await put(store, f"{GROUP}/clusterroles", "part", rules=READ_PODS, labels={"to": "all"})
    await put(store, f"{GROUP}/clusterroles", "all", rules=None, aggregationRule=selector)
    await grant(store, "b", user("u"), "all")
    assert not answers.authorize(get_pod(User("u"))).allowed
    await put(store, f"{GROUP}/clusterroles", "all", rules=READ_PODS, aggregationRule=selector)
    assert answers.authorize(get_pod(User("u"))).allowed


async def test_the_first_binding_and_subject_by_name_is_the_reason(store: Store, answers: RBAC) -> None:
    subjects = [{"kind": "Group", "name": "g"}, user("u")]
    for name in ("b", "a"):
        await put(store, f"{GROUP}/clusterrolebindings", name, subjects=subjects, roleRef={"kind": "ClusterRole", "name": "reader"})
    reason = answers.authorize(get_pod(User("u", ("g",)))).reason
    assert reason == 'RBAC: allowed by ClusterRoleBinding "a" of ClusterRole "reader" to Group "g"'


async def test_rules_for_a_user(store: Store, answers: RBAC) -> None:
    await grant(store, "b", user("u"), namespace="default")
    await grant(store, "c", user("u"), "absent")
    found, problems = answers.rules_for(User("u"), "default")
    assert rbac.resource_rules(found) == (READ_PODS, [])
    assert problems == [f'clusterrole.{GROUP} "absent" not found']


async def test_the_rules_of_a_role_that_is_not_there(answers: RBAC) -> None:
    with pytest.raises(NotFound, match=r'^roles\.rbac\.authorization\.k8s\.io "x" not found$'):
        answers.role_rules("Role", "x", "default")


async def test_masters_may_all(store: Store) -> None:
    authorization = Authorization(store)
    assert authorization.authorize(get_pod(User("root", ("system:masters",)))).allowed
    assert not authorization.authorize(get_pod(User("u"))).allowed


@pytest.mark.parametrize(
    ("asked", "message", "details"),
    [
        (
            Attributes(User("x"), "list", "", "v1", "pods", namespace="d"),
            'pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "d"',
            {"kind": "pods"},
        ),
        (
            Attributes(User("x"), "update", "apps", "v1", "deployments", "scale", "d", "web"),
            'deployments.apps "web" is forbidden: User "x" cannot update resource "deployments/scale" in API group "apps" '
            'in the namespace "d"',
            {"name": "web", "group": "apps", "kind": "deployments"},
        ),
        (
            Attributes(User("x"), "get", "", "v1", "nodes", name="n"),
            'nodes "n" is forbidden: User "x" cannot get resource "nodes" in API group "" at the cluster scope',
            {"name": "n", "kind": "nodes"},
        ),
        (Attributes(User("x"), "get", path="/y"), 'forbidden: User "x" cannot get path "/y"', {}),
    ],
)
def test_refusals_are_worded_as_stock(asked: Attributes, message: str, details: dict[str, str]) -> None:
    error = rbac.forbidden(asked)
    assert (error.message, error.details) == (message, details)
    assert rbac.forbidden(asked, "why").message == message + ": why"
