"""A containerd instance of this cluster: its configuration, CNI network, start, and removal without traces.

It writes below one directory only and has a CNI bridge of its own, so a user's containerd or Docker is not affected. Containers keep
running when it stops: the next start reconnects to their shims.
"""

import asyncio
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kapi import logs

CNI_PLUGINS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
_CAP_SYS_RESOURCE = 1 << 24
SOCKET_BYTES = 104
"""The longest path of a socket that containerd takes."""
UMASK = 0o022
"""containerd's and its shims': images are unpacked with it, and what is run in a container by exec inherits it."""


class Unavailable(Exception):
    """containerd cannot be started; the text is the reason, in one sentence."""


@dataclass(frozen=True)
class Settings:
    """Directories and pod network of the instance."""

    root: Path
    """Directory for images, state, configuration and the socket."""
    pod_cidr: str = "10.244.0.0/24"
    """The range of pod addresses of this node."""
    sandbox_image: str = "localhost/kapi/pause:1"
    """The sandbox (pause) image."""
    bridge: str = "kapi0"
    """Name of the bridge pods are attached to (15 characters at most)."""
    mtu: int = 0
    """MTU of the pods' interfaces; 0 leaves it to the bridge."""

    @property
    def table(self) -> str:
        """Name of the nft table that masquerades traffic from pods to addresses outside the node."""
        return f"{self.bridge}-pods"

    @property
    def socket(self) -> Path:
        return self.root / "containerd.sock"

    @property
    def ttrpc_socket(self) -> Path:
        return self.root / "containerd.sock.ttrpc"

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> Path:
        return self.root / "containerd.log"


def long_path(settings: Settings) -> str:
    """What is wrong when the path of a socket is too long for containerd; "" when none is."""
    length = len(os.fsencode(settings.ttrpc_socket))
    return f"containerd's socket in it would have a path of {length} bytes, and {SOCKET_BYTES} are allowed" if length > SOCKET_BYTES else ""


def lacks_sys_resource() -> bool:
    """Whether this process may not lower oom_score_adj, e.g. in a container without CAP_SYS_RESOURCE."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return not int(line.split()[1], 16) & _CAP_SYS_RESOURCE
    return False


def has_plugins() -> bool:
    """Whether CNI plugins are installed."""
    try:
        cni_directory()
    except Unavailable:
        return False
    return True


def cni_directory() -> str:
    """The directory of the CNI plugins. Raises Unavailable."""
    for directory in CNI_PLUGINS:
        if Path(directory, "bridge").exists():
            return directory
    raise Unavailable("CNI plugins are missing: install containernetworking-plugins")


def _quoted(path: Path) -> str:
    """A path as a string of TOML, whose basic strings are written as those of JSON."""
    return json.dumps(str(path), ensure_ascii=False)


def configuration(settings: Settings) -> str:
    """containerd's config.toml (version 2, accepted by 1.4 to 2.x)."""
    root = settings.root
    return f"""version = 2
root = {_quoted(root / "root")}
state = {_quoted(root / "state")}
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", \
"io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = {_quoted(settings.socket)}

[ttrpc]
  address = {_quoted(settings.ttrpc_socket)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{settings.sandbox_image}"
  restrict_oom_score_adj = {"true" if lacks_sys_resource() else "false"}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  tolerate_missing_hugetlb_controller = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_directory()}"
    conf_dir = {_quoted(root / "cni")}
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {_quoted(root / "certs.d")}
[plugins."io.containerd.internal.v1.opt"]
  path = {_quoted(root / "opt")}
"""


def network(settings: Settings) -> str:
    """The CNI configuration: a bridge with the node's pod range, and the portmap plugin for host ports."""
    bridge = {
        "type": "bridge",
        "bridge": settings.bridge,
        "isGateway": True,
        "ipMasq": shutil.which("nft") is None,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(settings.root / "ipam"),
            "ranges": [[{"subnet": settings.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    if settings.mtu:
        bridge["mtu"] = settings.mtu
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "0.4.0", "name": "kapi", "plugins": plugins}, indent=2)


def _nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script.encode(), capture_output=True, check=False)


def write(settings: Settings) -> None:
    """Write the files of the instance's directory."""
    for directory in ("", "cni", "certs.d"):
        (settings.root / directory).mkdir(parents=True, exist_ok=True, mode=0o700)
    (settings.root / "config.toml").write_text(configuration(settings))
    (settings.root / "cni" / "10-kapi.conflist").write_text(network(settings))


def masquerade(settings: Settings) -> str:
    """The nft script that masquerades traffic from pods to addresses outside the node."""
    cidr = settings.pod_cidr
    return f"""table ip {settings.table}
delete table ip {settings.table}
table ip {settings.table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {cidr} ip daddr != {{ {cidr}, 224.0.0.0/4 }} masquerade
  }}
}}
"""


def _spawn(settings: Settings, program: str) -> "subprocess.Popen[bytes]":
    logs.rotate_if_large(settings.log)
    log = os.open(settings.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [program, "--config", str(settings.root / "config.toml")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, "GOMEMLIMIT": "40MiB"}, umask=UMASK,
        )  # fmt: skip
    finally:
        os.close(log)


async def start(settings: Settings, seconds: float = 20.0) -> "subprocess.Popen[bytes]":
    """Start containerd and wait until it listens. Raises Unavailable."""
    process = launch(settings)
    await wait(settings, process, seconds)
    return process


def launch(settings: Settings) -> "subprocess.Popen[bytes]":
    """Start containerd without waiting until it listens. Raises Unavailable."""
    program = shutil.which("containerd")
    if program is None or shutil.which("runc") is None:
        raise Unavailable("containerd or runc is missing: install containerd and runc")
    write(settings)
    settings.socket.unlink(missing_ok=True)
    if shutil.which("nft"):
        _nft(masquerade(settings))
    return _spawn(settings, program)


async def wait(settings: Settings, process: "subprocess.Popen[bytes]", seconds: float = 20.0) -> None:
    """Wait until containerd listens. Raises Unavailable."""
    try:
        async with asyncio.timeout(seconds):
            await _listening(settings, process)
    except TimeoutError:
        process.kill()
        process.wait()
        raise Unavailable(f"containerd did not listen on {settings.socket} within {seconds:.0f} s") from None


async def _listening(settings: Settings, process: "subprocess.Popen[bytes]") -> None:
    while True:
        if process.poll() is not None:
            last = settings.log.read_text(errors="replace").splitlines()[-1:]
            raise Unavailable(f"containerd ended with code {process.returncode}: {''.join(last)}")
        try:
            _, writer = await asyncio.open_unix_connection(str(settings.socket))
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        for path in (settings.socket, settings.ttrpc_socket):
            path.chmod(0o600)
        return


def forget_network(settings: Settings) -> None:
    """Remove the bridge and the masquerading; call when no pod is left."""
    if shutil.which("nft"):
        _nft(f"table ip {settings.table}\ndelete table ip {settings.table}\n")
        for family in ("ip", "ip6"):
            _forget_port_mappings(family)
    subprocess.run(["ip", "link", "delete", settings.bridge], capture_output=True, check=False)


def foreign_rules(table: str) -> list[str]:
    """Rules of a listed nft table that are neither in a CNI chain nor jump to one."""
    chain, out = "", []
    for line in (line.strip() for line in table.splitlines()[1:]):
        if line.startswith("chain "):
            chain = line.split()[1]
        elif line and line != "}" and not chain.startswith("CNI-") and "CNI-" not in line and not line.startswith("type nat hook"):
            out.append(line)
    return out


def _forget_port_mappings(family: str) -> None:
    """Remove the table that the portmap plugin created through iptables, unless other rules use it."""
    found = subprocess.run(["nft", "list", "table", family, "nat"], capture_output=True, check=False, text=True).stdout
    ours = "chain CNI-" in found or (found and "chain " not in found)
    if ours and "chain CNI-DN-" not in found and not foreign_rules(found):
        _nft(f"delete table {family} nat\n")
