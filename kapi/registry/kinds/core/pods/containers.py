"""The containers of a pod spec: regular, init (with sidecars) and ephemeral ones.

`Context` carries what the rules need to know of the pod around them. Paths are built only for errors and for nested rules.
Resources, security contexts and probes have files of their own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.kinds.core.pods import container_resources, field_refs, handlers, security, volumes
from kapi.registry.validation.part import Part, validate_cached
from kapi.registry.validation.paths import backsteps, descending
from kapi.registry.validation.rules import PROTOCOLS

RESTART_POLICIES = ("Always", "Never", "OnFailure")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
READ_ONLY_MODES = ("Disabled", "Enabled", "IfPossible")
ENV_SOURCES = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
ONE_ONLY = "may not have more than one field specified at a time"
NOT_EPHEMERAL = ("ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe",
                 "startupProbe", "lifecycle")
ONLY_SIDECARS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")


@dataclass(slots=True)
class Context:
    """The pod around a container."""

    volumes: dict[str, Object]
    """Sound volumes by name."""
    claims: set[str]
    """Names in spec.resourceClaims."""
    grace: int | None
    restart_policy: str
    host_users: bool
    os: str | None
    names: set[str] = field(default_factory=set)


def _ports(container: Part) -> None:
    seen: set[str] = set()
    for port in container.parts("ports"):
        if port.get("name") and port.checked("name", names.port_name):
            port.unique("name", seen)
        if port.need("containerPort"):
            port.port("containerPort")
        if port.get("hostPort"):
            port.port("hostPort")
        port.enum("protocol", PROTOCOLS, need="")


def _key_ref(ref: Part) -> None:
    ref.checked("name", names.dns_subdomain)
    ref.named("key", names.config_key)


def _file_key_ref(ref: Part) -> None:
    ref.named("key", names.env_name)
    ref.named("volumeName", names.dns_label)
    if ref.need("path"):
        backsteps(ref, "path")


_SOURCES: dict[str, Callable[[Part], None]] = {
    "fieldRef": lambda ref: field_refs.field_ref(ref, field_refs.ENV_FIELDS),
    "resourceFieldRef": lambda ref: field_refs.resource_ref(ref, of_file=False),
    "configMapKeyRef": _key_ref, "secretKeyRef": _key_ref, "fileKeyRef": _file_key_ref,
}  # fmt: skip


def _env(container: Part) -> None:
    for at, variable in container.values("env"):
        name = variable.get("name")
        if not name or not (name.isascii() and name.isidentifier()):
            container.e.named(f"{at}.name", name or "", names.env_name)
        if variable.get("valueFrom") is not None:
            _env_source(Part(container.e, f"{at}.valueFrom", variable["valueFrom"]), variable)


def _env_source(source: Part, variable: Object) -> None:
    sources = [kind for kind in _SOURCES if kind in source]
    for kind in sources:
        _SOURCES[kind](source.part(kind))
    if not sources:
        source.e.invalid(source.at, "", ENV_SOURCES)
    elif variable.get("value"):
        source.e.invalid(source.at, "", "may not be specified when `value` is not empty")
    elif len(sources) > 1:
        source.e.invalid(source.at, "", ONE_ONLY)


def _env_from(container: Part) -> None:
    for source in container.parts("envFrom"):
        source.filled("prefix", names.env_name)
        sources = [kind for kind in ("configMapRef", "secretRef") if kind in source]
        for kind in sources:
            source.part(kind).named("name", _subdomain_prefix)
        if not sources:
            source.e.invalid(container.path("envFrom"), "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(sources) > 1:
            source.e.invalid(container.path("envFrom"), "", ONE_ONLY)


def _subdomain_prefix(name: str) -> list[str]:
    return names.dns_subdomain(name, True)


def _mounts(container: Part, context: Context) -> None:
    devices = {d.get("name") or "": d.get("devicePath") or "" for d in container.items("volumeDevices")}
    seen: set[str] = set()
    for mount in container.parts("volumeMounts"):
        name, path = mount.text("name"), mount.text("mountPath")
        mount.need("name")
        if name not in context.volumes:
            mount.not_found("name")
        mount.need("mountPath")
        if path in seen:
            mount.e.invalid(mount.path("mountPath"), path, "must be unique")
        seen.add(path)
        if name in devices:
            mount.e.invalid(mount.path("name"), name, "must not already exist in volumeDevices")
        if path in devices.values():
            mount.e.invalid(mount.path("mountPath"), path, "must not already exist as a path in volumeDevices")
        if len(mount.obj) > 2:
            _mount_options(mount, container)


def _mount_options(mount: Part, container: Part) -> None:
    """Stock reports these at the list, without the index."""
    listed, propagation = Part(mount.e, container.path("volumeMounts"), mount.obj), mount.get("mountPropagation")
    descending(listed, "subPath")
    if mount.text("subPathExpr") and mount.text("subPath"):
        mount.invalid("subPathExpr", "subPathExpr and subPath are mutually exclusive")
    descending(listed, "subPathExpr")
    listed.choice("mountPropagation", ("Bidirectional", "HostToContainer", "None"))
    if propagation == "Bidirectional" and not container.part("securityContext").get("privileged"):
        listed.forbidden("mountPropagation", "Bidirectional mount propagation is available only to privileged containers")
    if mount.get("recursiveReadOnly") not in ("Enabled", "IfPossible"):
        listed.choice("recursiveReadOnly", READ_ONLY_MODES)
        return
    if not mount.get("readOnly"):
        listed.forbidden("recursiveReadOnly", "may only be specified when readOnly is true")
    if propagation not in (None, "None"):
        listed.forbidden("recursiveReadOnly", "may only be specified when mountPropagation is None or not specified")


def _devices(container: Part, context: Context) -> None:
    mounts = {m.get("name") or "": m.get("mountPath") or "" for m in container.items("volumeMounts")}
    seen_names, seen_paths = set[str](), set[str]()
    for device in container.parts("volumeDevices"):
        name, path = device.text("name"), device.text("devicePath")
        volume = context.volumes.get(name)
        device.need("name")
        if name in seen_names:
            device.invalid("name", "must be unique")
        if volume is None:
            device.not_found("name")
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            device.invalid("name", "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
        device.need("devicePath")
        if path in seen_paths:
            device.e.invalid(device.path("devicePath"), path, "must be unique")
        if ".." in path.split("/"):
            device.invalid("devicePath", "can not contain backsteps ('..')")
        else:
            seen_paths.add(path)
        if name in mounts:
            device.e.invalid(device.path("name"), name, "must not already exist in volumeMounts")
        if path in mounts.values():
            device.e.invalid(device.path("devicePath"), path, "must not already exist as a path in volumeMounts")
        if name:
            seen_names.add(name)


def _resize_policies(container: Part, restart_policy: str) -> None:
    """Stock reports all but duplicates at the list, without the index."""
    seen: set[str] = set()
    at, e = container.path("resizePolicy"), container.e
    for policy in container.parts("resizePolicy"):
        resource, restart = policy.text("resourceName"), policy.text("restartPolicy")
        e.unique(policy.at, resource, seen)
        e.enum(at, resource, ("cpu", "memory"), need="")
        e.enum(at, restart, ("NotRequired", "RestartContainer"), need="")
        if restart_policy == "Never" and restart != "NotRequired":
            e.invalid(at, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")


def _restart_rules(container: Part) -> None:
    """A container's own restart policy, and the rules by exit code that may go with it."""
    container.choice("restartPolicy", RESTART_POLICIES)
    if container.items("restartPolicyRules") and "restartPolicy" not in container:
        container.required("restartPolicy", "must specify restartPolicy when restart rules are used")
    container.limit("restartPolicyRules", 20)
    for rule in container.parts("restartPolicyRules"):
        codes = rule.part("exitCodes")
        rule.enum("action", ("Restart", "RestartAllContainers"))
        if "exitCodes" not in rule:
            rule.required("exitCodes", "must be specified")
            continue
        codes.enum("operator", ("In", "NotIn"))
        codes.limit("values", 255)


def common(container: Part, context: Context) -> None:
    """What holds for containers of every sort, in stock's order."""
    container.named("name", names.dns_label)
    container.need("image")
    container.enum("terminationMessagePolicy", MESSAGE_POLICIES, need="", sort=False)
    if container.get("ports"):
        validate_cached(_ports, Part(container.e, container.at, {"ports": container.get("ports")}))
    _env(container)
    if container.get("envFrom"):
        _env_from(container)
    if container.get("volumeMounts"):
        _mounts(container, context)
    if container.get("volumeDevices"):
        _devices(container, context)
    container.enum("imagePullPolicy", volumes.PULL_POLICIES, need="")
    if container.get("resources"):
        container_resources.requirements(container.part("resources"), context.claims)
    if container.get("resizePolicy"):
        _resize_policies(container, context.restart_policy)
    if container.get("securityContext"):
        security.container(container.part("securityContext"), context.host_users)


def _host_ports(containers: Iterable[Part]) -> None:
    seen: set[str] = set()
    for container in containers:
        for port in container.parts("ports"):
            if port.get("hostPort"):
                key = f"{port.text('protocol')}/{port.text('hostIP')}/{port.get('hostPort')}"
                port.e.unique(port.path("hostPort"), key, seen)


def _running(container: Part, context: Context) -> None:
    """What only containers that stay have: lifecycle hooks and probes."""
    if "lifecycle" in container:
        handlers.lifecycle(container.part("lifecycle"), context.grace, context.os)
    for kind in handlers.PROBES:
        if kind in container:
            handlers.probe(container.part(kind), context.grace, kind)


def regular(spec: Part, context: Context) -> None:
    spec.need("containers")
    seen: set[str] = set()
    listed = spec.parts("containers")
    for container in listed:
        common(container, context)
        container.unique("name", seen)
        _running(container, context)
        if "restartPolicy" in container.obj or "restartPolicyRules" in container.obj:
            _restart_rules(container)
    _host_ports(listed)
    context.names |= seen


def init(spec: Part, context: Context) -> None:
    for container in spec.parts("initContainers"):
        common(container, context)
        if "restartPolicy" in container:
            _restart_rules(container)
        elif container.items("restartPolicyRules"):
            container.required("restartPolicy", "must specify restartPolicy when restart rules are used")
        if container.text("name") in context.names:
            container.duplicate("name")
        elif container.text("name"):
            context.names.add(container.text("name"))
        _host_ports([Part(spec.e, spec.path("initContainers[0]"), container.obj)])  # stock looks at one at a time
        if container.get("restartPolicy") == "Always":
            _running(container, context)
            continue
        for kind in ONLY_SIDECARS:
            if kind in container:
                container.forbidden(kind, "may not be set for init containers without restartPolicy=Always")
        for policy in container.parts("resizePolicy"):
            if policy.get("restartPolicy") == "RestartContainer":
                policy.invalid("restartPolicy", "must not be set to 'RestartContainer' for non-sidecar initContainers")


def whitespace(container: Part) -> None:
    """Only real pods are held to this: templates with odd images were always accepted."""
    image = container.text("image")
    if image != image.strip():
        container.invalid("image", "must not have leading or trailing whitespace")


def ephemeral(spec: Part, context: Context) -> None:
    taken = set(context.names)
    for container in spec.parts("ephemeralContainers"):
        common(container, context)
        whitespace(container)
        container.unique("name", taken)
        if container.text("targetContainerName") and container.text("targetContainerName") not in context.names:
            container.not_found("targetContainerName")
        for kind in NOT_EPHEMERAL:
            if container.get(kind) or (isinstance(container.get(kind), dict) and kind != "resources"):
                container.forbidden(kind, "cannot be set for an Ephemeral Container")
        for mount in container.parts("volumeMounts"):
            for name in (name for name in ("subPath", "subPathExpr") if mount.get(name)):
                mount.forbidden(name, "cannot be set for an Ephemeral Container")
