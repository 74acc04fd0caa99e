"""The specification of a certificate. Equal specs are satisfied by the same certificate."""

from dataclasses import dataclass

YEAR = 365


@dataclass(frozen=True)
class CertificateSpec:
    """One certificate of the cluster."""

    file: str
    """Path below the directory, without suffix: 'apiserver' is apiserver.crt and apiserver.key."""
    name: str
    """The common name: the user name for the API server."""
    groups: tuple[str, ...] = ()
    """The organizations: the user's groups for the API server."""
    usages: tuple[str, ...] = ()
    """'client', 'server'; none for a CA."""
    hosts: tuple[str, ...] = ()
    """Subject alternative names: DNS names and addresses."""
    issuer: str = "ca"
    """The file of the issuing CA; "" for a CA itself."""
    days: int = YEAR
    renew: int = 60
    """It is renewed when so few days are left."""

    def note(self, issuer: str) -> str:
        """The spec in one line; `issuer` distinguishes the CA's certificate from an earlier one."""
        groups = "".join(f" O={group}" for group in self.groups)
        hosts = f" for {','.join(self.hosts)}" if self.hosts else ""
        return f"# CN={self.name}{groups} {'+'.join(self.usages) or 'ca'}{hosts} by {issuer or 'itself'}"
