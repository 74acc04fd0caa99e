"""Checks of keys and certificates on disk.

`fits` does not load the cryptography library, so that a start with valid files is fast; `fault`, which explains an invalid one, does.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from certs import files

CERTIFICATE, KEY, PAIR = "is no certificate", "is no private key", "does not belong to"

LOST = {
    "ca": "every certificate and kubeconfig of the cluster stops working",
    "front-proxy-ca": "authenticating proxies need new certificates",
    "sa": "every token of a service account stops working",
}
"""Consequence of replacing each key that is never replaced automatically."""


class Unusable(Exception):
    """A damaged key that others rely on: replacing it would lock them out. The message is half a sentence."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name
        """'ca', 'front-proxy-ca', 'sa'."""


def fits(certificate: Path, key: Path) -> bool:
    """Whether both files are valid and belong together. Raises OSError."""
    for path in (certificate, key):
        path.open("rb").close()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        return False
    return True


def fault(certificate: Path, key: Path) -> str:
    """What is wrong with a pair, "" if it is valid: 'ca.key is no private key'. Raises OSError."""
    from certs import making  # loads cryptography, which a process that finds its keys in order does without

    pem, private = certificate.read_bytes(), key.read_bytes()
    try:
        public = making.public_key(private)
    except ValueError:
        return f"{key.name} {KEY}"
    try:
        certified = making.certified_key(pem)
    except ValueError:
        return f"{certificate.name} {CERTIFICATE}"
    return "" if certified == public else f"{key.name} {PAIR} {certificate.name}"


def authority_fault(certificate: Path, key: Path, name: str, now: float) -> str:
    """What is wrong with a certificate authority of that common name, "" if it is valid. Raises OSError."""
    from certs import making

    if why := fault(certificate, key):
        return why
    about = making.describe(certificate.read_bytes())
    if about.end <= now:
        return f"{certificate.name} expired on {datetime.fromtimestamp(about.end, UTC):%Y-%m-%d}"
    if not about.signs:
        return f"{certificate.name} is not the certificate of an authority"
    if not about.signature_valid:
        return f"{certificate.name} is damaged: its signature is not right"
    return "" if about.name == name else f"{certificate.name} is of CN={about.name}, not of CN={name}"


def same_key(key: Path, public: Path) -> bool:
    """Whether both belong to the same P-256 key, as far as visible without arithmetic; False requires a full check."""
    private, shown = files.block(key), files.block(public)
    point = private[-_POINT:]
    return len(private) == len(_PRIVATE) + 32 + len(_BETWEEN) + _POINT and private.startswith(_PRIVATE) \
        and private[-_POINT - len(_BETWEEN) : -_POINT] == _BETWEEN and shown == _PUBLIC + point  # fmt: skip


_CURVE = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
_PRIVATE, _BETWEEN = bytes.fromhex("308187020100") + _CURVE + bytes.fromhex("046d306b0201010420"), bytes.fromhex("a144034200")
_PUBLIC, _POINT = bytes.fromhex("3059") + _CURVE + bytes.fromhex("034200"), 65
"""DER bytes around the numbers: PKCS #8 (RFC 5958, RFC 5915) and SubjectPublicKeyInfo (RFC 5480); both end with the point."""
