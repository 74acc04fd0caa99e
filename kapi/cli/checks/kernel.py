"""What containers need of the kernel."""

import contextlib
import gzip
import os
import shutil
import subprocess
from pathlib import Path

from kapi.cli.checks.finding import Finding, Scope, odd, ok, text, wrong

CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts", "user")
_SECONDS = 10


def configuration() -> dict[str, str]:
    """What the kernel was built with, CONFIG_VETH -> m; {} when that is not to be found."""
    with contextlib.suppress(OSError):
        return _options(gzip.decompress(Path("/proc/config.gz").read_bytes()).decode())
    return _options(text(f"/boot/config-{os.uname().release}"))


def _options(lines: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in lines.splitlines()) if name.startswith("CONFIG_")}


def lacks(module: str, option: str) -> bool:
    """Whether the kernel is known to be without something: it is neither loaded nor was it built."""
    built = configuration()
    return bool(built) and option not in built and not Path("/sys/module", module).exists()


def cgroups(scope: Scope) -> Finding:
    """The version, and the controllers the kubelet sets limits with."""
    unified = text("/sys/fs/cgroup/cgroup.controllers").split()
    there = unified or [name for name in CONTROLLERS if Path("/sys/fs/cgroup", name).is_dir()]
    missing = [name for name in CONTROLLERS if name not in there]
    kind = "v2" if unified else "v1"
    if len(missing) == len(CONTROLLERS):
        return wrong("no controller below /sys/fs/cgroup", "mount -t cgroup2 none /sys/fs/cgroup")
    if missing:
        return wrong(f"{kind} without {', '.join(missing)}", f"start the kernel with cgroup_enable={','.join(missing)}")
    if not os.access("/sys/fs/cgroup", os.W_OK) and os.geteuid() == 0:
        return wrong(f"{kind}, mounted read-only", "mount -o remount,rw /sys/fs/cgroup")
    if not unified:
        return odd("v1, which Kubernetes is giving up", "start the kernel with systemd.unified_cgroup_hierarchy=1")
    return ok(kind)


def file_systems(scope: Scope) -> Finding:
    """Images are stacked with overlay."""
    known = {line.split()[-1] for line in text("/proc/filesystems").splitlines()}
    if "overlay" in known:
        return ok("overlay")
    if lacks("overlay", "CONFIG_OVERLAY_FS"):
        return wrong("the kernel has no overlay, which images are stacked with", "run a kernel with CONFIG_OVERLAY_FS")
    return odd("overlay, which images are stacked with, is not loaded", "modprobe overlay")


def namespaces(scope: Scope) -> Finding:
    missing = [name for name in NAMESPACES if not Path("/proc/self/ns", name).exists()]
    if missing:
        return wrong(f"the kernel has no {', '.join(missing)} namespaces", "run a kernel with CONFIG_NAMESPACES and its parts")
    return ok("all kinds")


def bridge(scope: Scope) -> Finding:
    """Pods hang on a bridge by veth pairs."""
    missing = [name for name in ("bridge", "veth") if lacks(name, f"CONFIG_{name.upper()}")]
    if missing:
        return wrong(f"the kernel has no {', '.join(missing)}", "run a kernel with CONFIG_BRIDGE and CONFIG_VETH")
    return ok("bridge and veth")


def nftables(scope: Scope) -> Finding:
    """Services are rules of nftables."""
    nft = shutil.which("nft")
    if not nft:
        return wrong("there is no nft", "apt-get install --no-install-recommends nftables")
    if os.geteuid() != 0:
        return ok("there is nft; whether the kernel has it shows as root")
    listed = subprocess.run([nft, "list", "tables"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    if listed.returncode:
        return wrong(
            f"nft fails: {listed.stderr.strip().splitlines()[0] if listed.stderr.strip() else listed.returncode}", "modprobe nf_tables"
        )
    return ok("nft and the kernel")


def forwarding(scope: Scope) -> Finding:
    """Packets of pods are forwarded; the bridge plugin switches it on, if it may."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    if text(switch) == "1":
        return ok("on")
    if os.geteuid() == 0 and not os.access(switch, os.W_OK):
        return wrong("off, and /proc/sys cannot be written", "sysctl -w net.ipv4.ip_forward=1 on the machine around this container")
    return ok("off; the first pod switches it on")


def bridged_packets(scope: Scope) -> Finding:
    """Without br_netfilter the proxy has to hide who calls a Service that is answered on the caller's own node."""
    switch = text("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch == "1":
        return ok("seen by nftables")
    mend = "sysctl -w net.bridge.bridge-nf-call-iptables=1" if switch else "modprobe br_netfilter"
    return odd("not seen by nftables: Services do not see the addresses of callers on the same node", mend)
