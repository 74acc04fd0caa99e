"""The default roles and bindings: complete, well-formed, and brought up to date without taking anything away."""


import orjson
import pytest

from kapi.access import bootstrap
from kapi.access.authorization import Authorization
from kapi.objects.meta import Object
from kapi.objects.user import CONTROLLERS, Attributes, User
from kapi.storage.store import Store


def named(kind: str, name: str) -> Object:
    (found,) = [o for o in bootstrap.objects() if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def test_every_cluster_starts_with_these() -> None:
    kinds = [obj["kind"] for obj in bootstrap.objects()]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"ClusterRole": 70, "Role": 7, "ClusterRoleBinding": 51, "RoleBinding": 7}


def test_an_object_is_whole() -> None:
    assert named("ClusterRole", "edit") == {
        "kind": "ClusterRole",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {
            "name": "edit",
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", "rbac.authorization.k8s.io/aggregate-to-admin": "true"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}]},
        "rules": None,
    }
    (subject,) = named("ClusterRoleBinding", "system:kube-dns")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "kube-dns", "namespace": "kube-system"}
    assert named("ClusterRole", "cluster-admin")["rules"] == [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ]


def test_every_binding_names_a_role_that_is_there() -> None:
    objects = bootstrap.objects()
    roles = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects if "rules" in o}
    for binding in objects:
        if reference := binding.get("roleRef"):
            namespace = binding["metadata"].get("namespace") if reference["kind"] == "Role" else None
            assert (reference["kind"], namespace, reference["name"]) in roles


MANAGER = User("system:kube-controller-manager", (CONTROLLERS,))


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (Attributes(User("system:kube-scheduler"), "create", resource="pods", subresource="binding", namespace="x"), True),
        (Attributes(User("system:kube-scheduler"), "delete", resource="nodes"), False),
        (Attributes(User("system:kube-proxy"), "watch", group="discovery.k8s.io", resource="endpointslices"), True),
        (Attributes(User("system:anonymous", ("system:unauthenticated",)), "get", path="/healthz"), True),
        (Attributes(User("system:anonymous", ("system:unauthenticated",)), "get", path="/api"), False),
        (Attributes(User("joe", ("system:authenticated",)), "get", path="/apis/apps/v1"), True),
        (Attributes(User("joe", ("system:authenticated",)), "create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"), True),
        (Attributes(User("system:serviceaccount:kube-system:job-controller"), "create", resource="pods", namespace="x"), True),
        (Attributes(MANAGER, "update", "coordination.k8s.io", "v1", "leases", "", "kube-system", "x"), True),
        (Attributes(MANAGER, "delete", resource="pods", namespace="x"), True),
        (Attributes(User(MANAGER.name), "delete", resource="pods", namespace="x"), False),
    ],
)
async def test_the_components_may_what_they_need(store: Store, asked: Attributes, allowed: bool) -> None:
    for obj in bootstrap.objects():
        meta, body = obj["metadata"], {k: v for k, v in obj.items() if k not in ("kind", "apiVersion")}
        key = f"/rbac.authorization.k8s.io/{obj['kind'].lower()}s/" + "/".join(filter(None, (meta.get("namespace"), meta["name"])))
        await store.commit(key, orjson.dumps({"metadata": body.pop("metadata"), **body}), expect=0, labels=meta["labels"])
    assert Authorization(store).authorize(asked).allowed is allowed


def test_what_is_complete_is_left_alone() -> None:
    for obj in bootstrap.objects():
        assert bootstrap.reconciled(obj, obj) is None


def test_what_is_missing_is_added_and_the_rest_stays() -> None:
    wanted = named("ClusterRole", "system:basic-user")
    own = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    existing = {**wanted, "metadata": {**wanted["metadata"], "labels": {"own": "x"}}, "rules": [own, wanted["rules"][0]]}
    new = bootstrap.reconciled(existing, wanted)
    assert new
    assert new["rules"] == [own, *wanted["rules"]]
    assert new["metadata"]["labels"] == {"own": "x", **wanted["metadata"]["labels"]}


def test_subjects_are_added() -> None:
    wanted = named("ClusterRoleBinding", "system:basic-user")
    new = bootstrap.reconciled({**wanted, "subjects": [{"kind": "User", "name": "u"}]}, wanted)
    assert new
    assert [subject["name"] for subject in new["subjects"]] == ["u", "system:authenticated"]


def test_an_object_can_ask_to_be_left_alone() -> None:
    wanted = named("ClusterRole", "system:basic-user")
    existing = {**wanted, "metadata": {"name": "x", "annotations": {bootstrap.AUTOUPDATE: "false"}}, "rules": []}
    assert bootstrap.reconciled(existing, wanted) is None
