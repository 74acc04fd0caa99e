"""References from a pod to its own fields and resources (the downward API), in environment variables and in files."""

import re

from kapi.objects import quantity
from kapi.registry.validation.part import Part

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


def field_ref(ref: Part, allowed: tuple[str, ...]) -> None:
    """`{"fieldPath": "metadata.labels['a']"}`."""
    version, path = ref.text("apiVersion"), ref.text("fieldPath")
    if not ref.need("apiVersion") or not ref.need("fieldPath"):
        return
    if version != "v1":
        ref.invalid("fieldPath", f"error converting fieldPath: unsupported pod version: {version}")
        return
    match = _SUBSCRIPT(path)
    if match:
        _subscripted(ref, match[1], match[2])
    elif path not in _KNOWN and path != "spec.host":
        ref.invalid("fieldPath", f"error converting fieldPath: field label not supported: {path}")
    elif path not in allowed and not (path == "spec.host" and "spec.nodeName" in allowed):
        ref.unsupported("fieldPath", allowed)


def _subscripted(ref: Part, path: str, key: str) -> None:
    if path == "metadata.annotations":
        ref.e.qualified(ref.at, key.lower())
    elif path == "metadata.labels":
        ref.e.qualified(ref.at, key)
    else:
        ref.invalid("fieldPath", f"error converting fieldPath: field label does not support subscript: {ref.get('fieldPath')}")


def resource_ref(ref: Part, *, of_file: bool) -> None:
    """`{"resource": "limits.cpu", "divisor": "1m"}`; a file also has to name the container."""
    resource, divisor = ref.text("resource"), ref.get("divisor")
    if of_file and not ref.text("containerName"):
        ref.required("containerName")
    elif ref.need("resource") and resource not in RESOURCES and not resource.startswith(_HUGE):
        ref.unsupported("resource", RESOURCES)
    if divisor is None or quantity.compare(divisor, None) == 0:
        return
    kind = "hugepages" if resource.startswith(_HUGE) else resource.partition(".")[2] if resource in RESOURCES else ""
    if kind and quantity.canonical(divisor) not in _DIVISORS[kind][0]:
        ref.e.invalid(ref.path("divisor"), resource, f"only divisor's {_DIVISORS[kind][1]}")
