"""CertificateApproval, CertificateSigning and CertificateSubjectRestriction."""

import base64
import binascii
from typing import Any, NamedTuple

from kapi.admission.plugin import CREATE, UPDATE, Authorizer, Plugin, forbidden
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.user import MASTERS, Attributes
from kapi.registry.admission import AdmissionAttributes

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_GROUP = "certificates.k8s.io"
_REQUESTS = f"certificatesigningrequests.{_GROUP}"


def is_authorized_for_signer(authorizer: Authorizer, attrs: AdmissionAttributes, verb: str, signer: str) -> bool:
    """Whether the user may approve or sign for the signer, or for all signers of its domain."""
    domain = signer.partition("/")[0]
    questions = (Attributes(attrs.user, verb, _GROUP, "*", "signers", name=name) for name in (signer, f"{domain}/*"))
    return any(authorizer.authorize(question).allowed for question in questions)


class CertificateApproval(Plugin):
    name = "CertificateApproval"
    handled = {UPDATE: (f"{_REQUESTS}/approval",)}
    verb = "approve"

    def __init__(self, authorizer: Authorizer) -> None:
        self.authorizer = authorizer

    def validate(self, attrs: AdmissionAttributes) -> None:
        signer = ((attrs.old or {}).get("spec") or {}).get("signerName", "")
        if not is_authorized_for_signer(self.authorizer, attrs, self.verb, signer):
            raise forbidden(attrs, f"user not permitted to {self.verb} requests with signerName {go_quote(signer)}")


class CertificateSigning(CertificateApproval):
    name = "CertificateSigning"
    handled = {UPDATE: (f"{_REQUESTS}/status",)}
    verb = "sign"

    def validate(self, attrs: AdmissionAttributes) -> None:
        if _signed(attrs.old or {}) != _signed(attrs.new or {}):
            super().validate(attrs)


def _signed(request: Object) -> tuple[Any, Any]:
    status = request.get("status") or {}
    return status.get("certificate"), [c for c in status.get("conditions") or () if c.get("type") == "Failed"]


class CertificateSubjectRestriction(Plugin):
    name = "CertificateSubjectRestriction"
    handled = {CREATE: (_REQUESTS,)}

    def validate(self, attrs: AdmissionAttributes) -> None:
        spec = (attrs.new or {}).get("spec") or {}
        if spec.get("signerName") != CLIENT_SIGNER:
            return
        parsed = subject(spec.get("request") or "")  # validation reports a request that cannot be parsed
        if parsed and MASTERS in parsed.organizations:
            raise forbidden(attrs, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


class Subject(NamedTuple):
    """The subject of a certificate signing request."""

    name: str
    """The last common name: the user name of a client certificate."""
    organizations: tuple[str, ...]


def subject(request: str) -> Subject | None:
    """The subject of a base64 PEM request; None when it cannot be parsed."""
    from cryptography import x509  # heavy, and only here

    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except (ValueError, binascii.Error):
        return None
    names, groups = (
        tuple(str(attribute.value) for attribute in parsed.get_attributes_for_oid(oid))
        for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME)
    )
    return Subject(names[-1] if names else "", groups)
