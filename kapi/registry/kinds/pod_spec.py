"""The one validator of pod specs: for pods, and for the templates of everything that makes pods.

`spec` checks a PodSpec at any path, `template` a PodTemplateSpec. The order of the causes is stock's (v1.36).
"""

from typing import Any

from kapi.objects import causes, names
from kapi.registry.kinds import container_resources, containers, internal, placement, rules, security, volumes
from kapi.registry.kinds.paths import descending
from kapi.registry.kinds.rules import Errors
from kapi.registry.kinds.volume_claims import annotations

Object = dict[str, Any]

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_LARGEST_INT = 2**31 - 1


def context_of(spec: Object, sound: dict[str, Object]) -> containers.Context:
    return containers.Context(
        volumes=sound,
        claims={c["name"] for c in spec.get("resourceClaims") or () if c.get("name")},
        grace=spec.get("terminationGracePeriodSeconds"),
        restart_policy=spec.get("restartPolicy") or "",
        host_users=spec.get("hostUsers") is not False,
        os=(spec["os"].get("name") or "") if "os" in spec else None,
    )


def _resource_claims(e: Errors, at: str, claims: list[Object], mirror: bool) -> None:
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        here, name = f"{at}[{i}]", claim.get("name") or ""
        if mirror:
            e.forbidden("", "static pods do not support resource claims")
            continue
        if e.need(f"{here}.name", name) and e.unique(f"{here}.name", name, seen):
            e.text(f"{here}.name", name, names.dns_label)
        chosen = [kind for kind in ("resourceClaimName", "resourceClaimTemplateName") if kind in claim]
        if len(chosen) != 1:
            what = ("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified" if chosen
                    else "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            e.invalid(here, internal.to_internal("PodResourceClaim", claim), what)
        for kind in chosen:
            e.text(f"{here}.{kind}", claim[kind], names.dns_subdomain)


def _listed(e: Errors, at: str, value: Any, allowed: tuple[str, ...]) -> None:
    """An enumeration whose values stock lists in its own order."""
    if value not in allowed and e.need(at, value):
        e.unsupported(at, value, allowed, sort=False)


def _host_network_ports(e: Errors, at: str, spec: Object, is_pod: bool) -> None:
    for i, part in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(part.get("ports") or ()):
            host = port.get("hostPort") or 0
            if (is_pod or host) and host != (port.get("containerPort") or 0):
                e.invalid(f"{at}.containers[{i}].ports[{j}].hostPort", host, "must match `containerPort` when `hostNetwork` is true")


def _dns(e: Errors, at: str, config: Object | None, policy: str) -> None:
    if policy == "None":
        if config is None:
            e.required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            e.required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        e.invalid(f"{at}.nameservers", servers, "must not have more than 3 nameservers")
    for i, server in enumerate(servers):
        rules.legacy_ip(e, f"{at}.nameservers[{i}]", server)
    if len(searches) > 32:
        e.invalid(f"{at}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        e.invalid(f"{at}.searches", searches, "must not have more than 2048 characters (including spaces) in the search list")
    for i, search in enumerate(searches):
        if search != ".":
            e.text(f"{at}.searches[{i}]", search.removesuffix("."), names.dns_subdomain_with_underscore)
    for i, option in enumerate(config.get("options") or ()):
        e.need(f"{at}.options[{i}]", option.get("name"), "must not be empty")


def _gates(e: Errors, at: str, spec: Object) -> None:
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        e.qualified(f"{at}.readinessGates[{i}].conditionType", gate.get("conditionType") or "")
    seen: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        e.qualified(f"{at}.schedulingGates[{i}]", gate.get("name") or "")
        e.unique(f"{at}.schedulingGates[{i}]", gate.get("name") or "", seen)


def _hostname_override(e: Errors, at: str, spec: Object) -> None:
    name, at = spec["hostnameOverride"], f"{at}.hostnameOverride"
    if spec.get("setHostnameAsFQDN"):
        e.forbidden(at, "may not be specified when setHostnameAsFQDN is true")
    if spec.get("hostNetwork"):
        e.forbidden(at, "may not be specified when hostNetwork is true")
    if len(name) > 64:
        e.too_long(at, 64)
    e.text(at, name, names.dns_subdomain)


_TEXTS = (
    # field, check; looked at when not empty, in this order, with other checks in between
    ("hostname", names.dns_label),
    ("subdomain", names.dns_label),
)


def _names(e: Errors, at: str, spec: Object) -> None:
    for name in ("serviceAccountName", "nodeName"):
        if spec.get(name):
            e.text(f"{at}.{name}", spec[name], names.dns_subdomain)
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= _LARGEST_INT:
        e.invalid(f"{at}.activeDeadlineSeconds", seconds, f"must be between 1 and {_LARGEST_INT}, inclusive")
    for name, check in _TEXTS:
        if spec.get(name):
            e.text(f"{at}.{name}", spec[name], check)


def _host_aliases(e: Errors, at: str, aliases: list[Object]) -> None:
    for i, alias in enumerate(aliases):
        rules.legacy_ip(e, f"{at}[{i}].ip", alias.get("ip") or "")
        for j, name in enumerate(alias.get("hostnames") or ()):
            e.text(f"{at}[{i}].hostnames[{j}]", name, names.dns_subdomain)


def _file_volumes(e: Errors, at: str, spec: Object) -> None:
    """Environment variables from files need an emptyDir."""
    sources: dict[str, Object] | None = None
    for part, here in security.containers(spec, at):
        for i, variable in enumerate(part.get("env") or ()):
            ref = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if ref is None:
                continue
            sources = {v.get("name") or "": v for v in spec.get("volumes") or ()} if sources is None else sources
            field, name = f"{here}.env[{i}].valueFrom.fileKeyRef.volumeName", ref.get("volumeName") or ""
            if name not in sources:
                e.append(causes.not_found(field, name))
            elif "emptyDir" not in sources[name]:
                e.invalid(field, name, "referenced volume must be of type emptyDir")


def _rare(e: Errors, at: str, spec: Object) -> None:
    """The tail of the spec that few pods have."""
    for name in ("priorityClassName", "runtimeClassName"):
        if spec.get(name) or (name == "runtimeClassName" and name in spec):
            e.text(f"{at}.{name}", spec[name], names.dns_subdomain)
    if "preemptionPolicy" in spec:
        _listed(e, f"{at}.preemptionPolicy", spec["preemptionPolicy"], PREEMPTION_POLICIES)
    if spec.get("overhead"):
        container_resources.requirements(e, f"{at}.overhead", {"limits": spec["overhead"]}, ())
    if "os" in spec:
        security.operating_system(e, at, spec)
    group = spec.get("schedulingGroup")
    if group is not None:
        name = group.get("podGroupName")
        if name is None:
            e.invalid(f"{at}.schedulingGroup.podGroupName", None, "must specify one of: `podGroupName`")
        else:
            e.text(f"{at}.schedulingGroup.podGroupName", name, names.dns_subdomain)


def _settings(e: Errors, at: str, spec: Object, is_pod: bool) -> None:
    if spec.get("hostNetwork"):
        _host_network_ports(e, at, spec, is_pod)
    _listed(e, f"{at}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    _listed(e, f"{at}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES)
    if spec.get("nodeSelector"):
        rules.labels(e, f"{at}.nodeSelector", spec["nodeSelector"])
    if spec.get("securityContext") or spec.get("shareProcessNamespace"):
        security.pod(e, f"{at}.securityContext", spec.get("securityContext") or {}, spec)
    if "affinity" in spec:
        placement.affinity(e, f"{at}.affinity", spec["affinity"])
    if "dnsConfig" in spec or spec.get("dnsPolicy") == "None":
        _dns(e, f"{at}.dnsConfig", spec.get("dnsConfig"), spec.get("dnsPolicy") or "")
    if "readinessGates" in spec or "schedulingGates" in spec:
        _gates(e, at, spec)
    if spec.get("topologySpreadConstraints"):
        placement.topology_spread(e, f"{at}.topologySpreadConstraints", spec["topologySpreadConstraints"])


def spec(e: Errors, at: str, spec: Object, *, pod_name: str = "", is_pod: bool = False, mirror: bool = False) -> None:
    """Every cause of a PodSpec. `pod_name` is the real pod's name, empty in templates."""
    if "terminationGracePeriodSeconds" not in spec:
        e.required(f"{at}.terminationGracePeriodSeconds")
    listed = spec.get("volumes")
    context = context_of(spec, volumes.check(e, f"{at}.volumes", listed, pod_name) if listed else {})
    if spec.get("resourceClaims"):
        _resource_claims(e, f"{at}.resourceClaims", spec["resourceClaims"], mirror)
    containers.regular(e, f"{at}.containers", spec.get("containers") or [], context)
    if spec.get("initContainers"):
        containers.init(e, f"{at}.initContainers", spec["initContainers"], context)
    if spec.get("ephemeralContainers"):
        context.names |= {c.get("name") or "" for c in spec.get("initContainers") or ()}
        containers.ephemeral(e, f"{at}.ephemeralContainers", spec["ephemeralContainers"], context)
    if "resources" in spec:
        container_resources.pod_level(e, f"{at}.resources", spec, context.claims)
    _settings(e, at, spec, is_pod)
    security.host_process(e, at, spec)
    if spec.get("hostUsers") is False:
        security.host_users(e, at, spec)
    if "hostnameOverride" in spec:
        _hostname_override(e, at, spec)
    _names(e, at, spec)
    if spec.get("tolerations"):
        placement.tolerations(e, f"{at}.tolerations", spec["tolerations"])
    if spec.get("hostAliases"):
        _host_aliases(e, f"{at}.hostAliases", spec["hostAliases"])
    _rare(e, at, spec)
    _file_volumes(e, at, spec)


def _seccomp_text(e: Errors, field: str, text: str) -> None:
    if text.startswith("localhost/"):
        descending(e, field, text.removeprefix("localhost/"))
    elif text not in ("runtime/default", "docker/default", "unconfined"):
        e.invalid(field, text, "must be a valid seccomp profile")


def pod_annotations(e: Errors, at: str, values: dict[str, str], spec: Object) -> None:
    """Annotations that mean something to a pod."""
    if MIRROR in values and not spec.get("nodeName"):
        e.invalid(f"{at}[{MIRROR}]", values[MIRROR], "must set spec.nodeName if mirror pod annotation is set")
    cost = values.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        e.invalid(f"{at}[{DELETION_COST}]", cost, "must be a 32bit integer")
    for key, value in values.items():
        if key == SECCOMP_POD or key.startswith(SECCOMP_CONTAINER):
            _seccomp_text(e, f"{at}.{key}", value)
        elif key.startswith(APP_ARMOR):
            name = key.removeprefix(APP_ARMOR)
            if all(part.get("name") != name for part, _ in security.containers(spec, "")):
                e.invalid(f"{at}[{key}]", name, "container not found")
            if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
                e.invalid(f"{at}[{key}]", value, f'invalid AppArmor profile name: "{value}"')


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-") if not text.startswith("-0") else ""
    plain = text == "0" or (digits.isascii() and digits.isdigit() and not digits.startswith("0"))
    return plain and -(2**31) <= int(text) < 2**31


_MATCHING = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default", "docker/default")}


def _matches(e: Errors, at: str, text: str, profile: Object, what: str) -> None:
    """An annotation and a field that both name a profile must agree."""
    kind = profile.get("type") or ""
    other = kind in _MATCHING and text not in _MATCHING[kind][: 2 if what == "seccomp" else 1]
    if other or (kind == "Localhost" and not text.startswith("localhost/")):
        e.forbidden(f"{at}.type", f"{what} type in annotation and field must match")
    elif kind == "Localhost" and text.removeprefix("localhost/") != profile.get("localhostProfile"):
        e.forbidden(f"{at}.localhostProfile", f"{what} profile in annotation and field must match")


def profiles(e: Errors, at: str, values: dict[str, str], spec: Object) -> None:
    """Seccomp and AppArmor profiles named both in annotations and in fields; looked at only when there are such annotations."""
    if not any("seccomp" in key or "apparmor" in key for key in values):
        return
    context = spec.get("securityContext") or {}
    if SECCOMP_POD in values and "seccompProfile" in context:
        _matches(e, f"{at}.securityContext.seccompProfile", values[SECCOMP_POD], context["seccompProfile"], "seccomp")
    for part, here in security.containers(spec, at):
        own, key = part.get("securityContext") or {}, f"{SECCOMP_CONTAINER}{part.get('name') or ''}"
        if key in values and "seccompProfile" in own:
            _matches(e, f"{here}.securityContext.seccompProfile", values[key], own["seccompProfile"], "seccomp")
    if (spec.get("os") or {}).get("name") == "windows":
        return
    for part, here in security.containers(spec, at):
        profile = (part.get("securityContext") or {}).get("appArmorProfile") or context.get("appArmorProfile")
        key = f"{APP_ARMOR}{part.get('name') or ''}"
        if profile is not None and key in values:
            _matches(e, f"{here}.securityContext.appArmorProfile", values[key], profile, "apparmor")


def template(e: Errors, at: str, part: Object) -> None:
    """A PodTemplateSpec, wherever it is."""
    meta, inner = part.get("metadata") or {}, part.get("spec") or {}
    values = meta.get("annotations") or {}
    rules.labels(e, f"{at}.labels", meta.get("labels"))
    if values:
        annotations(e, f"{at}.annotations", values)
        pod_annotations(e, f"{at}.annotations", values, inner)
    spec(e, f"{at}.spec", inner)
    if values:
        profiles(e, f"{at}.spec", values, inner)
    if inner.get("ephemeralContainers"):
        e.forbidden(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
