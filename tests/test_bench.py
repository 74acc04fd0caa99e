"""The load generator counts what a server really answered."""

import json

import pytest

from bench.load import Connection, Load, Target, fan_out, mixed, run
from kapi.testing import Cluster

pytestmark = pytest.mark.slow
MAPS = "/api/v1/namespaces/default/configmaps"
MAP = json.dumps({"metadata": {"name": "m-@", "labels": {"bench": "yes"}}, "data": {"k": "v" * 500}})


@pytest.fixture
def target(cluster: Cluster) -> Target:
    return Target(cluster.port, cluster.token)


def count(target: Target) -> int:
    line = Connection(target)
    code, body = line.ask(Load(f"{MAPS}?limit=1&labelSelector=bench").request(target, ""))
    line.close()
    assert code == 200
    return len(json.loads(body)["items"])


def test_what_was_created_is_there(target: Target) -> None:
    outcome = run(target, Load(MAPS, "POST", MAP, connections=4, seconds=0.2))
    assert (outcome.failed, len(outcome.times)) == (0, outcome.done)
    assert 0 < outcome.percentile(0.5) <= outcome.percentile(0.99)
    assert count(target) == 1, "a page of one"
    line = Connection(target)
    _, body = line.ask(Load(f"{MAPS}?limit=1").request(target, ""))
    line.close()
    assert json.loads(body)["metadata"]["remainingItemCount"] >= outcome.done - 1


def test_failures_are_told_apart(target: Target) -> None:
    outcome = run(target, Load(f"{MAPS}/nothing", connections=2, seconds=0.1))
    assert outcome.done == 0
    assert outcome.failed > 0


def test_every_watcher_sees_everything(target: Target) -> None:
    assert fan_out(target, f"{MAPS}?watch=1&resourceVersion=0", Load(MAPS, "POST", MAP), 3, 20) > 0


def test_loads_at_once_are_told_apart(target: Target) -> None:
    writes, reads = Load(MAPS, "POST", MAP, connections=2, seconds=0.2), Load(f"{MAPS}/nothing", connections=1, seconds=0.2)
    written, read = mixed(target, [writes, reads])
    assert (written.failed, read.done) == (0, 0)
    assert written.done
    assert read.failed
