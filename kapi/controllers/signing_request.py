"""CertificateSigningRequests: approves those of kubelets, signs approved ones with the cluster's CA, deletes old ones.

The rules of the four built-in signers (kubernetes.io/…) are a table here; certs.signing creates the certificate.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kapi.client import Controller
from kapi.controllers.settings import Settings
from kapi.objects import meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import CERTIFICATE_SIGNING_REQUESTS, Resource

ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
LONGEST, SHORTEST = 365 * 86400, 600
KEEP_SECONDS = {"Approved": 3600.0, "Denied": 3600.0, "Failed": 3600.0, "": 86400.0}
"""Seconds a request is kept, by its condition."""
_BASIC = frozenset(["digital signature", "key encipherment"])


@dataclass(frozen=True)
class Signer:
    """What a built-in signer accepts: required and allowed usages, and subjects."""

    needed: frozenset[str]
    allowed: frozenset[str]
    nodes: bool = False
    """Whether the subject must be a node."""
    hosts: bool = False
    """Whether subject alternative names are required (kubelet serving certificates) or refused (client certificates)."""


SIGNERS = {
    "kubernetes.io/kube-apiserver-client": Signer(frozenset(["client auth"]), _BASIC),
    "kubernetes.io/kube-apiserver-client-kubelet": Signer(frozenset(["client auth", "digital signature"]), _BASIC, nodes=True),
    "kubernetes.io/kubelet-serving": Signer(frozenset(["server auth", "digital signature"]), _BASIC, nodes=True, hosts=True),
    "kubernetes.io/legacy-unknown": Signer(frozenset(), frozenset()),
}


def condition(request: Object, type: str) -> bool:
    entry = meta.condition(request, type)
    return entry is not None and entry.get("status", "True") == "True"


def refusal(request: Object, subject: Object) -> str:
    """Why the signer refuses the request, or "". `subject` is the result of `read`."""
    signer, usages = SIGNERS[request["spec"]["signerName"]], set(request["spec"].get("usages") or ())
    if signer.needed and not (signer.needed <= usages <= signer.needed | signer.allowed):
        return "usages did not match " + ",".join(sorted(signer.needed | signer.allowed))
    if not signer.nodes:
        return ""
    if subject["organizations"] != [NODES_GROUP]:
        return f"subject organization is not {NODES_GROUP}"
    if not subject["name"].startswith(NODE_PREFIX):
        return f"subject common name does not begin with {NODE_PREFIX}"
    if signer.hosts and not subject["hosts"]:
        return "DNS or IP subjectAltName is required"
    if subject["others"] or (subject["hosts"] and not signer.hosts):
        return "DNS subjectAltNames are not allowed" if not signer.hosts else "Email subjectAltNames are not allowed"
    return ""


def read(pem: bytes) -> Object:
    """{"name", "organizations", "hosts", "others"} of a PKCS #10 request. Raises ValueError."""
    from cryptography import x509  # heavy, and most clusters see no request for days

    csr = x509.load_pem_x509_csr(pem)
    oids = x509.oid.NameOID
    try:
        names: Any = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = ()
    hosts = [n for n in names if isinstance(n, x509.DNSName | x509.IPAddress)]
    common = csr.subject.get_attributes_for_oid(oids.COMMON_NAME)
    return {
        "name": str(common[0].value) if common else "",
        "organizations": [str(a.value) for a in csr.subject.get_attributes_for_oid(oids.ORGANIZATION_NAME)],
        "hosts": len(hosts),
        "others": len(list(names)) - len(hosts),
    }


class _Requests(Controller):
    def setup(self) -> None:
        self.objects = self.watch(CERTIFICATE_SIGNING_REQUESTS)

    def pem(self, request: Object) -> bytes:
        return base64.b64decode(request["spec"]["request"])

    async def add_condition(self, request: Object, type: str, reason: str, message: str, subresource: str) -> None:
        now = time.stamp()
        new = {"type": type, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now, "lastTransitionTime": now}
        status = request.get("status") or {}
        status = {**status, "conditions": [*(status.get("conditions") or ()), new]}
        await self.client.update(CERTIFICATE_SIGNING_REQUESTS, {**request, "status": status}, subresource=subresource)


class RequestApproval(_Requests):
    """Approves client certificates that kubelets request, if they are authorized."""

    name = "certificate-controller"
    recognized = (
        ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
        ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
    )

    async def sync(self, request: Object) -> float | None:
        if condition(request, "Approved") or condition(request, "Denied"):
            return None
        if request["spec"].get("signerName") != "kubernetes.io/kube-apiserver-client-kubelet":
            return None
        try:
            subject = read(self.pem(request))
        except ValueError:
            return None
        if refusal(request, subject):
            return None
        for subresource, message in self.recognized:
            if subresource == "selfnodeclient" and subject["name"] != request["spec"].get("username"):
                continue
            if await self._may(request, subresource):
                await self.add_condition(request, "Approved", "AutoApproved", message, "approval")
                return None
        return None

    async def _may(self, request: Object, subresource: str) -> bool:
        spec = request["spec"]
        what = {"group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create", "version": "*"}
        who = {"user": spec.get("username"), "uid": spec.get("uid"), "groups": spec.get("groups"), "extra": spec.get("extra")}
        review = {k: v for k, v in who.items() if v} | {"resourceAttributes": {**what, "subresource": subresource}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": review}
        answer = await self.client.post(ACCESS_REVIEWS.path(), body)
        return bool((answer.get("status") or {}).get("allowed"))


class RequestSigning(_Requests):
    """Signs approved requests; needs the CA's key."""

    name = "certificate-controller"

    async def sync(self, request: Object) -> float | None:
        settings = self.context.settings
        if not isinstance(settings, Settings) or not (settings.signing_cert_file and settings.signing_key_file):
            return None
        signed = (request.get("status") or {}).get("certificate")
        if signed or not condition(request, "Approved") or condition(request, "Denied") or condition(request, "Failed"):
            return None
        if request["spec"].get("signerName") not in SIGNERS:
            return None
        try:
            why = refusal(request, read(self.pem(request)))
            certificate = b"" if why else self._sign(request, settings.signing_cert_file, settings.signing_key_file)
        except ValueError as error:
            why, certificate = str(error), b""
        if why:
            await self.add_condition(request, "Failed", "SignerValidationFailure", why, "status")
            return None
        status = {**(request.get("status") or {}), "certificate": base64.b64encode(certificate).decode()}
        await self.put_status(CERTIFICATE_SIGNING_REQUESTS, request, status)
        return None

    def _sign(self, request: Object, ca: Path, key: Path) -> bytes:
        from certs import signing  # heavy, as above

        seconds = min(max(request["spec"].get("expirationSeconds") or LONGEST, SHORTEST), LONGEST)
        return signing.sign(self.pem(request), request["spec"].get("usages") or (), seconds, ca.read_bytes(), key.read_bytes(), time.now())


class RequestCleaning(_Requests):
    """Deletes finished requests after an hour and pending ones after a day."""

    name = "certificate-controller"

    async def sync(self, request: Object) -> float | None:
        state = next((t for t in ("Failed", "Denied", "Approved") if condition(request, t)), "")
        since = meta.metadata(request)["creationTimestamp"]
        if state:
            found = meta.condition(request, state) or {}
            since = found.get("lastUpdateTime") or since
        left = time.parse(since) + KEEP_SECONDS[state] - time.now()
        if left <= 0:
            await self.delete_object(CERTIFICATE_SIGNING_REQUESTS, request)
        return left if left > 0 else None
