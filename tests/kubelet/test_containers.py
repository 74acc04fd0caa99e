"""Real pods in a real containerd, against the fake API: needs root, runc, CNI plugins and the kernel."""

import asyncio
import signal
from pathlib import Path

import pytest

from kapi.objects.resource import CONFIG_MAPS, NODES, PODS, SECRETS
from kubelet.cri.client import Cri
from tests.kubelet.build import pod
from tests.kubelet.conftest import Containerd
from tests.kubelet.real import Real, container, ready
from tests.kubelet.story import condition, state

pytestmark = [pytest.mark.containers, pytest.mark.slow]


async def test_a_pod_gets_its_volumes_environment_and_network(node: Real) -> None:
    node.api.create(CONFIG_MAPS, {"metadata": {"name": "cm", "namespace": "default"}, "data": {"a": "alpha"}})
    node.api.create(SECRETS, {"metadata": {"name": "s", "namespace": "default"}, "data": {"k": "c2VjcmV0"}})
    script = "echo $IP $A $B; cat /cm/a; echo; cat /s/k; echo; id -u; cat /etc/resolv.conf; mount | grep -c 'on /s '; exec sleep 1000"
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}},
        {"name": "B", "value": "<$(A)>"},
    ]
    mounted = [{"name": n, "mountPath": f"/{n}"} for n in ("cm", "s")]
    volumes = [{"name": "cm", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "s"}}]
    security = {"runAsUser": 1000}
    await node.run(container(command=["sh", "-c", script], env=env, volumeMounts=mounted, securityContext=security), volumes=volumes)
    found = await node.until(ready)
    await node.said(lambda lines: lines[-1:] == ["1"])
    lines = node.logs()
    assert lines[:4] == [f"{found['status']['podIP']} alpha <alpha>", "alpha", "secret", "1000"]
    assert "nameserver 10.96.0.10" in lines
    assert any(line.startswith("search default.svc.cluster.local svc.cluster.local cluster.local") for line in lines)


async def test_the_end_of_a_pod_leaves_nothing(node: Real) -> None:
    await node.run(container(), volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}])
    found = await node.until(ready)
    uid = found["metadata"]["uid"]
    assert len(node.left(uid)) > 1
    await node.delete()
    assert node.left(uid) == []


async def test_exit_codes_and_termination_messages(node: Real) -> None:
    script = ["sh", "-c", "echo last words > /dev/termination-log; exit 7"]
    talk = ["sh", "-c", "echo out of luck; exit 1"]
    await node.run(
        container(command=script), {**container(command=talk), "name": "log", "terminationMessagePolicy": "FallbackToLogsOnError"},
        restartPolicy="Never",
    )  # fmt: skip
    found = await node.until(lambda p: p["status"].get("phase") == "Failed")
    ended = state(found)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (7, "Error", "last words\n")
    assert state(found, "log")["state"]["terminated"]["message"] == "out of luck\n"


async def test_a_killed_container_is_restarted(node: Real) -> None:
    await node.run(container(command=["sh", "-c", "echo $$ > /pid; exec sleep 1000"]))
    found = await node.until(ready)
    old = state(found)["containerID"]
    runtime = Cri(node.settings.container_runtime_endpoint)
    await runtime.stop_container(old.partition("://")[2], 0)
    await runtime.close()
    found = await node.until(lambda p: ready(p) and state(p)["restartCount"] == 1)
    assert state(found)["lastState"]["terminated"]["exitCode"] == 128 + signal.SIGKILL
    assert state(found)["containerID"] != old


async def test_a_restarted_kubelet_leaves_containers_alone(node: Real) -> None:
    await node.run(container(readinessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1}))
    before = await node.until(ready)
    await node.stop()
    await node.start()
    await node.run(container(), name="next", uid="u2")
    await node.until(ready, "next")
    after = await node.until(ready)
    assert state(after) == state(before)
    assert after["status"]["podIP"] == before["status"]["podIP"]


async def test_a_restarted_containerd_leaves_containers_alone(node: Real, own_containerd: Containerd) -> None:
    await node.run(container())
    before = await node.until(ready)
    await own_containerd.crash()
    await node.run(container(), name="next", uid="u2")
    await node.until(ready, "next")
    assert state(node.api.get(PODS, "default/web") or {}) == state(before)
    assert condition(node.api.get(NODES, "n1") or {}, "Ready") == "True"
    runtime = Cri(node.settings.container_runtime_endpoint)
    await runtime.stop_container(state(before)["containerID"].partition("://")[2], 0)
    await runtime.close()
    await node.until(lambda p: ready(p) and state(p)["restartCount"] == 1)


async def test_what_ended_while_the_kubelet_was_away_is_found(node: Real) -> None:
    await node.run(container())
    found = await node.until(ready)
    await node.stop()
    node.api.remove(PODS, found)
    await node.start()
    await node.cleared()
    assert node.left(found["metadata"]["uid"]) == []


async def test_probes_over_http_and_tcp(node: Real) -> None:
    serve = ["sh", "-c", "mkdir /w; echo ok > /w/ok; exec httpd -f -p 8080 -h /w"]
    probes = {
        "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "readinessProbe": {"httpGet": {"path": "/ok", "port": "http"}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/missing", "port": 8080}, "periodSeconds": 1, "initialDelaySeconds": 2},
    }
    await node.run(container(command=serve, ports=[{"name": "http", "containerPort": 8080}], **probes))
    found = await node.until(ready)
    await node.told("Liveness probe failed: HTTP probe failed with statuscode: 404")
    runtime = Cri(node.settings.container_runtime_endpoint)
    (eth0,) = (await runtime.traffic())[found["metadata"]["uid"]]
    await runtime.close()
    assert eth0.name == "eth0"
    assert min(eth0.rx_bytes, eth0.tx_bytes) > 0


async def test_hooks(node: Real) -> None:
    touch = {"exec": {"command": ["sh", "-c", "echo started > /shared/post"]}}
    stop = {"exec": {"command": ["sh", "-c", "echo stopping > /shared/pre"]}}
    path = node.settings.root_dir.parent / "shared"
    volume = {"name": "shared", "hostPath": {"path": str(path), "type": "DirectoryOrCreate"}}
    mount = [{"name": "shared", "mountPath": "/shared"}]
    await node.run(container(lifecycle={"postStart": touch, "preStop": stop}, volumeMounts=mount), volumes=[volume])
    await node.until(ready)
    assert (path / "post").read_text() == "started\n"
    await node.delete()
    assert (path / "pre").read_text() == "stopping\n"


async def test_an_image_that_is_not_there(node: Real) -> None:
    never = container(image="localhost/none:1", imagePullPolicy="Never")
    pull = {**container(image="127.0.0.1:1/none:1"), "name": "pull"}
    await node.run(never, pull)
    found = await node.until(lambda p: "ErrImagePull" in str(p["status"]) and "ErrImageNeverPull" in str(p["status"]))
    assert state(found)["state"]["waiting"]["message"] == 'Container image "localhost/none:1" is not present with pull policy of Never'
    found = await node.until(lambda p: "ImagePullBackOff" in str(p["status"]))
    assert state(found, "pull")["state"]["waiting"]["reason"] == "ImagePullBackOff"


async def test_a_missing_config_map_holds_the_pod(node: Real) -> None:
    await node.run(container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[{"name": "v", "configMap": {"name": "late"}}])
    await node.told('MountVolume.SetUp failed for volume "v" : configmap "late" not found')
    node.api.create(CONFIG_MAPS, {"metadata": {"name": "late", "namespace": "default"}, "data": {}})
    await node.until(ready)


async def test_twenty_pods_at_once(node: Real) -> None:
    for index in range(20):
        made = pod(container(), name=f"p{index}", terminationGracePeriodSeconds=2)
        made["status"] = {}
        node.api.create(PODS, made)
    began = asyncio.get_running_loop().time()
    for index in range(20):
        await node.until(ready, f"p{index}", 15)
    assert asyncio.get_running_loop().time() - began < 15
    assert len({p["status"]["podIP"] for p in node.api.all(PODS)}) == 20


async def test_a_static_pod_and_its_mirror(node: Real, root: Path) -> None:
    manifest = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "static"}, "spec": {"terminationGracePeriodSeconds": 2}}
    manifest["spec"] = {"terminationGracePeriodSeconds": 2, "containers": [container()]}
    node.manifest("static.json", manifest)
    found = await node.until(ready, "static-n1")
    notes = found["metadata"]["annotations"]
    assert notes["kubernetes.io/config.mirror"] == notes["kubernetes.io/config.hash"]
    assert found["metadata"]["ownerReferences"][0]["kind"] == "Node"
    node.manifest("static.json", None)
    await node.cleared()
    await node.until(lambda p: p is None, "static-n1")
