"""HorizontalPodAutoscaler: looks at the metrics every 15 seconds and scales its target to what they ask for.

What the metrics say is in usage_metrics.py, how far one look may go in scaling.py. Without metrics nothing is scaled, and the
conditions say why.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable

from kapi.client import Controller
from kapi.controllers import pods, scaling, usage_metrics
from kapi.controllers.discovery import discover
from kapi.controllers.scaling import Bounds, Condition, Past
from kapi.controllers.usage_metrics import TOLERANCE, MetricError, Proposal, Target
from kapi.controllers.workload import namespace_keys
from kapi.objects import conditions, errors, labels, meta, quantity, time
from kapi.objects.meta import Object
from kapi.objects.resource import HORIZONTAL_POD_AUTOSCALERS, PODS, Resource

Compute = Callable[[Target, Object], Awaitable[Proposal]]

PERIOD = 15.0
REMEMBERED = 3600.0
"""Seconds: the longest window and the longest period there may be."""
METRICS: dict[str, tuple[str, str, Compute]] = {
    "Resource": ("resource", "FailedGetResourceMetric", usage_metrics.of_resource),
    "ContainerResource": ("containerResource", "FailedGetContainerResourceMetric", usage_metrics.of_container),
    "Pods": ("pods", "FailedGetPodsMetric", usage_metrics.of_pods),
    "Object": ("object", "FailedGetObjectMetric", usage_metrics.of_object),
    "External": ("external", "FailedGetExternalMetric", usage_metrics.of_external),
}
"""Type of a metric -> (its field, the reason when it cannot be had, who computes it)."""


class Unscalable(Exception):
    """This look ends here; (condition, reason of the event, its text)."""

    def __init__(self, condition: Condition, event: str, text: str) -> None:
        super().__init__(text)
        self.condition, self.event, self.text = condition, event, text


class Look:
    """One look at one autoscaler: its status as it will be."""

    def __init__(self, autoscaler: Object, past: Past) -> None:
        self.autoscaler, self.past, self.now = autoscaler, past, time.now()
        self.spec: Object = autoscaler["spec"]
        self.bounds = Bounds(self.spec.get("minReplicas", 1), self.spec["maxReplicas"])
        self.status: Object = meta.clone(autoscaler.get("status") or {})

    def set_conditions(self, *new: Condition) -> None:
        for one in new:
            self.status["conditions"] = conditions.updated(self.status.get("conditions") or (), one._asdict())


class Autoscaling(Controller):
    name = "horizontal-pod-autoscaler"

    def setup(self) -> None:
        self.objects = self.informer(HORIZONTAL_POD_AUTOSCALERS)
        self.objects.on(self._changed)
        self.pods = self.informer(PODS)
        self.pods.index("namespace", namespace_keys)
        self._past: defaultdict[str, Past] = defaultdict(Past)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """What is new or means something else is looked at at once; a status that was written is no reason."""
        if old is None or new is None or old["spec"] != new["spec"]:
            self.queue.add(meta.key(new or old or {}))

    async def reconcile(self, key: str) -> float | None:
        autoscaler = self.objects.get(key)
        if autoscaler is None:
            self._past.pop(key, None)
            return None
        look = Look(autoscaler, self._past[key])
        look.past.forget(look.now, REMEMBERED)
        try:
            await self._look(look)
        except Unscalable as end:
            look.set_conditions(end.condition)
            self.warn(autoscaler, end.event, end.text)
        if look.status != (autoscaler.get("status") or {}):
            await self.put_status(HORIZONTAL_POD_AUTOSCALERS, autoscaler, look.status)
        return PERIOD

    async def _look(self, look: Look) -> None:
        resource, scale = await self._scale_of(look)
        current = (scale.get("spec") or {}).get("replicas", 0)
        message = "the HPA controller was able to get the target's current scale"
        look.set_conditions(Condition("AbleToScale", "True", "SucceededGetScale", message))
        look.status |= {"currentReplicas": current, "desiredReplicas": current}
        if not look.past.recommended:
            look.past.recommended.append((look.now, current))
        desired, why = await self._desired(look, scale, current)
        if desired != current:
            await self._rescale(look, resource, scale, desired, why)
        look.status["desiredReplicas"] = desired

    async def _scale_of(self, look: Look) -> tuple[Resource, Object]:
        """The target's resource and its Scale. Raises Unscalable."""
        ref = look.spec["scaleTargetRef"]
        group = (ref.get("apiVersion") or "").rpartition("/")[0]
        served = (await discover(self.client)).served
        resource = next((s.resource for s in served if (s.resource.group, s.resource.kind) == (group, ref["kind"])), None)
        why = f'no matches for kind "{ref["kind"]}" in group "{group}"'
        if resource is not None:
            try:
                return resource, await self.client.get(resource, ref["name"], meta.namespace(look.autoscaler), subresource="scale")
            except errors.StatusError as error:
                why = error.message
        text = f"the HPA controller was unable to get the target's current scale: {why}"
        raise Unscalable(Condition("AbleToScale", "False", "FailedGetScale", text), "FailedGetScale", why)

    async def _desired(self, look: Look, scale: Object, current: int) -> tuple[int, str]:
        """(the replicas to go to, why)."""
        bounds = look.bounds
        if not current and bounds.least:
            text = "scaling is disabled since the replica count of the target is zero"
            look.set_conditions(Condition("ScalingActive", "False", "ScalingDisabled", text))
            return 0, ""
        if current > bounds.most:
            return bounds.most, "Current number of replicas above Spec.MaxReplicas"
        if current < bounds.least:
            return bounds.least, "Current number of replicas below Spec.MinReplicas"
        wanted, name = await self._computed(look, self._target(look, scale, current))
        why = f"{name} above target" if wanted > current else "All metrics below target"
        desired, said = scaling.normalized(look.spec, bounds, look.past, current, wanted, look.now)
        look.set_conditions(*said)
        return desired, why

    def _target(self, look: Look, scale: Object, current: int) -> Target:
        """What the metrics are about. Raises Unscalable without a selector."""
        selector = (scale.get("status") or {}).get("selector")
        if not selector:
            text = "the HPA target's scale is missing a selector"
            raise Unscalable(Condition("ScalingActive", "False", "InvalidSelector", text), "SelectorRequired", "selector is required")
        parsed, namespace = labels.parse(selector), meta.namespace(look.autoscaler)
        chosen = [p for p in self.pods.by("namespace", namespace) if parsed.matches(meta.labels(p))]
        ready = sum(pods.phase(p) == "Running" and pods.ready(p) for p in chosen)
        down, up = ((look.spec.get("behavior") or {}).get(way) or {} for way in ("scaleDown", "scaleUp"))
        tolerance = (_tolerance(down), _tolerance(up))
        return Target(self.client, namespace, selector, chosen, current, ready, tolerance)

    async def _computed(self, look: Look, target: Target) -> tuple[int, str]:
        """(replicas, name) of the metric that asks for most. Raises Unscalable when too little is known."""
        metrics = look.spec.get("metrics") or ()
        proposals: list[Proposal] = []
        problems: list[tuple[str, MetricError]] = []
        statuses: list[Object] = []
        for metric in metrics:
            field, reason, compute = METRICS[metric["type"]]
            try:
                found = await compute(target, metric[field])
            except MetricError as why:
                problems.append((reason, why))
                self.warn(look.autoscaler, reason, str(why))
                continue
            proposals.append(found)
            statuses.append({"type": metric["type"], field: found.status})
        look.status["currentMetrics"] = statuses or None
        best = max(proposals, key=lambda p: p.replicas, default=None)
        if best is None or (problems and best.replicas < target.replicas):
            reason, first = problems[0]
            text = f"invalid metrics ({len(problems)} invalid out of {len(metrics)}), first error is: {first}"
            said = Condition("ScalingActive", "False", reason, f"the HPA was unable to compute the replica count: {first}")
            raise Unscalable(said, "FailedComputeMetricsReplicas", text)
        text = f"the HPA was able to successfully calculate a replica count from {best.name}"
        look.set_conditions(Condition("ScalingActive", "True", "ValidMetricFound", text))
        return best.replicas, best.name

    async def _rescale(self, look: Look, resource: Resource, scale: Object, desired: int, why: str) -> None:
        """PUT the Scale. Raises Unscalable when it is refused."""
        before = (scale.get("spec") or {}).get("replicas", 0)
        path = resource.path(meta.namespace(look.autoscaler), look.spec["scaleTargetRef"]["name"], "scale")
        try:
            await self.client.send("PUT", path, {**scale, "spec": {"replicas": desired}})
        except errors.StatusError as error:
            text = f"the HPA controller was unable to update the target scale: {error.message}"
            event = f"New size: {desired}; reason: {why}; error: {error.message}"
            raise Unscalable(Condition("AbleToScale", "False", "FailedUpdateScale", text), "FailedRescale", event) from None
        look.past.changes.append((look.now, desired - before))
        look.status["lastScaleTime"] = time.stamp(look.now)
        text = f"the HPA controller was able to update the target scale to {desired}"
        look.set_conditions(Condition("AbleToScale", "True", "SucceededRescale", text))
        self.note(look.autoscaler, "SuccessfulRescale", f"New size: {desired}; reason: {why}")


def _tolerance(rules: Object) -> float:
    given = rules.get("tolerance")
    return TOLERANCE if given is None else quantity.milli(given) / 1000
