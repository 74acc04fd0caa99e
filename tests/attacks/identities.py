"""Identities for attacks: client certificates of a victim's own CA, e.g. those of kubelets."""

import time
from pathlib import Path

from certs import making
from certs.spec import CertificateSpec
from tests.attacks.victim import Victim

Identity = tuple[Path, Path]
"""Files of a certificate and its key."""


def identity(victim: Victim, name: str, *groups: str, now: float | None = None, days: int = 1) -> Identity:
    """A client certificate of the victim's CA, good for so many days from `now` on."""
    directory = victim.directory / "identities"
    directory.mkdir(exist_ok=True, mode=0o700)
    stem = directory / name.replace(":", "-")
    files = stem.with_suffix(".crt"), stem.with_suffix(".key")
    pki, key = victim.directory / "pki", making.new_key()
    wish = CertificateSpec("x", name, groups, ("client",), days=days)
    files[0].write_bytes(making.certificate(wish, key, (pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes(), now or time.time()))
    files[1].write_bytes(key)
    return files


def kubelet(victim: Victim, node: str) -> Identity:
    """The certificate of a node's kubelet."""
    return identity(victim, f"system:node:{node}", "system:nodes")
