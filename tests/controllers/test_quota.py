"""Stories of quotas."""


from kapi.controllers.quota import Quotas, resource_of_name
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, PODS, RESOURCE_QUOTAS, SERVICES
from tests.controllers.story import Cluster, story


def quota(**hard: str) -> Object:
    return {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}


def add_pod(cluster: Cluster, name: str, cpu: str) -> Object:
    containers = [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]
    return cluster.api.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": containers}})


def used(cluster: Cluster) -> Object:
    found: Object = cluster.api.all(RESOURCE_QUOTAS)[0]["status"]["used"]
    return found


def test_what_a_name_is_about() -> None:
    assert resource_of_name("count/deployments.apps") == ("apps", "deployments")
    assert resource_of_name("limits.memory") == ("", "pods")
    assert resource_of_name("services.nodeports") == ("", "services")
    assert resource_of_name("gold.storageclass.storage.k8s.io/requests.storage") == ("", "persistentvolumeclaims")
    assert resource_of_name("configmaps") == ("", "configmaps")


@story
async def test_use_is_counted_up_and_down(cluster: Cluster) -> None:
    first = add_pod(cluster, "a", "500m")
    second = add_pod(cluster, "b", "1")
    cluster.api.create(RESOURCE_QUOTAS, quota(pods="5", cpu="4", configmaps="3", **{"services.nodeports": "2", "count/pods": "9"}))
    cluster.api.create(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "default"}})
    cluster.api.create(SERVICES, {"metadata": {"name": "s", "namespace": "default"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    await cluster.run(Quotas)
    assert used(cluster) == {"pods": "2", "cpu": "1500m", "configmaps": "1", "services.nodeports": "1", "count/pods": "2"}
    cluster.api.set(PODS, first, status={"phase": "Succeeded"})
    await cluster.advance()
    assert used(cluster)["cpu"] == "1"
    assert used(cluster)["count/pods"] == "2"
    cluster.api.remove(PODS, second)
    await cluster.advance()
    assert used(cluster) == {"pods": "0", "cpu": "0", "configmaps": "1", "services.nodeports": "1", "count/pods": "1"}
