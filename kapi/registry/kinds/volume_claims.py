"""The spec of a PersistentVolumeClaim as stock checks it: in the claim itself and in the templates of pods and StatefulSets."""

from typing import Any

from kapi.objects import names, quantity
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors

Object = dict[str, Any]

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")


def _data_source(e: Errors, field: str, source: Object) -> None:
    e.need(f"{field}.name", source.get("name"))
    e.need(f"{field}.kind", source.get("kind"))
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        e.invalid(field, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
    if group:
        e.text(f"{field}.apiGroup", group, names.dns_subdomain)
    if source.get("namespace"):
        e.text(f"{field}.namespace", source["namespace"], names.dns_label)


def _access_modes(e: Errors, field: str, modes: list[str]) -> None:
    e.need(field, modes, "at least 1 access mode is required")


def _sources(e: Errors, field: str, spec: Object) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for name in ("dataSource", "dataSourceRef"):
        if spec.get(name) is not None:
            _data_source(e, f"{field}.{name}", spec[name])
    if source is None or reference is None:
        return
    if reference.get("namespace"):
        e.invalid(field, {}, "may not be specified when dataSourceRef.namespace is specified")
    elif any(source.get(k) != reference.get(k) for k in ("apiGroup", "kind", "name")):
        e.invalid(field, {}, "must match dataSourceRef")


def claim_spec(e: Errors, field: str, spec: Object) -> None:
    modes = spec.get("accessModes") or []
    _access_modes(e, f"{field}.accessModes", modes)
    if spec.get("selector"):
        rules.label_selector(e, f"{field}.selector", spec["selector"])
    for mode in modes:
        e.enum(f"{field}.accessModes", mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and any(m in ACCESS_MODES and m != "ReadWriteOncePod" for m in modes):
        e.forbidden(f"{field}.accessModes", "may not use ReadWriteOncePod with other access modes")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        e.required(f"{field}.resources[storage]")
    elif quantity.compare(storage, None) <= 0:
        e.invalid(f"{field}.resources[storage]", quantity.canonical(storage), "must be greater than zero")
    elif quantity.milli(storage) % 1000:
        e.invalid(f"{field}.resources[storage]", quantity.canonical(storage), "must be an integer")
    if spec.get("storageClassName"):
        e.text(f"{field}.storageClassName", spec["storageClassName"], names.dns_subdomain)
    if "volumeMode" in spec:
        e.enum(f"{field}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    _sources(e, field, spec)
    if spec.get("volumeAttributesClassName"):
        e.text(f"{field}.volumeAttributesClassName", spec["volumeAttributesClassName"], names.dns_subdomain)


_TEMPLATE_METADATA = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
                      "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields")


def claim_template(e: Errors, field: str, template: Object) -> None:
    """The template of an ephemeral volume: of its metadata only labels and annotations may be set."""
    meta = template.get("metadata") or {}
    annotations(e, f"{field}.metadata.annotations", meta.get("annotations"))
    rules.labels(e, f"{field}.metadata.labels", meta.get("labels"))
    for name in _TEMPLATE_METADATA:
        if meta.get(name):
            e.forbidden(f"{field}.metadata.{'uID' if name == 'uid' else name}", "cannot be set")
    claim_spec(e, f"{field}.spec", template.get("spec") or {})


_MAX_ANNOTATIONS = 256 * 1024


def annotations(e: Errors, field: str, values: dict[str, str] | None) -> None:
    """Keys are qualified names whose case does not matter; all of it together is at most 256 KiB."""
    size = 0
    for key, value in (values or {}).items():
        for message in names.qualified_name(key.lower()):
            e.invalid(field, key, message)
        size += len(key) + len(value)
    if size > _MAX_ANNOTATIONS:
        e.too_long(field, _MAX_ANNOTATIONS)
