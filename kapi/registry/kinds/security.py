"""Security contexts of pods and containers: ids, seccomp and AppArmor profiles, sysctls, Windows options, user namespaces."""

import re
from collections.abc import Iterator
from typing import Any

from kapi.objects import names
from kapi.registry.kinds import internal
from kapi.registry.kinds.paths import descending
from kapi.registry.kinds.rules import Errors, Rule, checked, each, one_of, present

Object = dict[str, Any]

PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
LARGEST_ID = 2**31 - 1
_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_IPC_SYSCTLS = ("kernel.msg", "kernel.shm", "fs.mqueue.")
_WINDOWS = "cannot be set for a windows pod"
_LONGEST_PATH = 4095

_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}').fullmatch
_DOMAIN = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*").fullmatch

LINUX_ONLY_POD = ("appArmorProfile", "seLinuxOptions", "^hostUsers", "^hostPID", "^hostIPC", "seccompProfile", "fsGroup",
                  "fsGroupChangePolicy", "sysctls", "^shareProcessNamespace", "runAsUser", "runAsGroup", "supplementalGroups",
                  "supplementalGroupsPolicy", "seLinuxChangePolicy")
LINUX_ONLY_CONTAINER = ("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
                        "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup")


def containers(spec: Object, field: str) -> Iterator[tuple[Object, str]]:
    """Every container with its path: init containers, regular, ephemeral."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for i, part in enumerate(spec.get(kind) or ()):
            yield part, f"{field}.{kind}[{i}]"


def ids(e: Errors, field: str, part: Object, *fields: str) -> None:
    """Numbers of users and groups."""
    for name in fields:
        if part.get(name) is not None:
            e.between(f"{field}.{name}", part[name], 0, LARGEST_ID)


def seccomp(e: Errors, field: str, profile: Object) -> None:
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    e.enum(f"{field}.type", kind, PROFILES, need="type is required when seccompProfile is set")
    if kind == "Localhost":
        if local is None:
            e.required(f"{field}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            descending(e, f"{field}.localhostProfile", local)
    elif local is not None:
        shown = internal.to_internal("Profile", profile)
        e.invalid(f"{field}.localhostProfile", shown, "can only be set when seccomp type is Localhost")


def app_armor(e: Errors, field: str, profile: Object) -> None:
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    at = f"{field}.localhostProfile"
    if not e.enum(f"{field}.type", kind, PROFILES, need="type is required when appArmorProfile is set"):
        return
    if kind != "Localhost":
        if local is not None:
            e.invalid(at, local, "can only be set when AppArmor type is Localhost")
        return
    if local is not None and local.strip() != local:
        e.invalid(at, local, "must not be padded with whitespace")
    elif not local:
        e.required(at, "must be set when AppArmor type is Localhost")
    e.longest(at, local or "", _LONGEST_PATH)


def windows(e: Errors, field: str, options: Object) -> None:
    spec = options.get("gmsaCredentialSpec")
    present(e, field, options, {"gmsaCredentialSpecName": checked(names.dns_subdomain)})
    if spec == "":
        e.invalid(f"{field}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string")
    elif spec and len(spec) > 64 * 1024:
        e.invalid(f"{field}.gmsaCredentialSpec", spec, "gmsaCredentialSpec size must be under 64 KiB")
    present(e, field, options, {"runAsUserName": checked(_windows_user)})


def _windows_user(name: str) -> list[str]:
    """What is wrong with 'DOMAIN\\user' or 'user'."""
    if not name:
        return ["runAsUserName cannot be an empty string"]
    if re.search(r"[\x00-\x1f\x7f]", name):
        return ["runAsUserName cannot contain control characters"]
    if name.count("\\") > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, slash, user = name.rpartition("\\")
    out = []
    if len(domain) >= 256:
        out.append("runAsUserName's Domain length must be under 256 characters")
    if slash and not (_NETBIOS(domain) or _DOMAIN(domain)):
        out.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        out.append("runAsUserName's User cannot be empty")
    elif len(user) > 104:
        out.append("runAsUserName's User length must not be longer than 104 characters")
    if user and not user.strip(". "):
        out.append("runAsUserName's User cannot contain only periods or spaces")
    if re.search(r'["/\\:;|=,+*?<>@\[\]]', user):
        out.append('runAsUserName\'s User cannot contain the following characters: "/\\:;|=,+*?<>@[]')
    return out


_PROFILES: dict[str, Rule] = {"windowsOptions": windows, "appArmorProfile": app_armor}
_POD: dict[str, Rule] = {
    "fsGroupChangePolicy": one_of("Always", "OnRootMismatch"), "seccompProfile": seccomp, **_PROFILES,
    "supplementalGroupsPolicy": one_of("Merge", "Strict"), "seLinuxChangePolicy": one_of("Recursive"),
}


def container(e: Errors, field: str, context: Object, host_users: bool) -> None:
    """A container's security context; `host_users` says the pod uses the host's user namespace."""
    ids(e, field, context, "runAsUser", "runAsGroup")
    present(e, field, context, {"procMount": one_of("Default", "Unmasked")})
    if context.get("procMount") == "Unmasked" and host_users:
        e.invalid(f"{field}.procMount", "Unmasked", "`hostUsers` must be false to use `Unmasked`")
    present(e, field, context, {"seccompProfile": seccomp})
    if context.get("allowPrivilegeEscalation") is False:
        _no_escalation(e, field, context)
    present(e, field, context, _PROFILES)


def _no_escalation(e: Errors, field: str, context: Object) -> None:
    against = ["`privileged` to true"] if context.get("privileged") else []
    added = (context.get("capabilities") or {}).get("add") or ()
    against += ["`capabilities.Add` CAP_SYS_ADMIN" for name in added if name == "CAP_SYS_ADMIN"]
    for other in against:
        shown = internal.to_internal("SecurityContext", context)
        e.invalid(field, shown, f"cannot set `allowPrivilegeEscalation` to false and {other}")


def pod(e: Errors, field: str, context: Object, spec: Object) -> None:
    """spec.securityContext, with the fields stock keeps there although the wire form has them in the spec."""
    ids(e, field, context, "fsGroup", "runAsUser", "runAsGroup")
    for at, group in each(field, context, "supplementalGroups"):
        e.between(at, group, 0, LARGEST_ID)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        e.invalid(f"{field}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled")
    _sysctls(e, field, context, spec)
    present(e, field, context, _POD)


def _sysctls(e: Errors, field: str, context: Object, spec: Object) -> None:
    seen: set[str] = set()
    for here, sysctl in each(field, context, "sysctls"):
        at, name = f"{here}.name", sysctl.get("name") or ""
        if not name:
            e.required(at)
        elif len(name) > 253 or not re.match(_SYSCTL, name):
            e.invalid(at, name, f"must have at most 253 characters and match regex {_SYSCTL}")
        else:
            e.unique(at, name, seen)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            e.invalid(at, name, "may not be specified when 'hostNetwork' is true")
        elif spec.get("hostIPC") and (dotted == "kernel.sem" or dotted.startswith(_IPC_SYSCTLS)):
            e.invalid(at, name, "may not be specified when 'hostIPC' is true")


def host_process(e: Errors, field: str, spec: Object) -> None:
    """Windows host-process pods: all containers or none, and only with the host's network."""
    of_pod = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    count = hosted = 0
    for part, at in containers(spec, field):
        own = ((part.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        count += 1
        hosted += bool(of_pod if own is None else own)
        if of_pod is not None and own is not None and own != of_pod:
            e.invalid(f"{at}.securityContext.windowsOptions.hostProcess", own,
                      f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}")
    if hosted and hosted != count:
        e.invalid(field, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
    if hosted and not spec.get("hostNetwork"):
        e.invalid(f"{field}.hostNetwork", False, "hostNetwork must be true if pod contains any hostProcess containers")


def host_users(e: Errors, field: str, spec: Object) -> None:
    """What a pod with a user namespace of its own may not have."""
    if spec.get("hostUsers") is not False:
        return
    for wire, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(wire):
            e.forbidden(f"{field}.{shown}", "when `hostUsers` is false")
    for part, at in containers(spec, field):
        if part.get("volumeDevices"):
            e.forbidden(f"{at}.volumeDevices", "when `hostUsers` is false")


def operating_system(e: Errors, field: str, spec: Object) -> None:
    name = (spec.get("os") or {}).get("name") or ""
    if not e.need(f"{field}.os.name", name):
        return
    if e.enum(f"{field}.os", name, tuple(_OF)):
        _OF[name](e, field, spec)


def _linux(e: Errors, field: str, spec: Object) -> None:
    for part, at in [(spec, field), *containers(spec, field)]:
        if "windowsOptions" in (part.get("securityContext") or {}):
            e.forbidden(f"{at}.securityContext.windowsOptions", "windows options cannot be set for a linux pod")


def _windows(e: Errors, field: str, spec: Object) -> None:
    context = spec.get("securityContext") or {}
    for name in LINUX_ONLY_POD:
        own = name.removeprefix("^")
        if name in context:
            e.forbidden(f"{field}.securityContext.{name}", _WINDOWS)
        elif own != name and (spec.get(own) or (spec.get(own) is False and own in ("hostUsers", "shareProcessNamespace"))):
            e.forbidden(f"{field}.{own}", _WINDOWS)
    for part, at in containers(spec, field):
        for name in LINUX_ONLY_CONTAINER:
            if name in (part.get("securityContext") or {}):
                e.forbidden(f"{at}.securityContext.{name}", _WINDOWS)


_OF: dict[str, Rule] = {"linux": _linux, "windows": _windows}
