"""Metrics of a HorizontalPodAutoscaler: current usage from the metrics APIs, and the replicas that would meet the target.

metrics.k8s.io has the usage of pods, custom.metrics.k8s.io and external.metrics.k8s.io other metrics. All three are optional.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kapi.client import Client
from kapi.controllers import pods as pod_facts
from kapi.objects import errors, labels, meta, quantity, time
from kapi.objects.meta import Object

CPU_START, READY_DELAY = 300.0, 30.0
"""Seconds after a pod's start in which its CPU is ignored while it is not ready, and in which it is expected to become ready."""
TOLERANCE = 0.1
_NOT_SERVED = "the server could not find the requested resource"


class MetricError(Exception):
    """A metric cannot be computed; the text is stock's."""


class Sample(NamedTuple):
    """Usage of one pod in milli-units, when it was measured, over how many seconds."""

    milli: int
    at: float = 0.0
    window: float = 60.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """The replicas that one metric proposes."""

    replicas: int
    name: str
    status: Object
    """MetricStatus."""


@dataclass(slots=True)
class Target:
    """The scaled object: its pods, number of replicas, and tolerance."""

    client: Client
    namespace: str
    selector: str
    pods: Sequence[Object]
    replicas: int
    ready: int
    tolerance: tuple[float, float] = (TOLERANCE, TOLERANCE)

    def near(self, ratio: float) -> bool:
        return 1 - self.tolerance[0] <= ratio <= 1 + self.tolerance[1]


def amount(milli: float) -> str:
    """Milli-units as the API writes them: '250m', '2'."""
    whole, rest = divmod(int(milli), 1000)
    return str(whole) if not rest else f"{int(milli)}m"


async def fetch(client: Client, group: str, path: str, what: str, **query: str) -> list[Object]:
    """The items that a metrics API returns; `what` is client-go's name of the query. Raises MetricError."""
    try:
        return list((await client.send("GET", f"/apis/{group}/{path}", **query)).get("items") or ())
    except errors.NotFound as error:
        text = error.message if error.details and error.details.get("name") else f"{_NOT_SERVED} (get {what})"
    except errors.StatusError as error:
        text = error.message
    except OSError as error:
        text = str(error)
    raise MetricError(text)


# what pods use ----------------------------------------------------------------------------------------------------------------------------


async def _samples(target: Target, resource: str, container: str) -> dict[str, Sample]:
    """Usage of a resource by pod name."""
    path = f"v1beta1/namespaces/{target.namespace}/pods"
    head = f"unable to get metrics for resource {resource}: "
    try:
        items = await fetch(target.client, "metrics.k8s.io", path, "pods.metrics.k8s.io", labelSelector=target.selector)
    except MetricError as why:
        raise MetricError(f"{head}unable to fetch metrics from resource metrics API: {why}") from None
    if not items:
        raise MetricError(f"{head}no metrics returned from resource metrics API")
    found = {meta.name(item): _sample(item, resource, container) for item in items}
    return {name: sample for name, sample in found.items() if sample is not None}


def _sample(item: Object, resource: str, container: str) -> Sample | None:
    """The sample of a pod; None if one of its containers has no usage."""
    chosen = [c for c in item.get("containers") or () if not container or c.get("name") == container]
    if container and not chosen:
        raise MetricError(f"container {container} not present in metrics for pod {meta.key(item)}")
    amounts = [(c.get("usage") or {}).get(resource) for c in chosen]
    if None in amounts:
        return None
    seconds = str(item.get("window") or "60s").rstrip("s")
    window = float(seconds) if seconds.replace(".", "", 1).isdigit() else 60.0
    return Sample(sum(quantity.milli(a) for a in amounts), time.parse(item.get("timestamp")), window)


def _requests(target: Target, resource: str, container: str) -> dict[str, int]:
    requests: dict[str, int] = {}
    for pod in target.pods:
        total = 0
        spec = pod["spec"]
        sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
        for each in (*(spec.get("containers") or ()), *sidecars):
            if container and each["name"] != container:
                continue
            request = ((each.get("resources") or {}).get("requests") or {}).get(resource)
            if request is None:
                raise MetricError(f"missing request for {resource} in container {each['name']} of Pod {meta.name(pod)}")
            total += quantity.milli(request)
        requests[meta.name(pod)] = total
    return requests


class Groups(NamedTuple):
    """Pods grouped for the computation: number of ready ones, names of the others by reason."""

    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def grouped(pods: Sequence[Object], samples: Mapping[str, Sample], resource: str, now: float) -> Groups:
    ready, unready, missing, ignored = 0, set[str](), set[str](), set[str]()
    for pod in pods:
        name, sample = meta.name(pod), samples.get(meta.name(pod))
        if meta.deleting(pod) or pod_facts.phase(pod) == "Failed":
            ignored.add(name)
        elif pod_facts.phase(pod) == "Pending":
            unready.add(name)
        elif sample is None:
            missing.add(name)
        elif resource == "cpu" and _starting(pod, sample, now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, unready, missing, ignored)


def _starting(pod: Object, sample: Sample, now: float) -> bool:
    """Whether the pod's CPU usage is to be ignored because it is starting."""
    condition, started = meta.condition(pod, "Ready"), (pod.get("status") or {}).get("startTime")
    if condition is None or not started:
        return True
    since, begun, off = time.parse(condition.get("lastTransitionTime")), time.parse(started), condition.get("status") == "False"
    if begun + CPU_START > now:
        return off or sample.at < since + sample.window
    return off and begun + READY_DELAY > since


def balanced(target: Target, samples: Mapping[str, Sample], groups: Groups, goal: "Goal") -> int:
    """The replicas that bring usage to the target. Pods without a metric are assumed to use what dampens the change."""
    values = {name: s.milli for name, s in samples.items() if name not in groups.ignored | groups.unready}
    if not values:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    ratio = goal.ratio(values)
    unready = groups.unready if ratio > 1 else set()
    if not unready and not groups.missing:
        return target.replicas if target.near(ratio) else math.ceil(ratio * groups.ready)
    if ratio != 1:
        values |= {name: goal.assumed(name) if ratio < 1 else 0 for name in groups.missing}
    values |= dict.fromkeys(unready, 0)
    again = goal.ratio(values)
    if target.near(again) or (ratio < 1 < again) or (again < 1 < ratio):
        return target.replicas
    replicas = math.ceil(again * len(values))
    backwards = replicas > target.replicas if again < 1 else replicas < target.replicas
    return target.replicas if backwards else replicas


class Goal:
    """A target of an average value per pod, in milli-units."""

    def __init__(self, milli: int) -> None:
        self.milli = milli

    def ratio(self, values: Mapping[str, int]) -> float:
        return sum(values.values()) // len(values) / self.milli

    def assumed(self, name: str) -> int:
        """The usage assumed for a pod without a metric when scaling down."""
        return self.milli


class Share(Goal):
    """A target of a percentage of the pods' requests."""

    def __init__(self, percent: int, requests: Mapping[str, int]) -> None:
        self.percent, self.requests = percent, requests

    def utilization(self, values: Mapping[str, int]) -> int:
        requested = sum(self.requests[name] for name in values if name in self.requests)
        if not requested:
            raise MetricError("no metrics returned matched known pods")
        return sum(value for name, value in values.items() if name in self.requests) * 100 // requested

    def ratio(self, values: Mapping[str, int]) -> float:
        return self.utilization(values) / self.percent

    def assumed(self, name: str) -> int:
        return self.requests[name] * max(100, self.percent) // 100


async def of_resource(target: Target, source: Object, container: str = "") -> Proposal:
    """The proposal of a metric of type Resource or ContainerResource. Raises MetricError."""
    resource, metric_target = source["name"], source["target"]
    mean, percent = metric_target.get("averageValue"), metric_target.get("averageUtilization")
    kind = "usage" if mean is not None else "utilization"
    word = f"{resource} {'container ' if container else ''}resource"
    try:
        samples = await _samples(target, resource, container)
        if not target.pods:
            raise MetricError("no pods returned by selector while calculating replica count")
        groups = grouped(target.pods, samples, resource, time.now())
        goal = Goal(quantity.milli(mean)) if mean is not None else Share(percent, _requests(target, resource, container))
        replicas = balanced(target, samples, groups, goal)
    except MetricError as why:
        raise MetricError(f"failed to get {resource} {kind}: {why}") from None
    counted = {name: s.milli for name, s in samples.items() if name not in groups.ignored | groups.unready}
    current: Object = {"averageValue": amount(sum(counted.values()) // len(counted))}
    if isinstance(goal, Share):
        current["averageUtilization"] = goal.utilization(counted)
        word += " utilization (percentage of request)"
    about = {"name": resource, "current": current} | ({"container": container} if container else {})
    return Proposal(replicas, word, about)


async def of_container(target: Target, source: Object) -> Proposal:
    return await of_resource(target, source, source["container"])


# other figures ----------------------------------------------------------------------------------------------------------------------------


def _chosen(metric: Object) -> str:
    """The metric's label selector as text."""
    return str(labels.from_object(metric["selector"])) if metric.get("selector") else ""


async def of_pods(target: Target, source: Object) -> Proposal:
    """A Pods metric, from custom.metrics.k8s.io. Raises MetricError."""
    metric = source["metric"]
    name, group = metric["name"], "custom.metrics.k8s.io"
    path, query = f"v1beta2/namespaces/{target.namespace}/pods/*/{name}", {"metricLabelSelector": _chosen(metric)}
    head = f"unable to get metric {name}: unable to fetch metrics from custom metrics API: "
    try:
        items = await fetch(target.client, group, path, f"pods.{group}", labelSelector=target.selector, **query)
    except MetricError as why:
        raise MetricError(f"failed to get pods metric value: {head}{why}") from None
    if not items:
        raise MetricError(f"failed to get pods metric value: {head}no metrics returned from custom metrics API")
    samples = {item["describedObject"]["name"]: Sample(quantity.milli(item["value"])) for item in items}
    goal = Goal(quantity.milli(source["target"]["averageValue"]))
    replicas = balanced(target, samples, grouped(target.pods, samples, "", time.now()), goal)
    current = {"averageValue": amount(sum(s.milli for s in samples.values()) // len(samples))}
    return Proposal(replicas, f"pods metric {name}", {"metric": metric, "current": current})


async def of_object(target: Target, source: Object) -> Proposal:
    """An Object metric, from custom.metrics.k8s.io. Raises MetricError."""
    metric, of = source["metric"], source["describedObject"]
    group = of.get("apiVersion", "").rpartition("/")[0]
    plural = f"{of['kind'].lower()}s" + (f".{group}" if group else "")
    path, api = f"v1beta2/namespaces/{target.namespace}/{plural}/{of['name']}/{metric['name']}", "custom.metrics.k8s.io"
    try:
        items = await fetch(target.client, api, path, f"{plural}.{api}", metricLabelSelector=_chosen(metric))
        value = quantity.milli(items[0]["value"])
    except (MetricError, IndexError) as why:
        head = f"unable to get metric {metric['name']}: {of['kind']} on {target.namespace} {of['name']}/"
        raise MetricError(f"failed to get object metric value: {head}unable to fetch metrics from custom metrics API: {why}") from None
    replicas, current = _shared(target, source["target"], value)
    about = {"metric": metric, "describedObject": of, "current": current}
    return Proposal(replicas, f"{of['kind']} metric {metric['name']}", about)


async def of_external(target: Target, source: Object) -> Proposal:
    """An External metric, from external.metrics.k8s.io. Raises MetricError."""
    metric = source["metric"]
    path, api = f"v1beta1/namespaces/{target.namespace}/{metric['name']}", "external.metrics.k8s.io"
    where = f"unable to get external metric {target.namespace}/{metric['name']}/{_go_selector(metric)}: "
    try:
        items = await fetch(target.client, api, path, f"{metric['name']}.{api}", labelSelector=_chosen(metric))
        if not items:
            raise MetricError("no metrics returned from external metrics API")
    except MetricError as why:
        text = f"{where}unable to fetch metrics from external metrics API: {why}"
        raise MetricError(f"failed to get {metric['name']} external metric: {text}") from None
    replicas, current = _shared(target, source["target"], sum(quantity.milli(item["value"]) for item in items))
    return Proposal(replicas, f"external metric {metric['name']}({_go_selector(metric)})", {"metric": metric, "current": current})


def _go_selector(metric: Object) -> str:
    return labels.go_text(metric["selector"]) if metric.get("selector") else "nil"


def _shared(target: Target, metric_target: Object, value: int) -> tuple[int, Object]:
    """(replicas, MetricValueStatus) of a value shared by all pods: as a total or as an average."""
    if metric_target.get("averageValue") is not None:
        goal = quantity.milli(metric_target["averageValue"])
        ratio = value / (goal * target.replicas)
        replicas = target.replicas if target.near(ratio) else math.ceil(value / goal)
        return replicas, {"averageValue": amount(math.ceil(value / target.replicas))}
    ratio = value / quantity.milli(metric_target["value"])
    return (target.replicas if target.near(ratio) else math.ceil(ratio * target.ready)), {"value": amount(value)}
