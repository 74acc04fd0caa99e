"""Security contexts of pods and containers: ids, seccomp and AppArmor profiles, sysctls, Windows options, user namespaces."""

import re
from collections.abc import Callable, Iterator, Sequence

from kapi.objects import names
from kapi.registry.validation import internal
from kapi.registry.validation.part import Part
from kapi.registry.validation.paths import descending

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


def containers(spec: Part) -> Iterator[Part]:
    """Every container: init containers, regular, ephemeral."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.parts(kind)


def ids(part: Part, *fields: str) -> None:
    """Numbers of users and groups."""
    for field in fields:
        if field in part:
            part.between(field, 0, LARGEST_ID)


def groups(part: Part) -> None:
    for at, group in part.values("supplementalGroups"):
        part.e.between(at, group, 0, LARGEST_ID)


def _seccomp(profile: Part) -> None:
    profile.enum("type", PROFILES, need="type is required when seccompProfile is set")
    if profile.get("type") != "Localhost":
        if "localhostProfile" in profile:
            shown = internal.to_internal("Profile", profile.obj)
            profile.e.invalid(profile.path("localhostProfile"), shown, "can only be set when seccomp type is Localhost")
    elif "localhostProfile" not in profile:
        profile.required("localhostProfile", "must be set when seccomp type is Localhost")
    else:
        descending(profile, "localhostProfile")


def _app_armor(profile: Part) -> None:
    local = profile.text("localhostProfile")
    if not profile.enum("type", PROFILES, need="type is required when appArmorProfile is set"):
        return
    if profile.get("type") != "Localhost":
        if "localhostProfile" in profile:
            profile.invalid("localhostProfile", "can only be set when AppArmor type is Localhost")
        return
    if local.strip() != local:
        profile.invalid("localhostProfile", "must not be padded with whitespace")
    elif not local:
        profile.required("localhostProfile", "must be set when AppArmor type is Localhost")
    profile.longest("localhostProfile", _LONGEST_PATH)


def _windows_options(options: Part) -> None:
    spec = options.get("gmsaCredentialSpec")
    options.optional("gmsaCredentialSpecName", names.dns_subdomain)
    if spec == "":
        options.invalid("gmsaCredentialSpec", "gmsaCredentialSpec cannot be an empty string")
    elif spec and len(spec) > 64 * 1024:
        options.invalid("gmsaCredentialSpec", "gmsaCredentialSpec size must be under 64 KiB")
    options.optional("runAsUserName", _windows_user)


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


_PROFILES: dict[str, Callable[[Part], None]] = {
    "seccompProfile": _seccomp, "windowsOptions": _windows_options, "appArmorProfile": _app_armor,
}  # fmt: skip


def _profiles(context: Part, *fields: str) -> None:
    for field in fields:
        if field in context:
            _PROFILES[field](context.part(field))


def container(context: Part, host_users: bool) -> None:
    """A container's security context; `host_users`: the pod uses the host's user namespace."""
    ids(context, "runAsUser", "runAsGroup")
    context.choice("procMount", ("Default", "Unmasked"))
    if context.get("procMount") == "Unmasked" and host_users:
        context.invalid("procMount", "`hostUsers` must be false to use `Unmasked`")
    _profiles(context, "seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        _no_escalation(context)
    _profiles(context, "windowsOptions", "appArmorProfile")


def _no_escalation(context: Part) -> None:
    against = ["`privileged` to true"] if context.get("privileged") else []
    against += ["`capabilities.Add` CAP_SYS_ADMIN" for name in context.part("capabilities").items("add") if name == "CAP_SYS_ADMIN"]
    for other in against:
        shown = internal.to_internal("SecurityContext", context.obj)
        context.e.invalid(context.at, shown, f"cannot set `allowPrivilegeEscalation` to false and {other}")


def pod(context: Part, spec: Part) -> None:
    """spec.securityContext, with the fields stock keeps there although the wire form has them in the spec."""
    ids(context, "fsGroup", "runAsUser", "runAsGroup")
    groups(context)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        context.e.invalid(context.path("shareProcessNamespace"), True, text)
    _sysctls(context, spec)
    context.choice("fsGroupChangePolicy", ("Always", "OnRootMismatch"))
    _profiles(context, "seccompProfile", "windowsOptions", "appArmorProfile")
    context.choice("supplementalGroupsPolicy", ("Merge", "Strict"))
    context.choice("seLinuxChangePolicy", ("Recursive",))


def _sysctls(context: Part, spec: Part) -> None:
    seen: set[str] = set()
    for sysctl in context.parts("sysctls"):
        name = sysctl.text("name")
        if sysctl.need("name"):
            if len(name) > 253 or not re.match(_SYSCTL, name):
                sysctl.invalid("name", f"must have at most 253 characters and match regex {_SYSCTL}")
            else:
                sysctl.unique("name", seen)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            sysctl.invalid("name", "may not be specified when 'hostNetwork' is true")
        elif spec.get("hostIPC") and (dotted == "kernel.sem" or dotted.startswith(_IPC_SYSCTLS)):
            sysctl.invalid("name", "may not be specified when 'hostIPC' is true")


def host_process(spec: Part, listed: Sequence[Part]) -> None:
    """Windows host-process pods: all containers or none, and only with the host's network."""
    of_pod = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    hosted = 0
    for part in listed:
        own = ((part.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        hosted += bool(of_pod if own is None else own)
        if of_pod is not None and own is not None and own != of_pod:
            at = part.path("securityContext.windowsOptions.hostProcess")
            text = f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}"
            part.e.invalid(at, own, text)
    if hosted and hosted != len(listed):
        text = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        spec.e.invalid(spec.at, "", text)
    if hosted and not spec.get("hostNetwork"):
        text = "hostNetwork must be true if pod contains any hostProcess containers"
        spec.e.invalid(spec.path("hostNetwork"), False, text)


def host_users(spec: Part, listed: Sequence[Part]) -> None:
    """What a pod with a user namespace of its own may not have."""
    for wire, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(wire):
            spec.forbidden(shown, "when `hostUsers` is false")
    for part in listed:
        if part.items("volumeDevices"):
            part.forbidden("volumeDevices", "when `hostUsers` is false")


def operating_system(spec: Part) -> None:
    os = spec.part("os")
    if os.need("name") and spec.e.enum(os.at, os.text("name"), tuple(_OF)):
        _OF[os.text("name")](spec)


def _linux(spec: Part) -> None:
    for part in (spec, *containers(spec)):
        context = part.part("securityContext")
        if "windowsOptions" in context:
            context.forbidden("windowsOptions", "windows options cannot be set for a linux pod")


def _windows(spec: Part) -> None:
    context = spec.part("securityContext")
    for name in LINUX_ONLY_POD:
        own = name.removeprefix("^")
        if name in context:
            context.forbidden(name, _WINDOWS)
        elif own != name and (spec.get(own) or (spec.get(own) is False and own in ("hostUsers", "shareProcessNamespace"))):
            spec.forbidden(own, _WINDOWS)
    for part in containers(spec):
        context = part.part("securityContext")
        for name in LINUX_ONLY_CONTAINER:
            if name in context:
                context.forbidden(name, _WINDOWS)


_OF: dict[str, Callable[[Part], None]] = {"linux": _linux, "windows": _windows}
