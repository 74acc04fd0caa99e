"""Plugins on certificate signing requests: who may approve, who may sign, and that no one asks to become system:masters."""

import base64
import binascii
from typing import Any, NamedTuple

from kapi.admission.plugin import CREATE, UPDATE, Authorizer, Plugin, forbidden
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.user import MASTERS, Attributes
from kapi.registry.admission import Review

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_GROUP = "certificates.k8s.io"
_REQUESTS = f"certificatesigningrequests.{_GROUP}"


def permitted(authorizer: Authorizer, review: Review, verb: str, signer: str) -> bool:
    """Whether the user may approve or sign for the signer, or for all signers of its domain."""
    domain = signer.partition("/")[0]
    asked = (Attributes(review.user, verb, _GROUP, "*", "signers", name=name) for name in (signer, f"{domain}/*"))
    return any(authorizer.authorize(question).allowed for question in asked)


class CertificateApproval(Plugin):
    name = "CertificateApproval"
    about = {UPDATE: (f"{_REQUESTS}/approval",)}
    verb = "approve"

    def __init__(self, authorizer: Authorizer) -> None:
        self.authorizer = authorizer

    def validate(self, review: Review) -> None:
        signer = ((review.old or {}).get("spec") or {}).get("signerName", "")
        if not permitted(self.authorizer, review, self.verb, signer):
            raise forbidden(review, f"user not permitted to {self.verb} requests with signerName {go_quote(signer)}")


class CertificateSigning(CertificateApproval):
    name = "CertificateSigning"
    about = {UPDATE: (f"{_REQUESTS}/status",)}
    verb = "sign"

    def validate(self, review: Review) -> None:
        if _signed(review.old or {}) != _signed(review.new or {}):
            super().validate(review)


def _signed(request: Object) -> tuple[Any, Any]:
    status = request.get("status") or {}
    return status.get("certificate"), [c for c in status.get("conditions") or () if c.get("type") == "Failed"]


class CertificateSubjectRestriction(Plugin):
    name = "CertificateSubjectRestriction"
    about = {CREATE: (_REQUESTS,)}

    def validate(self, review: Review) -> None:
        spec = (review.new or {}).get("spec") or {}
        if spec.get("signerName") != CLIENT_SIGNER:
            return
        found = subject(spec.get("request") or "")  # validation says so when it cannot be read
        if found and MASTERS in found.organizations:
            raise forbidden(review, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


class Subject(NamedTuple):
    """Whom a request names."""

    name: str
    """The last common name, which is what the user would be called."""
    organizations: tuple[str, ...]


def subject(request: str) -> Subject | None:
    """The subject of a base64 PEM request; None when it cannot be read."""
    from cryptography import x509  # heavy, and only here

    try:
        found = x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except (ValueError, binascii.Error):
        return None
    names, groups = (
        tuple(str(attribute.value) for attribute in found.get_attributes_for_oid(oid))
        for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME)
    )
    return Subject(names[-1] if names else "", groups)
