"""Dynamic resource allocation (resource.k8s.io): DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice."""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from kapi.objects import causes, names, quantity
from kapi.objects.errors import Cause
from kapi.registry.kinds import internal, rules, storage
from kapi.registry.kinds.part import Part, RuledStrategy
from kapi.registry.kinds.rules import Errors
from kapi.schema.cel.types import DYN

Object = dict[str, Any]

MOST_REQUESTS = MOST_CONSTRAINTS = MOST_CONFIGS = MOST_SELECTORS = 32
MOST_SUBREQUESTS, MOST_DEVICES, MOST_ADVANCED, MOST_COUNTER_SETS, MOST_TAINTS, MOST_ATTRIBUTES = 8, 128, 64, 8, 16, 32
LONGEST_DOMAIN, LONGEST_ID, LONGEST_POOL, LONGEST_TEXT, MOST_PARAMETERS = 63, 32, 253, 64, 10 * 1024
ONE_REQUEST = "exactly one of `exactly` or `firstAvailable` is required"
ONE_NODE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
ONE_ATTRIBUTE = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
KNOWN_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
BAD_FULL_NAME = "a fully qualified name must be a domain and a name separated by a slash"
PER_DEVICE = "is set to true in the ResourceSlice spec"
ATTRIBUTE_KINDS = ("int", "bool", "string", "version")
_NUMBER, _PIECE = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMANTIC = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PIECE}(\.{_PIECE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?")
"""A version of semver.org 2.0.0."""


def _named_set(part: Part, field: str, most: int, check: Callable[[Part], None]) -> None:
    """Items that must differ in their names."""
    for item in part.parts(field, most):
        check(item)
    seen: set[str] = set()
    for at, item in islice(part.values(field), most):
        part.e.unique(at, item.get("name") or "", seen)


# claims ---------------------------------------------------------------------------------------------------------------------------


def _default_claim(spec: Object) -> None:
    for request in spec["devices"]["requests"] or ():
        for part in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if part is not None:
                _default_request(part)


def _default_request(part: Object) -> None:
    part["allocationMode"] = part.get("allocationMode") or "ExactCount"
    if part["allocationMode"] == "ExactCount" and not part.get("count"):
        part["count"] = 1
    for toleration in part.get("tolerations") or ():
        toleration["operator"] = toleration.get("operator") or "Equal"


def _check_claim(devices: Part) -> None:
    requests = devices.items("requests")
    known = {r.get("name") or "" for r in requests}
    known |= {f"{r.get('name')}/{s.get('name')}" for r in requests for s in r.get("firstAvailable") or ()}
    _named_set(devices, "requests", MOST_REQUESTS, _check_request)
    for constraint in devices.parts("constraints", MOST_CONSTRAINTS):
        _check_references(constraint, known)
        field = next((field for field in ("matchAttribute", "distinctAttribute") if field in constraint), None)
        if field:
            _full_name(constraint.e, constraint.path(field), constraint.text(field))
        else:
            constraint.e.required(constraint.at, ONE_ATTRIBUTE)
    for config in devices.parts("config", MOST_CONFIGS):
        _check_references(config, known)
        _check_config(config)


def _check_references(part: Part, known: set[str]) -> None:
    seen: set[str] = set()
    for at, name in part.values("requests"):
        for piece in name.split("/", 1):
            part.e.text(at, piece, names.dns_label)
        if name not in known:
            part.e.invalid(at, name, KNOWN_REQUEST)
        part.e.unique(at, name, seen)


def _check_request(request: Part) -> None:
    request.checked("name", names.dns_label)
    if "exactly" in request and request.items("firstAvailable"):
        request.e.invalid(request.at, None, ONE_REQUEST + ", but multiple fields are set")
    elif request.items("firstAvailable"):
        _named_set(request, "firstAvailable", MOST_SUBREQUESTS, _check_subrequest)
    elif "exactly" in request:
        _check_wanted(request.part("exactly"))
    else:
        request.e.required(request.at, ONE_REQUEST)


def _check_subrequest(request: Part) -> None:
    request.checked("name", names.dns_label)
    _check_wanted(request)


def _check_wanted(wanted: Part) -> None:
    """What a request or one of its alternatives asks for."""
    wanted.named("deviceClassName", names.dns_subdomain)
    _check_selectors(wanted)
    if wanted.get("allocationMode") == "All":
        if wanted.number("count"):
            wanted.invalid("count", "must not be specified when allocationMode is 'All'")
    elif wanted.get("allocationMode") == "ExactCount":
        wanted.at_least("count", 1, "must be greater than zero")
    else:
        wanted.unsupported("allocationMode", ("All", "ExactCount"))
    for toleration in wanted.parts("tolerations"):
        _check_toleration(toleration)


def _check_toleration(toleration: Part) -> None:
    toleration.filled("key", names.label_key)
    operator = toleration.text("operator")
    if operator == "Exists":
        if toleration.text("value"):
            toleration.invalid("value", "must be empty for operator `Exists`")
    elif operator == "Equal":
        toleration.checked("value", names.label_value)
    else:
        toleration.enum("operator", ("Equal", "Exists"), need="")
    if toleration.text("effect"):
        toleration.enum("effect", ("NoExecute", "NoSchedule"))


def _check_selectors(part: Part) -> None:
    for selector in part.parts("selectors", MOST_SELECTORS):
        cel = selector.part("cel")
        if "cel" not in selector:
            selector.required("cel")
        elif len(cel.text("expression")) > MOST_PARAMETERS:
            cel.e.too_long(cel.path("expression"), MOST_PARAMETERS)
        else:
            cel.e.expression(cel.path("expression"), cel.text("expression"), {"device": DYN})


def _check_config(config: Part) -> None:
    if "opaque" not in config:
        config.required("opaque")
        return
    opaque = config.part("opaque")
    storage.driver_name(opaque.e, opaque.path("driver"), opaque.text("driver"))
    parameters, at = opaque.get("parameters"), opaque.path("parameters")
    if parameters is None:
        opaque.required("parameters")
    elif not isinstance(parameters, dict):
        opaque.e.invalid(at, "<value omitted>", "error parsing data as JSON: must be an object")
    elif len(orjson.dumps(parameters)) > MOST_PARAMETERS:
        opaque.e.too_long(at, MOST_PARAMETERS)


def _identifier(e: Errors, field: str, text: str) -> None:
    if len(text) > LONGEST_ID:
        e.too_long(field, LONGEST_ID)
    e.text(field, text, names.c_identifier)


def _full_name(e: Errors, field: str, text: str) -> None:
    """'example.com/model': an attribute named with its domain."""
    _qualified_name(e, field, text)
    if "/" not in text:
        e.invalid(field, text, BAD_FULL_NAME)


def _qualified_name(e: Errors, field: str, text: str) -> None:
    domain, slash, name = text.rpartition("/")
    if "/" in domain:
        e.invalid(field, text, "a valid resource name must be a C identifier optionally prefixed by a domain and a slash")
        return
    if slash:
        if e.need(field, domain, "the domain must not be empty"):
            if len(domain) > LONGEST_DOMAIN:
                e.too_long(field, LONGEST_DOMAIN)
            e.text(field, domain, names.dns_subdomain)
        if not e.need(field, name, "the name must not be empty"):
            return
    _identifier(e, field, name)


ADMIN_LABEL = "resource.kubernetes.io/admin-access"
Labels = Callable[[], Mapping[str, str]]


def _admin_access(at: str, listed: Iterable[Object | None], labels: Labels) -> list[Cause]:
    """Admin access to devices is for namespaces that are marked so: the first request (or result) that has it is named."""
    first = next((i for i, item in enumerate(listed) if (item or {}).get("adminAccess")), None)
    if first is None or labels().get(ADMIN_LABEL) == "true":
        return []
    text = f"admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
    return [causes.forbidden(f"{at}[{first}].adminAccess", text)]


def _admin_requests(spec: Object, labels: Labels) -> list[Cause]:
    requests = (spec.get("devices") or {}).get("requests") or ()
    return _admin_access("spec.devices.requests", (request.get("exactly") for request in requests), labels)


def _results(obj: Object | None) -> list[Object]:
    """What a claim was given."""
    allocation = ((obj or {}).get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or []


class ResourceClaimStrategy(RuledStrategy):
    """ResourceClaim."""

    returns_deleted = True
    generation = False
    columns = rules.columns("Name", "State: A summary of the current state (allocated, pending, reserved, etc.).", "Age")

    def default(self, obj: Object) -> None:
        _default_claim(obj["spec"])

    def validate_within(self, new: Object, old: Object | None, labels: Labels) -> list[Cause]:
        if old is None:
            return _admin_requests(new["spec"], labels)
        granted = any(result.get("adminAccess") for result in _results(old))
        return [] if granted else _admin_access("status.allocation.devices.results", _results(new), labels)

    def check(self, new: Part, old: Object | None) -> None:
        if old is None:
            _check_claim(new.part("spec").part("devices"))
        elif new.get("spec") != old["spec"]:
            new.e.invalid("spec", internal.to_internal("ResourceClaimSpec", new.get("spec")), rules.IMMUTABLE)

    def cells(self, obj: Object) -> list[Any]:
        status = obj.get("status") or {}
        states = {
            "pending": not status.get("allocation"), "deleted": obj["metadata"].get("deletionTimestamp"),
            "allocated": status.get("allocation"), "reserved": status.get("reservedFor"),
        }  # fmt: skip
        return [",".join(state for state, is_so in states.items() if is_so)]


class ResourceClaimTemplateStrategy(RuledStrategy):
    """ResourceClaimTemplate."""

    returns_deleted = True
    status = False
    generation = False
    columns = rules.columns("Name", "Age")

    def default(self, obj: Object) -> None:
        _default_claim(obj["spec"]["spec"])

    def validate_within(self, new: Object, old: Object | None, labels: Labels) -> list[Cause]:
        return _admin_requests(new["spec"]["spec"], labels) if old is None else []

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        _check_claim(spec.part("spec").part("devices"))
        if old is not None and spec.obj != old["spec"]:
            shown = internal.to_internal("ResourceClaimTemplateSpec", spec.obj)
            new.e.invalid("spec", {**(spec.get("metadata") or {}), **shown}, rules.IMMUTABLE)


class DeviceClassStrategy(RuledStrategy):
    """DeviceClass."""

    returns_deleted = True
    status = False
    columns = rules.columns("Name", "Age")

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        _check_selectors(spec)
        for config in spec.parts("config", MOST_CONFIGS):
            _check_config(config)
        extended = spec.get("extendedResourceName")
        if extended is not None and ("/" not in extended or names.qualified_name(f"requests.{extended}")):
            spec.invalid("extendedResourceName", "must be a valid extended resource name")


# slices ---------------------------------------------------------------------------------------------------------------------------


class ResourceSliceStrategy(RuledStrategy):
    """ResourceSlice."""

    returns_deleted = True
    status = False
    fields = {"spec.nodeName": lambda o: o["spec"].get("nodeName") or "", "spec.driver": lambda o: o["spec"].get("driver") or ""}
    columns = rules.columns(
        "Name", "Node=resource.v1.ResourceSliceSpec.nodeName", "Driver=resource.v1.ResourceSliceSpec.driver",
        "Pool=resource.v1.ResourcePool.name", "Age",
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
        _named_set(spec, "devices", MOST_ADVANCED if advanced else MOST_DEVICES, lambda device: _check_device(device, selective))
        _named_set(spec, "sharedCounters", MOST_COUNTER_SETS, _check_counter_set)

    def cells(self, obj: Object) -> list[Any]:
        spec = obj["spec"]
        return [spec.get("nodeName") or ("<all>" if spec.get("allNodes") else "<unset>"), spec["driver"], spec["pool"]["name"]]


def _check_pool(pool: Part) -> None:
    if pool.need("name"):
        if len(pool.text("name")) > LONGEST_POOL:
            pool.e.too_long(pool.path("name"), LONGEST_POOL)
        for part in pool.text("name").split("/"):
            pool.e.text(pool.path("name"), part, names.dns_subdomain)
    pool.at_least("resourceSliceCount", 1, "must be greater than zero")
    pool.at_least("generation", 0, "must be greater than or equal to zero")


def _node_fields(part: Part, flags: tuple[str, ...], no_name: str) -> list[str]:
    """Which of the ways to name nodes are used; `no_name`: what is said of an empty one."""
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


def _check_one(part: Part, used: list[str], wanted: str, more: str = "") -> None:
    if not used:
        part.e.required(part.at, wanted)
    elif len(used) > 1:
        part.e.invalid(part.at, "{" + ", ".join(f"`{field}`" for field in used) + "}", wanted + more)


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
        _qualified_name(device.e, where, name)
        _check_attribute(Part(device.e, where, value))
    for name, value in capacity.obj.items():
        where = f"{capacity.at}[{name}]"
        _qualified_name(device.e, where, name)
        _check_policy(Part(device.e, where, value), bool(device.get("allowMultipleAllocations")))
    for given in device.parts("taints", MOST_TAINTS):
        taint(given)
    for consumed in device.parts("consumesCounters"):
        consumed.named("counterSet", names.dns_label)
        _check_counters(consumed)
    if selective:
        wanted = f"exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` {PER_DEVICE}"
        _check_one(device, _node_fields(device, ("allNodes",), "must not be empty"), wanted)
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
        if len(value.text(kind)) > LONGEST_TEXT:
            value.e.too_long(value.path(kind), LONGEST_TEXT)
    _check_one(value, [kind for kind in ATTRIBUTE_KINDS if kind in value], "exactly one value must be specified")


def _check_policy(capacity: Part, shared: bool) -> None:
    if "requestPolicy" not in capacity:
        return
    if not shared:
        capacity.forbidden("requestPolicy", "allowMultipleAllocations must be true")
        return
    policy, most = capacity.part("requestPolicy"), capacity.get("value")
    default, valid, span = policy.get("default"), policy.items("validValues"), policy.get("validRange")
    if valid and span is not None:
        text = "exactly one policy can be specified, cannot specify `validValues` and `validRange` at the same time"
        capacity.forbidden("requestPolicy", text)
    if (valid or span is not None) and default is None:
        policy.required("default", "required when validValues or validRange is defined")
    if default is not None and most is not None and quantity.compare(default, most) > 0:
        policy.invalid("default", f"default is larger than capacity value: {most}")


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
