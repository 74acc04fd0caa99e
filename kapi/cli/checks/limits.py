"""What there is of the machine: limits of the kernel, memory, disk, and the time."""

import ctypes
import os
import re
import resource
import shutil
import time
from pathlib import Path

from certs import files
from kapi import limits as bounds
from kapi.cli.checks.finding import Finding, Scope, joined, odd, ok, quoted, text, wrong

INSTANCES, WATCHES = 512, 65_536
"""inotify: containerd, kubelet and many programs in pods need one each; systems begin with 128 and 8,192."""
FILES, FEW_FILES = 4096, 1024
MEMORY, LITTLE_MEMORY = 768 << 20, 192 << 20
"""Bytes available that a cluster with containers (or simulated: the smaller) needs."""
DISK, LITTLE_DISK = 2 << 30, 128 << 20
FEW_INODES = 5000
_GIB = 1 << 30
SKEW = 60
"""Seconds the hardware clock may differ."""
_UNSYNCHRONIZED = 0x0040
"""STA_UNSYNC of adjtimex(2)."""


def inotify(scope: Scope) -> Finding:
    """Watches of files: too few of them make programs fail in odd ways."""
    wanted = {"max_user_instances": INSTANCES, "max_user_watches": WATCHES}
    found = {name: int(text(f"/proc/sys/fs/inotify/{name}") or 0) for name in wanted}
    few = [odd(f"{name} is {found[name]}", f"sysctl -w fs.inotify.{name}={wanted[name]}") for name in wanted if found[name] < wanted[name]]
    return joined(few, ", ".join(f"{name} {value}" for name, value in found.items()))


_MORE_FILES = f"as root: ulimit -n {FILES}, or in /etc/security/limits.conf: * hard nofile {FILES}"


def few_files() -> str:
    """What to say of a failure where hardly any files may be open, which shows in many ways; else ""."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= bounds.RESERVED_FILES:
        return ""
    return f"Only {most} files may be open here, which may be why. Allow {FILES}, {_MORE_FILES}."


def open_files(scope: Scope) -> Finding:
    """Every client's connection and every watched file is a descriptor."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # which components raise the soft limit to
    mend = _MORE_FILES
    if most == resource.RLIM_INFINITY or most >= FILES:
        return ok("not limited" if most == resource.RLIM_INFINITY else f"{most} at most")
    if most < FEW_FILES:
        return wrong(f"{most} at most", mend)
    return odd(f"{most} at most, so about {most - 100} connections", mend)


def memory(scope: Scope) -> Finding:
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", text("/proc/meminfo"), re.MULTILINE)
    available = int(match[1]) << 10 if match else 0
    little = LITTLE_MEMORY if scope.simulate else MEMORY
    space = f"{available / _GIB:.1f} GiB available"
    if available < LITTLE_MEMORY:
        return wrong(space, "end other programs: ps -eo rss,pid,comm --sort -rss | head")
    return odd(space, "end other programs, or expect few pods: ps -eo rss,pid,comm --sort -rss | head") if available < little else ok(space)


def swap(scope: Scope) -> Finding:
    """Memory limits of pods do not count what is swapped out; stock's kubelet does not start with swap."""
    rows = text("/proc/swaps").splitlines()[1:]
    if not rows:
        return ok("none")
    size = sum(int(row.split()[2]) for row in rows) << 10
    return odd(f"{size / _GIB:.1f} GiB in use as swap: pods may exceed their memory limits into it", "swapoff -a")


def _existing(path: Path) -> Path:
    """The directory, or the one it would be made in."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if os.path.exists(place))  # Path.exists raises where one may not look


def disk_space(scope: Scope) -> Finding:
    place = _existing(scope.database.parent)
    free = shutil.disk_usage(place).free
    space = f"{free / _GIB:.1f} GiB free at {place}"
    if free < LITTLE_DISK:
        return wrong(space, f"free some, or name another place with --data-dir: du -xh --max-depth 2 {quoted(place)} | sort -h | tail")
    if free < DISK and not scope.simulate:
        return odd(f"{space}, which is little for images", f"du -xh --max-depth 2 {quoted(place)} | sort -h | tail")
    return ok(space)


def inodes(scope: Scope) -> Finding:
    """Files that can still be made; some file systems do not count them."""
    place = _existing(scope.data_dir)
    status = os.statvfs(place)
    if not status.f_files:
        return ok("not limited")
    space = f"{status.f_favail} of {status.f_files} free at {place}"
    if status.f_favail < FEW_INODES:
        return wrong(space, f"remove files: du --inodes -x --max-depth 2 {quoted(place)} | sort -n | tail")
    return ok(space)


def mount(scope: Scope) -> Finding:
    """How the file system of the data directory is mounted."""
    place = os.path.realpath(_existing(scope.data_dir))
    target, options, kind = mounted(place, text("/proc/self/mountinfo"))
    findings = []
    if "ro" in options:
        findings.append(wrong(f"{target} is mounted read-only", f"mount -o remount,rw {quoted(target)}"))
    if not scope.simulate:
        findings += [
            wrong(f"{target} is mounted {option}: containers do not run on it", f"mount -o remount,{option[2:]} {quoted(target)}")
            for option in ("noexec", "nodev") if option in options
        ]  # fmt: skip
        if kind == "overlay":
            findings.append(
                wrong(f"{target} is an overlay, and overlays for images cannot lie on one", "name another place with --data-dir")
            )
    if kind in ("tmpfs", "ramfs"):
        findings.append(
            odd(f"{target} is kept in memory: the cluster is gone with the machine's next start", "name another place with --data-dir")
        )
    if kind.startswith(("nfs", "cifs", "fuse", "9p")):
        findings.append(odd(f"{target} is {kind}: SQLite's journal needs a local file system", "name another place with --data-dir"))
    return joined(findings, f"{target} ({kind})")


def mounted(path: str, mountinfo: str) -> tuple[str, set[str], str]:
    """(where, options, type) of the mount a path is on, out of the text of mountinfo(5)."""
    best: tuple[str, set[str], str] = ("/", set(), "unknown")
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        target = words[4].encode().decode("unicode_escape")
        if (path == target or path.startswith(target.rstrip("/") + "/")) and len(target) >= len(best[0]):
            best = (target, set(words[5].split(",")) | set(rest[2].split(",")), rest[0])
    return best


def clock(scope: Scope) -> Finding:
    """Certificates, tokens and leases compare times."""
    now = time.time()
    pki = scope.data_dir / "pki"
    starts = {path: files.begin(path) for path in sorted(pki.glob("*.crt"))} if os.access(pki, os.R_OK | os.X_OK) else {}
    early = [path.name for path, begin in starts.items() if begin > now]
    if early:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
        return wrong(f"it is {when} UTC, before {', '.join(early)} became valid", "set it: date -s 'YYYY-MM-DD hh:mm:ss'")
    findings = []
    hardware = text("/sys/class/rtc/rtc0/since_epoch")
    if hardware and abs(int(hardware) - now) > SKEW:
        findings.append(odd(f"the hardware clock is {int(hardware) - now:+.0f} s off", "hwclock --systohc"))
    if not synchronized():
        findings.append(odd("not synchronized with other machines", "apt-get install --no-install-recommends systemd-timesyncd"))
    return joined(findings, "synchronized")


def synchronized() -> bool:
    """Whether the kernel reports that the clock is synchronized; nothing is set."""
    block = ctypes.create_string_buffer(512)  # struct timex with modes 0; status is the int behind four longs
    ctypes.CDLL(None).adjtimex(block)
    width = ctypes.sizeof(ctypes.c_long)
    return not ctypes.c_int.from_buffer(block, 5 * width).value & _UNSYNCHRONIZED
