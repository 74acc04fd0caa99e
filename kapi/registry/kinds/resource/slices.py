"""ResourceSlice (resource.k8s.io): the devices of a node or a network, their attributes, capacity and counters."""

import re
from itertools import pairwise
from typing import Any

from kapi.objects import names, quantity
from kapi.objects.meta import Object
from kapi.registry.kinds import storage
from kapi.registry.kinds.resource.device_versions import VersionedStrategy
from kapi.registry.kinds.resource.devices import named_set, qualified_name
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part

MOST_DEVICES, MOST_ADVANCED, MOST_COUNTER_SETS, MOST_TAINTS, MOST_ATTRIBUTES, MOST_OPTIONS = 128, 64, 8, 16, 32, 10
LONGEST_POOL, LONGEST_TEXT = 253, 64
ONE_NODE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
PER_DEVICE = "is set to true in the ResourceSlice spec"
TWO_POLICIES = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
ATTRIBUTE_KINDS = ("int", "bool", "string", "version")
_NUMBER, _PIECE = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMANTIC = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PIECE}(\.{_PIECE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?")
"""A version of semver.org 2.0.0."""


class ResourceSliceStrategy(VersionedStrategy):
    """ResourceSlice."""

    returns_deleted = True
    status = False
    selects_namespace = False
    fields = rules.selectable("spec.nodeName", "spec.driver")
    columns = rules.columns(
        "Name", "Node=resource.v1.ResourceSliceSpec.nodeName", "Driver@spec.driver",
        "Pool@spec.pool.name", "Age",
        of="resource.v1.ResourceSlice",
    )  # fmt: skip

    def check(self, new: Part, old: Object | None) -> None:
        spec, before = new.part("spec"), (old or {}).get("spec")
        storage.driver_name(new.e, "spec.driver", spec.text("driver"))
        _check_pool(spec.part("pool"))
        if before is not None:
            spec.part("pool").immutable(before["pool"], "name")
            spec.immutable(before, "driver", "nodeName")
        _check_nodes(spec)
        if spec.items("devices") and spec.items("sharedCounters"):
            new.e.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed")
        advanced = any(device.get("taints") or device.get("consumesCounters") for device in spec.items("devices"))
        selective = bool(spec.get("perDeviceNodeSelection"))
        named_set(spec, "devices", MOST_ADVANCED if advanced else MOST_DEVICES, lambda device: _check_device(device, selective))
        named_set(spec, "sharedCounters", MOST_COUNTER_SETS, _check_counter_set)

    def cells(self, obj: Object) -> list[Any]:
        spec = obj["spec"]
        return [spec.get("nodeName") or ("<all>" if spec.get("allNodes") else "<unset>")]


def _check_pool(pool: Part) -> None:
    if pool.need("name"):
        pool.longest("name", LONGEST_POOL)
        for part in pool.text("name").split("/"):
            pool.e.text(pool.path("name"), part, names.dns_subdomain)
    pool.at_least("resourceSliceCount", 1, "must be greater than zero")
    pool.at_least("generation", 0, "must be greater than or equal to zero")


def _node_fields(part: Part, flags: tuple[str, ...], no_name: str) -> list[str]:
    """The fields that select nodes which are set; `no_name`: the message for an empty nodeName."""
    used: list[str] = []
    if part.text("nodeName"):
        used.append("nodeName")
        part.checked("nodeName", names.dns_subdomain)
    elif "nodeName" in part:
        part.invalid("nodeName", no_name)
    if "nodeSelector" in part:
        used.append("nodeSelector")
        rules.node_selector(part.e, part.path("nodeSelector"), part.get("nodeSelector"))
        selector = part.part("nodeSelector")
        if part.at == "spec" and len(selector.items("nodeSelectorTerms")) != 1:
            selector.invalid("nodeSelectorTerms", "must have exactly one node selector term")
    for flag in flags:
        if part.get(flag):
            used.append(flag)
        elif flag in part:
            part.invalid(flag, "must be either unset or set to true")
    return used


def _check_one(part: Part, used: list[str], message: str, more: str = "") -> None:
    if not used:
        part.e.required(part.at, message)
    elif len(used) > 1:
        part.e.invalid(part.at, "{" + ", ".join(f"`{field}`" for field in used) + "}", message + more)


def _check_nodes(spec: Part) -> None:
    used = _node_fields(spec, ("allNodes", "perDeviceNodeSelection"), "must be either unset or set to a non-empty string")
    _check_one(spec, used, ONE_NODE, ", but multiple fields are set")


def _check_device(device: Part, selective: bool) -> None:
    device.checked("name", names.dns_label)
    attributes, capacity = device.part("attributes"), device.part("capacity")
    if (count := len(attributes.obj) + len(capacity.obj)) > MOST_ATTRIBUTES:
        device.e.invalid(device.at, count, f"the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}")
    for name, value in attributes.obj.items():
        where = f"{attributes.at}[{name}]"
        qualified_name(device.e, where, name)
        _check_attribute(Part(device.e, where, value))
    for name, value in capacity.obj.items():
        where = f"{capacity.at}[{name}]"
        qualified_name(device.e, where, name)
        _check_policy(Part(device.e, where, value), bool(device.get("allowMultipleAllocations")))
    for given in device.parts("taints", MOST_TAINTS):
        taint(given)
    for consumed in device.parts("consumesCounters"):
        consumed.named("counterSet", names.dns_label)
        _check_counters(consumed)
    if selective:
        message = f"exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` {PER_DEVICE}"
        _check_one(device, _node_fields(device, ("allNodes",), "must not be empty"), message)
    elif any(field in device for field in ("nodeName", "nodeSelector", "allNodes")):
        text = f"`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` {PER_DEVICE}"
        device.e.invalid(device.at, None, text)
    _check_binding(device)


def _check_binding(device: Part) -> None:
    fields = ("bindingConditions", "bindingFailureConditions")
    for field in fields:
        device.each(field, names.label_key)
    for field, other in (fields, fields[::-1]):
        if device.items(field) and not device.items(other):
            device.invalid(other, f"{other} are required to use {field}")


def _check_attribute(value: Part) -> None:
    if "version" in value and not _SEMANTIC.fullmatch(value.text("version")):
        value.invalid("version", "must be a string compatible with semver.org spec 2.0.0")
    for kind in ("string", "version"):
        value.longest(kind, LONGEST_TEXT)
    _check_one(value, [kind for kind in ATTRIBUTE_KINDS if kind in value], "exactly one value must be specified")


def _check_policy(capacity: Part, shared: bool) -> None:
    """The requestPolicy of a capacity."""
    policy, most = capacity.part("requestPolicy"), capacity.get("value")
    field = "validValues" if policy.items("validValues") else "validRange" if "validRange" in policy else ""
    if "requestPolicy" in capacity and not shared:
        capacity.forbidden("requestPolicy", "allowMultipleAllocations must be true")
    elif policy.items("validValues") and "validRange" in policy:
        policy.e.forbidden(policy.at, TWO_POLICIES)
    elif field and "default" not in policy:
        policy.required("default", f"required when {field} is defined")
    elif field == "validValues":
        _check_options(policy, policy.get("default"), most)
    elif field:
        _check_range(policy.part(field), policy.get("default"), most)


def _check_options(policy: Part, default: str, most: str) -> None:
    options, seen = policy.items("validValues"), set[str]()
    for (_, one), (at, other) in pairwise(policy.values("validValues")):
        if quantity.compare(one, other) > 0:
            policy.e.invalid(at, other, "values must be sorted in ascending order")
    policy.limit("validValues", MOST_OPTIONS)
    looked_at = list(policy.values("validValues")) if len(options) <= MOST_OPTIONS else []
    for at, option in looked_at:
        if quantity.compare(option, most) > 0:
            policy.e.invalid(at, option, f"option is larger than capacity value: {most}")
    for at, option in looked_at:
        policy.e.unique(at, str(quantity.value(option)), seen)
    if not looked_at or not any(quantity.compare(option, default) == 0 for option in options):
        policy.e.invalid(policy.path("validValues"), default, "default value is not valid according to the requestPolicy")


def _check_range(span: Part, default: str, most: str) -> None:
    low, high, step = span.get("min"), span.get("max"), span.get("step")
    if low is None:
        span.required("min", "required when validRange is defined")
        return
    wrong = [
        ("min", low, quantity.compare(low, most) > 0, f"min is larger than capacity value: {most}"),
        ("default", default, quantity.compare(default, low) < 0, f"default is less than min: {low}"),
    ]
    if high is not None:
        wrong += [
            ("max", low, quantity.compare(low, high) > 0, f"min is larger than max: {high}"),
            ("max", high, quantity.compare(high, most) > 0, f"max is larger than capacity value: {most}"),
            ("default", default, quantity.compare(default, high) > 0, f"default is more than max: {high}"),
        ]
    for field, shown, found, fault in wrong:
        if found:
            span.e.invalid(span.path(field), shown, fault)
    if step is not None:
        _check_step(span, [value for value in (default, high) if value is not None], most)


def _check_step(span: Part, values: list[str], most: str) -> None:
    low, step = span.get("min"), span.get("step")
    if quantity.compare(step, None) <= 0:
        span.invalid("step", "must be greater than zero")
        return
    if quantity.compare(reached := quantity.add(low, step), most) > 0:
        span.invalid("step", f"one step {reached} is larger than capacity value: {most}")
    for value in values:
        if (quantity.value(value) - quantity.value(low)) % quantity.value(step):
            span.e.invalid(span.path("step"), value, f"value is not a multiple of a given step ({step}) from ({low})")


def taint(given: Part) -> None:
    """A device's taint, in a slice or a rule."""
    given.checked("key", names.label_key)
    given.filled("value", names.label_value)
    given.enum("effect", ("NoExecute", "NoSchedule", "None"), need="")


def _check_counter_set(counters: Part) -> None:
    counters.named("name", names.dns_label)
    _check_counters(counters)


def _check_counters(owner: Part) -> None:
    owner.need("counters")
    for name in owner.part("counters").obj:
        owner.e.text(f"{owner.path('counters')}[{name}]", name, names.dns_label)
