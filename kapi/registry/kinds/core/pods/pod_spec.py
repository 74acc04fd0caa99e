"""The one validator of pod specs: for pods, and for the templates of everything that makes pods.

`spec` checks a PodSpec at any path, `template` a PodTemplateSpec. The order of the causes is stock's (v1.36).
"""

from collections.abc import Sequence

from kapi.objects import integers, names
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.references import MIRROR
from kapi.registry.kinds.core.pods import container_resources, containers, placement, security, volumes
from kapi.registry.kinds.core.volume_claims import annotations
from kapi.registry.validation import addresses, internal
from kapi.registry.validation.part import Part
from kapi.registry.validation.paths import descending

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_LARGEST_INT = 2**31 - 1
_CLAIMS = ("resourceClaimName", "resourceClaimTemplateName")


def context_of(spec: Object, valid: dict[str, Object]) -> containers.Context:
    return containers.Context(
        volumes=valid,
        claims={c["name"] for c in spec.get("resourceClaims") or () if c.get("name")},
        grace=spec.get("terminationGracePeriodSeconds"),
        restart_policy=spec.get("restartPolicy") or "",
        host_users=spec.get("hostUsers") is not False,
        os=(spec["os"].get("name") or "") if "os" in spec else None,
    )


def _resource_claims(spec: Part, mirror: bool) -> None:
    seen: set[str] = set()
    for claim in spec.parts("resourceClaims"):
        if mirror:
            spec.e.forbidden("", "static pods do not support resource claims")
            continue
        if claim.need("name") and claim.unique("name", seen):
            claim.checked("name", names.dns_label)
        chosen = [field for field in _CLAIMS if field in claim]
        if len(chosen) != 1:
            what = ("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified" if chosen
                    else "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            spec.e.invalid(claim.at, internal.to_internal("PodResourceClaim", claim.obj), what)
        for field in chosen:
            claim.checked(field, names.dns_subdomain)


def _host_network_ports(spec: Part, is_pod: bool) -> None:
    for container in spec.parts("containers"):
        for port in container.parts("ports"):
            host = port.number("hostPort")
            if (is_pod or host) and host != port.number("containerPort"):
                port.e.invalid(port.path("hostPort"), host, "must match `containerPort` when `hostNetwork` is true")


def _dns(spec: Part) -> None:
    config = spec.part("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if "dnsConfig" not in spec:
            spec.required("dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.need("nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"):
            return
    searches = config.items("searches")
    if len(config.items("nameservers")) > 3:
        config.invalid("nameservers", "must not have more than 3 nameservers")
    for at, server in config.values("nameservers"):
        addresses.legacy_ip(config.e, at, server)
    if len(searches) > 32:
        config.invalid("searches", "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        config.invalid("searches", "must not have more than 2048 characters (including spaces) in the search list")
    for at, search in config.values("searches"):
        if search != ".":
            config.e.text(at, search.removesuffix("."), names.dns_subdomain_with_underscore)
    for option in config.parts("options"):
        option.e.need(option.at, option.text("name"), "must not be empty")


def _gates(spec: Part) -> None:
    for gate in spec.parts("readinessGates"):
        gate.qualified("conditionType")
    seen: set[str] = set()
    for gate in spec.parts("schedulingGates"):
        gate.e.qualified(gate.at, gate.text("name"))
        gate.e.unique(gate.at, gate.text("name"), seen)


def _hostname_override(spec: Part) -> None:
    for other in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(other):
            spec.forbidden("hostnameOverride", f"may not be specified when {other} is true")
    spec.longest("hostnameOverride", 64)
    spec.checked("hostnameOverride", names.dns_subdomain)


def _names(spec: Part) -> None:
    for field in ("serviceAccountName", "nodeName"):
        spec.filled(field, names.dns_subdomain)
    if "activeDeadlineSeconds" in spec:
        spec.between("activeDeadlineSeconds", 1, _LARGEST_INT)
    for field in ("hostname", "subdomain"):
        spec.filled(field, names.dns_label)


def _host_aliases(spec: Part) -> None:
    for alias in spec.parts("hostAliases"):
        addresses.legacy_ip(alias.e, alias.path("ip"), alias.text("ip"))
        alias.each("hostnames", names.dns_subdomain)


def _file_volumes(spec: Part, listed: Sequence[Part]) -> None:
    """Environment variables from files need an emptyDir."""
    for container in listed:
        for i, variable in enumerate(container.items("env")):
            ref = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if ref is None:
                continue
            field, name = f"{container.at}.env[{i}].valueFrom.fileKeyRef.volumeName", ref.get("volumeName") or ""
            sources = {v.get("name") or "": v for v in spec.items("volumes")}
            if name not in sources:
                spec.e.not_found(field, name)
            elif "emptyDir" not in sources[name]:
                spec.e.invalid(field, name, "referenced volume must be of type emptyDir")


def _rare(spec: Part) -> None:
    """The tail of the spec that few pods have."""
    spec.filled("priorityClassName", names.dns_subdomain)
    spec.optional("runtimeClassName", names.dns_subdomain)
    if "preemptionPolicy" in spec:
        spec.enum("preemptionPolicy", ("PreemptLowerPriority", "Never"), need="", sort=False)
    if spec.get("overhead"):
        container_resources.requirements(Part(spec.e, spec.path("overhead"), {"limits": spec.get("overhead")}), ())
    if "os" in spec:
        security.operating_system(spec)
    group = spec.part("schedulingGroup")
    if "schedulingGroup" in spec and "podGroupName" not in group:
        group.invalid("podGroupName", "must specify one of: `podGroupName`")
    group.optional("podGroupName", names.dns_subdomain)


def _settings(spec: Part, is_pod: bool) -> None:
    if spec.get("hostNetwork"):
        _host_network_ports(spec, is_pod)
    spec.enum("restartPolicy", RESTART_POLICIES, need="", sort=False)
    spec.enum("dnsPolicy", DNS_POLICIES, need="", sort=False)
    spec.labels("nodeSelector")
    if spec.get("securityContext") or spec.get("shareProcessNamespace"):
        security.pod(spec.part("securityContext"), spec)
    if "affinity" in spec:
        placement.affinity(spec.part("affinity"))
    if "dnsConfig" in spec or spec.get("dnsPolicy") == "None":
        _dns(spec)
    if "readinessGates" in spec or "schedulingGates" in spec:
        _gates(spec)
    if spec.get("topologySpreadConstraints"):
        placement.topology_spread(spec)


def check(spec: Part, *, pod_name: str = "", is_pod: bool = False, mirror: bool = False) -> None:
    """Every cause of a PodSpec. `pod_name` is the real pod's name, empty in templates."""
    if "terminationGracePeriodSeconds" not in spec:
        spec.required("terminationGracePeriodSeconds")
    context = context_of(spec.obj, volumes.check(spec, pod_name))
    if spec.get("resourceClaims"):
        _resource_claims(spec, mirror)
    containers.regular(spec, context)
    if spec.get("initContainers"):
        containers.init(spec, context)
    if spec.items("ephemeralContainers"):
        context.names |= {c.get("name") or "" for c in spec.items("initContainers")}
        containers.ephemeral(spec, context)
    if "resources" in spec:
        container_resources.pod_level(spec, context.claims)
    _settings(spec, is_pod)
    listed = [*security.containers(spec)]
    security.host_process(spec, listed)
    if spec.get("hostUsers") is False:
        security.host_users(spec, listed)
    if "hostnameOverride" in spec:
        _hostname_override(spec)
    _names(spec)
    placement.tolerations(spec)
    _host_aliases(spec)
    _rare(spec)
    _file_volumes(spec, listed)


def _seccomp_text(annotations: Part, key: str) -> None:
    text = annotations.text(key)
    if text.startswith("localhost/"):
        descending(Part(annotations.e, annotations.at, {key: text.removeprefix("localhost/")}), key)
    elif text not in ("runtime/default", "docker/default", "unconfined"):
        annotations.e.invalid(annotations.path(key), text, "must be a valid seccomp profile")


def pod_annotations(metadata: Part, spec: Part) -> None:
    """Annotations that mean something to a pod."""
    e, values, at = metadata.e, metadata.get("annotations") or {}, metadata.path("annotations")
    if MIRROR in values and not spec.get("nodeName"):
        e.invalid(f"{at}[{MIRROR}]", values[MIRROR], "must set spec.nodeName if mirror pod annotation is set")
    cost = values.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        e.invalid(f"{at}[{DELETION_COST}]", cost, "must be a 32bit integer")
    for key, value in values.items():
        if key == SECCOMP_POD or key.startswith(SECCOMP_CONTAINER):
            _seccomp_text(metadata.part("annotations"), key)
        elif key.startswith(APP_ARMOR):
            name = key.removeprefix(APP_ARMOR)
            if all(container.get("name") != name for container in security.containers(spec)):
                e.invalid(f"{at}[{key}]", name, "container not found")
            if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
                e.invalid(f"{at}[{key}]", value, f"invalid AppArmor profile name: {go_quote(value)}")


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-") if not text.startswith("-0") else ""
    plain = text == "0" or (digits.isascii() and digits.isdigit() and not digits.startswith("0"))
    return plain and -(2**31) <= integers.parse(text) < 2**31


_MATCHING = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default", "docker/default")}


def _matches(owner: Part, field: str, text: str | None, what: str) -> None:
    """An annotation and a field that both name a profile must agree."""
    profile, kind = owner.part(field), owner.part(field).text("type")
    if text is None or field not in owner:
        return
    other = kind in _MATCHING and text not in _MATCHING[kind][: 2 if what == "seccomp" else 1]
    if other or (kind == "Localhost" and not text.startswith("localhost/")):
        profile.forbidden("type", f"{what} type in annotation and field must match")
    elif kind == "Localhost" and text.removeprefix("localhost/") != profile.get("localhostProfile"):
        profile.forbidden("localhostProfile", f"{what} profile in annotation and field must match")


def profiles(values: dict[str, str], spec: Part) -> None:
    """Seccomp and AppArmor profiles named both in annotations and in fields; looked at only when there are such annotations."""
    if not any("seccomp" in key or "apparmor" in key for key in values):
        return
    context = spec.part("securityContext")
    _matches(context, "seccompProfile", values.get(SECCOMP_POD), "seccomp")
    for container in security.containers(spec):
        key = f"{SECCOMP_CONTAINER}{container.text('name')}"
        _matches(container.part("securityContext"), "seccompProfile", values.get(key), "seccomp")
    for container in security.containers(spec) if spec.part("os").get("name") != "windows" else ():
        own = {"appArmorProfile": context.get("appArmorProfile"), **(container.get("securityContext") or {})}
        text = values.get(f"{APP_ARMOR}{container.text('name')}")
        _matches(Part(spec.e, container.path("securityContext"), own), "appArmorProfile", text, "apparmor")


def template(part: Part) -> None:
    """A PodTemplateSpec at any path. In stock, errors in its metadata have paths without `metadata`."""
    metadata, spec = Part(part.e, part.at, part.get("metadata")), part.part("spec")
    values = metadata.get("annotations") or {}
    metadata.labels("labels")
    if values:
        annotations(part.e, metadata.path("annotations"), values)
        pod_annotations(metadata, spec)
    check(spec)
    if values:
        profiles(values, spec)
    if spec.items("ephemeralContainers"):
        spec.forbidden("ephemeralContainers", "ephemeral containers not allowed in pod template")
