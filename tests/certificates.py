"""Client certificates for tests."""

import ssl
import time
from functools import cache

from certs import making
from certs.spec import CertificateSpec


@cache
def client(name: str, *groups: str, issuer: str = "kubernetes") -> bytes:
    """A certificate in DER that is good from now on, of a CA of this name."""
    key = making.new_key()
    ca = making.authority(CertificateSpec("ca", issuer), key, time.time())
    return ssl.PEM_cert_to_DER_cert(making.certificate(CertificateSpec("x", name, groups, ("client",)), key, ca, key, time.time()).decode())
