"""Plugins on certificate signing requests: who may approve, who may sign, and that no one asks to become system:masters."""

import base64
import binascii
from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, Authorizer, Object, Plugin, forbidden
from kapi.objects.causes import go_quote
from kapi.objects.user import MASTERS, Attributes
from kapi.registry.review import Review

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
        if spec.get("signerName") == CLIENT_SIGNER and MASTERS in organizations(spec.get("request") or ""):
            raise forbidden(review, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def organizations(request: str) -> list[str]:
    """The organizations a base64 PEM request names; none when it cannot be read (validation says so)."""
    from cryptography import x509  # heavy, and only here

    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except (ValueError, binascii.Error):
        return []
    return [str(a.value) for a in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
