"""Stories of informers, events and leases against the fake API, in virtual time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from kapi.client.leases import LeaderElection, LeadershipLost, LeaseDurations, NodeLease
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, EVENTS, LEASES, PODS
from tests.controllers.story import Cluster, story
from tests.logged import logged


def pod(name: str, namespace: str = "default", **labels: str) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels, "managedFields": [{}]}, "spec": {}}


@story
async def test_copy_follows_and_tells(cluster: Cluster) -> None:
    told: list[tuple[str, str]] = []

    def handler(old: Object | None, new: Object | None) -> None:
        told.append(("-" if new is None else "+" if old is None else "=", meta.name(new or old or {})))

    first = cluster.api.create(PODS, pod("a"))
    informer = cluster.informers.of(PODS)
    informer.add_handler(handler)
    await cluster.run()
    second = cluster.api.create(PODS, pod("b"))
    cluster.api.set(PODS, first, spec={"nodeName": "n"})
    cluster.api.remove(PODS, second)
    await cluster.advance()
    assert told == [("+", "a"), ("+", "b"), ("=", "a"), ("-", "b")]
    kept = informer.get("default/a")
    assert kept is not None
    assert (kept["kind"], kept["apiVersion"]) == ("Pod", "v1")
    assert "managedFields" not in kept["metadata"]


@story
async def test_indexes_are_kept(cluster: Cluster) -> None:
    informer = cluster.informers.of(PODS)
    informer.add_index("app", lambda o: [meta.labels(o)["app"]])
    first = cluster.api.create(PODS, pod("a", app="x"))
    cluster.api.create(PODS, pod("b", app="x"))
    await cluster.run()
    assert [meta.name(o) for o in informer.by_index("app", "x")] == ["a", "b"]
    cluster.api.set(PODS, first, metadata={**first["metadata"], "labels": {"app": "y"}})
    await cluster.advance()
    assert [meta.name(o) for o in informer.by_index("app", "x")] == ["b"]
    assert [meta.name(o) for o in informer.by_index("app", "y")] == ["a"]


@story
async def test_own_writes_are_seen_at_once(cluster: Cluster) -> None:
    informer = cluster.informers.of(PODS)
    await cluster.run()
    made = await cluster.client.create(PODS, pod("a"))
    assert informer.get("default/a") is not None
    await cluster.client.update(PODS, {**made, "spec": {"nodeName": "n"}})
    assert informer.get("default/a")["spec"] == {"nodeName": "n"}  # type: ignore[index]
    await cluster.client.delete(PODS, "a", namespace="default", grace=0)
    assert informer.get("default/a") is None
    await cluster.advance()
    assert len(informer) == 0


@story
async def test_history_that_is_gone_is_listed_again(cluster: Cluster) -> None:
    gone: list[str] = []
    informer = cluster.informers.of(PODS)
    informer.add_handler(lambda old, new: gone.append(meta.name(old or {})) if new is None else None)
    first = cluster.api.create(PODS, pod("a"))
    await cluster.run()
    cluster.api.too_old = cluster.api.revision + 3
    cluster.api.remove(PODS, first)
    cluster.api.create(PODS, pod("b"))
    cluster.api.end_watches()
    await cluster.advance(10)
    assert [meta.name(o) for o in informer] == ["b"]
    assert gone == ["a"]


@story
async def test_a_selection_holds_only_what_it_selects(cluster: Cluster) -> None:
    cluster.api.create(CONFIG_MAPS, pod("a"))
    cluster.api.create(CONFIG_MAPS, pod("b"))
    informer = cluster.informers.select(CONFIG_MAPS, fields="metadata.name=b")
    await cluster.run()
    assert [meta.name(o) for o in informer] == ["b"]


@story
async def test_events_are_counted_combined_and_limited(cluster: Cluster) -> None:
    await cluster.run()
    about = {"kind": "Pod", "apiVersion": "v1", **cluster.api.create(PODS, pod("a"))}
    recorder = cluster.recorder.named("tester")
    for _ in range(3):
        recorder.event(about, "Warning", "BackOff", "again")
    await cluster.advance()
    [event] = cluster.api.all(EVENTS)
    assert (event["count"], event["source"], event["involvedObject"]["name"]) == (3, {"component": "tester"}, "a")
    for number in range(40):
        recorder.event(about, "Normal", "Tick", f"message {number}")
    await cluster.advance()
    ticks = [e for e in cluster.api.all(EVENTS) if e["reason"] == "Tick"]
    assert len(ticks) == 10
    assert ticks[-1]["message"] == "(combined from similar events): message 21"
    recorder.event({**about, "metadata": {**about["metadata"], "uid": "other"}}, "Normal", "Bound", "x", action="Binding")
    await cluster.advance()
    modern = cluster.api.all(EVENTS)[-1]
    assert (modern["action"], modern["reportingComponent"], "count" in modern) == ("Binding", "tester", False)


@story
async def test_one_leads_and_another_takes_over(cluster: Cluster) -> None:
    leading: list[str] = []

    async def lead(name: str) -> None:
        leading.append(name)
        await asyncio.Event().wait()

    durations = LeaseDurations(15, 10, 2)
    first = asyncio.create_task(LeaderElection(cluster.client, "x", "a", durations=durations).run(lambda: lead("a")))
    await cluster.advance()
    second = asyncio.create_task(LeaderElection(cluster.client, "x", "b", durations=durations).run(lambda: lead("b")))
    await cluster.advance(60)
    assert leading == ["a"]
    first.cancel()
    await cluster.advance(3)
    assert leading == ["a", "b"]
    assert cluster.api.all(LEASES)[0]["spec"]["leaseTransitions"] == 1
    second.cancel()
    await cluster.advance(1)
    assert cluster.api.all(LEASES)[0]["spec"]["holderIdentity"] == ""


@story
async def test_two_without_a_name_on_one_host_are_two(cluster: Cluster) -> None:
    leading: list[str] = []

    async def lead(name: str) -> None:
        leading.append(name)
        await asyncio.Event().wait()

    for name in ("a", "b"):
        cluster.background(LeaderElection(cluster.client, "x", "").run(partial(lead, name)))
    await cluster.advance(60)
    assert len(leading) == 1


@story
async def test_heartbeat_is_one_write_each_ten_seconds(cluster: Cluster) -> None:
    beating = asyncio.create_task(NodeLease(cluster.client, "n1").run())
    await cluster.advance(61)
    beating.cancel()
    assert cluster.api.calls.count("PUT leases") == 6
    assert cluster.api.calls.count("GET leases") == 1
    lease = cluster.api.all(LEASES)[0]
    assert (meta.namespace(lease), lease["spec"]["holderIdentity"]) == ("kube-node-lease", "n1")


@story
async def test_a_watch_that_fails_and_recovers_is_logged(cluster: Cluster) -> None:
    cluster.informers.of(CONFIG_MAPS)
    await cluster.run()
    with logged("kapi.client.informer") as lines:
        with out_of_reach(cluster):
            cluster.api.end_watches()
            await cluster.advance(30)
        cluster.api.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
        await cluster.advance(60)
    failed = [fields for message, fields in lines if message == "Watching failed, trying again"]
    (again,) = [fields for message, fields in lines if message == "Watching again"]
    assert {fields["resource"] for fields in failed} == {"configmaps"}
    assert str(failed[0]["error"]) == "[Errno 111] Connection refused"
    assert 29 < again["seconds"] < 70


@contextmanager
def out_of_reach(cluster: Cluster) -> Iterator[None]:
    async def refuse(*_: Any) -> Any:
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster.api, "request", refuse)
        patch.setattr(cluster.api, "open", refuse)
        yield


@story
async def test_leaders_are_logged(cluster: Cluster) -> None:
    """Who leads, who else does, that a lease is lost and to whom."""
    ended: list[str] = []

    async def lead(name: str) -> None:
        await asyncio.Event().wait()

    async def run(name: str) -> None:
        try:
            await LeaderElection(cluster.client, "x", name).run(lambda: lead(name))
        except* LeadershipLost:
            ended.append(name)

    with logged("kapi.client.leases") as lines:
        first = asyncio.create_task(run("a"))
        await cluster.advance()
        second = asyncio.create_task(run("b"))
        await cluster.advance()
        with out_of_reach(cluster):
            await cluster.advance(20)
        await cluster.advance(20)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
    lease = {"lease": "kube-system/x"}
    assert ended == ["a"]
    assert [line for line in lines if line[0] in ("Became leader", "New leader")] == [
        ("Became leader", {**lease, "identity": "a"}), ("New leader", {**lease, "leader": "a", "before": ""}),
        ("Became leader", {**lease, "identity": "b"}),
    ]  # fmt: skip
    (lost,) = [fields for message, fields in lines if message == "Lost the lease"]
    assert (lost["identity"], lost["lease"]) == ("a", "kube-system/x")
    assert 10 < lost["seconds"] < 14
    assert "Lease could not be acquired or renewed" in {message for message, _ in lines}
