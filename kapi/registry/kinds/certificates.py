"""CertificateSigningRequest, ClusterTrustBundle and PodCertificateRequest. A request records its creator."""

import base64
import binascii
import re
from typing import Any

from kapi.objects import duration, names, time
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.user import User
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy
from kapi.registry.validation.rules import Errors

USAGES = frozenset((
    "signing", "digital signature", "content commitment", "key encipherment", "key agreement", "data encipherment", "cert sign", "crl sign",
    "encipher only", "decipher only", "any", "server auth", "client auth", "code signing", "email protection", "s/mime", "ipsec end system",
    "ipsec tunnel", "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
))  # fmt: skip
SIGNER_FORM = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
DECISIONS = ("Approved", "Denied")
LEGACY = "kubernetes.io/legacy-unknown"
SHORTEST = 600
NOT_PEM = "PEM block type must be CERTIFICATE REQUEST"
LARGEST_BUNDLE = 1 << 20
SHORTEST_POD_CERTIFICATE, LONGEST_POD_CERTIFICATE = 3600, 91 * 86400
_PEM_TYPE = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


def pem_types(data: bytes) -> list[str]:
    """The kinds of blocks in a PEM text."""
    return [name.decode() for name in _PEM_TYPE.findall(data)]


class CertificateSigningRequestStrategy(RuledStrategy):
    """certificates.k8s.io/v1 CertificateSigningRequest."""

    name_check = staticmethod(names.path_segment)
    generation = False
    reset_fields = (("spec",),)
    selects_namespace = False
    fields = rules.selectable("spec.signerName")
    columns = rules.columns(
        "Name", "Age", "SignerName@spec.signerName",
        "Requestor@spec.username=certificates.v1.CertificateSigningRequestSpec.request",
        "RequestedDuration=certificates.v1.CertificateSigningRequestSpec.expirationSeconds",
        "Condition=certificates.v1.CertificateSigningRequestStatus.conditions",
        of="certificates.v1.CertificateSigningRequest",
    )  # fmt: skip

    def prepare(self, new: Object, old: Object | None) -> None:
        if old is not None:
            new["spec"] = old["spec"]

    def set_user(self, new: Object, user: User) -> None:
        spec = new["spec"]
        for field, value in (("username", user.name), ("uid", user.uid), ("groups", list(user.groups)), ("extra", user.extra)):
            if value:
                spec[field] = value
            else:
                spec.pop(field, None)

    def prepare_status(self, new: Object, old: Object) -> None:
        """/status decides nothing: approvals and denials stay as they are."""
        status, approvals = new.setdefault("status", {}), [dict(c) for c in _conditions(old) if c.get("type") in DECISIONS]
        conditions = [*approvals, *(c for c in _conditions(new) if c.get("type") not in DECISIONS)]
        status.pop("conditions", None)
        if conditions:
            status["conditions"] = conditions
        _set_condition_times(new, old)

    def prepare_subresource(self, subresource: str, new: Object, old: Object) -> None:
        """/approval changes the conditions and nothing else."""
        if subresource != "approval":
            return self.prepare_status(new, old)
        new["spec"] = old["spec"]
        conditions = _conditions(new)
        new["status"] = {k: v for k, v in (old.get("status") or {}).items() if k != "conditions"}
        if conditions:
            new["status"]["conditions"] = conditions
        _set_condition_times(new, old)

    def check(self, new: Part, old: Object | None) -> None:
        spec, seen = new.part("spec"), set[str]()
        if pem_types(_decoded(spec.text("request")))[:1] != ["CERTIFICATE REQUEST"]:
            spec.invalid("request", NOT_PEM)
        spec.need("usages")
        for at, usage in spec.values("usages"):
            new.e.enum(at, usage, tuple(USAGES))
            new.e.unique(at, usage, seen)
        signer(new.e, "spec.signerName", spec.text("signerName"))
        if "expirationSeconds" in spec:
            text = f"may not specify a duration less than {SHORTEST} seconds ({SHORTEST // 60} minutes)"
            spec.at_least("expirationSeconds", SHORTEST, text)

    def cells(self, obj: Object) -> list[Any]:
        seconds = obj["spec"].get("expirationSeconds")
        return [duration.human(seconds) if seconds is not None else "<none>", _condition(obj.get("status") or {})]


def _conditions(obj: Object) -> list[Object]:
    return (obj.get("status") or {}).get("conditions") or []


def _set_condition_times(new: Object, old: Object) -> None:
    """Conditions without times get them: of the last update now, of the transition when there was one."""
    since = {(c.get("type"), c.get("status")): c.get("lastTransitionTime") for c in _conditions(old)}
    now = time.stamp(time.now())
    for condition in _conditions(new):
        condition["lastUpdateTime"] = condition.get("lastUpdateTime") or now
        before = since.get((condition.get("type"), condition.get("status")))
        condition["lastTransitionTime"] = condition.get("lastTransitionTime") or before or now


def _condition(status: Object) -> str:
    kinds = {c.get("type") for c in status.get("conditions") or ()}
    shown = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    return shown + (",Failed" if "Failed" in kinds else "") + (",Issued" if status.get("certificate") else "")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def signer(e: Errors, field: str, name: str) -> None:
    """'example.com/signer-name'."""
    if not e.need(field, name):
        return
    if name == LEGACY:
        e.invalid(field, name, "the legacy signerName is not allowed via this API version")
        return
    domain, slash, path = name.partition("/")
    if not slash or "/" in path or not path:
        e.invalid(field, name, SIGNER_FORM)
        return
    _labels(e, field, domain)
    if "." not in domain:
        e.invalid(field, domain, "should be a domain with at least two segments separated by dots")
    _labels(e, field, path)


def _labels(e: Errors, field: str, name: str) -> None:
    for part in name.split("."):
        for message in names.dns_label(part):
            e.invalid(field, name, f"validating label {go_quote(part)}: {message}")


class ClusterTrustBundleStrategy(PlainStrategy):
    """certificates.k8s.io ClusterTrustBundle."""

    selects_namespace = False
    fields = rules.selectable("spec.signerName")
    columns = rules.columns("Name", "SignerName@spec.signerName|<none>")

    def check(self, new: Part, old: Object | None) -> None:
        spec, meta = new.part("spec"), new.part("metadata")
        bundle, by = spec.text("trustBundle"), spec.text("signerName")
        prefix = by.replace("/", ":") + ":"
        if by:
            signer(new.e, "spec.signerName", by)
            if not meta.text("name").startswith(prefix):
                meta.invalid("name", f"ClusterTrustBundle for signerName {by} must be named with prefix {prefix}")
        elif ":" in meta.text("name"):
            meta.invalid("name", 'ClusterTrustBundle without signer name must not have ":" in its name')
        if spec.longest("trustBundle", LARGEST_BUNDLE) and spec.need("trustBundle"):
            kinds = pem_types(bundle.encode())
            if set(kinds) != {"CERTIFICATE"}:
                fault = f"entry 0 has bad block type: {kinds[0]}" if kinds else "at least one trust anchor must be provided"
                new.e.invalid("spec.trustBundle", "<value omitted>", fault)
        if old is not None:
            new.e.immutable("spec.signerName", by, old["spec"].get("signerName") or "")


class PodCertificateRequestStrategy(RuledStrategy):
    """certificates.k8s.io PodCertificateRequest."""

    generation = False
    selects_namespace = False
    immutable = ("spec",)
    fields = rules.selectable("spec.signerName", "spec.podName", "spec.nodeName")
    defaults = {"spec.maxExpirationSeconds": 86400}

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        signer(new.e, "spec.signerName", spec.text("signerName"))
        for field in ("podName", "serviceAccountName", "nodeName"):
            spec.checked(field, names.dns_subdomain)
        for field in ("podUID", "serviceAccountUID", "nodeUID"):
            if not spec.text(field):
                spec.invalid(field, "must not be empty")
            elif len(spec.text(field)) > 128:
                new.e.too_long(spec.path(field), 128)
        if not SHORTEST_POD_CERTIFICATE <= spec.number("maxExpirationSeconds") <= LONGEST_POD_CERTIFICATE:
            spec.invalid("maxExpirationSeconds", f"must be in the range [{SHORTEST_POD_CERTIFICATE}, {LONGEST_POD_CERTIFICATE}]")
