"""The environment variables of a container: services, envFrom, env, $(NAME) expansion; and the downward API, which volumes use too.

ConfigMaps and Secrets are fetched through `lookup`; a missing one raises MissingReference with stock's text.
"""

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kapi.objects import quantity
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, SECRETS, Resource
from kubelet import pods

Lookup = Callable[[Resource, str, str], Awaitable[Object | None]]
"""(resource, namespace, name) -> the object, or None if there is none."""

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\)|\()")
_REFERENCES = {"configMapRef": CONFIG_MAPS, "secretRef": SECRETS, "configMapKeyRef": CONFIG_MAPS, "secretKeyRef": SECRETS}
_KEYED = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")


class MissingReference(Exception):
    """An object or key that the container refers to does not exist; the text is the status message."""


@dataclass(frozen=True)
class EnvironmentContext:
    """What the environment of a pod depends on besides its spec."""

    services: Iterable[Object] = ()
    """The Services of the pod's namespace, and `kubernetes` of the default namespace."""
    ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node: str = ""
    allocatable: Mapping[str, str] = field(default_factory=dict)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value and $$ by $; unknown names are left as they are."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0]) if match[1] is not None else match[0]

    return _REFERENCE.sub(replace, text)


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """The service variables, e.g. WEB_SERVICE_HOST and WEB_PORT_80_TCP_ADDR."""
    out: dict[str, str] = {}
    for service in services:
        spec = service.get("spec") or {}
        ip, ports = spec.get("clusterIP"), spec.get("ports") or ()
        if not ip or ip == "None" or not ports:
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        out |= {f"{name}_SERVICE_HOST": ip, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
        for port in ports:
            if port.get("name"):
                out[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        out |= _links(name, ip, ports)
    return out


def _links(name: str, ip: str, ports: Iterable[Object]) -> dict[str, str]:
    out: dict[str, str] = {}
    host = f"[{ip}]" if ":" in ip else ip
    for index, port in enumerate(ports):
        protocol, number = port.get("protocol", "TCP"), port["port"]
        url = f"{protocol.lower()}://{host}:{number}"
        prefix = f"{name}_PORT_{number}_{protocol}"
        if index == 0:
            out[f"{name}_PORT"] = url
        out |= {prefix: url, f"{prefix}_PROTO": protocol.lower(), f"{prefix}_PORT": str(number), f"{prefix}_ADDR": ip}
    return out


def field_value(pod: Object, path: str, environment_context: EnvironmentContext) -> str:
    """The downward API's text of a field, e.g. 'metadata.labels["app"]'. Raises MissingReference."""
    meta, spec = pod["metadata"], pod["spec"]
    if keyed := _KEYED.match(path):
        return str((meta.get(keyed[1]) or {}).get(keyed[2], ""))
    simple: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: meta["name"],
        "metadata.namespace": lambda: meta["namespace"],
        "metadata.uid": lambda: meta["uid"],
        "metadata.labels": lambda: _pairs(meta.get("labels")),
        "metadata.annotations": lambda: _pairs(meta.get("annotations")),
        "spec.nodeName": lambda: spec.get("nodeName") or environment_context.node,
        "spec.serviceAccountName": lambda: spec.get("serviceAccountName") or "",
        "status.hostIP": lambda: environment_context.host_ips[0] if environment_context.host_ips else "",
        "status.hostIPs": lambda: ",".join(environment_context.host_ips),
        "status.podIP": lambda: environment_context.ips[0] if environment_context.ips else "",
        "status.podIPs": lambda: ",".join(environment_context.ips),
    }
    if path not in simple:
        raise MissingReference(f"unsupported fieldPath: {path}")
    return simple[path]()


def _pairs(values: Mapping[str, str] | None) -> str:
    """Labels or annotations as files of the downward API show them: key="value" lines, sorted."""
    return "\n".join(f'{k}="{_escaped(v)}"' for k, v in sorted((values or {}).items()))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(pod: Object, ref: Object, container: Object | None, environment_context: EnvironmentContext) -> str:
    """The value of a resourceFieldRef, e.g. limits.cpu in units of its divisor, rounded up. Without a limit: the node's allocatable."""
    if name := ref.get("containerName"):
        found = pods.find(pod, name)
        container = found[1] if found else None
    if container is None:
        raise MissingReference(f"container {ref.get('containerName')} not found")
    what, _, resource = ref["resource"].partition(".")
    text = ((container.get("resources") or {}).get(what) or {}).get(resource)
    if text is None:
        text = environment_context.allocatable.get(resource, "0") if what == "limits" else "0"
    divisor = quantity.parse(ref.get("divisor") or "1").nano or quantity.parse("1").nano
    return str(-(-quantity.parse(text).nano // divisor))


async def variables(pod: Object, container: Object, lookup: Lookup, environment_context: EnvironmentContext) -> dict[str, str]:
    """The complete environment of a container. Raises MissingReference."""
    out = service_variables(environment_context.services)
    known: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        known |= await _env_from(pod, source, lookup)
    for entry in container.get("env") or ():
        if entry.get("valueFrom"):
            value = await _value(pod, container, entry["valueFrom"], lookup, environment_context)
            if value is not None:
                known[entry["name"]] = value
        else:
            known[entry["name"]] = expand(entry.get("value") or "", out | known)
    return out | known


async def referenced_object(pod: Object, resource: Resource, name: str, lookup: Lookup, *, optional: bool) -> Object | None:
    """An object of the pod's namespace; None if it is optional and missing. Raises MissingReference."""
    found = await lookup(resource, pod["metadata"]["namespace"], name)
    if found is None and not optional:
        raise MissingReference(f'{resource.kind.lower()} "{name}" not found')
    return found


async def _referenced_data(pod: Object, source: Object, lookup: Lookup) -> tuple[Resource, Object, dict[str, str] | None]:
    """The source of an envFrom or valueFrom entry: (resource, reference, its data as text or None)."""
    field = next((field for field in _REFERENCES if source.get(field)), "configMapRef")
    resource, ref = _REFERENCES[field], source.get(field) or {}
    found = await referenced_object(pod, resource, ref.get("name") or "", lookup, optional=bool(ref.get("optional")))
    return resource, ref, None if found is None else {key: value.decode("utf-8", "replace") for key, value in data(found).items()}


async def _env_from(pod: Object, source: Object, lookup: Lookup) -> dict[str, str]:
    _, _, values = await _referenced_data(pod, source, lookup)
    return {(source.get("prefix") or "") + key: value for key, value in sorted((values or {}).items())}


def data(source: Object) -> dict[str, bytes]:
    """The data of a ConfigMap or Secret, decoded."""
    out = {key: base64.b64decode(value) for key, value in (source.get("binaryData") or {}).items()}
    if source.get("kind") == "Secret":
        return out | {key: base64.b64decode(value or "") for key, value in (source.get("data") or {}).items()}
    return out | {key: value.encode() for key, value in (source.get("data") or {}).items()}


async def _value(pod: Object, container: Object, source: Object, lookup: Lookup, environment_context: EnvironmentContext) -> str | None:
    if ref := source.get("fieldRef"):
        return field_value(pod, ref["fieldPath"], environment_context)
    if ref := source.get("resourceFieldRef"):
        return resource_value(pod, ref, container, environment_context)
    resource, ref, values = await _referenced_data(pod, source, lookup)
    if values is not None and ref["key"] in values:
        return values[ref["key"]]
    if ref.get("optional"):
        return None
    raise MissingReference(f"couldn't find key {ref['key']} in {resource.kind} {pod['metadata']['namespace']}/{ref['name']}")
