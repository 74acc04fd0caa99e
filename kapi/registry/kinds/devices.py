"""Dynamic resource allocation (resource.k8s.io): DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from kapi.objects import causes, names, quantity
from kapi.objects.errors import Cause
from kapi.registry.kinds import internal, rules, storage
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy
from kapi.schema.cel.types import DYN

Object = dict[str, Any]

MOST_REQUESTS = MOST_CONSTRAINTS = MOST_CONFIGS = MOST_SELECTORS = 32
MOST_SUBREQUESTS, MOST_DEVICES, MOST_COUNTER_SETS, MOST_TAINTS = 8, 128, 8, 16
LONGEST_DOMAIN, LONGEST_ID, LONGEST_POOL, LONGEST_TEXT, MOST_PARAMETERS = 63, 32, 253, 64, 10 * 1024
ONE_REQUEST = "exactly one of `exactly` or `firstAvailable` is required"
ONE_NODE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
ONE_ATTRIBUTE = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
KNOWN_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
BAD_FULL_NAME = "a fully qualified name must be a domain and a name separated by a slash"
PER_DEVICE = "is set to true in the ResourceSlice spec"
ATTRIBUTE_KINDS = {"int": "`int`", "bool": "`bool`", "string": "`string`", "version": "`version`"}


def _each(e: Errors, at: str, listed: list[Any], most: int, check: Callable[[Errors, str, Any], None]) -> None:
    for i, item in enumerate(listed[:most]):
        check(e, f"{at}[{i}]", item)
    if len(listed) > most:
        e.too_many(at, len(listed), most)


def _named_set(e: Errors, at: str, listed: list[Object], most: int, check: Callable[[Errors, str, Object], None]) -> None:
    """Items that must differ in their names."""
    _each(e, at, listed, most, check)
    seen: set[str] = set()
    for i, item in enumerate(listed[:most]):
        e.unique(f"{at}[{i}]", item.get("name") or "", seen)


# claims ---------------------------------------------------------------------------------------------------------------------------


def _default_claim(spec: Object) -> None:
    devices = spec.setdefault("devices", {})
    devices.setdefault("requests", None)
    for request in devices["requests"] or ():
        request.setdefault("name", "")
        for part in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if part is not None:
                _default_request(part)


def _default_request(part: Object) -> None:
    part.setdefault("deviceClassName", "")
    if not part.get("allocationMode"):
        part["allocationMode"] = "ExactCount"
    if part["allocationMode"] == "ExactCount" and not part.get("count"):
        part["count"] = 1
    for toleration in part.get("tolerations") or ():
        toleration["operator"] = toleration.get("operator") or "Equal"


def _validate_claim(e: Errors, at: str, devices: Object) -> None:
    requests = devices.get("requests") or []
    known = {r.get("name") or "" for r in requests}
    known |= {f"{r.get('name')}/{s.get('name')}" for r in requests for s in r.get("firstAvailable") or ()}
    _named_set(e, f"{at}.requests", requests, MOST_REQUESTS, _validate_request)

    def constraint(e: Errors, where: str, item: Object) -> None:
        _validate_references(e, f"{where}.requests", item.get("requests") or [], known)
        for field in ("matchAttribute", "distinctAttribute"):
            if item.get(field) is not None:
                _full_name(e, f"{where}.{field}", item[field])
                return
        e.required(where, ONE_ATTRIBUTE)

    def config(e: Errors, where: str, item: Object) -> None:
        _validate_references(e, f"{where}.requests", item.get("requests") or [], known)
        _validate_config(e, where, item)

    _each(e, f"{at}.constraints", devices.get("constraints") or [], MOST_CONSTRAINTS, constraint)
    _each(e, f"{at}.config", devices.get("config") or [], MOST_CONFIGS, config)


def _validate_references(e: Errors, at: str, listed: list[str], known: set[str]) -> None:
    seen: set[str] = set()
    for i, name in enumerate(listed):
        head, slash, tail = name.partition("/")
        for part in (head, tail) if slash else (head,):
            e.text(f"{at}[{i}]", part, names.dns_label)
        if name not in known:
            e.invalid(f"{at}[{i}]", name, KNOWN_REQUEST)
        e.unique(f"{at}[{i}]", name, seen)


def _validate_request(e: Errors, at: str, request: Object) -> None:
    e.text(f"{at}.name", request.get("name") or "", names.dns_label)
    exactly, first = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is not None and first:
        e.invalid(at, None, ONE_REQUEST + ", but multiple fields are set")
    elif first:
        _named_set(e, f"{at}.firstAvailable", first, MOST_SUBREQUESTS, _validate_subrequest)
    elif exactly is not None:
        _validate_part(e, f"{at}.exactly", exactly)
    else:
        e.required(at, ONE_REQUEST)


def _validate_subrequest(e: Errors, at: str, request: Object) -> None:
    e.text(f"{at}.name", request.get("name") or "", names.dns_label)
    _validate_part(e, at, request)


def _validate_part(e: Errors, at: str, part: Object) -> None:
    e.named(f"{at}.deviceClassName", part.get("deviceClassName") or "", names.dns_subdomain)
    _each(e, f"{at}.selectors", part.get("selectors") or [], MOST_SELECTORS, _validate_selector)
    mode, count = part.get("allocationMode") or "", part.get("count", 0)
    if mode == "All":
        if count:
            e.invalid(f"{at}.count", count, "must not be specified when allocationMode is 'All'")
    elif mode == "ExactCount":
        e.at_least(f"{at}.count", count, 1, "must be greater than zero")
    else:
        e.unsupported(f"{at}.allocationMode", mode, ("All", "ExactCount"))
    for i, toleration in enumerate(part.get("tolerations") or ()):
        _validate_toleration(e, f"{at}.tolerations[{i}]", toleration)


def _validate_toleration(e: Errors, at: str, toleration: Object) -> None:
    if toleration.get("key"):
        e.text(f"{at}.key", toleration["key"], names.label_key)
    operator = toleration.get("operator") or ""
    if operator == "Exists":
        if toleration.get("value"):
            e.invalid(f"{at}.value", toleration["value"], "must be empty for operator `Exists`")
    elif operator == "Equal":
        e.text(f"{at}.value", toleration.get("value") or "", names.label_value)
    else:
        e.enum(f"{at}.operator", operator, ("Equal", "Exists"), need="")
    if toleration.get("effect"):
        e.enum(f"{at}.effect", toleration["effect"], ("NoExecute", "NoSchedule"))


def _validate_selector(e: Errors, at: str, selector: Object) -> None:
    if selector.get("cel") is None:
        e.required(f"{at}.cel")
    elif len(selector["cel"].get("expression") or "") > MOST_PARAMETERS:
        e.too_long(f"{at}.cel.expression", MOST_PARAMETERS)
    else:
        e.expression(f"{at}.cel.expression", selector["cel"].get("expression") or "", {"device": DYN})


def _validate_config(e: Errors, at: str, config: Object) -> None:
    opaque = config.get("opaque")
    if opaque is None:
        e.required(f"{at}.opaque")
        return
    storage.driver_name(e, f"{at}.opaque.driver", opaque.get("driver") or "")
    parameters = opaque.get("parameters")
    if parameters is None:
        e.required(f"{at}.opaque.parameters")
    elif not isinstance(parameters, dict):
        e.invalid(f"{at}.opaque.parameters", "<value omitted>", "error parsing data as JSON: must be an object")
    elif len(orjson.dumps(parameters)) > MOST_PARAMETERS:
        e.too_long(f"{at}.opaque.parameters", MOST_PARAMETERS)


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


class ResourceClaimStrategy(Strategy):
    """ResourceClaim."""

    returns_deleted = True
    generation = False
    columns = rules.columns("Name", "State: A summary of the current state (allocated, pending, reserved, etc.).", "Age")

    def default(self, obj: Object) -> None:
        _default_claim(obj.setdefault("spec", {}))
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def validate_within(self, new: Object, old: Object | None, labels: Labels) -> list[Cause]:
        if old is None:
            return _admin_requests(new["spec"], labels)
        granted = any(result.get("adminAccess") for result in _results(old))
        return [] if granted else _admin_access("status.allocation.devices.results", _results(new), labels)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        if old is None:
            _validate_claim(e, "spec.devices", new["spec"].get("devices") or {})
        elif new["spec"] != old["spec"]:
            e.invalid("spec", internal.to_internal("ResourceClaimSpec", new["spec"]), rules.IMMUTABLE)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        status, meta = obj.get("status") or {}, obj["metadata"]
        states = {"deleted": meta.get("deletionTimestamp"), "allocated": status.get("allocation"), "reserved": status.get("reservedFor")}
        shown = [state for state, is_so in states.items() if is_so]
        return [meta["name"], ",".join(shown) if status.get("allocation") else ",".join(["pending", *shown]), rules.age(obj, now)]


class ResourceClaimTemplateStrategy(Strategy):
    """ResourceClaimTemplate."""

    returns_deleted = True
    status = False
    generation = False
    columns = rules.columns("Name", "Age")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("metadata", {})
        _default_claim(spec.setdefault("spec", {}))

    def validate_within(self, new: Object, old: Object | None, labels: Labels) -> list[Cause]:
        return _admin_requests(new["spec"]["spec"], labels) if old is None else []

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        _validate_claim(e, "spec.spec.devices", new["spec"]["spec"].get("devices") or {})
        if old is not None and new["spec"] != old["spec"]:
            shown = internal.to_internal("ResourceClaimTemplateSpec", new["spec"])
            e.invalid("spec", {**(new["spec"].get("metadata") or {}), **shown}, rules.IMMUTABLE)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], rules.age(obj, now)]


class DeviceClassStrategy(Strategy):
    """DeviceClass."""

    returns_deleted = True
    status = False
    columns = rules.columns("Name", "Age")

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        _each(e, "spec.selectors", spec.get("selectors") or [], MOST_SELECTORS, _validate_selector)
        _each(e, "spec.config", spec.get("config") or [], MOST_CONFIGS, _validate_config)
        extended = spec.get("extendedResourceName")
        if extended is not None and ("/" not in extended or names.qualified_name(f"requests.{extended}")):
            e.invalid("spec.extendedResourceName", extended, "must be a valid extended resource name")
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], rules.age(obj, now)]


# slices ---------------------------------------------------------------------------------------------------------------------------


class ResourceSliceStrategy(Strategy):
    """ResourceSlice."""

    returns_deleted = True
    status = False
    fields = {"spec.nodeName": lambda o: o["spec"].get("nodeName") or "", "spec.driver": lambda o: o["spec"].get("driver") or ""}
    columns = rules.columns(
        "Name", "Node=resource.v1.ResourceSliceSpec.nodeName", "Driver=resource.v1.ResourceSliceSpec.driver",
        "Pool=resource.v1.ResourcePool.name", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("driver", "")
        pool = spec.setdefault("pool", {})
        for field, value in (("name", ""), ("generation", 0), ("resourceSliceCount", 0)):
            pool.setdefault(field, value)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec, before = new["spec"], (old or {}).get("spec")
        storage.driver_name(e, "spec.driver", spec["driver"])
        _validate_pool(e, "spec.pool", spec["pool"])
        if before is not None:
            e.immutable("spec.pool.name", spec["pool"]["name"], before["pool"]["name"])
            e.immutable("spec.driver", spec["driver"], before["driver"])
            e.immutable("spec.nodeName", spec.get("nodeName"), before.get("nodeName"))
        _validate_nodes(e, spec)
        devices, counters = spec.get("devices") or [], spec.get("sharedCounters") or []
        if devices and counters:
            e.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed")

        def device(e: Errors, at: str, item: Object) -> None:
            _validate_device(e, at, item, bool(spec.get("perDeviceNodeSelection")))

        _named_set(e, "spec.devices", devices, MOST_DEVICES, device)
        _named_set(e, "spec.sharedCounters", counters, MOST_COUNTER_SETS, _validate_counters)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        node = spec.get("nodeName") or ("<all>" if spec.get("allNodes") else "<unset>")
        return [obj["metadata"]["name"], node, spec.get("driver", ""), spec["pool"].get("name", ""), rules.age(obj, now)]


def _validate_pool(e: Errors, at: str, pool: Object) -> None:
    name = pool.get("name") or ""
    if e.need(f"{at}.name", name):
        if len(name) > LONGEST_POOL:
            e.too_long(f"{at}.name", LONGEST_POOL)
        for part in name.split("/"):
            e.text(f"{at}.name", part, names.dns_subdomain)
    e.at_least(f"{at}.resourceSliceCount", pool.get("resourceSliceCount", 0), 1, "must be greater than zero")
    e.at_least(f"{at}.generation", pool.get("generation", 0), 0, "must be greater than or equal to zero")


def _node_fields(e: Errors, at: str, part: Object, flags: tuple[str, ...]) -> list[str]:
    """Which of the ways to name nodes are used."""
    used: list[str] = []
    if (name := part.get("nodeName")) is not None:
        if name:
            used.append("nodeName")
            e.text(f"{at}.nodeName", name, names.dns_subdomain)
        else:
            e.invalid(f"{at}.nodeName", name, "must be either unset or set to a non-empty string")
    if (selector := part.get("nodeSelector")) is not None:
        used.append("nodeSelector")
        rules.node_selector(e, f"{at}.nodeSelector", selector)
        terms = selector.get("nodeSelectorTerms")
        if len(terms or ()) != 1:
            e.invalid(f"{at}.nodeSelector.nodeSelectorTerms", terms, "must have exactly one node selector term")
    for flag in flags:
        if part.get(flag):
            used.append(flag)
        elif flag in part:
            e.invalid(f"{at}.{flag}", part[flag], "must be either unset or set to true")
    return used


def _validate_nodes(e: Errors, spec: Object) -> None:
    used = _node_fields(e, "spec", spec, ("allNodes", "perDeviceNodeSelection"))
    if not used:
        e.required("spec", ONE_NODE)
    elif len(used) > 1:
        e.invalid("spec", "{" + ", ".join(f"`{field}`" for field in used) + "}", ONE_NODE + ", but multiple fields are set")


def _validate_device(e: Errors, at: str, device: Object, selective: bool) -> None:
    e.text(f"{at}.name", device.get("name") or "", names.dns_label)
    for name, value in (device.get("attributes") or {}).items():
        _qualified_name(e, f"{at}.attributes[{name}]", name)
        _validate_attribute(e, f"{at}.attributes[{name}]", value)
    for name, value in (device.get("capacity") or {}).items():
        _qualified_name(e, f"{at}.capacity[{name}]", name)
        _validate_policy(e, f"{at}.capacity[{name}]", value)
    _each(e, f"{at}.taints", device.get("taints") or [], MOST_TAINTS, taint)
    for i, consumed in enumerate(device.get("consumesCounters") or ()):
        where = f"{at}.consumesCounters[{i}]"
        e.named(f"{where}.counterSet", consumed.get("counterSet") or "", names.dns_label)
        _validate_counter_map(e, f"{where}.counters", consumed.get("counters") or {})
    if selective:
        used = _node_fields(e, at, device, ("allNodes",))
        wanted = f"exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` {PER_DEVICE}"
        if not used:
            e.required(at, wanted)
        elif len(used) > 1:
            e.invalid(at, "{" + ", ".join(f"`{field}`" for field in used) + "}", wanted)
    elif any(device.get(field) is not None for field in ("nodeName", "nodeSelector", "allNodes")):
        text = f"`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` {PER_DEVICE}"
        e.invalid(at, None, text)
    _validate_binding(e, at, device)


def _validate_binding(e: Errors, at: str, device: Object) -> None:
    wanted, failing = device.get("bindingConditions"), device.get("bindingFailureConditions")
    for field, listed in (("bindingConditions", wanted), ("bindingFailureConditions", failing)):
        for i, condition in enumerate(listed or ()):
            e.text(f"{at}.{field}[{i}]", condition, names.label_key)
    if wanted and not failing:
        e.invalid(f"{at}.bindingFailureConditions", failing, "bindingFailureConditions are required to use bindingConditions")
    if failing and not wanted:
        e.invalid(f"{at}.bindingConditions", wanted, "bindingConditions are required to use bindingFailureConditions")


def _validate_attribute(e: Errors, at: str, value: Object) -> None:
    used = [kind for kind in ATTRIBUTE_KINDS if value.get(kind) is not None]
    if not used:
        e.required(at, "exactly one value must be specified")
    elif len(used) > 1:
        e.invalid(at, "{" + ", ".join(ATTRIBUTE_KINDS[kind] for kind in used) + "}", "exactly one value must be specified")
    for kind in ("string", "version"):
        if len(value.get(kind) or "") > LONGEST_TEXT:
            e.too_long(f"{at}.{kind}", LONGEST_TEXT)


def _validate_policy(e: Errors, at: str, capacity: Object) -> None:
    policy = capacity.get("requestPolicy")
    if policy is None:
        return
    default, valid, span = policy.get("default"), policy.get("validValues") or [], policy.get("validRange")
    if valid and span is not None:
        text = "exactly one policy can be specified, cannot specify `validValues` and `validRange` at the same time"
        e.forbidden(f"{at}.requestPolicy", text)
    if (valid or span is not None) and default is None:
        e.required(f"{at}.requestPolicy.default", "required when validValues or validRange is defined")
    most = capacity.get("value")
    if default is not None and most is not None and quantity.compare(default, most) > 0:
        e.invalid(f"{at}.requestPolicy.default", default, f"default is larger than capacity value: {most}")


def taint(e: Errors, at: str, given: Object) -> None:
    e.text(f"{at}.key", given.get("key") or "", names.label_key)
    if given.get("value"):
        e.text(f"{at}.value", given["value"], names.label_value)
    e.enum(f"{at}.effect", given.get("effect"), ("NoExecute", "NoSchedule", "None"), need="")


def _validate_counters(e: Errors, at: str, counters: Object) -> None:
    e.named(f"{at}.name", counters.get("name") or "", names.dns_label)
    _validate_counter_map(e, f"{at}.counters", counters.get("counters") or {})


def _validate_counter_map(e: Errors, at: str, counters: Object) -> None:
    e.need(at, counters)
    for name in counters:
        e.text(f"{at}[{name}]", name, names.dns_label)
