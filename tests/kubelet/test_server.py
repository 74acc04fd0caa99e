"""The kubelet's own server: who may ask what, and what it says of the node, its pods and their consumption."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from kapi.client import Client, Recorder
from kapi.http import server
from kapi.objects import certificates, time
from kubelet import assembly
from kubelet.runtime import PodState, Traffic, Usage
from kubelet.server import logs, metrics, summary
from kubelet.server.app import App
from kubelet.settings import Settings
from tests.certificates import client
from tests.fakes import FakeApi
from tests.kubelet.build import NOW, one, pod, run
from tests.kubelet.story import Story, story

USAGE = Usage("c1", "u1", "web", 1_500_000_000, 4096, 8192, 2048, 100, 3, NOW)
STARTED = {"c1": NOW - 60, "c2": NOW - 50}


def test_the_summary_adds_up() -> None:
    usages, traffic = [USAGE, USAGE._replace(container="c2", name="two"), USAGE._replace(uid="gone")], {"u1": [Traffic("eth0", 5, 0, 7, 1)]}
    told = summary.of({"nodeName": "n1", **summary.of_machine()}, usages, {"u1": pod()}, STARTED, traffic)
    (one,) = told["pods"]
    assert one["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert [c["name"] for c in one["containers"]] == ["web", "two"]
    assert (one["cpu"]["usageCoreNanoSeconds"], one["memory"]["workingSetBytes"]) == (3_000_000_000, 8192)
    eth0 = {"name": "eth0", "rxBytes": 5, "rxErrors": 0, "txBytes": 7, "txErrors": 1}
    assert one["network"] == {"time": told["node"]["cpu"]["time"], **eth0, "interfaces": [eth0]}
    node = told["node"]
    assert node["fs"]["usedBytes"] + node["fs"]["availableBytes"] == node["fs"]["capacityBytes"] > 0
    assert 0 < node["memory"]["rssBytes"] < node["memory"]["workingSetBytes"] + node["memory"]["availableBytes"]
    assert node["cpu"]["usageCoreNanoSeconds"] > 0


def test_resource_metrics_have_stocks_names() -> None:
    lines = metrics.resource(summary.of(summary.of_machine(), [USAGE], {"u1": pod()}, STARTED, {})).decode().splitlines()
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


def app(api: FakeApi) -> App:
    client, settings = Client(api), Settings(node_name="n1")
    return App(assembly.simulated_kubelet(settings, client, Recorder(client, "kubelet"), 0), client)


async def ask(of: App, path: str, user: str = "admin", *groups: str) -> tuple[int, bytes]:
    """(status, body) for the holder of a client certificate."""
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [],
        "extensions": {server.CERTIFICATE: client(user, *groups)} if user else {},
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await of(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


MASTERS = "system:masters"


@pytest.mark.parametrize(
    ("path", "allowed", "wanted"),
    [
        ("/pods", "pods", 200), ("/pods", "proxy", 200), ("/healthz", "healthz", 200), ("/metrics/resource", "metrics", 200),
        ("/runningpods/", "pods", 200), ("/configz", "proxy", 200),
        ("/metrics", "proxy", b"Forbidden (user=me, verb=get, resource=nodes, subresource(s)=[metrics])\n"),
        ("/pods", "metrics", b"Forbidden (user=me, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"),
    ],
)  # fmt: skip
async def test_who_may_ask_what(path: str, allowed: str, wanted: int | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    of = app(api)

    async def post(self: Client, path: str, obj: dict[str, Any], **query: Any) -> dict[str, Any]:
        assert path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        attributes = obj["spec"]["resourceAttributes"]
        assert (obj["spec"]["user"], attributes["resource"], attributes["name"]) == ("me", "nodes", "n1")
        return {"status": {"allowed": attributes["subresource"] == allowed}}

    monkeypatch.setattr(Client, "post", post)
    status, body = await ask(of, path, "me")
    assert wanted in (status, body)
    assert status in (200, 403)


async def test_strangers_are_not_let_in() -> None:
    assert (await ask(app(FakeApi()), "/pods", ""))[0] == 401


async def test_a_certificate_ends_on_a_connection_that_is_kept() -> None:
    of = app(FakeApi())
    assert (await ask(of, "/configz", "admin", MASTERS))[0] == 200
    end = certificates.read(client("admin", MASTERS)).end
    time.set_clock(lambda: end + 1)
    try:
        assert (await ask(of, "/configz", "admin", MASTERS))[0] == 401
    finally:
        time.set_clock(None)


@pytest.mark.parametrize("path", ["/none", "/metrics/none", "/healthz/none"])
async def test_paths_that_are_not_there(path: str) -> None:
    assert await ask(app(FakeApi()), path, "admin", MASTERS) == (404, b"404 page not found\n")


async def test_the_configuration_is_shown() -> None:
    status, body = await ask(app(FakeApi()), "/configz", "admin", MASTERS)
    shown = orjson.loads(body)["kubeletconfig"]
    assert (status, shown["kind"], shown["evictionHard"]["memory.available"]) == (200, "KubeletConfiguration", "100Mi")


async def test_what_runs() -> None:
    of = app(FakeApi())
    kubelet = of._kubelet
    kubelet.put(pod())
    kubelet.workers["u1"].state = PodState((), [run()])
    status, body = await ask(of, "/runningpods/", "admin", MASTERS)
    (found,) = orjson.loads(body)["items"]
    assert (status, found["metadata"]["name"]) == (200, "web")
    assert found["spec"]["containers"] == [{"name": "web", "image": "busybox:1", "resources": {}}]
    assert b'kubelet_running_containers{container_state="running"} 1' in (await ask(of, "/metrics", "admin", MASTERS))[1]


def test_cadvisors_metrics() -> None:
    lines = metrics.cadvisor([(pod(), run(), USAGE)]).decode().splitlines()
    labels = 'container="web",id="web-0",image="busybox:1",name="web-0",namespace="default",pod="web"'
    stamp = int(NOW * 1000)
    assert f'container_cpu_usage_seconds_total{{{labels},cpu="total"}} 1.5 {stamp}' in lines
    assert f"container_memory_rss{{{labels}}} 2048 {stamp}" in lines


@story
async def test_probes_are_counted_while_their_pod_is_there(told: Story) -> None:
    await told.start()
    found = await told.run(one(readinessProbe={"exec": {"command": ["false"]}, "periodSeconds": 1}), seconds=3)
    labels = f'container="web",namespace="default",pod="web",pod_uid="{found["metadata"]["uid"]}",probe_type="Readiness",result="failed"'
    uid = found["metadata"]["uid"]
    (count,) = [line.rpartition(" ")[2] for line in metrics.probed({uid}).decode().splitlines() if labels in line]
    assert 2 <= int(count) <= 4
    assert labels not in metrics.probed({"another"}).decode()
    await told.delete()
    assert labels not in metrics.probed({uid}).decode()


async def test_a_followed_log_keeps_what_a_container_wrote_over(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_bytes(b"2027-01-15T08:00:00Z stdout F 10%\r20%\n2027-01-15T08:00:00Z stdout P half, \n2027-01-15T08:00:00Z stdout F whole\n")
    found = [piece async for piece in logs.read(file, logs.Options(follow=True), lambda: False)]
    assert b"".join(found) == b"10%\r20%\nhalf, whole\n"
