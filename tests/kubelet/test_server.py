"""What the kubelet's own server says of consumption."""

from kubelet.runtime import Usage
from kubelet.server import metrics, summary
from tests.kubelet.build import NOW, pod

USAGE = Usage("c1", "u1", "web", 1_500_000_000, 4096, 8192, 2048, 100, 3, NOW)
STARTED = {"c1": NOW - 60, "c2": NOW - 50}


def test_the_summary_adds_up() -> None:
    told = summary.of("n1", [USAGE, USAGE._replace(container="c2", name="two"), USAGE._replace(uid="gone")], {"u1": pod()}, STARTED)
    (one,) = told["pods"]
    assert one["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert [c["name"] for c in one["containers"]] == ["web", "two"]
    assert (one["cpu"]["usageCoreNanoSeconds"], one["memory"]["workingSetBytes"]) == (3_000_000_000, 8192)
    node = told["node"]
    assert node["fs"]["usedBytes"] + node["fs"]["availableBytes"] == node["fs"]["capacityBytes"] > 0
    assert 0 < node["memory"]["rssBytes"] < node["memory"]["workingSetBytes"] + node["memory"]["availableBytes"]
    assert node["cpu"]["usageCoreNanoSeconds"] > 0


def test_resource_metrics_have_stocks_names() -> None:
    lines = metrics.resource(summary.of("n1", [USAGE], {"u1": pod()}, STARTED)).decode().splitlines()
    stamp = int(NOW * 1000)
    assert f'container_cpu_usage_seconds_total{{container="web",namespace="default",pod="web"}} 1.5 {stamp}' in lines
    assert f'container_memory_working_set_bytes{{container="web",namespace="default",pod="web"}} 4096 {stamp}' in lines
    assert f'container_start_time_seconds{{container="web",namespace="default",pod="web"}} {NOW - 60}' in lines
    assert "resource_scrape_error 0" in lines
    names = {line.split("{")[0].split()[0] for line in lines if not line.startswith("#")}
    assert {"node_cpu_usage_seconds_total", "node_memory_working_set_bytes", "pod_cpu_usage_seconds_total"} <= names


def test_metrics_of_the_kubelet_itself() -> None:
    lines = metrics.own("n1", 2, {"running": 3, "exited": 1}).decode().splitlines()
    assert 'kubelet_running_containers{container_state="exited"} 1' in lines
    assert "kubelet_running_pods 2" in lines
