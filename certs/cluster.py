"""The certificates of one cluster, in one directory, named as kubeadm names them.

`ensure` creates certificates that are missing, changed, damaged or about to expire, and keeps the others. A renewed certificate keeps its
key, so that a crash between two writes cannot leave a mismatched pair. Authorities and the service account key, which others rely on, are
never replaced automatically: see Unusable.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from certs import checking, files, kubeconfig
from certs.checking import Unusable
from certs.spec import YEAR, CertificateSpec

log = logging.getLogger(__name__)
MASTERS, CONTROLLERS = "system:masters", "kapi:controllers"


@dataclass(frozen=True)
class Settings:
    """What the certificates depend on."""

    server: str = "https://127.0.0.1:6443"
    """The API server's URL in kubeconfigs."""
    hosts: tuple[str, ...] = ()
    """Further names and addresses of the API server's machine."""
    service_ip: str = "10.96.0.1"
    """The first address of the service range: the Service `kubernetes`."""
    domain: str = "cluster.local"
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Node name -> its further names and addresses."""


AUTHORITIES = (
    CertificateSpec("ca", "kubernetes", issuer="", days=10 * YEAR, renew=2 * YEAR),
    CertificateSpec("front-proxy-ca", "front-proxy-ca", issuer="", days=10 * YEAR, renew=2 * YEAR),
)
CLIENTS = (
    CertificateSpec("admin", "kubernetes-admin", (MASTERS,), ("client",)),
    CertificateSpec("controller-manager", "system:kube-controller-manager", (CONTROLLERS,), ("client",)),
    CertificateSpec("scheduler", "system:kube-scheduler", usages=("client",)),
    CertificateSpec("proxy", "system:kube-proxy", usages=("client",)),
)
"""Each also gets a kubeconfig: admin.conf and so on."""


def _certificates(settings: Settings) -> list[CertificateSpec]:
    """The certificates that the authorities sign."""
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{settings.domain}", "localhost"]
    hosts = tuple(dict.fromkeys([*names, "127.0.0.1", "::1", settings.service_ip, *settings.hosts]))
    specs = [
        CertificateSpec("apiserver", "kube-apiserver", usages=("server",), hosts=hosts),
        CertificateSpec("apiserver-kubelet-client", "kube-apiserver-kubelet-client", (MASTERS,), ("client",)),
        CertificateSpec("front-proxy-client", "front-proxy-client", usages=("client",), issuer="front-proxy-ca"),
        *CLIENTS,
    ]
    for node, more in settings.nodes.items():
        served = tuple(dict.fromkeys([node, *more]))
        specs.append(CertificateSpec(f"nodes/{node}/client", f"system:node:{node}", ("system:nodes",), ("client",)))
        specs.append(CertificateSpec(f"nodes/{node}/serving", f"system:node:{node}", ("system:nodes",), ("server",), served))
    return specs


def ensure(directory: Path, settings: Settings | None = None, now: float | None = None) -> None:
    """Create or renew every key, certificate and kubeconfig of the cluster in `directory`. Raises Unusable, OSError.

    ca, front-proxy-ca, apiserver, apiserver-kubelet-client, front-proxy-client, admin, controller-manager, scheduler, proxy:
    .crt and .key; sa.key and sa.pub; admin.conf and the like; nodes/NAME/client, nodes/NAME/serving and nodes/NAME/kubelet.conf.
    """
    settings, now = settings or Settings(), now or time.time()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificates = _certificates(settings)
    for spec in AUTHORITIES:
        _authority(directory, spec, [other.file for other in certificates if other.issuer == spec.file], now)
    _service_account(directory)
    for spec in certificates:
        _certificate(directory, spec, now)
    for spec in CLIENTS:
        _kubeconfig(directory, settings, spec.file, directory / f"{spec.file}.conf")
    for node in settings.nodes:
        _kubeconfig(directory, settings, f"nodes/{node}/client", directory / "nodes" / node / "kubelet.conf")


def _authority(directory: Path, spec: CertificateSpec, issued: list[str], now: float) -> None:
    """Create an authority once, in a directory where it has signed nothing yet or where both of its files were deleted."""
    path, key = directory / f"{spec.file}.crt", directory / f"{spec.file}.key"
    notes = [files.note(file) for file in (directory / f"{name}.crt" for name in issued) if file.exists()]
    if not path.exists() and (not key.exists() or not notes):
        if notes:
            log.warning("%s is made anew: what the former one has signed is not valid any more.", path)
        _make_authority(path, key, spec, now)
        return
    if missing := next((file.name for file in (path, key) if not file.exists()), ""):
        raise Unusable(spec.file, f"{missing} is missing")
    end = files.expiry(path)
    known = all(note.endswith(f" by {fingerprint(path)}") for note in notes)
    if not (known and checking.fits(path, key) and files.note(path) == spec.note("") and end > now):
        if why := checking.authority_fault(path, key, spec.name, now):
            raise Unusable(spec.file, why)
    elif end - now <= spec.renew * 86400:
        _make_authority(path, key, spec, now)


def _make_authority(path: Path, key: Path, spec: CertificateSpec, now: float) -> None:
    from certs import making  # loads cryptography, which a process that finds its keys in order does without

    if not key.exists():
        files.write(key, making.new_key(), 0o600)
    try:
        pem = making.authority(spec, key.read_bytes(), now)
    except ValueError:
        raise Unusable(spec.file, f"{key.name} {checking.KEY}") from None
    files.write(path, spec.note("").encode() + b"\n" + pem)


def _certificate(directory: Path, spec: CertificateSpec, now: float) -> None:
    """Replace a damaged certificate, which has no consequences for others; its key only if the key is damaged."""
    path, key = directory / f"{spec.file}.crt", directory / f"{spec.file}.key"
    issuer = directory / f"{spec.issuer}.crt"
    note = spec.note(fingerprint(issuer))
    both = path.exists() and key.exists()
    valid = both and checking.fits(path, key)
    if valid and files.note(path) == note and files.expiry(path) - now > spec.renew * 86400:
        return
    from certs import making  # loads cryptography, which a process that finds its keys in order does without

    fault = checking.fault(path, key) if both and not valid else f"{key.name} is missing" if path.exists() and not key.exists() else ""
    if fault:
        log.warning("%s: %s. A new certificate is made.", path.parent, fault)
    if not key.exists() or (fault and checking.CERTIFICATE not in fault):
        files.write(key, making.new_key(), 0o600)
    pem = making.certificate(spec, key.read_bytes(), issuer.read_bytes(), issuer.with_suffix(".key").read_bytes(), now)
    files.write(path, note.encode() + b"\n" + pem)


def fingerprint(certificate: Path) -> str:
    """The identity of a certificate, also of a damaged one."""
    return hashlib.sha256(files.block(certificate)).hexdigest()[:16]


def _service_account(directory: Path) -> None:
    """The private key that signs service account tokens, and its public key."""
    key, public = directory / "sa.key", directory / "sa.pub"
    if key.exists() and public.exists() and checking.same_key(key, public):
        return
    from certs import making  # loads cryptography, which a process that finds its keys in order does without

    if not key.exists():
        if public.exists():
            raise Unusable("sa", "sa.key is missing")
        files.write(key, making.new_key(), 0o600)
    try:
        wanted = making.public_key(key.read_bytes())
    except ValueError:
        raise Unusable("sa", f"sa.key {checking.KEY}") from None
    if public.exists():
        try:
            known = making.normal(public.read_bytes())
        except ValueError:
            log.warning("%s is no public key. It is made anew from sa.key.", public)
        else:
            if known != wanted:
                raise Unusable("sa", f"sa.key {checking.PAIR} sa.pub")
            return
    files.write(public, wanted)


def _kubeconfig(directory: Path, settings: Settings, client: str, path: Path) -> None:
    ca, certificate, key = (files.pem(directory / name) for name in ("ca.crt", f"{client}.crt", f"{client}.key"))
    files.write_if_new(path, kubeconfig.text(settings.server, ca, certificate, key), 0o600)
