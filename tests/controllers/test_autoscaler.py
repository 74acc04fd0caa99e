"""HorizontalPodAutoscalers on a real API server, whose metrics API is a custom resource; and the arithmetic by itself."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kapi.apiserver.assembly import Server
from kapi.client import Client, Context, Informers, Recorder
from kapi.controllers import pods, scaling, usage_metrics
from kapi.controllers.autoscaler import Autoscaling
from kapi.controllers.scaling import Bounds, ScalingHistory
from kapi.controllers.usage_metrics import MetricError, Target
from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.resource import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS, SERVICE_ACCOUNTS, Resource
from tests.api.customs import define, definition
from tests.moments import turn

POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", True)
LABELS = {"app": "web"}


class Silent(Recorder):
    """Keeps what it is told."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, "test")
        self.told: list[tuple[str, str]] = []

    def named(self, component: str, host: str = "") -> "Silent":
        return self

    def event(self, obj: Object, type: str, reason: str, message: str, **more: Any) -> None:
        self.told.append((reason, message))


class World:
    """A Deployment of so many running pods, an autoscaler, and its controller, which looks when it is told to."""

    def __init__(self, client: Client) -> None:
        self.client, self.running = client, 0
        self.informers = Informers(client)
        self.recorder = Silent(client)
        self.controller = Autoscaling(Context(client, self.informers, self.recorder))

    async def start(self, replicas: int, **spec: Any) -> None:
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
        template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
        made = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
        await self.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
        await self.client.create(DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "default"}, "spec": made})
        self.running = replicas
        for number in range(replicas):
            about = {"name": f"p{number}", "namespace": "default", "labels": LABELS}
            pod = await self.client.create(PODS, {"metadata": about, "spec": {"containers": [container]}})
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": time.stamp(time.now() - 900)}
            status = {"phase": "Running", "startTime": time.stamp(time.now() - 900), "conditions": [ready]}
            await self.client.update(PODS, {**pod, "status": status}, subresource="status")
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
        wanted = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, "metrics": [metric], **spec}
        await self.client.create(HORIZONTAL_POD_AUTOSCALERS, {"metadata": {"name": "web", "namespace": "default"}, "spec": wanted})

    async def use(self, *amounts: str) -> None:
        """What the pods use of the CPU."""
        for number, amount in enumerate(amounts):
            made: Object = {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics"}
            made |= {"metadata": {"name": f"p{number}", "namespace": "default", "labels": LABELS}}
            made |= {"timestamp": time.stamp(), "window": "30s", "containers": [{"name": "c", "usage": {"cpu": amount}}]}
            await self.client.create(POD_METRICS, made)

    async def look(self) -> Object:
        """The autoscaler after another look, which knows of all that was made."""
        async with asyncio.timeout(5):
            while sum(pods.phase(p) == "Running" for p in self.controller.pods) < self.running or not len(self.controller.objects):
                await turn()
        await self.controller.reconcile("default/web")
        return await self.client.get(HORIZONTAL_POD_AUTOSCALERS, "web", "default")

    async def replicas(self) -> int:
        return int((await self.client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"])


@pytest.fixture
async def world(server: Server, client: Client) -> AsyncIterator[World]:
    made = World(client)
    running = [asyncio.create_task(made.informers.run()), asyncio.create_task(server.crds.run())]
    await made.controller.ready()
    yield made
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def conditions(autoscaler: Object) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in autoscaler["status"]["conditions"]}


async def serve_metrics(client: Client) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
    wanted = definition(version, plural="pods", kind="PodMetrics", group="metrics.k8s.io")
    wanted["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test"}
    await define(client, wanted)


async def test_without_a_metrics_api(world: World) -> None:
    await world.start(2)
    found = await world.look()
    api = "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
    why = f"failed to get cpu utilization: unable to get metrics for resource cpu: {api}"
    able = "the HPA controller was able to get the target's current scale"
    assert conditions(found) == {
        "AbleToScale": ("True", "SucceededGetScale", able),
        "ScalingActive": ("False", "FailedGetResourceMetric", f"the HPA was unable to compute the replica count: {why}"),
    }
    text = f"invalid metrics (1 invalid out of 1), first error is: {why}"
    assert world.recorder.told == [("FailedGetResourceMetric", why), ("FailedComputeMetricsReplicas", text)]


async def test_no_such_target(world: World) -> None:
    await world.start(1, scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"})
    text = 'deployments.apps "other" not found'
    told = ("False", "FailedGetScale", f"the HPA controller was unable to get the target's current scale: {text}")
    assert conditions(await world.look()) == {"AbleToScale": told}
    assert world.recorder.told == [("FailedGetScale", text)]


async def test_up_to_what_the_metrics_ask_for(world: World, client: Client) -> None:
    await serve_metrics(client)
    await world.start(2)
    await world.use("90m", "60m")
    found = await world.look()
    assert await world.replicas() == 3
    assert conditions(found)["ScalingActive"][1:] == (
        "ValidMetricFound",
        "the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)",
    )
    assert conditions(found)["AbleToScale"][1:] == ("SucceededRescale", "the HPA controller was able to update the target scale to 3")
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 75, "averageValue": "75m"}}}
    assert found["status"]["currentMetrics"] == [current]
    assert (found["status"]["currentReplicas"], found["status"]["desiredReplicas"]) == (2, 3)
    text = "New size: 3; reason: cpu resource utilization (percentage of request) above target"
    assert world.recorder.told == [("SuccessfulRescale", text)]


async def test_down_only_after_a_while(world: World, client: Client) -> None:
    await serve_metrics(client)
    await world.start(4)
    await world.use("10m", "10m", "10m", "10m")
    found = await world.look()
    assert await world.replicas() == 4
    assert conditions(found)["AbleToScale"][1] == "ScaleDownStabilized"
    world.controller._histories["default/web"].recommendations.clear()
    world.controller._histories["default/web"].recommendations.append((time.now() - 1, 1))
    await world.look()
    assert await world.replicas() == 1


async def test_bounds_and_zero(world: World, client: Client) -> None:
    await world.start(3, maxReplicas=2)
    await world.look()
    assert await world.replicas() == 2
    assert world.recorder.told == [("SuccessfulRescale", "New size: 2; reason: Current number of replicas above Spec.MaxReplicas")]
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, namespace="default")
    text = "scaling is disabled since the replica count of the target is zero"
    assert conditions(await world.look())["ScalingActive"] == ("False", "ScalingDisabled", text)


class Answers:
    """As much of a client as a metrics API needs: what it is asked, and what it says."""

    def __init__(self, *items: Object) -> None:
        self.items, self.asked = list(items), ""

    async def send(self, method: str, path: str, **query: str) -> Object:
        self.asked = f"{path} {query}"
        return {"items": self.items}


def target(client: Any, replicas: int = 4) -> Target:
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    chosen = [{"metadata": {"name": f"p{n}"}, "spec": {}, "status": running} for n in range(replicas)]
    return Target(client, "ns", "app=web", chosen, replicas, replicas)


async def test_figures_of_pods() -> None:
    api = Answers(*({"describedObject": {"name": f"p{n}"}, "value": "30"} for n in range(4)))
    source = {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "20"}}
    found = await usage_metrics.of_pods(target(api), source)
    assert (found.replicas, found.name, found.status["current"]) == (6, "pods metric hits", {"averageValue": "30"})
    asked = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/hits"
    assert api.asked == f"{asked} {{'labelSelector': 'app=web', 'metricLabelSelector': ''}}"


async def test_figures_of_an_object() -> None:
    api = Answers({"value": "150"})
    of = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main"}
    source = {"metric": {"name": "hits"}, "describedObject": of, "target": {"type": "Value", "value": "100"}}
    found = await usage_metrics.of_object(target(api), source)
    assert (found.replicas, found.name, found.status["current"]) == (6, "Ingress metric hits", {"value": "150"})


async def test_figures_from_outside() -> None:
    api = Answers({"value": "15"}, {"value": "10500m"})
    metric = {"name": "queue", "selector": {"matchLabels": {"q": "a"}}}
    found = await usage_metrics.of_external(target(api), {"metric": metric, "target": {"type": "AverageValue", "averageValue": "5"}})
    assert (found.replicas, found.status["current"]) == (6, {"averageValue": "6375m"})
    shown = "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}"
    assert found.name == f"external metric queue({shown})"
    assert api.asked == "/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue {'labelSelector': 'q=a'}"
    with pytest.raises(MetricError, match=r"unable to get external metric ns/queue/nil: .*no metrics returned from external metrics API"):
        await usage_metrics.of_external(target(Answers()), {"metric": {"name": "queue"}, "target": {"averageValue": "5"}})


def normalized(current: int, wanted: int, history: ScalingHistory | None = None, most: int = 100, **behavior: Any) -> tuple[int, list[str]]:
    spec = {"behavior": behavior} if behavior else {}
    desired, said = scaling.normalized(spec, Bounds(2, most), history or ScalingHistory(), current, wanted, 1000.0)
    return desired, [c.reason for c in said]


POLICIES = [{"type": "Pods", "value": 4, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]
RECENT = [(900.0, 9)]
HELD = ["ScaleUpStabilized", "DesiredWithinRange"]


@pytest.mark.parametrize(
    ("current", "wanted", "more", "expected"),
    [
        (5, 7, {}, (7, ["ReadyForNewScale", "DesiredWithinRange"])),
        (5, 50, {}, (10, ["ReadyForNewScale", "ScaleUpLimit"])),
        (1, 50, {}, (4, ["ReadyForNewScale", "ScaleUpLimit"])),
        (5, 9, {"most": 8}, (8, ["ReadyForNewScale", "TooManyReplicas"])),
        (5, 1, {}, (2, ["ReadyForNewScale", "TooFewReplicas"])),
        (9, 5, {"history": ScalingHistory([*RECENT])}, (9, ["ScaleDownStabilized", "DesiredWithinRange"])),
        (10, 40, {"scaleUp": {"policies": POLICIES}}, (15, ["ReadyForNewScale", "ScaleUpLimit"])),
        (10, 40, {"scaleUp": {"policies": POLICIES, "selectPolicy": "Min"}}, (14, ["ReadyForNewScale", "ScaleUpLimit"])),
        (
            10, 40, {"scaleUp": {"policies": POLICIES[:1]}, "history": ScalingHistory([], [(980.0, 3)])},
            (11, ["ReadyForNewScale", "ScaleUpLimit"]),
        ),
        (10, 40, {"scaleUp": {"selectPolicy": "Disabled"}}, (10, ["ReadyForNewScale", "ScaleUpLimit"])),
        (10, 1, {"scaleDown": {"policies": POLICIES}}, (5, ["ReadyForNewScale", "ScaleDownLimit"])),
        (10, 1, {"scaleDown": {"policies": POLICIES, "selectPolicy": "Min"}}, (6, ["ReadyForNewScale", "ScaleDownLimit"])),
        (5, 9, {"scaleUp": {"stabilizationWindowSeconds": 300, "policies": POLICIES}, "history": ScalingHistory([(900.0, 6)])}, (6, HELD)),
    ],
)
def test_how_far_one_look_goes(current: int, wanted: int, more: Object, expected: tuple[int, list[str]]) -> None:
    assert normalized(current, wanted, **more) == expected
