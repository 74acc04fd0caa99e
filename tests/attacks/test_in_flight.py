"""As many requests under way as may be: more are told to come again, the masters, probes, watches and streams are not."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.attacks.conftest import COSTS
from tests.attacks.victim import Victim, running

pytestmark = pytest.mark.slow
MOST = 5
MAPS = "/api/v1/namespaces/default/configmaps"
BINDING = {
    "metadata": {"name": "busy"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "busy"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Victim]:
    options = ["--max-mutating-requests-inflight", str(MOST), "--max-requests-inflight", str(MOST)]
    with running(tmp_path_factory.mktemp("victim"), *options) as running_victim:
        yield running_victim
        request.config.stash.setdefault(COSTS, []).extend(running_victim.costs)


@pytest.fixture(scope="module")
def token(victim: Victim) -> str:
    """Of somebody who may everything, but is none of the masters."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    assert victim.ask("POST", accounts, {"metadata": {"name": "busy"}})[0] == 201
    assert victim.ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", BINDING)[0] == 201
    status, response = victim.ask("POST", f"{accounts}/busy/token", {"spec": {}})
    assert status == 201
    return str(response["status"]["token"])


def create(victim: Victim, token: str) -> tuple[int, str, bytes]:
    """Status, Retry-After and body of a create."""
    line = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls())
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        line.request("POST", MAPS, b'{"metadata": {"generateName": "m-"}}', headers)
        answer = line.getresponse()
        return answer.status, answer.headers.get("Retry-After", ""), answer.read()
    finally:
        line.close()


def test_bodies_that_do_not_come(victim: Victim, token: str) -> None:
    head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    with victim.watched(f"{MOST} bodies that do not come, as many as may be under way") as cost, ExitStack() as stack:
        for _ in range(MOST):
            line = stack.enter_context(victim.connect())
            line.sendall(head.encode())
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 100 ")  # it is under way
        assert create(victim, token) == (429, "1", b"Too many requests, please try again later.\n")
        assert create(victim, victim.token)[0] == 201
        assert victim.ask("GET", MAPS, token=token)[0] == 200
    assert create(victim, token)[0] == 201
    cost.check()


def test_watches_count_for_nothing(victim: Victim, token: str) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MOST):
            line = stack.enter_context(victim.connect())
            line.sendall(f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert victim.ask("GET", MAPS, token=token)[0] == 200
