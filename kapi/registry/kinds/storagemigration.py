"""StorageVersionMigration (storagemigration.k8s.io). What it asks for is done by kapi.controllers.storage_migration."""

from kapi.objects import conditions, names
from kapi.objects.meta import Object
from kapi.registry.validation import part
from kapi.registry.validation.part import Part, RuledStrategy

_AT_MOST = (
    (("Succeeded", "Failed"), "Both success and failed conditions cannot be true at the same time"),
    (("Succeeded", "Running"), "Running condition cannot be true when success condition is true"),
    (("Failed", "Running"), "Running condition cannot be true when failed condition is true"),
)
"""Conditions of which one is true at most."""
_FOR_GOOD = {
    "Succeeded": "Success condition cannot be set to false once it is true",
    "Failed": "Failed condition cannot be set to false once it is true",
}


class StorageVersionMigrationStrategy(RuledStrategy):
    """storagemigration.k8s.io/v1beta1 StorageVersionMigration."""

    def check(self, new: Part, old: Object | None) -> None:
        resource = new.part("spec").part("resource")
        if resource.need("resource", "resource is required to be set") and (bad := names.dns1035_label(resource.text("resource"))):
            resource.invalid("resource", ",".join(bad))
        if resource.text("group") and (bad := names.dns_subdomain(resource.text("group"), False)):
            resource.invalid("group", ",".join(bad))
        if old is not None:
            new.immutable(old, "spec")

    def check_status(self, new: Part, old: Object) -> None:
        status, before = new.part("status"), old.get("status") or {}
        version, known = status.text("resourceVersion"), before.get("resourceVersion") or ""
        if version and not (version.isascii() and version.isdigit() and version[0] != "0"):
            status.invalid("resourceVersion", f'resource version is not well formed: "{version}"')
        part.conditions(status)
        if known and known != version:
            status.invalid("resourceVersion", "field is immutable")
        is_true, was_true = _true(status.get("conditions")), _true(before.get("conditions"))
        for both, why in _AT_MOST:
            if is_true.issuperset(both):
                status.invalid("conditions", why)
        for name, why in _FOR_GOOD.items():
            if name in was_true - is_true:
                status.invalid("conditions", why)


def _true(listed: list[Object] | None) -> set[str]:
    """The types of the conditions that are true."""
    found = (conditions.find(listed or (), name) for name in ("Running", "Succeeded", "Failed"))
    return {condition["type"] for condition in found if condition is not None and condition.get("status") == "True"}
