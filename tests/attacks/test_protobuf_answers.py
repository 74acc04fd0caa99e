"""Answers in protobuf that are as long as they can be: objects of many values, lists of them, and watches of one."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kapi.objects.meta import Object
from tests.attacks.requests import MAPS, NAMESPACE, PODS, config_map, create
from tests.attacks.test_watchers import follow
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
PROTOBUF = "application/vnd.kubernetes.protobuf"
PARTIAL = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def fetch(victim: Victim, path: str, accept: str = PROTOBUF, method: str = "GET", body: Any = None) -> int:
    """Bytes of an answer, which is not kept."""
    line = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=60)
    line.request(method, path, body, headers={"Authorization": f"Bearer {victim.token}", "Accept": accept})
    answer, size = line.getresponse(), 0
    assert answer.status == 200
    while piece := answer.read(1 << 16):
        size += len(piece)
    line.close()
    return size


def values(count: int) -> Object:
    return {f"k{i}": "v" * 20 for i in range(count)}


@pytest.fixture(scope="module", autouse=True)
def large(victim: Victim) -> None:
    create(victim, f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    tolerations = [{"key": f"k{i}", "operator": "Exists"} for i in range(29_000)]
    create(victim, PODS, {"metadata": {"name": "large"}, "spec": {"containers": [{"name": "c", "image": "i"}], "tolerations": tolerations}})
    for number in range(60):
        create(victim, MAPS, {**config_map(f"m{number}"), "data": values(30_000)})


def test_an_object_of_many_values(victim: Victim) -> None:
    with victim.watched("GET in protobuf: 29,000 tolerations, eight at once") as cost, ThreadPoolExecutor(8) as threads:
        sizes = set(threads.map(lambda _: fetch(victim, f"{PODS}/large"), range(8)))
    assert len(sizes) == 1
    cost.check()


@pytest.mark.parametrize("accept", [PROTOBUF, PARTIAL])
def test_a_list_of_large_objects(victim: Victim, accept: str) -> None:
    """Not all of which can be kept."""
    with victim.watched(f"LIST in protobuf: 60 x 1 MB as {accept.partition(';')[2] or 'they are'}") as cost:
        began = time.perf_counter()
        fetch(victim, MAPS, accept)
        cost.note = f"in {time.perf_counter() - began:.1f} s"
    cost.check()


def test_a_large_object_that_many_watch(victim: Victim) -> None:
    since = victim.ask("GET", MAPS)[1]["metadata"]["resourceVersion"]
    headers = {"Authorization": f"Bearer {victim.token}", "Accept": f"{PROTOBUF};stream=watch"}
    lines = [http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=30) for _ in range(40)]
    for line in lines:
        line.request("GET", f"{MAPS}?watch=1&resourceVersion={since}", headers=headers)
    answers = [line.getresponse() for line in lines]
    with victim.watched("40 watchers in protobuf of 1 MB") as cost:
        began = time.perf_counter()
        obj = {**config_map("m1"), "data": values(29_999) | {"last": "the end"}}
        assert victim.ask("PUT", f"{MAPS}/m1", obj)[0] == 200
        with ThreadPoolExecutor(40) as threads:
            sizes = list(threads.map(lambda answer: follow(answer, b"the end"), answers))
        cost.note = f"all told in {time.perf_counter() - began:.1f} s"
    assert min(sizes) > 900_000
    for line in lines:
        line.close()
    cost.check()
