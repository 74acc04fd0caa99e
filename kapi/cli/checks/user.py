"""Who runs this: privileges, capabilities, the user's own kubeconfig."""

import os
import re
import time
from pathlib import Path

import yaml

from certs import userconfig
from kapi.cli import advice
from kapi.cli.checks.finding import Finding, Scope, joined, odd, ok, quoted, text, wrong

NEEDED = {
    0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 3: "CAP_FOWNER", 5: "CAP_KILL", 6: "CAP_SETGID", 7: "CAP_SETUID", 8: "CAP_SETPCAP",
    12: "CAP_NET_ADMIN", 18: "CAP_SYS_CHROOT", 21: "CAP_SYS_ADMIN",
}  # fmt: skip
"""Bits of capabilities(7) without which no container starts."""
USEFUL = {10: "CAP_NET_BIND_SERVICE", 13: "CAP_NET_RAW", 19: "CAP_SYS_PTRACE", 24: "CAP_SYS_RESOURCE", 27: "CAP_MKNOD"}
_LOCKED_SECONDS = 60.0
"""A kubeconfig that is locked for longer was left so by a program that died."""


_ELSEWHERE = "name another file in KUBECONFIG, or start clusters with --no-kubeconfig"


def privileges(scope: Scope) -> Finding:
    """Containers need root."""
    if os.geteuid() == 0:
        return ok("root")
    if scope.simulate:
        return ok(f"user {os.geteuid()}, which is enough for a simulated cluster")
    place = next(path for path in (scope.data_dir, *scope.data_dir.parents) if os.path.exists(path))
    own = scope.data_dir if os.access(place, os.W_OK) else advice.standard_directory()
    simulated = advice.command("up", own, "--simulate")
    mend = f"{advice.as_root('up', scope.data_dir)}, or without containers: {simulated}"
    return wrong(f"user {os.geteuid()}: containers need root", mend)


def capabilities(scope: Scope) -> Finding:
    """What root may do here: in a container it may do less."""
    held = re.search(r"^CapEff:\s+([0-9a-f]+)$", text("/proc/self/status"), re.MULTILINE)
    return of_mask(int(held[1], 16) if held else 0)


def of_mask(mask: int) -> Finding:
    """The finding for a set of capabilities."""
    missing, lacking = ([name for bit, name in names.items() if not mask >> bit & 1] for names in (NEEDED, USEFUL))
    if missing:
        return wrong(f"missing: {', '.join(missing)}", "run as root, or start the surrounding container with --privileged")
    if lacking:
        what = "; processes are not protected from the OOM killer" if "CAP_SYS_RESOURCE" in lacking else ""
        return odd(f"missing: {', '.join(lacking)}{what}", f"start the surrounding container with --cap-add={','.join(lacking)}")
    return ok("all that containers need")


def kubeconfig(scope: Scope) -> Finding:
    """The file kubectl reads, and `kapi up` writes."""
    try:
        return _kubeconfig(userconfig.default_path())
    except PermissionError as why:
        return odd(f"{why.filename} cannot be looked at: {why.strerror}", _ELSEWHERE)


def _kubeconfig(path: Path) -> Finding:
    lock = path.with_name(f"{path.name}.lock")
    aside = f"mv {quoted(path)} {quoted(f'{path}.broken')}"
    findings = []
    if lock.exists() and time.time() - lock.stat().st_mtime > _LOCKED_SECONDS:
        findings.append(wrong(f"{path} is locked by a program that is gone", f"rm {quoted(lock)}"))
    try:
        userconfig.check_writable(path)
    except ValueError as why:
        findings.append(odd(f"no context can go into {path}: {why}", _ELSEWHERE))
    except OSError as why:
        findings.append(odd(f"no context can go into {path}: {why.strerror} ({why.filename})", _ELSEWHERE))
    if not path.is_file():
        return joined(findings, f"{path} is not there yet")
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as why:
        return wrong(f"{path} cannot be read: {why.strerror}", f"ls -ld {quoted(path)}; or name another file in KUBECONFIG")
    except (yaml.YAMLError, UnicodeDecodeError):
        return wrong(f"{path} is no YAML", aside)
    if content is not None and not isinstance(content, dict):
        return wrong(f"{path} is no kubeconfig", aside)
    if path.stat().st_mode & 0o077:
        findings.append(odd(f"{path} can be read by others", f"chmod 600 {quoted(path)}"))
    return joined(findings, str(path))
