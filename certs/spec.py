"""What is asked of a certificate. Two equal specs are served by the same certificate."""

from dataclasses import dataclass

YEAR = 365


@dataclass(frozen=True)
class CertificateSpec:
    """One certificate of the cluster."""

    file: str
    """Path below the directory, without suffix: 'apiserver' is apiserver.crt and apiserver.key."""
    name: str
    """The common name: to the API server, the user."""
    groups: tuple[str, ...] = ()
    """The organizations: to the API server, the user's groups."""
    usages: tuple[str, ...] = ()
    """'client', 'server'; none for a CA."""
    hosts: tuple[str, ...] = ()
    """DNS names and addresses it is served under."""
    issuer: str = "ca"
    """The file of the CA that signs it; '' for a CA itself."""
    days: int = YEAR
    renew: int = 60
    """It is made anew when so few days are left."""

    def note(self, issuer: str) -> str:
        """The spec in a line; `issuer` tells the CA's certificate apart from an earlier one."""
        groups = "".join(f" O={group}" for group in self.groups)
        hosts = f" for {','.join(self.hosts)}" if self.hosts else ""
        return f"# CN={self.name}{groups} {'+'.join(self.usages) or 'ca'}{hosts} by {issuer or 'itself'}"
