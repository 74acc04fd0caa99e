"""The certificates of one cluster, in one directory, named as kubeadm names them.

`ensure` makes what is missing, changed or about to end, and leaves the rest alone. A renewed certificate keeps its key, so that
a crash between two files never leaves a pair that does not fit.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from certs import files, kubeconfig
from certs.wish import YEAR, Wish

MASTERS = "system:masters"


@dataclass(frozen=True)
class Settings:
    """What the certificates depend on."""

    server: str = "https://127.0.0.1:6443"
    """Where the kubeconfigs say the API server is."""
    hosts: tuple[str, ...] = ()
    """Further names and addresses of the machine the API server runs on."""
    service_ip: str = "10.96.0.1"
    """The first address of the service range: the Service `kubernetes`."""
    domain: str = "cluster.local"
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of each node -> its further names and addresses."""


AUTHORITIES = (
    Wish("ca", "kubernetes", issuer="", days=10 * YEAR, renew=2 * YEAR),
    Wish("front-proxy-ca", "front-proxy-ca", issuer="", days=10 * YEAR, renew=2 * YEAR),
)
CLIENTS = (
    Wish("admin", "kubernetes-admin", (MASTERS,), ("client",)),
    Wish("controller-manager", "system:kube-controller-manager", usages=("client",)),
    Wish("scheduler", "system:kube-scheduler", usages=("client",)),
    Wish("proxy", "system:kube-proxy", usages=("client",)),
)
"""Each also gets a kubeconfig: admin.conf and so on."""


def _wishes(settings: Settings) -> list[Wish]:
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{settings.domain}", "localhost"]
    hosts = tuple(dict.fromkeys([*names, "127.0.0.1", "::1", settings.service_ip, *settings.hosts]))
    wishes = [
        *AUTHORITIES,
        Wish("apiserver", "kube-apiserver", usages=("server",), hosts=hosts),
        Wish("apiserver-kubelet-client", "kube-apiserver-kubelet-client", (MASTERS,), ("client",)),
        Wish("front-proxy-client", "front-proxy-client", usages=("client",), issuer="front-proxy-ca"),
        *CLIENTS,
    ]
    for node, more in settings.nodes.items():
        served = tuple(dict.fromkeys([node, *more]))
        wishes.append(Wish(f"nodes/{node}/client", f"system:node:{node}", ("system:nodes",), ("client",)))
        wishes.append(Wish(f"nodes/{node}/serving", f"system:node:{node}", ("system:nodes",), ("server",), served))
    return wishes


def ensure(directory: Path, settings: Settings | None = None, now: float | None = None) -> None:
    """Make `directory` hold every key, certificate and kubeconfig the cluster needs.

    ca, front-proxy-ca, apiserver, apiserver-kubelet-client, front-proxy-client, admin, controller-manager, scheduler, proxy:
    .crt and .key; sa.key and sa.pub; admin.conf and the like; nodes/NAME/client, nodes/NAME/serving and nodes/NAME/kubelet.conf.
    """
    settings, now = settings or Settings(), now or time.time()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for wish in _wishes(settings):
        _certificate(directory, wish, now)
    _service_account(directory)
    for wish in CLIENTS:
        _kubeconfig(directory, settings, wish.file, directory / f"{wish.file}.conf")
    for node in settings.nodes:
        _kubeconfig(directory, settings, f"nodes/{node}/client", directory / "nodes" / node / "kubelet.conf")


def _certificate(directory: Path, wish: Wish, now: float) -> None:
    path, key_path = directory / f"{wish.file}.crt", directory / f"{wish.file}.key"
    issuer = directory / f"{wish.issuer}.crt" if wish.issuer else None
    note = wish.note(_fingerprint(issuer, issuer.stat().st_mtime_ns) if issuer else "")
    if key_path.exists() and files.note(path) == note and files.expiry(path) - now > wish.renew * 86400:
        return
    from certs import making  # loads cryptography, which a process that finds its keys made does without

    if not key_path.exists():
        files.write(key_path, making.new_key(), 0o600)
    key = key_path.read_bytes()
    if issuer:
        pem = making.certificate(wish, key, issuer.read_bytes(), issuer.with_suffix(".key").read_bytes(), now)
    else:
        pem = making.authority(wish, key, now)
    files.write(path, note.encode() + b"\n" + pem)


@lru_cache(maxsize=16)
def _fingerprint(certificate: Path, changed: int) -> str:
    """Tells one certificate from another; `changed` is the file's time, so that a new file is looked at anew."""
    return hashlib.sha256(files.der(certificate)).hexdigest()[:16]


def _service_account(directory: Path) -> None:
    """The key that signs service account tokens, and the one that checks them."""
    key, public = directory / "sa.key", directory / "sa.pub"
    if key.exists() and public.exists():
        return
    from certs import making  # loads cryptography, which a process that finds its keys made does without

    if not key.exists():
        files.write(key, making.new_key(), 0o600)
    files.write(public, making.public_key(key.read_bytes()))


def _kubeconfig(directory: Path, settings: Settings, client: str, path: Path) -> None:
    ca, certificate, key = (files.pem(directory / name) for name in ("ca.crt", f"{client}.crt", f"{client}.key"))
    files.write_if_new(path, kubeconfig.text(settings.server, ca, certificate, key), 0o600)
