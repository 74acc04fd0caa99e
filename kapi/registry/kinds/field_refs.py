"""References from a pod to its own fields and resources (the downward API), in environment variables and in files."""

import re
from typing import Any

from kapi.objects import names, quantity
from kapi.registry.kinds.rules import Errors

Object = dict[str, Any]

ENV_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
              "status.hostIPs", "status.podIP", "status.podIPs")
FILE_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN = {*ENV_FIELDS, *FILE_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}
RESOURCES = tuple(f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory"))
_HUGE = ("limits.hugepages-", "requests.hugepages-")
_SIZES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_DIVISORS = {
    "cpu": (("1m", "1"), "values 1m and 1 are supported with the cpu resource"),
    "memory": (_SIZES, f"values {', '.join(_SIZES)} are supported with the memory resource"),
    "ephemeral-storage": (_SIZES, f"values {', '.join(_SIZES)} are supported with the local ephemeral storage resource"),
    "hugepages": (_SIZES, f"values {', '.join(_SIZES)} are supported with the hugepages resource"),
}
_SUBSCRIPT = re.compile(r"(.*)\['(.*)'\]", re.DOTALL).fullmatch


def field_ref(e: Errors, field: str, ref: Object, allowed: tuple[str, ...]) -> None:
    """`{"fieldPath": "metadata.labels['a']"}`."""
    version, path = ref.get("apiVersion") or "", ref.get("fieldPath") or ""
    if not e.need(f"{field}.apiVersion", version) or not e.need(f"{field}.fieldPath", path):
        return
    if version != "v1":
        e.invalid(f"{field}.fieldPath", path, f"error converting fieldPath: unsupported pod version: {version}")
        return
    match = _SUBSCRIPT(path)
    if match:
        _subscripted(e, field, path, match[1], match[2])
    elif path not in _KNOWN and path != "spec.host":
        e.invalid(f"{field}.fieldPath", path, f"error converting fieldPath: field label not supported: {path}")
    elif path not in allowed and not (path == "spec.host" and "spec.nodeName" in allowed):
        e.unsupported(f"{field}.fieldPath", path, allowed)


def _subscripted(e: Errors, field: str, whole: str, path: str, key: str) -> None:
    if path == "metadata.annotations":
        for message in names.qualified_name(key.lower()):
            e.invalid(field, key.lower(), message)
    elif path == "metadata.labels":
        e.qualified(field, key)
    else:
        e.invalid(f"{field}.fieldPath", whole, f"error converting fieldPath: field label does not support subscript: {whole}")


def resource_ref(e: Errors, field: str, ref: Object, *, of_file: bool) -> None:
    """`{"resource": "limits.cpu", "divisor": "1m"}`; a file also has to name the container."""
    resource = ref.get("resource") or ""
    if of_file and not ref.get("containerName"):
        e.required(f"{field}.containerName")
    elif e.need(f"{field}.resource", resource) and resource not in RESOURCES and not resource.startswith(_HUGE):
        e.unsupported(f"{field}.resource", resource, RESOURCES)
    divisor = ref.get("divisor")
    if divisor is None or quantity.compare(divisor, None) == 0:
        return
    kind = "hugepages" if resource.startswith(_HUGE) else resource.partition(".")[2] if resource in RESOURCES else ""
    if kind and quantity.canonical(divisor) not in _DIVISORS[kind][0]:
        e.invalid(f"{field}.divisor", resource, f"only divisor's {_DIVISORS[kind][1]}")
