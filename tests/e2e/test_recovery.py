"""What breaks and comes back: containers, the API server in the middle of writes, the kubelet, containerd."""

import concurrent.futures
import itertools
import json
import os
import signal
import ssl
import threading
import urllib.request
from http.client import HTTPException, HTTPSConnection
from typing import Any

import pytest

from tests.e2e.cluster import IMAGE, Cluster, Kubectl
from tests.e2e.test_streams import pod

WRITERS = 8
OBJECTS = 1000


def main_pid(kubectl: Kubectl, name: str) -> int:
    """The pid, on this machine, of a pod's first process (the pod's command has its name in it)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            continue
        if any(f"echo {kubectl.namespace}-{name};".encode() in a for a in arguments) and arguments[0] == b"sh":
            found.append(int(pid))
    return min(found)


def restarts(kubectl: Kubectl, name: str) -> int:
    return int(kubectl.field(f"pod/{name}", ".status.containerStatuses[0].restartCount"))


@pytest.mark.containers
def test_a_container_that_is_killed(kubectl: Kubectl) -> None:
    """It is started again at once, then ever later; the status tells how it ended."""
    kubectl.apply(pod("victim", f"echo {kubectl.namespace}-victim; sleep 3600 & wait"))
    kubectl("wait", "--for=condition=Ready", "pod/victim", "--timeout=20s")
    first = kubectl.field("pod/victim", ".status.containerStatuses[0].containerID")
    os.kill(main_pid(kubectl, "victim"), signal.SIGKILL)
    kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/victim", "--timeout=20s")
    kubectl("wait", "--for=condition=Ready", "pod/victim", "--timeout=20s")
    status = kubectl.json("get", "pod", "victim")["status"]["containerStatuses"][0]
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["containerID"]) == (137, "Error", first)
    assert status["containerID"] != first
    assert status["state"]["running"]["startedAt"] >= ended["finishedAt"]
    assert kubectl("logs", "victim", "--previous") == f"{kubectl.namespace}-victim\n"
    os.kill(main_pid(kubectl, "victim"), signal.SIGKILL)
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    kubectl("wait", f"--for=jsonpath={reason}=CrashLoopBackOff", "pod/victim", "--timeout=20s")
    waiting = kubectl.field("pod/victim", ".status.containerStatuses[0].state.waiting.message")
    assert waiting.startswith("back-off 10s restarting failed container=main pod=victim_")
    assert kubectl("get", "pod", "victim", "--no-headers").split()[1:3] == ["0/1", "CrashLoopBackOff"]
    assert "BackOff" in kubectl("describe", "pod", "victim")


@pytest.mark.containers
@pytest.mark.parametrize("process", ["kubelet", "containerd"])
def test_a_restart_leaves_containers_alone(kubectl: Kubectl, process: str) -> None:
    kubectl.apply(pod("calm", "sleep 3600 & wait"))
    kubectl("wait", "--for=condition=Ready", "pod/calm", "--timeout=20s")
    before = kubectl.field("pod/calm", ".status.containerStatuses[0].containerID")
    restart = kubectl.cluster.kill(process)
    assert kubectl("get", "pods").count("calm") == 1, "the API server does not mind"
    restart()
    kubectl.apply(pod("next", "sleep 3600 & wait"))
    kubectl("wait", "--for=condition=Ready", "pod/next", "--timeout=40s")
    kubectl("wait", "--for=condition=Ready", "pod/calm", "--timeout=20s")
    assert kubectl.field("pod/calm", ".status.containerStatuses[0].containerID") == before
    assert restarts(kubectl, "calm") == 0
    assert kubectl("exec", "calm", "--", "echo", "alive") == "alive\n"


class Writer:
    """Creates config maps over one connection after the other; remembers which ones were acknowledged."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.port, self.path = cluster.port, f"/api/v1/namespaces/{namespace}/configmaps"
        self.token = (cluster.directory / "tokens.csv").read_text().partition(",")[0]
        self.tls = ssl.create_default_context(cafile=str(cluster.directory / "pki" / "ca.crt"))
        self.tls.check_hostname = False
        self.up = threading.Event()
        self.acknowledged: list[str] = []

    def connect(self) -> HTTPSConnection:
        return HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=20)

    def create(self, numbers: Any) -> None:
        """Create what the numbers say until there are none; wait for the server while it is away."""
        connection = self.connect()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        for number in numbers:
            name = f"m{number}"
            body = json.dumps({"metadata": {"name": name}, "data": {"n": str(number)}})
            try:
                connection.request("POST", self.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status in (201, 409)
                self.acknowledged.append(name)
            except (OSError, HTTPException):
                connection.close()
                self.up.wait(20)
                connection = self.connect()
        connection.close()


def events_after(cluster: Cluster, writer: Writer, version: str, count: int) -> list[tuple[str, str]]:
    """(name, resourceVersion) of the ADDED events after a revision."""
    url = f"https://127.0.0.1:{cluster.port}{writer.path}?watch=true&resourceVersion={version}&timeoutSeconds=20"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {writer.token}"})
    with urllib.request.urlopen(request, context=writer.tls, timeout=30) as stream:
        found = []
        for line in itertools.islice(stream, count):
            event = json.loads(line)
            assert event["type"] == "ADDED"
            found.append((event["object"]["metadata"]["name"], event["object"]["metadata"]["resourceVersion"]))
    return found


@pytest.mark.slow
def test_the_api_server_is_killed_in_the_middle_of_writes(sim: Kubectl) -> None:
    """Every acknowledged object is there; a watch from before sees each once, in order, from either side of the crash."""
    cluster = sim.cluster
    sim("wait", "--for=create", "configmap/kube-root-ca.crt", "--timeout=10s")
    version = sim.field("configmap/kube-root-ca.crt", ".metadata.resourceVersion")
    writer = Writer(cluster, sim.namespace)
    numbers = iter(range(OBJECTS))
    lock = threading.Lock()

    def shared() -> Any:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if number == OBJECTS // 2:
                reached.set()
            yield number

    reached = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(writer.create, shared()) for _ in range(WRITERS)]
        assert reached.wait(30)
        restart = cluster.kill("simulated")
        restart()
        writer.up.set()
        for done in running:
            done.result(60)
    listed = {i["metadata"]["name"]: i for i in sim.json("get", "configmaps")["items"] if i["metadata"]["name"].startswith("m")}
    lost = set(writer.acknowledged) - set(listed)
    assert lost == set()
    assert OBJECTS - len(writer.acknowledged) <= WRITERS, "only what was under way may be missing"
    assert all(obj["data"] == {"n": name[1:]} for name, obj in listed.items()), "nothing torn"
    events = events_after(cluster, writer, version, len(listed))
    assert len(events) == len(set(events))
    assert {name for name, _ in events} == set(listed)
    revisions = [int(revision) for _, revision in events]
    assert revisions == sorted(revisions)


@pytest.mark.slow
def test_components_come_back_to_a_restarted_api_server(sim: Kubectl) -> None:
    sim("create", "deployment", "web", f"--image={IMAGE}", "--replicas=2")
    sim("rollout", "status", "deployment/web", "--timeout=30s")
    sim.cluster.kill("simulated")()
    sim("scale", "deployment/web", "--replicas=4")
    sim("rollout", "status", "deployment/web", "--timeout=30s")


@pytest.mark.containers
def test_the_api_server_alone_is_killed(kubectl: Kubectl) -> None:
    """Controllers, scheduler and kubelet find it again; pods do not notice."""
    kubectl("create", "deployment", "web", f"--image={IMAGE}", "--", "sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    before = kubectl.field("pods", ".items[0].status.containerStatuses[0].containerID")
    kubectl.cluster.kill("apiserver")()
    kubectl("scale", "deployment/web", "--replicas=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=40s")
    ids = kubectl.field("pods", ".items[*].status.containerStatuses[0].containerID").split()
    assert before in ids
    assert len(ids) == 2
