"""The containers of a pod spec: regular, init (with sidecars) and ephemeral ones.

`Context` carries what the rules need to know of the pod around them. Paths are built only where something is said or descended into.
Resources, security contexts and probes have files of their own.
"""

from dataclasses import dataclass, field
from typing import Any

from kapi.objects import names
from kapi.registry.kinds import container_resources, field_refs, handlers, security, volumes
from kapi.registry.kinds.paths import backsteps, descending
from kapi.registry.kinds.rules import PROTOCOLS, Errors, Rule, each, filled, one_of, present

Object = dict[str, Any]

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


def _ports(e: Errors, at: str, ports: list[Object]) -> None:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        name, number, host = port.get("name"), port.get("containerPort") or 0, port.get("hostPort") or 0
        if name and e.text(f"{at}[{i}].name", name, names.port_name):
            e.unique(f"{at}[{i}].name", name, seen)
        if e.need(f"{at}[{i}].containerPort", number):
            e.port(f"{at}[{i}].containerPort", number)
        if host:
            e.port(f"{at}[{i}].hostPort", host)
        if port.get("protocol") not in PROTOCOLS:
            e.enum(f"{at}[{i}].protocol", port.get("protocol"), PROTOCOLS, need="")


def _key_ref(e: Errors, at: str, ref: Object) -> None:
    e.text(f"{at}.name", ref.get("name") or "", names.dns_subdomain)
    e.named(f"{at}.key", ref.get("key") or "", names.config_key)


def _file_key_ref(e: Errors, at: str, ref: Object) -> None:
    e.named(f"{at}.key", ref.get("key") or "", names.env_name)
    e.named(f"{at}.volumeName", ref.get("volumeName") or "", names.dns_label)
    if e.need(f"{at}.path", ref.get("path")):
        backsteps(e, f"{at}.path", ref["path"])


_SOURCES: dict[str, Rule] = {
    "fieldRef": lambda e, at, ref: field_refs.field_ref(e, at, ref, field_refs.ENV_FIELDS),
    "resourceFieldRef": lambda e, at, ref: field_refs.resource_ref(e, at, ref, of_file=False),
    "configMapKeyRef": _key_ref, "secretKeyRef": _key_ref, "fileKeyRef": _file_key_ref,
}  # fmt: skip
_MODES: dict[str, Rule] = {"mountPropagation": one_of("Bidirectional", "HostToContainer", "None")}


def _env(e: Errors, at: str, variables: list[Object]) -> None:
    for i, variable in enumerate(variables):
        name, source = variable.get("name"), variable.get("valueFrom")
        if not name or not (name.isascii() and name.isidentifier()):
            e.named(f"{at}[{i}].name", name or "", names.env_name)
        if source is None:
            continue
        path = f"{at}[{i}].valueFrom"
        found = [kind for kind in _SOURCES if kind in source]
        present(e, path, source, _SOURCES)
        if not found:
            e.invalid(path, "", ENV_SOURCES)
        elif variable.get("value"):
            e.invalid(path, "", "may not be specified when `value` is not empty")
        elif len(found) > 1:
            e.invalid(path, "", ONE_ONLY)


def _env_from(e: Errors, at: str, sources: list[Object]) -> None:
    for i, source in enumerate(sources):
        e.optional(f"{at}[{i}]", source, "prefix", names.env_name)
        found = [kind for kind in ("configMapRef", "secretRef") if kind in source]
        for kind in found:
            e.named(f"{at}[{i}].{kind}.name", source[kind].get("name") or "", _subdomain_prefix)
        if not found:
            e.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(found) > 1:
            e.invalid(at, "", ONE_ONLY)


def _subdomain_prefix(name: str) -> list[str]:
    return names.dns_subdomain(name, True)


def _mounts(e: Errors, at: str, part: Object, context: Context) -> None:
    devices = {d.get("name") or "": d.get("devicePath") or "" for d in part.get("volumeDevices") or ()}
    seen: set[str] = set()
    for i, mount in enumerate(part["volumeMounts"]):
        name, path = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            e.required(f"{at}[{i}].name")
        if name not in context.volumes:
            e.not_found(f"{at}[{i}].name", name)
        if not path:
            e.required(f"{at}[{i}].mountPath")
        if path in seen:
            e.invalid(f"{at}[{i}].mountPath", path, "must be unique")
        seen.add(path)
        if name in devices:
            e.invalid(f"{at}[{i}].name", name, "must not already exist in volumeDevices")
        if path in devices.values():
            e.invalid(f"{at}[{i}].mountPath", path, "must not already exist as a path in volumeDevices")
        if len(mount) > 2:
            _mount_options(e, at, i, mount, part)


def _mount_options(e: Errors, at: str, i: int, mount: Object, part: Object) -> None:
    sub, expression, propagation = mount.get("subPath"), mount.get("subPathExpr"), mount.get("mountPropagation")
    if sub:
        descending(e, f"{at}.subPath", sub)
    if expression:
        if sub:
            e.invalid(f"{at}[{i}].subPathExpr", expression, "subPathExpr and subPath are mutually exclusive")
        descending(e, f"{at}.subPathExpr", expression)
    present(e, at, mount, _MODES)
    if propagation == "Bidirectional" and not (part.get("securityContext") or {}).get("privileged"):
        e.forbidden(f"{at}.mountPropagation", "Bidirectional mount propagation is available only to privileged containers")
    mode = mount.get("recursiveReadOnly")
    if mode in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            e.forbidden(f"{at}.recursiveReadOnly", "may only be specified when readOnly is true")
        if propagation not in (None, "None"):
            e.forbidden(f"{at}.recursiveReadOnly", "may only be specified when mountPropagation is None or not specified")
    elif mode is not None:
        e.enum(f"{at}.recursiveReadOnly", mode, READ_ONLY_MODES)


def _devices(e: Errors, at: str, part: Object, context: Context) -> None:
    mounts = {m.get("name") or "": m.get("mountPath") or "" for m in part.get("volumeMounts") or ()}
    seen_names, seen_paths = set[str](), set[str]()
    for i, device in enumerate(part["volumeDevices"]):
        name, path, here = device.get("name") or "", device.get("devicePath") or "", f"{at}[{i}]"
        volume = context.volumes.get(name)
        e.need(f"{here}.name", name)
        if name in seen_names:
            e.invalid(f"{here}.name", name, "must be unique")
        if volume is None:
            e.not_found(f"{here}.name", name)
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            e.invalid(f"{here}.name", name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
        e.need(f"{here}.devicePath", path)
        if path in seen_paths:
            e.invalid(f"{here}.devicePath", path, "must be unique")
        if ".." in path.split("/"):
            e.invalid(f"{here}.devicePath", path, "can not contain backsteps ('..')")
        else:
            seen_paths.add(path)
        if name in mounts:
            e.invalid(f"{here}.name", name, "must not already exist in volumeMounts")
        if path in mounts.values():
            e.invalid(f"{here}.devicePath", path, "must not already exist as a path in volumeMounts")
        if name:
            seen_names.add(name)


def _resize_policies(e: Errors, at: str, policies: list[Object], restart_policy: str) -> None:
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        resource, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        e.unique(f"{at}[{i}]", resource, seen)
        e.enum(at, resource, ("cpu", "memory"), need="")
        e.enum(at, restart, ("NotRequired", "RestartContainer"), need="")
        if restart_policy == "Never" and restart != "NotRequired":
            e.invalid(at, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")


def _restart_rules(e: Errors, at: str, part: Object) -> None:
    """A container's own restart policy, and the rules by exit code that may go with it."""
    policy, listed = part.get("restartPolicy"), part.get("restartPolicyRules") or ()
    if policy is not None:
        e.enum(f"{at}.restartPolicy", policy, RESTART_POLICIES)
    elif listed:
        e.required(f"{at}.restartPolicy", "must specify restartPolicy when restart rules are used")
    e.most(f"{at}.restartPolicyRules", listed, 20)
    for here, rule in each(at, part, "restartPolicyRules"):
        codes = rule.get("exitCodes")
        e.enum(f"{here}.action", rule.get("action"), ("Restart", "RestartAllContainers"))
        if codes is None:
            e.required(f"{here}.exitCodes", "must be specified")
            continue
        e.enum(f"{here}.exitCodes.operator", codes.get("operator"), ("In", "NotIn"))
        e.most(f"{here}.exitCodes.values", codes.get("values") or (), 255)


_LISTS: dict[str, Rule] = {"ports": _ports, "env": _env, "envFrom": _env_from}


def common(e: Errors, at: str, part: Object, context: Context) -> None:
    """What holds for containers of every sort, in stock's order."""
    e.named(f"{at}.name", part.get("name") or "", names.dns_label)
    if not part.get("image"):
        e.required(f"{at}.image")
    if part.get("terminationMessagePolicy") not in MESSAGE_POLICIES:
        e.enum(f"{at}.terminationMessagePolicy", part.get("terminationMessagePolicy"), MESSAGE_POLICIES, need="", sort=False)
    filled(e, at, part, _LISTS)
    if part.get("volumeMounts"):
        _mounts(e, f"{at}.volumeMounts", part, context)
    if part.get("volumeDevices"):
        _devices(e, f"{at}.volumeDevices", part, context)
    if part.get("imagePullPolicy") not in volumes.PULL_POLICIES:
        volumes.pull_policy(e, f"{at}.imagePullPolicy", part.get("imagePullPolicy"))
    if part.get("resources"):
        container_resources.requirements(e, f"{at}.resources", part["resources"], context.claims)
    if part.get("resizePolicy"):
        _resize_policies(e, f"{at}.resizePolicy", part["resizePolicy"], context.restart_policy)
    if part.get("securityContext"):
        security.container(e, f"{at}.securityContext", part["securityContext"], context.host_users)


def _host_ports(e: Errors, at: str, containers: list[Object]) -> None:
    seen: set[str] = set()
    for i, part in enumerate(containers):
        for j, port in enumerate(part.get("ports") or ()):
            if port.get("hostPort"):
                key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
                e.unique(f"{at}[{i}].ports[{j}].hostPort", key, seen)


def _running(e: Errors, at: str, part: Object, context: Context) -> None:
    """What only containers that stay have: lifecycle hooks and probes."""
    if "lifecycle" in part:
        handlers.lifecycle(e, f"{at}.lifecycle", part["lifecycle"], context.grace, context.os)
    for kind in handlers.PROBES:
        if kind in part:
            handlers.probe(e, f"{at}.{kind}", part[kind], context.grace, kind)


def regular(e: Errors, at: str, containers: list[Object], context: Context) -> None:
    if not containers:
        e.required(at)
        return
    seen: set[str] = set()
    for i, part in enumerate(containers):
        here, name = f"{at}[{i}]", part.get("name") or ""
        common(e, here, part, context)
        e.unique(f"{here}.name", name, seen)
        _running(e, here, part, context)
        if "restartPolicy" in part or "restartPolicyRules" in part:
            _restart_rules(e, here, part)
    _host_ports(e, at, containers)
    context.names |= seen


def init(e: Errors, at: str, containers: list[Object], context: Context) -> None:
    for i, part in enumerate(containers):
        here, name = f"{at}[{i}]", part.get("name") or ""
        common(e, here, part, context)
        sidecar = part.get("restartPolicy") == "Always"
        if "restartPolicy" in part:
            _restart_rules(e, here, part)
        elif part.get("restartPolicyRules"):
            e.required(f"{here}.restartPolicy", "must specify restartPolicy when restart rules are used")
        if name in context.names:
            e.duplicate(f"{here}.name", name)
        elif name:
            context.names.add(name)
        _host_ports(e, at, [part])
        if sidecar:
            _running(e, here, part, context)
            continue
        for kind in ONLY_SIDECARS:
            if kind in part:
                e.forbidden(f"{here}.{kind}", "may not be set for init containers without restartPolicy=Always")
        for where, policy in each(here, part, "resizePolicy"):
            if policy.get("restartPolicy") == "RestartContainer":
                text = "must not be set to 'RestartContainer' for non-sidecar initContainers"
                e.invalid(f"{where}.restartPolicy", "RestartContainer", text)


def whitespace(e: Errors, at: str, part: Object) -> None:
    """Only real pods are held to this: templates with odd images were always accepted."""
    image = part.get("image") or ""
    if image != image.strip():
        e.invalid(f"{at}.image", image, "must not have leading or trailing whitespace")


def ephemeral(e: Errors, at: str, containers: list[Object], context: Context) -> None:
    taken = set(context.names)
    for i, part in enumerate(containers):
        here, target = f"{at}[{i}]", part.get("targetContainerName") or ""
        common(e, here, part, context)
        whitespace(e, here, part)
        e.unique(f"{here}.name", part.get("name") or "", taken)
        if target and target not in context.names:
            e.not_found(f"{here}.targetContainerName", target)
        for kind in NOT_EPHEMERAL:
            if part.get(kind) or (isinstance(part.get(kind), dict) and kind != "resources"):
                e.forbidden(f"{here}.{kind}", "cannot be set for an Ephemeral Container")
        for where, mount in each(here, part, "volumeMounts"):
            for name in (name for name in ("subPath", "subPathExpr") if mount.get(name)):
                e.forbidden(f"{where}.{name}", "cannot be set for an Ephemeral Container")
