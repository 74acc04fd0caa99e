"""Dynamic resource allocation (resource.k8s.io), requests: DeviceClass, ResourceClaim, ResourceClaimTemplate."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from kapi.cel.types import DYN
from kapi.objects import causes, names
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.kinds import storage
from kapi.registry.kinds.resource.device_versions import VersionedStrategy, current
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, RuledStrategy
from kapi.registry.validation.rules import Errors

MOST_REQUESTS = MOST_CONSTRAINTS = MOST_CONFIGS = MOST_SELECTORS = 32
MOST_SUBREQUESTS = 8
LONGEST_DOMAIN, LONGEST_ID, MOST_PARAMETERS = 63, 32, 10 * 1024
ONE_REQUEST = "exactly one of `exactly` or `firstAvailable` is required"
ONE_ATTRIBUTE = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
KNOWN_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
BAD_FULL_NAME = "a fully qualified name must be a domain and a name separated by a slash"


def named_set(part: Part, field: str, most: int, check: Callable[[Part], None]) -> None:
    """Items that must differ in their names."""
    seen: set[str] = set()
    items = list(part.parts(field, most))
    for item in items:
        check(item)
    for item in items:
        item.e.unique(item.at, item.text("name"), seen)


# claims ---------------------------------------------------------------------------------------------------------------------------


def _default_claim(spec: Object) -> None:
    for request in spec["devices"]["requests"] or ():
        flat = request if request.get("deviceClassName") else None  # v1beta1's form of `exactly`
        for part in (flat, request.get("exactly"), *(request.get("firstAvailable") or ())):
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
    named_set(devices, "requests", MOST_REQUESTS, _check_request)
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
        named_set(request, "firstAvailable", MOST_SUBREQUESTS, _check_subrequest)
    elif "exactly" in request:
        _check_exact_request(request.part("exactly"))
    else:
        request.e.required(request.at, ONE_REQUEST)


def _check_subrequest(request: Part) -> None:
    request.checked("name", names.dns_label)
    _check_exact_request(request)


def _check_exact_request(request: Part) -> None:
    """What a request or one of its alternatives asks for."""
    request.named("deviceClassName", names.dns_subdomain)
    _check_selectors(request)
    if request.get("allocationMode") == "All":
        if request.number("count"):
            request.invalid("count", "must not be specified when allocationMode is 'All'")
    elif request.get("allocationMode") == "ExactCount":
        request.at_least("count", 1, "must be greater than zero")
    else:
        request.unsupported("allocationMode", ("All", "ExactCount"))
    for toleration in request.parts("tolerations"):
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
        elif cel.longest("expression", MOST_PARAMETERS):
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
    qualified_name(e, field, text)
    if "/" not in text:
        e.invalid(field, text, BAD_FULL_NAME)


def qualified_name(e: Errors, field: str, text: str) -> None:
    """A C identifier that may have a domain in front: 'model', 'example.com/model'."""
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
    """The allocation of a claim."""
    allocation = ((obj or {}).get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or []


class ResourceClaimStrategy(VersionedStrategy):
    """ResourceClaim."""

    returns_deleted = True
    generation = False
    columns = rules.columns("Name", "State: A summary of the current state (allocated, pending, reserved, etc.).", "Age")

    def default(self, obj: Object) -> None:
        _default_claim(obj["spec"])

    def validate_within(self, new: Object, old: Object | None, labels: Labels) -> list[Cause]:
        if old is None:
            return _admin_requests(current(new)["spec"], labels)
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


class ResourceClaimTemplateStrategy(VersionedStrategy):
    """ResourceClaimTemplate."""

    returns_deleted = True
    status = False
    generation = False
    columns = rules.columns("Name", "Age")

    def default(self, obj: Object) -> None:
        _default_claim(obj["spec"]["spec"])

    def validate_within(self, new: Object, old: Object | None, labels: Labels) -> list[Cause]:
        return _admin_requests(current(new)["spec"]["spec"], labels) if old is None else []

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
