"""APIService: which server answers for an API group and version."""

from typing import Any

from kapi.objects import names, time
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy

HIGHEST_GROUP, HIGHEST_VERSION = 20000, 1000
LOCAL: Object = {"type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available"}
"""The condition of an APIService that names no other server."""


class APIServiceStrategy(RuledStrategy):
    """apiregistration.k8s.io/v1 APIService."""

    name_check = staticmethod(names.path_segment)
    generation = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "Service: The reference to the service that hosts this API endpoint.", "Available: Whether this service is available.",
        "Age",
    )  # fmt: skip
    defaults = {"spec.service.port": 443}

    def prepare(self, new: Object, old: Object | None) -> None:
        if old is None and new["spec"].get("service") is None:
            new["status"] = {"conditions": [{**LOCAL, "lastTransitionTime": time.stamp()}]}

    def check(self, new: Part, old: Object | None) -> None:
        spec, meta = new.part("spec"), new.part("metadata")
        name = f"{spec.text('version')}.{spec.text('group')}"
        form = f'must be `spec.version+"."+spec.group`: "{name}"'
        if meta.text("generateName"):
            meta.invalid("generateName", form)
        if meta.text("name") not in ("", name):
            meta.invalid("name", form)
        if spec.text("group"):
            spec.checked("group", names.dns_subdomain)
        elif spec.text("version") != "v1":
            spec.required("group", "only v1 may have an empty group and it better be legacy kube")
        spec.checked("version", names.dns1035_label)
        for field, most in (("groupPriorityMinimum", HIGHEST_GROUP), ("versionPriority", HIGHEST_VERSION)):
            if not 0 < spec.number(field) <= most:
                spec.invalid(field, f"must be positive and less than {most}")
        _check_backend(spec)

    def cells(self, obj: Object) -> list[Any]:
        service = obj["spec"].get("service")
        shown = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
        condition = next((c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "Available"), None)
        available = "Unknown" if condition is None else condition.get("status", "")
        if condition is not None and available != "True" and condition.get("reason"):
            available = f"{available} ({condition['reason']})"
        return [shown, available]


def _check_backend(spec: Part) -> None:
    bundle, trusting = spec.text("caBundle"), bool(spec.get("insecureSkipTLSVerify"))
    if "service" not in spec:
        if bundle:
            spec.e.invalid("spec.caBundle", f"{len(bundle) * 3 // 4} bytes", "local APIServices may not have a caBundle")
        if trusting:
            spec.invalid("insecureSkipTLSVerify", "local APIServices may not have insecureSkipTLSVerify")
        return
    service = spec.part("service")
    service.need("namespace")
    service.need("name")
    if not 1 <= service.number("port") <= 65535:
        service.invalid("port", f"port is not valid: {names.PORT_RANGE}")
    if trusting and bundle:
        spec.invalid("insecureSkipTLSVerify", "may not be true if caBundle is present")
