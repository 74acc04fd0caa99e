"""The levels of the Pod Security Standards in each version, and what a namespace's labels choose: pure.

Versions are minor ones of Kubernetes: a namespace that is pinned to v1.24 keeps the checks of then. Source: the check registry and the
label parser of k8s.io/pod-security-admission (v1.36).
"""

import re
from functools import lru_cache
from typing import NamedTuple

from kapi.admission import pod_security_checks as checks
from kapi.admission.pod_security_checks import Check, Finding
from kapi.objects import causes
from kapi.objects.errors import Cause
from kapi.objects.meta import Object

LABEL = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = LEVELS = ("privileged", "baseline", "restricted")
"""The laxest first."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,8})")
_SYSCTLS_0 = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
)  # fmt: skip
_SYSCTLS_27 = (*_SYSCTLS_0, "net.ipv4.ip_local_reserved_ports")
_SYSCTLS_29 = (
    *_SYSCTLS_27, "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
)  # fmt: skip
_SYSCTLS_32 = (*_SYSCTLS_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")
_SELINUX_0 = ("container_t", "container_init_t", "container_kvm_t")


def _linux(check: Check) -> Check:
    """The check for pods that are not said to run on Windows."""
    return lambda meta, spec: None if (spec.get("os") or {}).get("name") == "windows" else check(meta, spec)


def _host_users(check: Check) -> Check:
    """The check for pods without a user namespace of their own."""
    return lambda meta, spec: None if spec.get("hostUsers") is False else check(meta, spec)


_BASELINE: dict[str, dict[int, Check]] = {
    "appArmorProfile": {0: checks.app_armor},
    "capabilities_baseline": {0: checks.capabilities_baseline},
    "hostNamespaces": {0: checks.host_namespaces},
    "hostPathVolumes": {0: checks.host_path},
    "hostPorts": {0: checks.host_ports},
    "hostProbesAndHostLifecycle": {34: checks.host_probes},
    "privileged": {0: checks.privileged},
    "procMount": {0: checks.proc_mount, 35: _host_users(checks.proc_mount)},
    "seLinuxOptions": {0: checks.se_linux(*_SELINUX_0), 31: checks.se_linux(*_SELINUX_0, "container_engine_t")},
    "seccompProfile_baseline": {0: checks.seccomp_annotations, 19: checks.seccomp_baseline},
    "sysctls": {
        0: checks.sysctls(*_SYSCTLS_0),
        27: checks.sysctls(*_SYSCTLS_27),
        29: checks.sysctls(*_SYSCTLS_29),
        32: checks.sysctls(*_SYSCTLS_32),
    },
    "windowsHostProcess": {0: checks.host_process},
}
"""Check -> the minor version each form of it came with; in the order their findings are told."""
_RESTRICTED: dict[str, dict[int, Check]] = {
    "allowPrivilegeEscalation": {8: checks.privilege_escalation, 25: _linux(checks.privilege_escalation)},
    "capabilities_restricted": {22: checks.capabilities_restricted, 25: _linux(checks.capabilities_restricted)},
    "procMount_restricted": {35: checks.proc_mount},
    "restrictedVolumes": {0: checks.volume_types},
    "runAsNonRoot": {0: checks.non_root, 35: _host_users(checks.non_root)},
    "runAsUser": {23: checks.non_root_user, 35: _host_users(checks.non_root_user)},
    "seccompProfile_restricted": {19: checks.seccomp_restricted, 25: _linux(checks.seccomp_restricted)},
}
_REPLACED = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
"""Check of the restricted level -> the baseline one it replaces, in the versions it is there."""
_NEWEST = max(minor for check in (*_BASELINE.values(), *_RESTRICTED.values()) for minor in check)


class LevelVersion(NamedTuple):
    """A level in a version: "v1.N", or "latest"."""

    level: str
    version: str

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    def findings(self, meta: Object, spec: Object) -> list[Finding]:
        """What a pod of this metadata and spec may not have."""
        return [finding for check in _checks(self.level, _minor(self.version)) if (finding := check(meta, spec))]

    def violations(self, meta: Object, spec: Object) -> str:
        """'privileged (container "c" must not …), …', or '' when the pod meets the level."""
        return ", ".join(f"{reason} ({detail})" for reason, detail in self.findings(meta, spec))

    def needs_look(self, before: "LevelVersion") -> bool:
        """Whether what met the level before may not meet this one."""
        laxer = self.version == before.version and LEVELS.index(self.level) <= LEVELS.index(before.level)
        return self.level != PRIVILEGED and not laxer


def _minor(version: str) -> int:
    return _NEWEST if version == "latest" else min(int(version[3:]), _NEWEST)


@lru_cache
def _checks(level: str, minor: int) -> tuple[Check, ...]:
    """The checks of a level in a version, in their order."""
    if level == PRIVILEGED:
        return ()
    baseline, restricted = _in_version(_BASELINE, minor), _in_version(_RESTRICTED, minor) if level == RESTRICTED else {}
    replaced = {_REPLACED.get(name) for name in restricted}
    return (*(check for name, check in baseline.items() if name not in replaced), *restricted.values())


def _in_version(table: dict[str, dict[int, Check]], minor: int) -> dict[str, Check]:
    return {name: forms[max(since)] for name, forms in table.items() if (since := [one for one in forms if one <= minor])}


class Policy(NamedTuple):
    """What a namespace asks for."""

    enforce: LevelVersion
    audit: LevelVersion
    warn: LevelVersion


def policy(labels: dict[str, str]) -> tuple[Policy, list[Cause]]:
    """The policy of these labels, and what is wrong with them. What cannot be read is enforced as restricted, and else left alone."""
    found: list[Cause] = []
    enforce, audit, warn = (_mode(labels, mode, found) for mode in ("enforce", "audit", "warn"))
    if LABEL + "warn" not in labels and labels.get(LABEL + "enforce") in (BASELINE, RESTRICTED):
        warn = LevelVersion(enforce.level, warn.version if LABEL + "warn-version" in labels else enforce.version)
    return Policy(enforce, audit, warn), found


def _mode(labels: dict[str, str], mode: str, found: list[Cause]) -> LevelVersion:
    level, version = labels.get(LABEL + mode, PRIVILEGED), labels.get(f"{LABEL}{mode}-version", "latest")
    if level not in LEVELS:
        found.append(causes.invalid(f"metadata.labels[{LABEL}{mode}]", level, f"must be one of {', '.join(LEVELS)}"))
        level = RESTRICTED if mode == "enforce" else PRIVILEGED
    if version != "latest" and not _VERSION.fullmatch(version):
        found.append(causes.invalid(f"metadata.labels[{LABEL}{mode}-version]", version, 'must be "latest" or "v1.x"'))
        version = "latest"
    return LevelVersion(level, version)
