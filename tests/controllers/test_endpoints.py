"""Stories of what stands behind Services."""

from typing import Any

from kapi.controllers.endpoint import Endpoints
from kapi.controllers.endpoint_mirror import EndpointMirrors
from kapi.controllers.endpoint_slice import EndpointSlices
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from tests.controllers.story import Cluster, story


def service(**spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]
    made = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], **spec}
    return {"metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}}, "spec": made}


def add_pod(cluster: Cluster, number: int, *, ready: bool = True, port: int = 8080) -> Object:
    container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
    about = {"name": f"p{number:03}", "namespace": "default", "labels": {"app": "web"}}
    made = cluster.api.create(PODS, {"metadata": about, "spec": {"containers": [container]}})
    made = cluster.running(made, ready=ready)
    ip = f"10.1.{number // 250}.{number % 250 + 1}"
    return cluster.api.set(PODS, made, status={**made["status"], "podIP": ip, "podIPs": [{"ip": ip}]})


def slices(cluster: Cluster) -> list[Object]:
    return cluster.api.all(ENDPOINT_SLICES)


@story
async def test_a_service_without_pods_has_an_empty_slice(cluster: Cluster) -> None:
    cluster.api.create(SERVICES, service())
    await cluster.run(EndpointSlices, Endpoints)
    [slice] = slices(cluster)
    assert (slice["endpoints"], slice["ports"]) == ([], [])
    assert cluster.api.all(ENDPOINTS)[0]["subsets"] == []


@story
async def test_pods_come_become_ready_and_go(cluster: Cluster) -> None:
    cluster.api.create(SERVICES, service())
    await cluster.run(EndpointSlices, Endpoints)
    first, second = add_pod(cluster, 0), add_pod(cluster, 1, ready=False)
    await cluster.advance()
    [slice] = slices(cluster)
    assert meta.labels(slice) == {
        "team": "a",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "web",
    }
    assert slice["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert slice["endpoints"][0] == {
        "addresses": ["10.1.0.1"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": "n1",
        "targetRef": {"kind": "Pod", "namespace": "default", "name": "p000", "uid": meta.uid(first)},
    }
    assert slice["endpoints"][1]["conditions"] == {"ready": False, "serving": False, "terminating": False}
    [subset] = cluster.api.all(ENDPOINTS)[0]["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.1"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.2"]
    cluster.api.delete(PODS, first, {})
    cluster.api.remove(PODS, second)
    await cluster.advance()
    [slice] = slices(cluster)
    assert [e["conditions"] for e in slice["endpoints"]] == [{"ready": False, "serving": True, "terminating": True}]
    assert cluster.api.all(ENDPOINTS)[0]["subsets"] == []


@story
async def test_slices_hold_a_hundred_and_change_little(cluster: Cluster) -> None:
    cluster.api.create(SERVICES, service())
    await cluster.run(EndpointSlices)
    pods = [add_pod(cluster, n) for n in range(250)]
    await cluster.advance()
    assert sorted(len(s["endpoints"]) for s in slices(cluster)) == [50, 100, 100]
    before = {meta.name(s): meta.resource_version(s) for s in slices(cluster)}
    cluster.api.remove(PODS, pods[3])
    await cluster.advance()
    assert sum(before[meta.name(s)] != meta.resource_version(s) for s in slices(cluster)) == 1


@story
async def test_pods_with_another_number_for_the_port_get_their_own_slice(cluster: Cluster) -> None:
    cluster.api.create(SERVICES, service())
    add_pod(cluster, 0)
    add_pod(cluster, 1, port=9090)
    await cluster.run(EndpointSlices, Endpoints)
    assert sorted(s["ports"][0]["port"] for s in slices(cluster)) == [8080, 9090]
    assert [s["ports"][0]["port"] for s in cluster.api.all(ENDPOINTS)[0]["subsets"]] == [8080, 9090]


@story
async def test_endpoints_go_with_their_service(cluster: Cluster) -> None:
    made = cluster.api.create(SERVICES, service())
    await cluster.run(Endpoints)
    assert cluster.api.all(ENDPOINTS)
    cluster.api.remove(SERVICES, made)
    await cluster.advance()
    assert cluster.api.all(ENDPOINTS) == []


@story
async def test_what_does_not_show_is_not_written(cluster: Cluster) -> None:
    cluster.api.create(SERVICES, service())
    pod = add_pod(cluster, 0)
    await cluster.run(EndpointSlices, Endpoints)
    before = len(cluster.api.calls)
    cluster.api.set(PODS, pod, metadata={**pod["metadata"], "annotations": {"a": "b"}})
    await cluster.advance()
    assert len(cluster.api.calls) == before


@story
async def test_endpoints_written_by_hand_are_mirrored(cluster: Cluster) -> None:
    cluster.api.create(SERVICES, service(selector=None))
    subset = {"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 80, "name": "http"}]}
    made = cluster.api.create(ENDPOINTS, {"metadata": {"name": "web", "namespace": "default"}, "subsets": [subset]})
    await cluster.run(EndpointMirrors)
    [slice] = slices(cluster)
    assert meta.labels(slice)["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
    assert slice["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
    assert [(e["addresses"], e["conditions"]["ready"]) for e in slice["endpoints"]] == [(["10.0.0.1"], True), (["10.0.0.2"], False)]
    made = cluster.api.set(ENDPOINTS, made, subsets=[{**subset, "notReadyAddresses": []}])
    await cluster.advance()
    assert [len(s["endpoints"]) for s in slices(cluster)] == [1]
    cluster.api.remove(ENDPOINTS, made)
    await cluster.advance()
    assert slices(cluster) == []


@story
async def test_hints_for_near_clients(cluster: Cluster) -> None:
    cluster.api.create(NODES, {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}, "spec": {}})
    made = cluster.api.create(SERVICES, service(trafficDistribution="PreferSameZone"))
    await cluster.run(EndpointSlices)
    add_pod(cluster, 0)
    add_pod(cluster, 1, ready=False)
    await cluster.advance()
    assert [e.get("hints") for e in slices(cluster)[0]["endpoints"]] == [{"forZones": [{"name": "z1"}]}, None]
    cluster.api.set(SERVICES, made, spec={**made["spec"], "trafficDistribution": "PreferSameNode"})
    await cluster.advance()
    assert slices(cluster)[0]["endpoints"][0]["hints"] == {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}
