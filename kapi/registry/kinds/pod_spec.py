"""The one validator of pod specs: for pods, and for the templates of everything that makes pods.

`spec` checks a PodSpec at any path, `template` a PodTemplateSpec. The order of the causes is stock's (v1.36).
"""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import container_resources, containers, internal, placement, rules, security, volumes
from kapi.registry.kinds.part import Part
from kapi.registry.kinds.paths import descending
from kapi.registry.kinds.rules import Errors, Rule, checked, each, filled, one_of, present
from kapi.registry.kinds.volume_claims import annotations

Object = dict[str, Any]

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_LARGEST_INT = 2**31 - 1
_SUBDOMAIN, _LABEL = checked(names.dns_subdomain), checked(names.dns_label)
_CLAIMS: dict[str, Rule] = {"resourceClaimName": _SUBDOMAIN, "resourceClaimTemplateName": _SUBDOMAIN}
_SUBDOMAINS: dict[str, Rule] = {"serviceAccountName": _SUBDOMAIN, "nodeName": _SUBDOMAIN}
_LABELS: dict[str, Rule] = {"hostname": _LABEL, "subdomain": _LABEL}
_TAIL: dict[str, Rule] = {
    "runtimeClassName": _SUBDOMAIN,
    "preemptionPolicy": one_of("PreemptLowerPriority", "Never", need="", sort=False),
}


def context_of(spec: Object, sound: dict[str, Object]) -> containers.Context:
    return containers.Context(
        volumes=sound,
        claims={c["name"] for c in spec.get("resourceClaims") or () if c.get("name")},
        grace=spec.get("terminationGracePeriodSeconds"),
        restart_policy=spec.get("restartPolicy") or "",
        host_users=spec.get("hostUsers") is not False,
        os=(spec["os"].get("name") or "") if "os" in spec else None,
    )


def _resource_claims(e: Errors, at: str, spec: Object, mirror: bool) -> None:
    seen: set[str] = set()
    for here, claim in each(at, spec, "resourceClaims"):
        name = claim.get("name") or ""
        if mirror:
            e.forbidden("", "static pods do not support resource claims")
            continue
        if e.need(f"{here}.name", name) and e.unique(f"{here}.name", name, seen):
            e.text(f"{here}.name", name, names.dns_label)
        chosen = [kind for kind in _CLAIMS if kind in claim]
        if len(chosen) != 1:
            what = ("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified" if chosen
                    else "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            e.invalid(here, internal.to_internal("PodResourceClaim", claim), what)
        present(e, here, claim, _CLAIMS)


def _host_network_ports(e: Errors, at: str, spec: Object, is_pod: bool) -> None:
    for here, part in each(at, spec, "containers"):
        for place, port in each(here, part, "ports"):
            host = port.get("hostPort") or 0
            if (is_pod or host) and host != (port.get("containerPort") or 0):
                e.invalid(f"{place}.hostPort", host, "must match `containerPort` when `hostNetwork` is true")


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
    for here, server in each(at, config, "nameservers"):
        rules.legacy_ip(e, here, server)
    if len(searches) > 32:
        e.invalid(f"{at}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        e.invalid(f"{at}.searches", searches, "must not have more than 2048 characters (including spaces) in the search list")
    for here, search in each(at, config, "searches"):
        if search != ".":
            e.text(here, search.removesuffix("."), names.dns_subdomain_with_underscore)
    for here, option in each(at, config, "options"):
        e.need(here, option.get("name"), "must not be empty")


def _gates(e: Errors, at: str, spec: Object) -> None:
    for here, gate in each(at, spec, "readinessGates"):
        e.qualified(f"{here}.conditionType", gate.get("conditionType") or "")
    seen: set[str] = set()
    for here, gate in each(at, spec, "schedulingGates"):
        e.qualified(here, gate.get("name") or "")
        e.unique(here, gate.get("name") or "", seen)


def _hostname_override(e: Errors, at: str, spec: Object) -> None:
    name, at = spec["hostnameOverride"], f"{at}.hostnameOverride"
    for other in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(other):
            e.forbidden(at, f"may not be specified when {other} is true")
    e.longest(at, name, 64)
    e.text(at, name, names.dns_subdomain)


def _names(e: Errors, at: str, spec: Object) -> None:
    filled(e, at, spec, _SUBDOMAINS)
    if spec.get("activeDeadlineSeconds") is not None:
        e.between(f"{at}.activeDeadlineSeconds", spec["activeDeadlineSeconds"], 1, _LARGEST_INT)
    filled(e, at, spec, _LABELS)


def _host_aliases(e: Errors, at: str, spec: Object) -> None:
    for here, alias in each(at, spec, "hostAliases"):
        rules.legacy_ip(e, f"{here}.ip", alias.get("ip") or "")
        for place, name in each(here, alias, "hostnames"):
            e.text(place, name, names.dns_subdomain)


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
                e.not_found(field, name)
            elif "emptyDir" not in sources[name]:
                e.invalid(field, name, "referenced volume must be of type emptyDir")


def _rare(e: Errors, at: str, spec: Object) -> None:
    """The tail of the spec that few pods have."""
    e.optional(at, spec, "priorityClassName", names.dns_subdomain)
    present(e, at, spec, _TAIL)
    if spec.get("overhead"):
        container_resources.requirements(e, f"{at}.overhead", {"limits": spec["overhead"]}, ())
    if "os" in spec:
        security.operating_system(e, at, spec)
    group = spec.get("schedulingGroup")
    if group is not None and group.get("podGroupName") is None:
        e.invalid(f"{at}.schedulingGroup.podGroupName", None, "must specify one of: `podGroupName`")
    elif group is not None:
        e.text(f"{at}.schedulingGroup.podGroupName", group["podGroupName"], names.dns_subdomain)


def _settings(e: Errors, at: str, spec: Object, is_pod: bool) -> None:
    if spec.get("hostNetwork"):
        _host_network_ports(e, at, spec, is_pod)
    e.enum(f"{at}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES, need="", sort=False)
    e.enum(f"{at}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES, need="", sort=False)
    filled(e, at, spec, {"nodeSelector": rules.labels})
    if spec.get("securityContext") or spec.get("shareProcessNamespace"):
        security.pod(e, f"{at}.securityContext", spec.get("securityContext") or {}, spec)
    present(e, at, spec, {"affinity": placement.affinity})
    if "dnsConfig" in spec or spec.get("dnsPolicy") == "None":
        _dns(e, f"{at}.dnsConfig", spec.get("dnsConfig"), spec.get("dnsPolicy") or "")
    if "readinessGates" in spec or "schedulingGates" in spec:
        _gates(e, at, spec)
    filled(e, at, spec, {"topologySpreadConstraints": placement.topology_spread})


def spec(e: Errors, at: str, spec: Object, *, pod_name: str = "", is_pod: bool = False, mirror: bool = False) -> None:
    """Every cause of a PodSpec. `pod_name` is the real pod's name, empty in templates."""
    if "terminationGracePeriodSeconds" not in spec:
        e.required(f"{at}.terminationGracePeriodSeconds")
    listed = spec.get("volumes")
    context = context_of(spec, volumes.check(e, f"{at}.volumes", listed, pod_name) if listed else {})
    if spec.get("resourceClaims"):
        _resource_claims(e, at, spec, mirror)
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
    security.host_users(e, at, spec)
    if "hostnameOverride" in spec:
        _hostname_override(e, at, spec)
    _names(e, at, spec)
    filled(e, at, spec, {"tolerations": placement.tolerations})
    _host_aliases(e, at, spec)
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


def template(part: Part) -> None:
    """A PodTemplateSpec, wherever it is."""
    e, metadata, inner = part.e, part.part("metadata"), part.part("spec")
    values = metadata.get("annotations") or {}
    rules.labels(e, part.path("labels"), metadata.get("labels"))
    if values:
        annotations(e, part.path("annotations"), values)
        pod_annotations(e, part.path("annotations"), values, inner.obj)
    spec(e, inner.at, inner.obj)
    if values:
        profiles(e, inner.at, values, inner.obj)
    if inner.items("ephemeralContainers"):
        inner.forbidden("ephemeralContainers", "ephemeral containers not allowed in pod template")
