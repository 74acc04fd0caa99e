"""Signing requests of others: subject, names and key are theirs, usages and end are ours."""

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs import making, signing
from certs.spec import CertificateSpec

NOW = float(int(time.time()))
CA_KEY = making.new_key()
CA = making.authority(CertificateSpec("ca", "kubernetes", days=10), CA_KEY, NOW)


def request(*hosts: str) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    parts = ((NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "system:node:n"))
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
    builder = x509.CertificateSigningRequestBuilder(subject)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), key


def test_a_certificate_is_what_was_asked_for() -> None:
    asked, key = request("n.example")
    signed = x509.load_pem_x509_certificate(signing.sign(asked, ["digital signature", "server auth"], 3600, CA, CA_KEY, NOW))
    signed.verify_directly_issued_by(x509.load_pem_x509_certificate(CA))
    assert signed.public_key() == key.public_key()
    assert signed.subject.rfc4514_string() == "CN=system:node:n,O=system:nodes"
    assert signed.not_valid_after_utc.timestamp() == NOW + 3600
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n.example"]
    assert list(signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    usage = signed.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment) == (True, False)


def test_it_does_not_outlive_the_ca() -> None:
    signed = x509.load_pem_x509_certificate(signing.sign(request()[0], ["client auth"], 365 * 86400, CA, CA_KEY, NOW))
    assert signed.not_valid_after_utc == x509.load_pem_x509_certificate(CA).not_valid_after_utc


def test_what_is_no_request_is_an_error() -> None:
    with pytest.raises(ValueError):
        signing.sign(CA, ["client auth"], 3600, CA, CA_KEY, NOW)
