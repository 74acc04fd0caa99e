"""What may be set of the controllers, with stock's defaults."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from kapi.settings import NO_OPTION
from kapi.settings.types import Address, ExistingFile, NonNegative, OptionalPort, Seconds


@dataclass(frozen=True)
class Settings:
    cluster_ca: str = field(default="", metadata=NO_OPTION)
    """PEM of the cluster's certificate authority, published as ConfigMap kube-root-ca.crt in every namespace."""
    signing_cert_file: ExistingFile | None = None
    """Certificate of the authority that signs CertificateSigningRequests."""
    signing_key_file: ExistingFile | None = None
    """Its key; without one nothing is signed."""
    account_key_file: ExistingFile | None = None
    """Key that signs the tokens in Secrets of service accounts; without one they stay empty."""
    node_monitor_grace: Seconds = 50.0
    """Seconds without a sign of life from a kubelet before its node is Unknown."""
    terminated_pods: NonNegative = 12500
    """Finished pods kept in all; beyond that the oldest are deleted."""
    secure_port: OptionalPort = 10257
    """Port of /healthz, /livez, /readyz and /metrics, where there is a certificate to serve with; 0 for none."""
    bind_address: Address = "127.0.0.1"
    """Address of that port."""
    leader_elect: bool = False
    """Run only while holding the lease kube-system/kube-controller-manager."""
    identity: str = ""
    """Who this process is in the lease; empty: the host's name and something of its own."""

    def __post_init__(self) -> None:
        if (self.signing_cert_file is None) != (self.signing_key_file is None):
            raise ValueError("--signing-cert-file and --signing-key-file must be given together")


def with_keys(settings: Settings, directory: Path | None) -> Settings:
    """The settings with the keys to sign with, as far as a cluster's directory of keys has them."""
    names = ("ca.crt", "ca.key", "sa.key")
    ca, key, account = (directory / name if directory and (directory / name).exists() else None for name in names)
    return replace(
        settings,
        signing_cert_file=settings.signing_cert_file or ca,
        signing_key_file=settings.signing_key_file or key,
        account_key_file=settings.account_key_file or account,
    )
