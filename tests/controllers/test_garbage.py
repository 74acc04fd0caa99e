"""Stories of the garbage collector."""


from kapi.controllers.garbage import GarbageCollector
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NODES, PODS, REPLICA_SETS, SECRETS, Resource
from tests.controllers.story import Cluster, story


def owned(name: str, *owners: Object, namespace: str = "default", blocks: bool = True, finalizers: tuple[str, ...] = ()) -> Object:
    refs = [{"apiVersion": o["apiVersion"], "kind": o["kind"], "name": meta.name(o), "uid": meta.uid(o)} for o in owners]
    refs = [{**ref, "blockOwnerDeletion": blocks} for ref in refs]
    return {"metadata": {"name": name, "namespace": namespace, "ownerReferences": refs, "finalizers": list(finalizers)}, "spec": {}}


def tree(cluster: Cluster) -> Object:
    """A Deployment with a ReplicaSet with two pods."""
    top = cluster.api.create(DEPLOYMENTS, owned("top"))
    middle = cluster.api.create(REPLICA_SETS, owned("middle", top))
    for name in ("a", "b"):
        cluster.api.create(PODS, owned(name, middle))
    return top


def names(cluster: Cluster, *where: Resource) -> list[str]:
    return [meta.name(o) for r in where for o in cluster.api.all(r)]


ALL = (DEPLOYMENTS, REPLICA_SETS, PODS)


@story
async def test_background(cluster: Cluster) -> None:
    top = tree(cluster)
    await cluster.run(GarbageCollector)
    assert names(cluster, *ALL) == ["top", "middle", "a", "b"]
    cluster.api.delete(DEPLOYMENTS, top, {"propagationPolicy": "Background"})
    await cluster.advance()
    assert names(cluster, *ALL) == []


@story
async def test_foreground_goes_leaves_first(cluster: Cluster) -> None:
    top = tree(cluster)
    await cluster.run(GarbageCollector)
    pod = cluster.api.all(PODS)[0]
    cluster.api.set(PODS, pod, metadata={**pod["metadata"], "finalizers": ["example.com/hold"]})
    cluster.api.delete(DEPLOYMENTS, top, {"propagationPolicy": "Foreground"})
    await cluster.advance()
    assert names(cluster, *ALL) == ["top", "middle", "a"]
    cluster.api.remove(PODS, pod)
    await cluster.advance()
    assert names(cluster, *ALL) == []
    gone = [meta.name(o) for _, where, kind, o in cluster.api.log if kind == "DELETED" and where in ALL]
    assert gone == ["b", "a", "middle", "top"]


@story
async def test_orphan(cluster: Cluster) -> None:
    top = tree(cluster)
    await cluster.run(GarbageCollector)
    cluster.api.delete(DEPLOYMENTS, top, {"propagationPolicy": "Orphan"})
    await cluster.advance()
    assert names(cluster, *ALL) == ["middle", "a", "b"]
    assert meta.owners(cluster.api.all(REPLICA_SETS)[0]) == []
    assert len(meta.owners(cluster.api.all(PODS)[0])) == 1


@story
async def test_an_owner_that_never_was_is_looked_up_and_its_dependents_go(cluster: Cluster) -> None:
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "no-such-uid"}}
    unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "thing", "uid": "thing-uid"}}
    cluster.api.create(PODS, owned("a", ghost))
    cluster.api.create(PODS, owned("b", unknown))
    await cluster.run(GarbageCollector)
    assert names(cluster, PODS) == ["b"]


@story
async def test_one_of_two_owners_is_enough(cluster: Cluster) -> None:
    first, second = (cluster.api.create(CONFIG_MAPS, owned(n)) for n in ("first", "second"))
    cluster.api.create(SECRETS, owned("s", first, second))
    await cluster.run(GarbageCollector)
    cluster.api.delete(CONFIG_MAPS, first, {})
    await cluster.advance()
    [secret] = cluster.api.all(SECRETS)
    assert [ref["name"] for ref in meta.owners(secret)] == ["second"]
    cluster.api.delete(CONFIG_MAPS, second, {})
    await cluster.advance()
    assert cluster.api.all(SECRETS) == []


@story
async def test_owners_in_other_namespaces(cluster: Cluster) -> None:
    far = cluster.api.create(CONFIG_MAPS, owned("far", namespace="other"))
    cluster.api.create(SECRETS, owned("s", far))
    node = owned("n1", far)
    del node["metadata"]["namespace"]
    cluster.api.create(NODES, node)
    await cluster.run(GarbageCollector)
    assert names(cluster, SECRETS, NODES) == ["n1"]
    assert len(cluster.events("OwnerRefInvalidNamespace")) == 2


@story
async def test_idle_asks_nothing(cluster: Cluster) -> None:
    tree(cluster)
    await cluster.run(GarbageCollector)
    before = len(cluster.api.calls)
    await cluster.advance(3600)
    assert len(cluster.api.calls) == before


def circle(cluster: Cluster, *members: str) -> list[Object]:
    """ConfigMaps that each own the next, and the last the first."""
    made = [cluster.api.create(CONFIG_MAPS, owned(name)) for name in members]
    for owner, owner_of in zip(made, [*made[1:], made[0]], strict=True):
        refs = owned("any", owner)["metadata"]["ownerReferences"]
        cluster.api.set(CONFIG_MAPS, owner_of, metadata={**owner_of["metadata"], "ownerReferences": refs})
    return [o for o in cluster.api.all(CONFIG_MAPS) if meta.name(o) in members]


@story
async def test_owners_in_a_circle_go_in_the_foreground(cluster: Cluster) -> None:
    circles = [circle(cluster, *members) for members in ("ab", "cde", "fghijklm")]
    await cluster.run(GarbageCollector)
    for first, *_ in circles:
        cluster.api.delete(CONFIG_MAPS, first, {"propagationPolicy": "Foreground"})
    await cluster.advance()
    assert names(cluster, CONFIG_MAPS) == []


@story
async def test_a_circle_whose_members_are_all_deleted_in_the_foreground_goes(cluster: Cluster) -> None:
    made = circle(cluster, *"abc")
    for member in made:
        cluster.api.delete(CONFIG_MAPS, member, {"propagationPolicy": "Foreground"})
    await cluster.run(GarbageCollector)
    assert names(cluster, CONFIG_MAPS) == []
