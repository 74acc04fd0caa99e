"""The spec of a PersistentVolumeClaim as stock checks it: in the claim itself and in the templates of pods and StatefulSets."""


from kapi.objects import names, quantity
from kapi.registry.validation.part import Part
from kapi.registry.validation.rules import Errors

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")


def _check_source(source: Part) -> None:
    source.need("name")
    source.need("kind")
    group, kind = source.text("apiGroup"), source.text("kind")
    if not group and kind != "PersistentVolumeClaim":
        source.e.invalid(source.at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
    if group:
        source.checked("apiGroup", names.dns_subdomain)
    source.filled("namespace", names.dns_label)


def _check_sources(spec: Part) -> None:
    source, reference = spec.part("dataSource"), spec.part("dataSourceRef")
    given = [part for part, name in ((source, "dataSource"), (reference, "dataSourceRef")) if name in spec]
    for part in given:
        _check_source(part)
    if len(given) < 2:
        return
    if reference.text("namespace"):
        spec.e.invalid(spec.at, {}, "may not be specified when dataSourceRef.namespace is specified")
    elif any(source.get(k) != reference.get(k) for k in ("apiGroup", "kind", "name")):
        spec.e.invalid(spec.at, {}, "must match dataSourceRef")


def claim_spec(spec: Part) -> None:
    """The rules of a claim's spec."""
    modes, at = spec.items("accessModes"), spec.path("accessModes")
    spec.need("accessModes", "at least 1 access mode is required")
    spec.selector("selector")
    for mode in modes:
        spec.e.enum(at, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and any(m in ACCESS_MODES and m != "ReadWriteOncePod" for m in modes):
        spec.e.forbidden(at, "may not use ReadWriteOncePod with other access modes")
    _check_storage(spec.e, spec.path("resources[storage]"), spec.part("resources").part("requests").get("storage"))
    spec.filled("storageClassName", names.dns_subdomain)
    spec.choice("volumeMode", VOLUME_MODES)
    _check_sources(spec)
    spec.filled("volumeAttributesClassName", names.dns_subdomain)


def _check_storage(e: Errors, at: str, size: str | None) -> None:
    if size is None:
        e.required(at)
    elif quantity.compare(size, None) <= 0:
        e.invalid(at, quantity.canonical(size), "must be greater than zero")
    elif quantity.milli(size) % 1000:
        e.invalid(at, quantity.canonical(size), "must be an integer")


_TEMPLATE_METADATA = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
                      "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields")


def claim_template(template: Part) -> None:
    """The template of an ephemeral volume: of its metadata only labels and annotations may be set."""
    meta = template.part("metadata")
    annotations(meta.e, meta.path("annotations"), meta.get("annotations"))
    meta.labels("labels")
    for name in _TEMPLATE_METADATA:
        if meta.get(name):
            meta.forbidden("uID" if name == "uid" else name, "cannot be set")
    claim_spec(template.part("spec"))


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
