"""CustomResourceDefinition: the object itself. What it defines is made by kapi.registry.custom and served by kapi.apiserver.crd_controller.

Stock moves what all versions have in common (schema, subresources, columns, selectable fields) to the top of the spec before it
validates, so the paths of causes are spec.validation and spec.subresources there.
"""


import base64
from collections.abc import Iterator

from kapi import limits
from kapi.objects import causes, names
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry import naming
from kapi.registry.kinds.admissionregistration import webhooks
from kapi.registry.kinds.apiextensions import custom_paths, custom_schema, custom_shown
from kapi.registry.strategy import NAME_COLUMN, Strategy
from kapi.registry.validation.rules import Errors

SCOPES = ("Cluster", "Namespaced")
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
SIMPLE_PATH = "must be a simple json path starting with ."
MIXED_CASE = "may have mixed case, but should otherwise match: "
FORMATS = frozenset(("bsonobjectid", "uri", "email", "hostname", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid3", "uuid4", "uuid5", "isbn",
                     "isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor", "byte", "password", "date", "duration", "datetime",
                     "date-time", "int32", "int64", "float", "double", "k8s-short-name", "k8s-long-name"))  # fmt: skip
PENDING = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
PRESERVING = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
SHARED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
SELECTABLE = ("string", "boolean", "integer")
MOST_SELECTABLE = 8
LONGEST_WARNING = 256
_SHORTEST_VERSION = 150
"""Characters that a version takes at least as JSON, as stock prints its own type."""
ONLY_SCALARS = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."


class CustomResourceDefinitionStrategy(Strategy):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    long = True
    unconditional_update = False
    loose_finalizers = True
    columns = (NAME_COLUMN, Strategy.columns[1])

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("group", "")
        spec.setdefault("scope", "")
        called = spec.setdefault("names", {})
        if not called.get("singular"):
            called["singular"] = (called.get("kind") or "").lower()
        if not called.get("listKind") and called.get("kind"):
            called["listKind"] = called["kind"] + "List"
        called.setdefault("plural", "")
        called.setdefault("kind", "")
        spec.setdefault("versions", None)
        for version in spec["versions"] or ():
            for field, value in (("name", ""), ("served", False), ("storage", False)):
                version.setdefault(field, value)
            for node in custom_schema.everything(_openapi(version) or {}):
                for field in ("default", "example"):
                    if field in node and node[field] is None:
                        del node[field]
        conversion = spec.setdefault("conversion", {"strategy": "None"})
        service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare(self, new: Object, old: Object | None) -> None:
        status = (old or {}).get("status") or {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": None}
        stored = status.get("storedVersions") or []
        keeping = [v["name"] for v in new["spec"].get("versions") or () if v.get("storage")][:1]
        new["status"] = {**status, "storedVersions": list(dict.fromkeys([*stored, *keeping])) or None}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec, name = new["spec"], new["metadata"].get("name") or ""
        before = None if old is None else old["spec"]
        if old is None and name and name != f"{spec['names']['plural']}.{spec['group']}":
            e.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
        _validate_spec(e, spec, before)
        _validate_conversion(e, spec, old)
        if old is not None and before is not None:
            if naming.is_condition_true(old, "Established"):
                e.immutable("spec.scope", spec["scope"], before["scope"])
                e.immutable("spec.names.kind", spec["names"]["kind"], before["names"]["kind"])
            e.immutable("spec.group", spec["group"], before["group"])
            e.immutable("spec.names.plural", spec["names"]["plural"], before["names"]["plural"])
        _validate_stored(e, (new.get("status") or {}).get("storedVersions") or [], spec.get("versions") or [])
        if naming.is_protected_group(spec["group"]):
            _validate_approval(e, new, old)
        if spec.get("preserveUnknownFields") and not (before or {}).get("preserveUnknownFields"):
            e.invalid("spec.preserveUnknownFields", True, PRESERVING)
        return e

    def blocks_deletion(self, obj: Object) -> bool:
        return not obj["metadata"].get("deletionTimestamp")

    def mark_deleted(self, obj: Object) -> None:
        """The first request to delete: its objects go first."""
        finalizers = obj["metadata"].setdefault("finalizers", [])
        status = obj["status"] = dict(obj.get("status") or {})
        if not any(condition["type"] == "Terminating" for condition in status.get("conditions") or ()):
            finalizers.append(naming.FINALIZER)
            naming.set_condition(status, {"type": "Terminating", "status": "True", "reason": "InstanceDeletionPending", "message": PENDING})

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        formats: dict[str, None] = {}
        for version in new["spec"].get("versions") or ():
            _unknown_formats((version.get("schema") or {}).get("openAPIV3Schema") or {}, formats)
        return [f"unrecognized format {go_quote(name)}" for name in formats]


def _unknown_formats(schema: Object, formats: dict[str, None]) -> None:
    name = schema.get("format") or ""
    if name and name.replace("-", "") not in FORMATS and name not in FORMATS:
        formats[name] = None
    parts = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for part in parts:
        if isinstance(part, dict):
            _unknown_formats(part, formats)


# rules ----------------------------------------------------------------------------------------------------------------------------


def _validate_approval(e: Errors, new: Object, old: Object | None) -> None:
    """The approval of a protected group's definition; one that was without stays so."""
    _, reason, why = naming.approval_state(new)
    if old is not None and naming.approval_state(old)[1] == reason:
        return
    at = f"metadata.annotations[{naming.APPROVED_ANNOTATION}]"
    if reason == "MissingAnnotation":
        e.required(at, why)
    elif reason == "InvalidAnnotation":
        e.invalid(at, (new["metadata"].get("annotations") or {})[naming.APPROVED_ANNOTATION], why)


def _validate_spec(e: Errors, spec: Object, old: Object | None) -> None:
    group, versions = spec["group"], spec.get("versions")
    if e.need("spec.group", group):
        bad = names.dns_subdomain(group)
        if bad:
            e.invalid("spec.group", group, ",".join(bad))
        elif "." not in group:
            e.invalid("spec.group", group, "should be a domain with at least one dot")
    e.enum("spec.scope", spec["scope"], SCOPES, need="")
    listed = versions or []
    shared = _shared(listed)
    if "schema" not in shared or _openapi(shared) is None:
        for i, version in enumerate(listed):
            if _openapi(version) is None:
                e.required(f"spec.versions[{i}].schema.openAPIV3Schema")
    before = {version["name"]: _openapi(version) for version in (old or {}).get("versions") or ()}
    spared = custom_schema.spared([schema for schema in before.values() if schema is not None])
    for i, version in enumerate(listed):
        _validate_version(e, f"spec.versions[{i}]", version, shared, spared, before)
    _validate_choice(e, versions, shared)
    if listed and listed[0]["name"]:
        _label(e, "spec.version", listed[0]["name"])
    _validate_names(e, spec["names"])
    if listed:
        status = any((version.get("subresources") or {}).get("status") is not None for version in listed)
        first = {**shared, "name": listed[0]["name"]}
        _validate_parts(e, "spec", "spec.validation", first, status, spared, before)


def _validate_choice(e: Errors, versions: list[Object] | None, shared: Object) -> None:
    listed = versions or []
    wrong = {
        "must contain unique version names": len({version["name"] for version in listed}) < len(listed),
        "must have exactly one version marked as storage version": sum(bool(version["storage"]) for version in listed) != 1,
    }
    if any(wrong.values()):
        left = custom_shown.room()
        most = limits.QUOTED_VALUE // _SHORTEST_VERSION + 1
        shown = None if versions is None else [_shown_version(v, shared, left) for v in listed[:most]]
        for why in (why for why, found in wrong.items() if found):
            e.invalid("spec.versions", shown, why)


def _label(e: Errors, field: str, text: str) -> None:
    bad = names.dns1035_label(text)
    if bad:
        e.invalid(field, text, ",".join(bad))


def _openapi(version: Object) -> Object | None:
    schema: Object | None = (version.get("schema") or {}).get("openAPIV3Schema")
    return schema


def _shared(versions: list[Object]) -> Object:
    """The fields that all versions have in common, which are validated once."""
    alike = (field for field in SHARED if versions and all(v.get(field) == versions[0].get(field) for v in versions))
    return {field: versions[0].get(field) for field in alike}


def _shown_version(version: Object, shared: Object, left: Iterator[int]) -> Object:
    """A version as stock prints its own type; of schemas those nodes that are left of the room."""
    schema, scale = _openapi(version), (version.get("subresources") or {}).get("scale")
    own = {
        "Schema": None if schema is None else {"OpenAPIV3Schema": custom_shown.shown(schema, left)},
        "Subresources": {"Status": (version.get("subresources") or {}).get("status"), "Scale": scale and _capital(scale)},
        "AdditionalPrinterColumns": [_capital(column) for column in version.get("additionalPrinterColumns") or ()] or None,
        "SelectableFields": [_capital(path) for path in version.get("selectableFields") or ()] or None,
    }
    out = {"Name": version["name"], "Served": version["served"], "Storage": version["storage"],
           "Deprecated": bool(version.get("deprecated")), "DeprecationWarning": version.get("deprecationWarning")}  # fmt: skip
    return out | {
        shown: None if field in shared or version.get(field) is None else own[shown]
        for shown, field in zip(own, SHARED, strict=True)
    }  # fmt: skip


def _capital(obj: Object) -> Object:
    return {"JSONPath" if key == "jsonPath" else key[0].upper() + key[1:]: value for key, value in obj.items()}


def _validate_version(
    e: Errors, at: str, version: Object, shared: Object, spared: custom_schema.Spared, before: dict[str, Object | None]
) -> None:
    _label(e, f"{at}.name", version["name"])
    for why in _deprecation_faults(version):
        e.invalid(f"{at}.deprecationWarning", version.get("deprecationWarning"), why)
    own = {field: value for field, value in version.items() if field not in shared}
    status = (version.get("subresources") or {}).get("status") is not None
    _validate_parts(e, at, f"{at}.schema", own, status, spared, before)


def _deprecation_faults(version: Object) -> Iterator[str]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield "can only be set for deprecated versions"
        return
    if len(warning.encode()) > LONGEST_WARNING:
        yield f"must be <= {LONGEST_WARNING} characters long"
    if not warning:
        yield "must not be an empty string"
    place = next((i for i, char in enumerate(warning) if not char.isprintable()), None)
    if place is not None:
        index = len(warning[:place].encode())
        yield f"must only contain printable UTF-8 characters; non-printable character found at index {index}"


def _validate_parts(
    e: Errors, at: str, where: str, given: Object, status: bool, spared: custom_schema.Spared, before: dict[str, Object | None]
) -> None:
    """Schema, subresources, columns and selectable fields: of a version, or of what all have alike."""
    schema = _openapi(given)
    if schema is not None:
        unchanged = before.get(given["name"]) == schema
        e += custom_schema.validate(f"{where}.openAPIV3Schema", schema, status, spared, unchanged=unchanged)
    scale = (given.get("subresources") or {}).get("scale")
    if scale is not None:
        _validate_scale(e, f"{at}.subresources.scale", scale)
    for j, column in enumerate(given.get("additionalPrinterColumns") or ()):
        _validate_column(e, f"{at}.additionalPrinterColumns[{j}]", column)
    if given.get("selectableFields"):
        _validate_selectable(e, f"{at}.selectableFields", given["selectableFields"], schema, at == "spec")


def _validate_scale(e: Errors, at: str, scale: Object) -> None:
    for field, under in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        path = scale.get(field) or ""
        if e.need(f"{at}.{field}", path):
            _simple_path(e, f"{at}.{field}", path, (under,), f"should be a json path under {under.rstrip('.')}")
    path = scale.get("labelSelectorPath") or ""
    if path:
        _simple_path(e, f"{at}.labelSelectorPath", path, (".spec.", ".status."), "should be a json path under either .spec or .status")


def _simple_path(e: Errors, field: str, path: str, under: tuple[str, ...], text: str) -> None:
    if not path.startswith("."):
        e.invalid(field, path, SIMPLE_PATH)
    elif under and not path.startswith(under):
        e.invalid(field, path, text)


def _validate_column(e: Errors, at: str, column: Object) -> None:
    e.need(f"{at}.name", column.get("name"))
    kind, form = column.get("type") or "", column.get("format") or ""
    allowed = f"must be one of {','.join(COLUMN_TYPES)}"
    if e.need(f"{at}.type", kind, allowed) and kind not in COLUMN_TYPES:
        e.invalid(f"{at}.type", kind, allowed)
    if form and form not in COLUMN_FORMATS:
        e.invalid(f"{at}.format", form, f"must be one of {','.join(COLUMN_FORMATS)}")
    path = column.get("jsonPath") or ""
    if e.need(f"{at}.JSONPath", path):
        _simple_path(e, f"{at}.JSONPath", path, (), "")


def _validate_selectable(e: Errors, at: str, listed: list[Object], schema: Object | None, shared: bool) -> None:
    if schema is None:
        condition = "when validations.schema is included" if shared else "when version.schema.openAPIV3Schema is not included"
        e.invalid(at, "", f"may only be set {condition}")
        return
    seen: set[str] = set()
    for i, selectable in enumerate(listed):
        field, path = f"{at}[{i}].jsonPath", selectable.get("jsonPath") or ""
        if not e.need(field, path):
            continue
        try:
            found = custom_paths.find(schema, path, brackets=False)
        except custom_paths.PathFault as fault:
            e.invalid(field, path, f"is an invalid path: {fault}")
            continue
        if found.path.split(".")[0] == "metadata":
            e.invalid(field, path, "must not point to fields in metadata")
        if found.node is None or found.node.get("type") not in SELECTABLE:
            e.invalid(field, path, ONLY_SCALARS)
        if found.path in seen:
            e.duplicate(field, path)
        seen.add(found.path)
    if len(seen) > MOST_SELECTABLE:
        e.too_many(at, len(seen), MOST_SELECTABLE)


def _validate_names(e: Errors, called: Object) -> None:
    for field in ("plural", "singular", "kind", "listKind"):
        e.need(f"spec.names.{field}", called.get(field))
    for field in ("plural", "singular"):
        if called.get(field):
            _label(e, f"spec.names.{field}", called[field])
    for field in ("kind", "listKind"):
        text = called.get(field) or ""
        if text and (bad := names.dns1035_label(text.lower())):
            e.invalid(f"spec.names.{field}", text, MIXED_CASE + ",".join(bad))
    for i, name in enumerate(called.get("shortNames") or ()):
        _label(e, f"spec.names.shortNames[{i}]", name)
    if called.get("kind") and called.get("kind") == called.get("listKind"):
        e.invalid("spec.names.listKind", called["listKind"], "kind and listKind may not be the same")
    for i, name in enumerate(called.get("categories") or ()):
        _label(e, f"spec.names.categories[{i}]", name)


def _validate_conversion(e: Errors, spec: Object, old: Object | None) -> None:
    conversion = spec.get("conversion") or {}
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook")
    if strategy != "None" and spec.get("preserveUnknownFields"):
        e.invalid("spec.conversion.strategy", strategy, "must be None if spec.preserveUnknownFields is true")
    e.enum("spec.conversion.strategy", strategy, ("None", "Webhook"), need="")
    if strategy != "Webhook":
        text = "should not be set when strategy is not set to Webhook"
        if (webhook or {}).get("clientConfig") is not None:
            e.forbidden("spec.conversion.webhookClientConfig", text)
        if (webhook or {}).get("conversionReviewVersions"):
            e.forbidden("spec.conversion.conversionReviewVersions", text)
        return
    client = (webhook or {}).get("clientConfig")
    if client is None:
        e.required("spec.conversion.webhookClientConfig", "required when strategy is set to Webhook")
    elif (client.get("url") is None) == (client.get("service") is None):
        e.required("spec.conversion.webhookClientConfig", "exactly one of url or service is required")
    elif client.get("url") is not None:
        webhooks.webhook_url(e, "spec.conversion.webhookClientConfig.url", client["url"])
    else:
        webhooks.webhook_service(e, "spec.conversion.webhookClientConfig.service", client["service"])
    why = naming.ca_fault(spec)
    if why and old is not None and naming.is_condition_true(old, "Established") and not naming.ca_fault(old["spec"]):
        shown = ", ".join(map(hex, base64.b64decode((client or {})["caBundle"])))
        e.append(causes.wrong("spec.conversion.webhookClientConfig.caBundle", f"[]byte{{{shown}}}: {why}"))
    _validate_reviews(e, (webhook or {}).get("conversionReviewVersions") or [], old)


def _validate_reviews(e: Errors, versions: list[str], old: Object | None) -> None:
    """What versions a webhook takes; where it took none that is known, it need not now."""
    found = Errors()
    webhooks.review_versions(found, "spec.conversion.conversionReviewVersions", versions, "")
    before = (((old or {}).get("spec", {}).get("conversion") or {}).get("webhook") or {}).get("conversionReviewVersions") or []
    if before and not set(before) & set(webhooks.REVIEW_VERSIONS):
        found[:] = [cause for cause in found if "must include at least one of" not in cause.message]
    e += found


def _validate_stored(e: Errors, stored: list[str], versions: list[Object]) -> None:
    at = "status.storedVersions"
    if not stored:
        e.invalid(at, None, "must have at least one stored version")
        return
    missing = dict.fromkeys(stored)
    for version in versions:
        if version["storage"] and version["name"] not in missing:
            e.invalid(at, stored, f"must have the storage version {version['name']}")
        missing.pop(version["name"], None)
    for name in missing:
        why = (f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage "
               f"migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions")  # fmt: skip
        e.invalid(f"{at}[{len(stored) - 1 - stored[::-1].index(name)}]", name, why)
