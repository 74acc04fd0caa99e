"""What pods demand of their node."""

from kapi.objects import pod_resources


def container(cpu: str, **more: str) -> dict[str, object]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}


def test_init_containers_count_by_their_peak_and_sidecars_with_the_rest() -> None:
    spec = {
        "containers": [container("100m"), container("200m")],
        "initContainers": [container("50m", restartPolicy="Always"), container("400m")],
        "overhead": {"cpu": "10m"},
    }
    assert pod_resources.effective(spec, "requests") == {"cpu": 460}
    spec["initContainers"] = [container("50m", restartPolicy="Always"), container("100m")]
    assert pod_resources.effective(spec, "requests") == {"cpu": 360}


def test_pod_level_requests_win() -> None:
    spec = {"containers": [container("100m")], "resources": {"requests": {"cpu": "1"}}}
    assert pod_resources.effective(spec, "requests") == {"cpu": 1000}


def test_overhead_adds_to_limits_only_where_there_is_one() -> None:
    spec = {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}], "overhead": {"cpu": "10m", "memory": "1Mi"}}
    assert pod_resources.effective(spec, "limits") == {"cpu": 1010}


def test_only_sidecars_and_regular_containers_hold_ports_of_the_node() -> None:
    held = {"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81}]}
    assert pod_resources.host_ports({"containers": [held], "initContainers": [held]}) == (("0.0.0.0", "TCP", 80),)
    assert len(pod_resources.host_ports({"containers": [held], "initContainers": [{**held, "restartPolicy": "Always"}]})) == 2


def test_a_pods_own_resources_decide_its_class() -> None:
    best = {"limits": {"cpu": "1", "memory": "1Gi"}}
    assert pod_resources.qos_class({"containers": [container("100m")], "resources": best}) == "Guaranteed"
    assert pod_resources.qos_class({"containers": [container("100m")], "resources": {}}) == "BestEffort"
