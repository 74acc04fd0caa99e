"""CustomResourceDefinition: the object itself. What it defines is made by kapi.registry.custom and served by kapi.apiserver.crd_controller.

Stock moves what all versions have in common (schema, subresources, columns, selectable fields) to the top of the spec before it
validates, so causes speak of spec.validation and spec.subresources there.
"""


from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry import naming
from kapi.registry.kinds.admissionregistration import webhooks
from kapi.registry.kinds.apiextensions import custom_defaults, custom_schema
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
        if name and name != f"{spec['names']['plural']}.{spec['group']}":
            e.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
        if old is None and naming.protected(spec["group"]):
            _, reason, why = naming.approval(new)
            if reason in ("MissingAnnotation", "InvalidAnnotation"):
                e.required(f"metadata.annotations[{naming.APPROVED}]", why)
        _validate_spec(e, spec)
        if spec.get("preserveUnknownFields") and not (old or {"spec": {}})["spec"].get("preserveUnknownFields"):
            e.invalid("spec.preserveUnknownFields", True, PRESERVING)
        _validate_stored(e, (new.get("status") or {}).get("storedVersions") or [], spec.get("versions") or [])
        if old is not None and naming.holds(old, "Established"):
            for field in ("scope", "group"):
                e.immutable(f"spec.{field}", spec[field], old["spec"][field])
            for field in ("kind", "plural"):
                e.immutable(f"spec.names.{field}", spec["names"][field], old["spec"]["names"][field])
        return e

    def held(self, obj: Object) -> bool:
        return not obj["metadata"].get("deletionTimestamp")

    def mark_deleted(self, obj: Object) -> None:
        """The first request to delete: its objects go first."""
        finalizers = obj["metadata"].setdefault("finalizers", [])
        status = obj["status"] = dict(obj.get("status") or {})
        if not any(condition["type"] == "Terminating" for condition in status.get("conditions") or ()):
            finalizers.append(naming.FINALIZER)
            naming.put(status, {"type": "Terminating", "status": "True", "reason": "InstanceDeletionPending", "message": PENDING})

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        found: dict[str, None] = {}
        for version in new["spec"].get("versions") or ():
            _unknown_formats((version.get("schema") or {}).get("openAPIV3Schema") or {}, found)
        return [f"unrecognized format {go_quote(name)}" for name in found]


def _unknown_formats(schema: Object, found: dict[str, None]) -> None:
    name = schema.get("format") or ""
    if name and name.replace("-", "") not in FORMATS and name not in FORMATS:
        found[name] = None
    parts = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for part in parts:
        if isinstance(part, dict):
            _unknown_formats(part, found)


# rules ----------------------------------------------------------------------------------------------------------------------------


def _validate_spec(e: Errors, spec: Object) -> None:
    group, versions = spec["group"], spec.get("versions")
    if e.need("spec.group", group):
        bad = names.dns_subdomain(group)
        if bad:
            e.invalid("spec.group", group, ",".join(bad))
        elif "." not in group:
            e.invalid("spec.group", group, "should be a domain with at least one dot")
    e.enum("spec.scope", spec["scope"], SCOPES, need="")
    listed = versions or []
    for i, version in enumerate(listed):
        _label(e, f"spec.versions[{i}].name", version["name"])
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            e.required(f"spec.versions[{i}].schema.openAPIV3Schema")
    if listed and listed[0]["name"]:
        _label(e, "spec.version", listed[0]["name"])
    _validate_parts(e, listed)
    shown = None if versions is None else [_shown_version(v) for v in listed]
    if len({version["name"] for version in listed}) < len(listed):
        e.invalid("spec.versions", shown, "must contain unique version names")
    if sum(bool(version["storage"]) for version in listed) != 1:
        e.invalid("spec.versions", shown, "must have exactly one version marked as storage version")
    _validate_names(e, spec["names"])
    _validate_conversion(e, spec.get("conversion") or {})


def _label(e: Errors, field: str, text: str) -> None:
    bad = names.dns1035_label(text)
    if bad:
        e.invalid(field, text, ",".join(bad))


def _shown_version(version: Object) -> Object:
    warning = version.get("deprecationWarning")
    out = {"Name": version["name"], "Served": version["served"], "Storage": version["storage"],
           "Deprecated": bool(version.get("deprecated")), "DeprecationWarning": warning}  # fmt: skip
    return {**out, "Schema": None, "Subresources": None, "AdditionalPrinterColumns": None, "SelectableFields": None}


def _validate_parts(e: Errors, versions: list[Object]) -> None:
    """Schema, subresources, columns and selectable fields: once at the top when all versions agree, else version by version."""
    alike = all(version.get(field) == versions[0].get(field) for version in versions for field in SHARED)
    for i, version in enumerate(versions[:1] if alike else versions):
        at = "spec" if alike else f"spec.versions[{i}]"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        subresources = version.get("subresources") or {}
        if schema is not None:
            where = f"{at}.validation.openAPIV3Schema" if alike else f"{at}.schema.openAPIV3Schema"
            found = custom_schema.validate(where, schema, subresources.get("status") is not None)
            e += found or custom_defaults.validate(where, schema)
        if subresources.get("scale") is not None:
            _validate_scale(e, f"{at}.subresources.scale", subresources["scale"])
        for j, column in enumerate(version.get("additionalPrinterColumns") or ()):
            _validate_column(e, f"{at}.additionalPrinterColumns[{j}]", column)
        if version.get("selectableFields"):
            _validate_selectable(e, f"{at}.selectableFields", version["selectableFields"], schema)


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


def _validate_selectable(e: Errors, at: str, listed: list[Object], schema: Object | None) -> None:
    if schema is None:
        e.invalid(at, "", "may only be set when validations.schema is included")
        return
    seen: set[str] = set()
    for i, selectable in enumerate(listed):
        field, path = f"{at}[{i}].jsonPath", selectable.get("jsonPath") or ""
        if not e.need(field, path):
            continue
        node = custom_schema.at_path(schema, path)
        if isinstance(node, str):
            e.invalid(field, path, node)
        elif path.startswith(".metadata"):
            e.invalid(field, path, "must not point to fields in metadata")
        elif node.get("type") not in SELECTABLE:
            e.invalid(field, path, ONLY_SCALARS)
        e.unique(field, path, seen)
    if len(listed) > MOST_SELECTABLE:
        e.too_many(at, len(listed), MOST_SELECTABLE)


def _validate_names(e: Errors, called: Object) -> None:
    for field in ("plural", "singular"):
        if e.need(f"spec.names.{field}", called.get(field)):
            _label(e, f"spec.names.{field}", called[field])
    for field in ("kind", "listKind"):
        text = called.get(field) or ""
        bad = names.dns1035_label(text.lower())
        if e.need(f"spec.names.{field}", text) and bad:
            e.invalid(f"spec.names.{field}", text, MIXED_CASE + ",".join(bad))
    for field in ("shortNames", "categories"):
        for i, name in enumerate(called.get(field) or ()):
            _label(e, f"spec.names.{field}[{i}]", name)
    if called.get("kind") and called.get("kind") == called.get("listKind"):
        e.invalid("spec.names.listKind", called["listKind"], "kind and listKind may not be the same")


def _validate_conversion(e: Errors, conversion: Object) -> None:
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook")
    e.enum("spec.conversion.strategy", strategy, ("None", "Webhook"), need="")
    if strategy != "Webhook":
        if webhook is not None:
            text = "should not be set when strategy is not set to Webhook"
            e.forbidden("spec.conversion.webhookClientConfig", text)
        return
    client = (webhook or {}).get("clientConfig")
    if client is None:
        e.required("spec.conversion.webhookClientConfig", "required when strategy is set to Webhook, but not set")
    elif (client.get("url") is None) == (client.get("service") is None):
        e.required("spec.conversion.webhookClientConfig", "exactly one of url or service is required")
    elif client.get("url") is not None:
        webhooks.webhook_url(e, "spec.conversion.webhookClientConfig.url", client["url"])
    else:
        webhooks.webhook_service(e, "spec.conversion.webhookClientConfig.service", client["service"])
    webhooks.review_versions(e, "spec.conversion.conversionReviewVersions", (webhook or {}).get("conversionReviewVersions") or [])


def _validate_stored(e: Errors, stored: list[str], versions: list[Object]) -> None:
    at = "status.storedVersions"
    if not stored:
        e.invalid(at, None, "must have at least one stored version")
        return
    left = dict.fromkeys(stored)
    for version in versions:
        if version["storage"] and version["name"] not in left:
            e.invalid(at, stored, f"must have the storage version {version['name']}")
        left.pop(version["name"], None)
    for name in left:
        e.invalid(f"{at}[{stored.index(name)}]", name, "must appear in spec.versions")
