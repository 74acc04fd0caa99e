"""Creates keys and certificates (EC P-256, X.509 v3). The only module of `certs` that loads the cryptography library.

Which certificates a cluster has, and their files, is in `certs.cluster`.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.spec import CertificateSpec

BACKDATED = timedelta(minutes=5)
"""notBefore is this long before the creation, as clocks differ."""
_USAGES = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}


def new_key() -> bytes:
    """A private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_key(key: bytes) -> bytes:
    """The public key of a private key, PEM. Raises ValueError."""
    return _public(_private(key).public_key())


def certified_key(certificate: bytes) -> bytes:
    """The public key of a certificate, PEM. Raises ValueError."""
    try:
        return _public(x509.load_pem_x509_certificate(certificate).public_key())
    except UnsupportedAlgorithm as why:
        raise ValueError(str(why)) from None


def normal(public: bytes) -> bytes:
    """A public key in the format of `public_key`. Raises ValueError."""
    return _public(serialization.load_pem_public_key(public))


def _public(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


class Description(NamedTuple):
    """The fields of a certificate."""

    name: str
    """Common name of its subject."""
    issuer: str
    """Common name of its issuer."""
    end: float
    """notAfter in seconds since the epoch."""
    signs: bool
    """Whether it is a CA's."""
    signature_valid: bool
    """Whether the signature is valid, if it is self-signed."""


def describe(certificate: bytes) -> Description:
    """Raises ValueError."""
    found = x509.load_pem_x509_certificate(certificate)
    try:
        signs = found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        signs = False
    return Description(_common(found.subject), _common(found.issuer), found.not_valid_after_utc.timestamp(), signs, _signature_valid(found))


def _signature_valid(certificate: x509.Certificate) -> bool:
    if certificate.subject != certificate.issuer:
        return True
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def authority(spec: CertificateSpec, key: bytes, now: float) -> bytes:
    """A self-signed CA certificate, PEM."""
    private = _private(key)
    name, public = _name(spec), private.public_key()
    builder = _builder(spec, now).subject_name(name).issuer_name(name).public_key(public)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    return _pem(builder.sign(private, hashes.SHA256()))


def certificate(spec: CertificateSpec, key: bytes, ca: bytes, ca_key: bytes, now: float) -> bytes:
    """A certificate for the holder of `key`, signed by the CA, PEM."""
    issuer = x509.load_pem_x509_certificate(ca)
    signer, public = _private(ca_key), _private(key).public_key()
    builder = _builder(spec, now).subject_name(_name(spec)).issuer_name(issuer.subject).public_key(public)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in spec.usages]), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    if spec.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in spec.hosts]), critical=False)
    return _pem(builder.sign(signer, hashes.SHA256()))


def _private(key: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """A private key that signs with SHA-256. Raises ValueError."""
    try:
        private = serialization.load_pem_private_key(key, None)
    except (TypeError, UnsupportedAlgorithm) as why:  # encrypted, or of a sort that is not known
        raise ValueError(str(why)) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("neither an elliptic curve key nor an RSA key")
    return private


def _name(spec: CertificateSpec) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in spec.groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, spec.name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(spec: CertificateSpec, now: float) -> x509.CertificateBuilder:
    at = datetime.fromtimestamp(int(now), UTC)
    builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
    return builder.not_valid_before(at - BACKDATED).not_valid_after(at + timedelta(days=spec.days))


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
