"""Objects inside of custom objects (x-kubernetes-embedded-resource): a header and metadata that could be stored.

Source: apiextensions-apiserver's objectmeta validation (v1.36).
"""


from kapi.objects import causes, names
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object
from kapi.registry import metadata
from kapi.schema.structural import EMBEDDED, walk

MIXED_CASE = "may have mixed case, but should otherwise match: "


def validate(openapi: Object, whole: Object) -> list[Cause]:
    """The causes of every embedded object in an object of this schema."""
    lists = (_object(value, path) for node, value, path in walk(openapi, whole) if node.get(EMBEDDED) and isinstance(value, dict))
    return [cause for causes_ in lists for cause in causes_]


def _object(value: Object, path: str) -> list[Cause]:
    out = Causes()
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
