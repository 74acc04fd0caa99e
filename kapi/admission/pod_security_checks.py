"""The Pod Security Standards: each check names what of a pod spec is not allowed, in stock's words.

A check returns (reason, detail), or None when the pod passes. Which checks a level has in which version of the standards stands in
kapi.admission.pod_security_levels. Source: "Pod Security Standards" (kubernetes.io) and the texts of k8s.io/pod-security-admission (v1.36).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote

Finding = tuple[str, str]
Check = Callable[[Object, Object], Finding | None]

_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
        "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_VOLUMES = frozenset({"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "image"})
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_ALLOWED_PROFILE = re.compile(r"\Z|runtime/default\Z|localhost/")
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_ALLOWED_SECCOMP = re.compile(r"runtime/default\Z|docker/default\Z|localhost/")


def containers(spec: Object) -> Iterator[Object]:
    """All containers, in the order stock visits them."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _context(holder: Object) -> Object:
    return holder.get("securityContext") or {}


def _quoted(names: Iterable[Any]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def plural(names: list[str], one: str = "container") -> str:
    """'container "a"' or 'containers "a", "b"'."""
    return f"{one}{'s' if len(names) != 1 else ''} {_quoted(names)}"


def _named(spec: Object, wrong: Callable[[Object], bool]) -> list[str]:
    return [c.get("name", "") for c in containers(spec) if wrong(c)]


# baseline -----------------------------------------------------------------------------------------------------------------------


def host_namespaces(meta: Object, spec: Object) -> Finding | None:
    found = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(found)) if found else None


def privileged(meta: Object, spec: Object) -> Finding | None:
    bad = _named(spec, lambda c: bool(_context(c).get("privileged")))
    return ("privileged", f"{plural(bad)} must not set securityContext.privileged=true") if bad else None


def capabilities_baseline(meta: Object, spec: Object) -> Finding | None:
    bad, added = [], set()
    for container in containers(spec):
        extra = set((_context(container).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES
        if extra:
            bad.append(container.get("name", ""))
            added |= extra
    if not bad:
        return None
    return "non-default capabilities", f"{plural(bad)} must not include {_quoted(sorted(added))} in securityContext.capabilities.add"


def host_path(meta: Object, spec: Object) -> Finding | None:
    bad = [v.get("name", "") for v in spec.get("volumes") or () if "hostPath" in v]
    return ("hostPath volumes", plural(bad, "volume")) if bad else None


def host_ports(meta: Object, spec: Object) -> Finding | None:
    bad, ports = [], set()
    for container in containers(spec):
        found = {p["hostPort"] for p in container.get("ports") or () if p.get("hostPort")}
        if found:
            bad.append(container.get("name", ""))
            ports |= found
    if not bad:
        return None
    uses = "use" if len(bad) != 1 else "uses"
    listed = ", ".join(sorted(map(str, ports)))
    return "hostPort", f"{plural(bad)} {uses} hostPort{'s' if len(ports) != 1 else ''} {listed}"


def host_probes(meta: Object, spec: Object) -> Finding | None:
    bad, hosts = [], set()
    for container in containers(spec):
        actions = [container.get(f"{probe}Probe") or {} for probe in ("liveness", "readiness", "startup")]
        lifecycle = container.get("lifecycle") or {}
        actions += [lifecycle.get(hook) or {} for hook in ("postStart", "preStop")]
        found = {a[kind]["host"] for a in actions for kind in ("httpGet", "tcpSocket") if (a.get(kind) or {}).get("host")}
        if found:
            bad.append(container.get("name", ""))
            hosts |= found
    if not bad:
        return None
    uses, s = "use" if len(bad) != 1 else "uses", "s" if len(hosts) != 1 else ""
    return "probe or lifecycle host", f"{plural(bad)} {uses} probe or lifecycle host{s} {_quoted(sorted(hosts))}"


def app_armor(meta: Object, spec: Object) -> Finding | None:
    """Fields and annotations, which are told together."""
    types = {label: (_context(holder).get("appArmorProfile") or {}).get("type") for label, holder in _holders(spec)}
    bad = [label for label, type_ in types.items() if type_ not in (None, "RuntimeDefault", "Localhost")]
    annotations = _forbidden(meta, lambda key: key.startswith(_APPARMOR), _ALLOWED_PROFILE)
    setters = [_both(bad)] if bad else []
    setters += [f"annotation{'s' if len(annotations) != 1 else ''}"] if annotations else []
    if not setters:
        return None
    values = [*sorted({str(types[label]) for label in bad}), *annotations]
    reason = "forbidden AppArmor profile" + ("s" if len(values) != 1 else "")
    return reason, f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}"


def se_linux(*types: str) -> Check:
    """The check that allows these types, or none."""

    def check(meta: Object, spec: Object) -> Finding | None:
        wrong_types, fields, holders = set(), set(), []
        for label, holder in _holders(spec):
            options = _context(holder).get("seLinuxOptions") or {}
            wrong = [f for f in ("user", "role") if options.get(f)]
            bad_type = options.get("type", "") not in ("", *types)
            if wrong or bad_type:
                holders.append(label)
                fields |= set(wrong)
                wrong_types |= {options["type"]} if bad_type else set()
        if not holders:
            return None
        parts = [f"type{'s' if len(wrong_types) != 1 else ''} {_quoted(sorted(wrong_types))}"] if wrong_types else []
        parts += [f"{field} may not be set" for field in ("user", "role") if field in fields]
        return "seLinuxOptions", f"{_both(holders)} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)}"

    return check


def _holders(spec: Object) -> Iterator[tuple[str, Object]]:
    """The pod ("") and its containers (their names)."""
    yield "", spec
    for container in containers(spec):
        yield container.get("name", ""), container


def _both(labels: list[str]) -> str:
    names = [label for label in labels if label]
    out = (["pod"] if "" in labels else []) + ([plural(names)] if names else [])
    return " and ".join(out)


def proc_mount(meta: Object, spec: Object) -> Finding | None:
    found = {_context(c).get("procMount") for c in containers(spec)} - {None, "", "Default"}
    bad = _named(spec, lambda c: _context(c).get("procMount") not in (None, "", "Default"))
    return ("procMount", f"{plural(bad)} must not set securityContext.procMount to {_quoted(sorted(map(str, found)))}") if bad else None


def seccomp_baseline(meta: Object, spec: Object) -> Finding | None:
    bad = [label for label, holder in _holders(spec) if _seccomp(holder) == "Unconfined"]
    if not bad:
        return None
    return "seccompProfile", f'{_both(bad)} must not set securityContext.seccompProfile.type to "Unconfined"'


def seccomp_annotations(meta: Object, spec: Object) -> Finding | None:
    """What there was before the fields."""
    keys = {_SECCOMP_POD, *(_SECCOMP_CONTAINER + c.get("name", "") for c in containers(spec))}
    bad = _forbidden(meta, keys.__contains__, _ALLOWED_SECCOMP)
    return ("seccompProfile", f"forbidden annotation{'s' if len(bad) != 1 else ''} {', '.join(bad)}") if bad else None


def _forbidden(meta: Object, concerned: Callable[[str], bool], allowed: re.Pattern[str]) -> list[str]:
    """The annotations that set a profile which is not allowed, as key="value"."""
    found = (meta.get("annotations") or {}).items()
    return sorted(f"{key}={go_quote(value)}" for key, value in found if concerned(key) and not allowed.match(value))


def sysctls(*safe: str) -> Check:
    """The check that allows these."""

    def check(meta: Object, spec: Object) -> Finding | None:
        bad = [s.get("name", "") for s in _context(spec).get("sysctls") or () if s.get("name") not in safe]
        return ("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def host_process(meta: Object, spec: Object) -> Finding | None:
    bad = [label for label, holder in _holders(spec) if (_context(holder).get("windowsOptions") or {}).get("hostProcess")]
    return ("hostProcess", f"{_both(bad)} must not set securityContext.windowsOptions.hostProcess=true") if bad else None


# restricted ---------------------------------------------------------------------------------------------------------------------


def privilege_escalation(meta: Object, spec: Object) -> Finding | None:
    bad = _named(spec, lambda c: _context(c).get("allowPrivilegeEscalation") is not False)
    return ("allowPrivilegeEscalation != false", f"{plural(bad)} must set securityContext.allowPrivilegeEscalation=false") if bad else None


def capabilities_restricted(meta: Object, spec: Object) -> Finding | None:
    keeping, adding, added = [], [], set()
    for container in containers(spec):
        capabilities = _context(container).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            keeping.append(container.get("name", ""))
        extra = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
        if extra:
            adding.append(container.get("name", ""))
            added |= extra
    parts = [f'{plural(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    parts += [f"{plural(adding)} must not include {_quoted(sorted(added))} in securityContext.capabilities.add"] if adding else []
    return ("unrestricted capabilities", "; ".join(parts)) if parts else None


def volume_types(meta: Object, spec: Object) -> Finding | None:
    bad, types = [], set()
    for volume in spec.get("volumes") or ():
        found = {key for key in volume if key != "name"} - _VOLUMES
        if found:
            bad.append(volume.get("name", ""))
            types |= found
    if not bad:
        return None
    uses, s = ("use", "s") if len(bad) != 1 else ("uses", "s" if len(types) != 1 else "")
    return "restricted volume types", f"{plural(bad, 'volume')} {uses} restricted volume type{s} {_quoted(sorted(types))}"


def non_root(meta: Object, spec: Object) -> Finding | None:
    pod = _context(spec).get("runAsNonRoot")
    explicit = _named(spec, lambda c: _context(c).get("runAsNonRoot") is False)
    implicit = _named(spec, lambda c: _context(c).get("runAsNonRoot") is None) if not pod else []
    bad = (["pod"] if pod is False else []) + ([plural(explicit)] if explicit else [])
    if bad:
        return "runAsNonRoot != true", f"{' and '.join(bad)} must not set securityContext.runAsNonRoot=false"
    return ("runAsNonRoot != true", f"pod or {plural(implicit)} must set securityContext.runAsNonRoot=true") if implicit else None


def non_root_user(meta: Object, spec: Object) -> Finding | None:
    bad = [label for label, holder in _holders(spec) if _context(holder).get("runAsUser") == 0]
    return ("runAsUser=0", f"{_both(bad)} must not set runAsUser=0") if bad else None


def seccomp_restricted(meta: Object, spec: Object) -> Finding | None:
    found = {label: _seccomp(holder) for label, holder in _holders(spec)}
    bad = [label for label, kind in found.items() if kind not in ("", "RuntimeDefault", "Localhost")]
    if bad:
        kinds = _quoted(sorted({found[label] for label in bad}))
        return "seccompProfile", f"{_both(bad)} must not set securityContext.seccompProfile.type to {kinds}"
    implicit = [] if found[""] else [label for label, kind in found.items() if label and not kind]
    if not implicit:
        return None
    return "seccompProfile", f'pod or {plural(implicit)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'


def _seccomp(holder: Object) -> str:
    return (_context(holder).get("seccompProfile") or {}).get("type") or ""

