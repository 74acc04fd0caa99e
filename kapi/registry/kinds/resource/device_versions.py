"""resource.k8s.io/v1beta1, whose shapes differ from those of v1 (v1beta2 has v1's): a request's fields stand beside its name instead
of below `exactly`, a device's below `basic`, and a slice's nodeName and allNodes cannot be absent.
"""

from collections.abc import Callable

from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.validation.part import RuledStrategy

Shape = Callable[[Object], Object]

V1BETA1 = "resource.k8s.io/v1beta1"
_EXACTLY = ("deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity")
_NOTHING = {"deviceClassName": "", "allocationMode": "", "count": 0}
"""What v1beta1 takes for absent."""


class VersionedStrategy(RuledStrategy):
    """A kind whose v1beta1 has another shape; it is validated in that of v1."""

    def to_storage(self, obj: Object, version: str) -> Object:
        return v1_of(obj) if version == V1BETA1 else obj

    def from_storage(self, obj: Object, version: str) -> Object:
        return v1beta1_of(obj) if version == V1BETA1 else obj

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        return super().validate(current(new), current(old) if old else None)


def v1_of(obj: Object) -> Object:
    """A ResourceClaim, ResourceClaimTemplate or ResourceSlice of v1beta1 as v1 has it; the old one stays as it is."""
    return _with_spec(obj, _exact, _plain)


def v1beta1_of(obj: Object) -> Object:
    """The other way."""
    return _with_spec(obj, _flat, _basic)


def current(obj: Object) -> Object:
    """In v1's shape, whichever it is in."""
    return v1_of(obj) if obj.get("apiVersion") == V1BETA1 else obj


def _with_spec(obj: Object, request: Shape, slice_: Shape) -> Object:
    spec = obj.get("spec") or {}
    if obj.get("kind") == "ResourceSlice":
        return {**obj, "spec": slice_(spec)}
    if obj.get("kind") == "ResourceClaimTemplate":
        return {**obj, "spec": {**spec, "spec": _claim(spec.get("spec") or {}, request)}}
    return {**obj, "spec": _claim(spec, request)}


def _claim(spec: Object, request: Shape) -> Object:
    devices = spec.get("devices") or {}
    if not devices.get("requests"):
        return spec
    return {**spec, "devices": {**devices, "requests": [request(each) for each in devices["requests"]]}}


def _exact(request: Object) -> Object:
    """Any field of the v1beta1 request becomes `exactly`; validation reports invalid ones."""
    exactly = {field: request[field] for field in _EXACTLY if field in request}
    rest = {field: value for field, value in request.items() if field not in _EXACTLY}
    is_set = any(value is not None and value != _NOTHING.get(field) for field, value in exactly.items())
    return {**rest, "exactly": exactly} if is_set else rest


def _flat(request: Object) -> Object:
    exactly = request.get("exactly") or {}
    rest = {field: value for field, value in request.items() if field != "exactly"}
    return {**rest, "deviceClassName": "", **exactly}


def _plain(spec: Object) -> Object:
    return _slice(spec, lambda device: {"name": device.get("name", ""), **(device.get("basic") or {})})


def _basic(spec: Object) -> Object:
    return _slice(spec, lambda device: {"name": device.pop("name", ""), "basic": device})


def _slice(spec: Object, device: Shape) -> Object:
    """`device` gets a copy."""
    out = {field: value for field, value in spec.items() if value or field not in ("nodeName", "allNodes")}
    if out.get("devices"):
        out["devices"] = [device({**each}) for each in out["devices"]]
    return out
