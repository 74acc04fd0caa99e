"""Who may do what, as it shows on the wire: refusals, impersonation, anonymous callers, and the kinds that are questions."""

from typing import Any

import pytest

from kapi.client.client import Client
from kapi.objects.resource import CONFIG_MAPS, ROLE_BINDINGS, ROLES
from tests.api.asking import MAPS, PARTIAL, TABLE, as_user, ask, config_map

AUTHENTICATED = "system:authenticated"
ACCESS = "/apis/authorization.k8s.io/v1"


async def allow(client: Client, user: str, *verbs: str, resource: str = "configmaps", names: tuple[str, ...] = ()) -> None:
    """A role in namespace default, bound to the user."""
    meta = {"name": f"{user}-{resource}", "namespace": "default"}
    rule: dict[str, Any] = {"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}
    await client.create(ROLES, {"metadata": meta, "rules": [rule | ({"resourceNames": list(names)} if names else {})]})
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    ref = {"kind": "Role", "name": meta["name"], "apiGroup": "rbac.authorization.k8s.io"}
    await client.create(ROLE_BINDINGS, {"metadata": meta, "subjects": [subject], "roleRef": ref})


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", MAPS, 'configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"'),
        (
            "GET", f"{MAPS}/a",
            'configmaps "a" is forbidden: User "jane" cannot get resource "configmaps" in API group "" in the namespace "default"',
        ),
        ("GET", "/api/v1/nodes", 'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope'),
        (
            "PATCH", "/apis/apps/v1/namespaces/default/deployments/web/scale",
            'deployments.apps "web" is forbidden: User "jane" cannot patch resource "deployments/scale" in API group "apps" in the '
            'namespace "default"',
        ),
        ("GET", "/metrics", 'forbidden: User "jane" cannot get path "/metrics"'),
    ],
)  # fmt: skip
async def test_refusals(client: Client, method: str, path: str, said: str) -> None:
    answer = await ask(as_user(client, "jane", AUTHENTICATED), method, path)
    assert answer.said == (403, "Forbidden", said)


async def test_a_role_allows_what_it_says(client: Client) -> None:
    await allow(client, "jane", "get", "create")
    jane = as_user(client, "jane", AUTHENTICATED)
    await jane.create(CONFIG_MAPS, config_map("a"))
    assert (await ask(jane, "GET", f"{MAPS}/a")).code == 200
    assert (await ask(jane, "DELETE", f"{MAPS}/a")).code == 403
    assert (await ask(jane, "GET", f"{MAPS}/a".replace("default", "kube-system"))).code == 403


async def test_a_role_for_one_name(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    await allow(client, "jane", "get", "list", "watch", names=("a",))
    jane = as_user(client, "jane", AUTHENTICATED)
    assert (await ask(jane, "GET", f"{MAPS}/a")).code == 200
    assert (await ask(jane, "GET", f"{MAPS}/b")).code == 403
    assert (await ask(jane, "GET", MAPS)).code == 403


async def test_a_role_is_not_given_away_by_who_does_not_have_it(client: Client) -> None:
    await allow(client, "jane", "create", resource="configmaps")
    rules = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}
    meta = {"name": "roles", "namespace": "default"}
    await client.create(ROLES, {"metadata": meta, "rules": [rules]})
    ref = {"kind": "Role", "name": "roles", "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    await client.create(ROLE_BINDINGS, {"metadata": meta, "subjects": [subject], "roleRef": ref})
    jane = as_user(client, "jane", AUTHENTICATED)
    wanted = {"metadata": {"name": "mine", "namespace": "default"}}
    own = {"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]}
    more = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    refused = await ask(jane, "POST", ROLES.path("default"), wanted | more)
    assert refused.code == 403
    assert "is attempting to grant RBAC permissions not currently held" in refused.json["message"]
    await jane.create(ROLES, wanted | own)


async def test_impersonation(client: Client) -> None:
    answer = await ask(client, "GET", MAPS, impersonate_user="jane", impersonate_group=AUTHENTICATED)
    assert answer.code == 403
    assert 'User "jane" cannot list' in answer.json["message"]
    await allow(client, "jane", "list")
    assert (await ask(client, "GET", MAPS, impersonate_user="jane")).code == 200
    refused = await ask(as_user(client, "jane", AUTHENTICATED), "GET", MAPS, impersonate_user="admin")
    assert refused.said[:2] == (403, "Forbidden")
    assert 'users "admin" is forbidden: User "jane" cannot impersonate resource "users"' in refused.json["message"]
    nobody = await ask(client, "GET", MAPS, impersonate_group="x")
    assert nobody.code >= 400, "a group without a user"


async def test_who_may_read_one_object_may_list_and_watch_it(client: Client) -> None:
    await allow(client, "jane", "list", "watch", names=("a",))
    jane = as_user(client, "jane", AUTHENTICATED)
    asked = {f"{MAPS}?{query}": code for query, code in (
        ("fieldSelector=metadata.name%3Da", 200), ("watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da", 200), ("", 403),
        ("fieldSelector=metadata.name%3Db", 403), ("fieldSelector=metadata.name!%3Da", 403), ("fieldSelector=a", 403),
        ("fieldSelector=metadata.name%3Da%2Fb", 403),
    )}  # fmt: skip
    assert {path: (await ask(jane, "GET", path)).code for path in asked} == asked


async def test_anonymous_callers(kept: Client) -> None:
    nobody = as_user(kept, "system:anonymous", "system:unauthenticated")
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert (await ask(nobody, "GET", path)).code == 200
    for path in ("/api", "/apis", "/metrics", "/openapi/v2", MAPS):
        assert (await ask(nobody, "GET", path)).code == 403


async def test_anyone_known_may_discover(kept: Client) -> None:
    jane = as_user(kept, "jane", AUTHENTICATED)
    for path in ("/api", "/apis", "/apis/apps/v1", "/openapi/v3", "/version", "/healthz"):
        assert (await ask(jane, "GET", path)).code == 200


async def test_may_i(client: Client) -> None:
    await allow(client, "jane", "get")
    jane = as_user(client, "jane", AUTHENTICATED)

    async def may(verb: str, **more: str) -> Any:
        spec = {"resourceAttributes": {"verb": verb, "resource": "configmaps", "namespace": "default", **more}}
        return (await jane.post(f"{ACCESS}/selfsubjectaccessreviews", {"spec": spec}))["status"]

    assert (await may("get"))["allowed"]
    assert not (await may("list"))["allowed"]
    assert not (await may("get", namespace="other"))["allowed"]


async def test_may_they(client: Client) -> None:
    await allow(client, "jane", "get")
    spec = {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "configmaps", "namespace": "default"}}
    answered = await client.post(f"{ACCESS}/subjectaccessreviews", {"spec": spec})
    assert answered["status"]["allowed"]
    assert "jane-configmaps" in answered["status"]["reason"]
    local = f"{ACCESS}/namespaces/default/localsubjectaccessreviews"
    assert (await client.post(local, {"metadata": {"namespace": "default"}, "spec": spec}))["status"]["allowed"]
    path = {"user": "jane", "nonResourceAttributes": {"verb": "get", "path": "/metrics"}}
    assert not (await client.post(f"{ACCESS}/subjectaccessreviews", {"spec": path}))["status"]["allowed"]


@pytest.mark.parametrize(
    ("selector", "allowed"),
    [
        (None, False),
        ({"rawSelector": "spec.nodeName=n1,status.phase!=Failed"}, True),
        ({"rawSelector": "spec.nodeName=n2"}, False),
        ({"rawSelector": "spec.nodeName!=n1"}, False),
        ({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}, True),
        ({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1", "n2"]}]}, False),
        ({"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["n1"]}]}, False),
    ],
)
async def test_may_a_kubelet_list_pods(client: Client, selector: Any, allowed: bool) -> None:
    attributes = {"verb": "list", "version": "v1", "resource": "pods", **({"fieldSelector": selector} if selector else {})}
    spec = {"user": "system:node:n1", "groups": ["system:nodes"], "resourceAttributes": attributes}
    status = (await client.post(f"{ACCESS}/subjectaccessreviews", {"spec": spec}))["status"]
    assert status["allowed"] is allowed
    assert status.get("reason", "") == ("" if allowed else "can only list/watch pods with spec.nodeName field selector")


async def test_what_a_kubelet_may_is_not_listed(client: Client) -> None:
    node = as_user(client, "system:node:n1", "system:nodes", AUTHENTICATED)
    status = (await node.post(f"{ACCESS}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}))["status"]
    assert (status["incomplete"], status["evaluationError"]) == (True, "node authorizer does not support user rule resolution")


async def test_what_may_i(client: Client) -> None:
    await allow(client, "jane", "get", "watch")
    jane = as_user(client, "jane", AUTHENTICATED)
    status = (await jane.post(f"{ACCESS}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}))["status"]
    assert {"verbs": ["get", "watch"], "apiGroups": [""], "resources": ["configmaps"]} in status["resourceRules"]
    assert status["incomplete"] is False


async def test_who_am_i(client: Client) -> None:
    jane = as_user(client, "jane", AUTHENTICATED, "team")
    info = (await jane.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}))["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("jane", [AUTHENTICATED, "team"])


@pytest.mark.parametrize(("accept", "code", "kind"), [
    (TABLE, 406, "Status"), (f"{TABLE},application/json", 201, "SelfSubjectReview"), (PARTIAL, 201, "PartialObjectMetadata"),
])  # fmt: skip
async def test_a_review_is_no_table(client: Client, accept: str, code: int, kind: str) -> None:
    answer = await ask(client, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, accept=accept)
    assert (answer.code, answer.json["kind"]) == (code, kind)


async def test_questions_are_not_kept(client: Client) -> None:
    for path in (f"{ACCESS}/subjectaccessreviews", "/apis/authentication.k8s.io/v1/tokenreviews"):
        assert (await ask(client, "GET", path)).said[:2] == (405, "MethodNotAllowed")
