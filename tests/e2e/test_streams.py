"""kubectl with real containers: logs, exec, attach, cp, run, port-forward, to the byte; services and volumes from inside."""

import hashlib
import json
import os
import re
import select
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import IMAGE, Kubectl, line_with

pytestmark = pytest.mark.containers
TEN_MB = 10 * 1024 * 1024
_READY = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}


def pod(name: str, script: str, **container: Any) -> dict[str, Any]:
    """A pod that runs a shell script and ends at once when told to."""
    made = {"name": "main", "image": IMAGE, "command": ["sh", "-c", f"trap 'exit 0' TERM; {script}"], **container}
    spec = {"containers": [made], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


@pytest.fixture
def shell(kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl, and a pod named shell that waits."""
    kubectl.apply(pod("shell", "echo started; sleep 3600 & wait"))
    kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=20s")
    yield kubectl
    kubectl("delete", "pod", "shell", "--wait=false")


def test_exec(shell: Kubectl) -> None:
    assert shell("exec", "shell", "--", "echo", "hello") == "hello\n"
    assert shell("exec", "-i", "shell", "--", "cat", given="piped\n") == "piped\n"
    failed = shell("exec", "shell", "--", "sh", "-c", "echo oops >&2; exit 7", fails=True)
    assert (failed, failed.code) == ("", 7)
    assert failed.err == "oops\ncommand terminated with exit code 7\n"
    missing = shell("exec", "shell", "--", "no-such-program", fails=True)
    assert "no-such-program" in missing.err


def test_exec_on_a_terminal(shell: Kubectl) -> None:
    shown = shell.terminal("exec", "-it", "shell", "--", "sh", "-c", "tty; read line; echo got $line", typed="words\n")
    assert "/dev/pts/0" in shown
    assert "got words" in shown


def test_exec_to_the_byte(shell: Kubectl, tmp_path: Path) -> None:
    """Every byte value, in both directions, at size."""
    data = os.urandom(2_000_000)
    (tmp_path / "in").write_bytes(data)
    shell("cp", str(tmp_path / "in"), "shell:/tmp/in")
    assert shell("exec", "shell", "--", "md5sum", "/tmp/in").split()[0] == hashlib.md5(data).hexdigest()
    shell("cp", "shell:/tmp/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == data


def test_logs(kubectl: Kubectl) -> None:
    kubectl.apply(pod("talk", "for i in 1 2 3; do echo line $i; done; touch /tmp/ready; sleep 3600 & wait", readinessProbe=_READY))
    kubectl("wait", "--for=condition=Ready", "pod/talk", "--timeout=20s")
    assert kubectl("logs", "talk") == "line 1\nline 2\nline 3\n"
    assert kubectl("logs", "talk", "--tail=1") == "line 3\n"
    assert kubectl("logs", "talk", "--limit-bytes=6") == "line 1"
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line 1\n", kubectl("logs", "talk", "--timestamps"))
    assert kubectl("logs", "-l", "app=talk", "--prefix").startswith("[pod/talk/main] line 1")
    assert "previous terminated container" in kubectl("logs", "talk", "--previous", fails=True).err
    assert 'container nothing is not valid for pod talk' in kubectl("logs", "talk", "-c", "nothing", fails=True).err


def test_logs_followed(kubectl: Kubectl) -> None:
    kubectl.apply(pod("talk", "echo first; while ! test -e /tmp/go; do sleep 0.05; done; echo last"))
    kubectl("wait", "--for=condition=Ready", "pod/talk", "--timeout=20s")
    with kubectl.running("logs", "-f", "talk") as following:
        line_with(following.stdout, "first")
        kubectl("exec", "talk", "--", "touch", "/tmp/go")
        line_with(following.stdout, "last")


def test_attach(kubectl: Kubectl) -> None:
    kubectl.apply(pod("echo", "while read line; do echo you said $line; done", stdin=True, stdinOnce=True))
    kubectl("wait", "--for=condition=Ready", "pod/echo", "--timeout=20s")
    assert "you said hello\n" in kubectl("attach", "-i", "echo", given="hello\n")


def test_run_and_remove(kubectl: Kubectl) -> None:
    out = kubectl("run", "once", "--rm", "-i", "-q", f"--image={IMAGE}", "--restart=Never", "--", "cat", given="through\n")
    assert "through\n" in out
    assert "not found" in kubectl("get", "pod", "once", fails=True).err


def test_port_forward_to_the_byte(kubectl: Kubectl) -> None:
    """Ten megabytes there and back: the pod sends what it gets."""
    kubectl.apply(pod("echo", "nc -ll -p 7000 -e cat & touch /tmp/ready; wait", readinessProbe=_READY))
    kubectl("wait", "--for=condition=Ready", "pod/echo", "--timeout=20s")
    data = os.urandom(TEN_MB)
    with kubectl.running("port-forward", "pod/echo", ":7000") as forwarding:
        port = int(line_with(forwarding.stdout, "Forwarding from 127.0.0.1").split(":")[1].split()[0])
        for _ in range(2):
            assert echoed(port, data) == hashlib.sha256(data).hexdigest()


def echoed(port: int, data: bytes) -> str:
    """SHA-256 of what comes back."""
    digest, left = hashlib.sha256(), len(data)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setblocking(False)
        view = memoryview(data)
        while left:
            readable, writable, _ = select.select([connection], [connection] if view else [], [], 30)
            assert readable or writable, f"{left} bytes did not come back"
            if writable:
                view = view[connection.send(view[: 1 << 16]) :]
            if readable:
                piece = connection.recv(1 << 16)
                assert piece, f"closed with {left} bytes to come"
                digest.update(piece)
                left -= len(piece)
    return digest.hexdigest()


def test_port_forward_to_a_service(kubectl: Kubectl) -> None:
    script = "mkdir -p /www; echo page > /www/index.html; touch /tmp/ready; httpd -f -p 8080 -h /www & wait"
    kubectl.apply(pod("web", script, readinessProbe=_READY))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
    kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
    with kubectl.running("port-forward", "service/web", ":80") as forwarding:
        port = int(line_with(forwarding.stdout, "Forwarding from 127.0.0.1").split(":")[1].split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert page.read() == b"page\n"


def test_pods_reach_services_and_the_api_server(kubectl: Kubectl) -> None:
    """Cluster addresses are the proxy's doing; the token is the kubelet's."""
    script = "mkdir -p /www; hostname > /www/index.html; touch /tmp/ready; httpd -f -p 8080 -h /www & wait"
    kubectl.apply(*(pod(name, script, readinessProbe=_READY) for name in ("web", "other")))
    kubectl("wait", "--for=condition=Ready", "pod/web", "pod/other", "--timeout=20s")
    kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
    address = kubectl.field("service/web", ".spec.clusterIP")
    kubectl("wait", "--for=jsonpath={.endpoints[0].conditions.ready}=true", "endpointslice", "-l", "kubernetes.io/service-name=web")
    fetch = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $0 80 | tail -n 1"
    assert kubectl("exec", "other", "--", "sh", "-c", fetch, address) == "web\n"
    assert kubectl("exec", "web", "--", "sh", "-c", fetch, address) == "web\n", "also to itself"
    own = kubectl("exec", "other", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    assert own == kubectl.namespace
    token = kubectl("exec", "other", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    answer = json.loads(kubectl("auth", "whoami", f"--token={token}", "-o", "json", "--kubeconfig=/dev/null", *anonymously(kubectl)))
    assert answer["status"]["userInfo"]["username"] == f"system:serviceaccount:{kubectl.namespace}:default"
    probe = "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null && echo open"
    assert kubectl("exec", "other", "--", "sh", "-c", probe) == "open\n"


def anonymously(kubectl: Kubectl) -> list[str]:
    """Options that reach the server without the administrator's certificate."""
    return [f"--server=https://127.0.0.1:{kubectl.cluster.port}", f"--certificate-authority={kubectl.cluster.directory}/pki/ca.crt"]


@pytest.fixture
def spdy(shell: Kubectl) -> Iterator[Kubectl]:
    """The protocol kubectl spoke before WebSocket."""
    switches = {f"KUBECTL_{what}_WEBSOCKETS": "false" for what in ("REMOTE_COMMAND", "PORT_FORWARD")}
    shell.cluster.env |= switches
    yield shell
    for name in switches:
        del shell.cluster.env[name]


def test_the_older_protocol(spdy: Kubectl) -> None:
    assert spdy("exec", "-i", "shell", "--", "sh", "-c", "cat; echo err >&2", given="piped\n") == "piped\n"
    failed = spdy("exec", "shell", "--", "sh", "-c", "exit 7", fails=True)
    assert (failed.code, failed.err) == (7, "command terminated with exit code 7\n")
    spdy("exec", "shell", "--", "sh", "-c", "nc -ll -p 7000 -e cat >/dev/null 2>&1 &")
    data = os.urandom(1_000_000)
    with spdy.running("port-forward", "pod/shell", ":7000") as forwarding:
        port = int(line_with(forwarding.stdout, "Forwarding from 127.0.0.1").split(":")[1].split()[0])
        assert echoed(port, data) == hashlib.sha256(data).hexdigest()


def test_volumes(kubectl: Kubectl) -> None:
    """Settings as files and variables; and a place to write."""
    kubectl("create", "configmap", "settings", "--from-literal=color=red")
    kubectl("create", "secret", "generic", "keys", "--from-literal=door=1234")
    made = pod(
        "reader", "cat /tmp/s/color /tmp/k/door; echo; echo $COLOR; echo $DOOR; sleep 3600 & wait",
        volumeMounts=[{"name": "s", "mountPath": "/tmp/s"}, {"name": "k", "mountPath": "/tmp/k"}, {"name": "e", "mountPath": "/tmp/e"}],
        env=[
            {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
            {"name": "DOOR", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "door"}}},
        ],
    )  # fmt: skip
    made["spec"]["volumes"] = [
        {"name": "s", "configMap": {"name": "settings"}}, {"name": "k", "secret": {"secretName": "keys"}}, {"name": "e", "emptyDir": {}},
    ]  # fmt: skip
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/reader", "--timeout=20s")
    assert kubectl("logs", "reader") == "red1234\nred\n1234\n"
    kubectl("exec", "reader", "--", "sh", "-c", "echo kept > /tmp/e/file")
    assert kubectl("exec", "reader", "--", "cat", "/tmp/e/file") == "kept\n"
