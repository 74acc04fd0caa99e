"""APIService: which server answers for an API group and version."""

from typing import Any

from kapi.objects import names, time
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

HIGHEST_GROUP, HIGHEST_VERSION = 20000, 1000
LOCAL: Object = {"type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available"}
"""The condition of an APIService that names no other server."""


class APIServiceStrategy(Strategy):
    """apiregistration.k8s.io/v1 APIService."""

    name_check = staticmethod(names.path_segment)
    generation = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "Service: The reference to the service that hosts this API endpoint.", "Available: Whether this service is available.",
        "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("groupPriorityMinimum", 0)
        spec.setdefault("versionPriority", 0)
        if spec.get("service") is not None:
            spec["service"].setdefault("port", 443)
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}
        if old is None and new["spec"].get("service") is None:
            new["status"] = {"conditions": [{**LOCAL, "lastTransitionTime": time.stamp()}]}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec, name = new["spec"], new["metadata"].get("name") or ""
        group, version = spec.get("group") or "", spec.get("version") or ""
        if generate := new["metadata"].get("generateName"):
            e.invalid("metadata.generateName", generate, f'must be `spec.version+"."+spec.group`: "{version}.{group}"')
        if name and name != f"{version}.{group}":
            e.invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{version}.{group}"')
        if group:
            e.text("spec.group", group, names.dns_subdomain)
        elif version != "v1":
            e.required("spec.group", "only v1 may have an empty group and it better be legacy kube")
        e.text("spec.version", version, names.dns1035_label)
        for field, most in (("groupPriorityMinimum", HIGHEST_GROUP), ("versionPriority", HIGHEST_VERSION)):
            value = spec.get(field, 0)
            if not 0 < value <= most:
                e.invalid(f"spec.{field}", value, f"must be positive and less than {most}")
        _validate_backend(e, spec)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        service = obj["spec"].get("service")
        shown = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
        found = next((c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "Available"), None)
        available = "Unknown" if found is None else found.get("status", "")
        if found is not None and available != "True" and found.get("reason"):
            available = f"{available} ({found['reason']})"
        return [obj["metadata"]["name"], shown, available, rules.age(obj, now)]


def _validate_backend(e: Errors, spec: Object) -> None:
    service, bundle, trusting = spec.get("service"), spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify"))
    if service is None:
        if bundle:
            e.invalid("spec.caBundle", f"{len(bundle) * 3 // 4} bytes", "local APIServices may not have a caBundle")
        if trusting:
            e.invalid("spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify")
        return
    for field in ("namespace", "name"):
        e.need(f"spec.service.{field}", service.get(field))
    if not 1 <= service.get("port", 443) <= 65535:
        e.invalid("spec.service.port", service["port"], f"port is not valid: {names.PORT_RANGE}")
    if trusting and bundle:
        e.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")
