"""What pods are promised, in a real containerd: pulls, order of starts, probes that kill, volumes that change, limits, security."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, EVENTS, PODS, SECRETS
from kubelet import cgroups, housekeeping, images
from kubelet.pulling import INITIAL_BACKOFF
from tests.kubelet.real import CGROUP, Real, container, ready
from tests.kubelet.registry import Registry, serving
from tests.kubelet.story import condition, state

pytestmark = [pytest.mark.containers, pytest.mark.slow]


def shell(script: str, **more: Any) -> Object:
    return container(command=["sh", "-c", script], **more)


def waiting(found: Object | None, name: str = "web") -> Object:
    listed = ((found or {}).get("status") or {}).get("containerStatuses") or []
    return next((c["state"].get("waiting") or {} for c in listed if c["name"] == name), {})


def ended(found: Object | None) -> bool:
    return bool(found) and (found or {})["status"].get("phase") in ("Succeeded", "Failed")


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with serving(images.busybox()) as found:
        yield found


async def test_an_image_is_pulled_when_the_policy_says_so(node: Real, registry: Registry) -> None:
    image = registry.image("team/app:1")
    await node.run(container(image=image, imagePullPolicy="IfNotPresent"))
    found = await node.until(ready)
    assert state(found)["imageID"].startswith(image.removesuffix(":1") + "@sha256:")
    assert any(m.startswith(f'Successfully pulled image "{image}" in ') for m in node.messages())
    pulls = registry.pulls
    await node.run(container(image=image, imagePullPolicy="IfNotPresent"), name="again", uid="u2")
    await node.until(ready, "again")
    assert registry.pulls == pulls
    assert f'Container image "{image}" already present on machine and can be accessed by the pod' in node.messages()
    await node.run(container(image=image, imagePullPolicy="Always"), name="always", uid="u3")
    await node.until(ready, "always")
    pulled = [e for e in node.api.all(EVENTS) if e["message"].startswith(f'Successfully pulled image "{image}"')]
    assert {e["involvedObject"]["name"] for e in pulled} == {"web", "always"}


async def test_a_pull_that_fails_backs_off(node: Real, registry: Registry) -> None:
    image = registry.image("team/none:1")
    await node.run(container(image=image))
    found = await node.until(lambda p: waiting(p).get("reason") == "ErrImagePull")
    why = waiting(found)["message"]
    assert image in why
    found = await node.until(lambda p: waiting(p).get("reason") == "ImagePullBackOff", seconds=INITIAL_BACKOFF)
    assert waiting(found)["message"] == f'Back-off pulling image "{image}": ErrImagePull: {why}'
    assert f'Back-off pulling image "{image}"' in node.messages()


async def test_a_private_image_needs_the_pull_secret(node: Real) -> None:
    with serving(images.busybox(), login="me:secret") as private:
        image = private.image("team/private:1")
        host = image.partition("/")[0]
        auth = {"auths": {host: {"auth": base64.b64encode(b"me:secret").decode()}}}
        data = {".dockerconfigjson": base64.b64encode(json.dumps(auth).encode()).decode()}
        node.api.create(SECRETS, {"metadata": {"name": "login", "namespace": "default"}, "data": data})
        await node.run(container(image=image), name="stranger", uid="u2")
        await node.until(lambda p: waiting(p).get("reason") == "ErrImagePull", "stranger")
        await node.run(container(image=image), imagePullSecrets=[{"name": "login"}])
        await node.until(ready)
        assert private.pulls > 0


async def test_init_containers_then_sidecars_then_the_rest(node: Real) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    first = {**shell("echo first >> /v/log", **mount), "name": "first"}
    script = "echo sidecar >> /v/log; trap 'echo sidecar ends; exit 0' TERM; while :; do sleep 0.1; done"
    started = {"exec": {"command": ["grep", "sidecar", "/v/log"]}}
    sidecar = {**shell(script, **mount), "name": "sidecar", "restartPolicy": "Always", "startupProbe": {**started, "periodSeconds": 1}}
    last = {**shell("echo last >> /v/log", **mount), "name": "last"}
    main = shell("cat /v/log; exit 3", **mount)
    volume = {"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    await node.run(main, initContainers=[first, sidecar, last], volumes=[volume], restartPolicy="Never")
    found = await node.until(ended)
    assert node.logs() == ["first", "sidecar", "last"]
    assert node.logs("sidecar") == ["sidecar ends"]
    assert found["status"]["phase"] == "Failed"
    reasons = {c["name"]: c["state"]["terminated"]["reason"] for c in found["status"]["initContainerStatuses"]}
    assert reasons == {"first": "Completed", "sidecar": "Completed", "last": "Completed"}


async def test_a_probe_that_fails_restarts_its_container(node: Real) -> None:
    dead = {"exec": {"command": ["sh", "-c", "echo unwell; exit 1"]}, "periodSeconds": 1, "failureThreshold": 1}
    late = {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1}
    await node.run(
        container(livenessProbe={**dead, "terminationGracePeriodSeconds": 1}), {**container(startupProbe=late), "name": "slow"},
    )  # fmt: skip
    restarted = '"restartCount": 0'
    found = await node.until(lambda p: bool(p) and "restartCount" in (told := json.dumps(p["status"])) and restarted not in told)
    assert state(found)["lastState"]["terminated"]["exitCode"] == 0
    said = node.messages()
    assert {"Liveness probe failed: unwell\n", "Container web failed liveness probe, will be restarted"} <= said
    assert "Container slow failed startup probe, will be restarted" in said
    await node.until(lambda p: any(waiting(p, n).get("reason") == "CrashLoopBackOff" for n in ("web", "slow")))


async def test_volumes_follow_their_objects(node: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "TICK", 0.1)
    await node.stop()
    node.settings = type(node.settings)(**{**vars(node.settings), "sync_frequency": 0.0})
    await node.start()
    made = node.api.create(CONFIG_MAPS, {"metadata": {"name": "cm", "namespace": "default"}, "data": {"a": "old"}})
    mount = [{"name": "cm", "mountPath": "/cm"}]
    script = "trap 'exit 0' TERM; until grep -q new /cm/a; do sleep 0.1; done; echo seen; sleep 1000 & wait"
    await node.run(shell(script, volumeMounts=mount), volumes=[{"name": "cm", "configMap": {"name": "cm"}}])
    await node.until(ready)
    node.api.set(CONFIG_MAPS, made, data={"a": "new"})
    await node.said(lambda lines: lines == ["seen"])


async def test_the_downward_api_as_files_and_variables(node: Real) -> None:
    items = [
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "memory", "resourceFieldRef": {"containerName": "web", "resource": "limits.memory", "divisor": "1Mi"}},
    ]
    env = [
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    limits = {"limits": {"memory": "32Mi", "cpu": "200m"}}
    mount = [{"name": "d", "mountPath": "/d"}]
    script = "cat /d/name; echo; cat /d/memory; echo; echo $NODE $CPU"
    main = shell(script, env=env, resources=limits, volumeMounts=mount)
    await node.run(main, volumes=[{"name": "d", "downwardAPI": {"items": items}}], restartPolicy="Never")
    await node.until(ended)
    assert node.logs() == ["web", "32", "n1 200"]


async def test_too_much_memory_is_the_end(node: Real) -> None:
    script = "x=0123456789; while :; do x=$x$x; done"
    await node.run(shell(script, resources={"limits": {"memory": "16Mi"}}), restartPolicy="Never")
    found = await node.until(ended)
    assert (state(found)["state"]["terminated"]["reason"], state(found)["state"]["terminated"]["exitCode"]) == ("OOMKilled", 137)


async def test_security_contexts(node: Real, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mount = [{"name": "e", "mountPath": "/e"}, {"name": "h", "mountPath": "/h", "readOnly": True}]
    context = {
        "runAsUser": 1234, "runAsGroup": 4321, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    script = (
        "id -u; id -g; id -G | grep -cw 5555; stat -c %g /e; touch /e/x && echo written; touch /x 2>&1; touch /h/x 2>&1; "
        "grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
    )
    volumes = [{"name": "e", "emptyDir": {}}, {"name": "h", "hostPath": {"path": str(shared), "type": "Directory"}}]
    main = shell(script, securityContext=context, volumeMounts=mount)
    await node.run(main, volumes=volumes, securityContext={"fsGroup": 5555}, restartPolicy="Never")
    await node.until(ended)
    assert node.logs() == [
        "1234", "4321", "1", "5555", "written", "touch: /x: Read-only file system", "touch: /h/x: Read-only file system",
        "CapBnd:\t0000000000000000", "NoNewPrivs:\t1",
    ]  # fmt: skip


QUOTA, SHARES, MEMORY = "cpu/cpu.cfs_quota_us", "cpu/cpu.shares", "memory/memory.limit_in_bytes"


@pytest.mark.skipif(cgroups.unified(), reason="reads cgroup v1's files")
async def test_a_container_is_resized_while_it_runs(node: Real) -> None:
    def sized(cpu: str, memory: str) -> Object:
        return container(resources={"requests": {"cpu": cpu, "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": memory}})

    await node.run(sized("100m", "32Mi"))
    before = await node.until(ready)
    id = state(before)["containerID"].partition("://")[2]
    assert [node.limit(before, f, *at) for f in (QUOTA, SHARES, MEMORY) for at in ((), (id,))] == [10_000] * 2 + [102] * 2 + [32 << 20] * 2
    meta = {**before["metadata"], "generation": 2}
    node.api.set(PODS, before, metadata=meta, spec={**before["spec"], "containers": [sized("200m", "64Mi")]})
    await node.stop()
    await node.start()
    found = await node.until(lambda p: state(p).get("resources", {}).get("limits") == {"cpu": "200m", "memory": "64Mi"} and ready(p))
    assert (state(found)["containerID"], state(found)["restartCount"]) == (state(before)["containerID"], 0)
    assert [node.limit(found, f, id) for f in (QUOTA, SHARES, MEMORY)] == [20_000, 204, 64 << 20]
    await node.until(lambda p: not condition(p, "PodResizeInProgress"))
    assert [node.limit(found, f) for f in (QUOTA, SHARES, MEMORY)] == [20_000, 204, 64 << 20]


def weight(qos: str) -> int:
    return int(Path(f"/sys/fs/cgroup/cpu{CGROUP}/kubepods", qos, "cpu.shares").read_text())


@pytest.mark.skipif(cgroups.unified(), reason="reads cgroup v1's files")
async def test_classes_weigh_what_they_asked_for(node: Real) -> None:
    await node.run(container(resources={"requests": {"cpu": "500m"}}))
    await node.until(ready)
    assert [weight(name) for name in ("burstable", "besteffort")] == [512, 2]


async def test_a_pod_over_its_storage_is_evicted(node: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "TICK", 0.1)
    await node.stop()
    await node.start()
    script = "dd if=/dev/zero of=/v/big bs=1M count=3; sleep 1000"
    volume = {"name": "v", "emptyDir": {"sizeLimit": "2Mi"}}
    await node.run(shell(script, volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[volume])
    found = await node.until(ended)
    assert (found["status"]["reason"], found["status"]["phase"]) == ("Evicted", "Failed")
    assert found["status"]["message"] == 'Usage of EmptyDir volume "v" exceeds the limit "2Mi". '
    assert condition(found, "DisruptionTarget") == "True"


async def test_an_unsafe_sysctl_is_refused(node: Real) -> None:
    await node.run(container(), securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "10000"}]})
    found = await node.until(ended)
    assert found["status"]["reason"] == "SysctlForbidden"
    safe = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]
    await node.run(container(), name="safe", uid="u2", securityContext={"sysctls": safe})
    await node.until(ready, "safe")


async def test_root_is_refused_where_it_must_not_be(node: Real) -> None:
    await node.run(container(securityContext={"runAsNonRoot": True}))
    found = await node.until(lambda p: waiting(p).get("reason") == "CreateContainerConfigError")
    assert waiting(found)["message"].startswith("container has runAsNonRoot and image will run as root (pod: ")
    assert node.api.get(PODS, "default/web") is not None
