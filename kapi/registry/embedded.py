"""Objects inside of custom objects (x-kubernetes-embedded-resource): a header and metadata that could be stored.

Source: apiextensions-apiserver's objectmeta validation (v1.36).
"""

from typing import Any

from kapi.objects import causes, names
from kapi.objects.errors import Cause
from kapi.registry import metadata
from kapi.schema.structural import EMBEDDED

Object = dict[str, Any]
MIXED_CASE = "may have mixed case, but should otherwise match: "


def embedded_causes(openapi: Object, value: Any, path: str = "") -> list[Cause]:
    """The causes of every embedded object in a value of this schema."""
    items, more = openapi.get("items"), openapi.get("additionalProperties")
    if isinstance(value, list) and isinstance(items, dict):
        return [cause for at, item in enumerate(value) for cause in embedded_causes(items, item, f"{path}[{at}]")]
    if not isinstance(value, dict):
        return []
    out = _object(value, path) if openapi.get(EMBEDDED) else []
    fields = openapi.get("properties") or {}
    for key, item in value.items():
        if key in fields:
            out += embedded_causes(fields[key], item, f"{path}.{key}" if path else key)
        elif isinstance(more, dict):
            out += embedded_causes(more, item, f"{path}[{key}]")
    return out


def _object(value: Object, path: str) -> list[Cause]:
    out: list[Cause] = []
    for key in ("apiVersion", "kind"):
        given = value.get(key, "")
        if not isinstance(given, str):
            out.append(causes.invalid(f"{path}.{key}", given, "must be a string"))
        elif not given:
            out.append(causes.required(f"{path}.{key}"))
    version, kind, meta = value.get("apiVersion"), value.get("kind"), value.get("metadata")
    if isinstance(version, str) and version.count("/") > 1:
        out.append(causes.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    if isinstance(kind, str) and kind and (bad := names.dns1035_label(kind.lower())):
        out.append(causes.invalid(f"{path}.kind", kind, MIXED_CASE + ",".join(bad)))
    if isinstance(meta, dict):
        named = {"name": "fakename", **meta}
        found = metadata.validate(named, bool(meta.get("namespace")), names.path_segment, loose=True)
        out += [cause._replace(field=f"{path}.{cause.field}") for cause in found]
    return out
