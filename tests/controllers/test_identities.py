"""Stories of certificate requests and of tokens in Secrets."""

import base64
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs import making
from certs.spec import CertificateSpec
from kapi.controllers.account_token import AccountTokens
from kapi.controllers.signing_request import RequestApproval, RequestCleaning, RequestSigning
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import CERTIFICATE_SIGNING_REQUESTS, SECRETS, SERVICE_ACCOUNTS
from tests.controllers.story import Cluster, story
from tests.moments import EPOCH


def request(signer: str, name: str = "system:node:n1", organization: str = "system:nodes", **spec: Any) -> Object:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
    asked = x509.CertificateSigningRequestBuilder(subject).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    pem = asked.public_bytes(serialization.Encoding.PEM)
    made = {"request": base64.b64encode(pem).decode(), "signerName": f"kubernetes.io/{signer}", "username": name}
    return {"metadata": {"name": "r"}, "spec": {**made, "usages": ["digital signature", "client auth"], **spec}}


def authority(directory: Path) -> dict[str, Path]:
    key = making.new_key()
    ca = making.authority(CertificateSpec("ca", "kubernetes"), key, EPOCH)
    (directory / "ca.crt").write_bytes(ca)
    (directory / "ca.key").write_bytes(key)
    return {"signing_cert_file": directory / "ca.crt", "signing_key_file": directory / "ca.key"}


def found(cluster: Cluster) -> Object:
    [made] = cluster.api.all(CERTIFICATE_SIGNING_REQUESTS)
    return made


def approve(cluster: Cluster) -> None:
    made = cluster.api.create(CERTIFICATE_SIGNING_REQUESTS, request("kube-apiserver-client"))
    cluster.api.set(CERTIFICATE_SIGNING_REQUESTS, made, status={"conditions": [{"type": "Approved", "status": "True"}]})


def test_an_approved_request_is_signed(tmp_path: Path) -> None:
    settings = authority(tmp_path)

    @story
    async def told(cluster: Cluster) -> None:
        approve(cluster)
        await cluster.run(RequestSigning, **settings)
        certificate = x509.load_pem_x509_certificate(base64.b64decode(found(cluster)["status"]["certificate"]))
        assert certificate.subject.rfc4514_string() == "O=system:nodes,CN=system:node:n1"

    told()


def test_what_a_signer_does_not_sign_is_said(tmp_path: Path) -> None:
    settings = authority(tmp_path)

    @story
    async def told(cluster: Cluster) -> None:
        made = cluster.api.create(CERTIFICATE_SIGNING_REQUESTS, request("kube-apiserver-client-kubelet", organization="others"))
        cluster.api.set(CERTIFICATE_SIGNING_REQUESTS, made, status={"conditions": [{"type": "Approved", "status": "True"}]})
        await cluster.run(RequestSigning, **settings)
        failed = meta.condition(found(cluster), "Failed")
        assert failed is not None
        assert (failed["reason"], failed["message"]) == ("SignerValidationFailure", "subject organization is not system:nodes")

    told()


@story
async def test_a_kubelet_is_approved_when_it_may(cluster: Cluster) -> None:
    cluster.api.create(CERTIFICATE_SIGNING_REQUESTS, request("kube-apiserver-client-kubelet"))
    cluster.api.may = lambda spec: spec["resourceAttributes"]["subresource"] == "selfnodeclient"
    await cluster.run(RequestApproval)
    approved = meta.condition(found(cluster), "Approved")
    assert approved is not None
    assert approved["message"] == "Auto approving self kubelet client certificate after SubjectAccessReview."


@story
async def test_requests_nobody_answers_go_after_a_day(cluster: Cluster) -> None:
    cluster.api.create(CERTIFICATE_SIGNING_REQUESTS, request("kube-apiserver-client"))
    await cluster.run(RequestCleaning)
    await cluster.advance(86000)
    assert cluster.api.all(CERTIFICATE_SIGNING_REQUESTS)
    await cluster.advance(500)
    assert cluster.api.all(CERTIFICATE_SIGNING_REQUESTS) == []


def test_secrets_of_accounts(tmp_path: Path) -> None:
    key = making.new_key()
    (tmp_path / "sa.key").write_bytes(key)

    @story
    async def told(cluster: Cluster) -> None:
        account = cluster.api.create(SERVICE_ACCOUNTS, {"metadata": {"name": "bot", "namespace": "default"}})
        about = {"name": "s", "namespace": "default", "annotations": {"kubernetes.io/service-account.name": "bot"}}
        cluster.api.create(SECRETS, {"metadata": about, "type": "kubernetes.io/service-account-token"})
        await cluster.run(AccountTokens, account_key_file=tmp_path / "sa.key")
        [secret] = cluster.api.all(SECRETS)
        assert meta.annotations(secret)["kubernetes.io/service-account.uid"] == meta.uid(account)
        token = base64.b64decode(secret["data"]["token"]).decode()
        claims = jwt.decode(token, making.public_key(key), algorithms=["ES256"])
        assert claims["sub"] == "system:serviceaccount:default:bot"
        cluster.api.remove(SERVICE_ACCOUNTS, account)
        await cluster.advance()
        assert cluster.api.all(SECRETS) == []

    told()
