"""Kinds that are still alpha or beta: PodGroup, Workload, StorageVersion, LeaseCandidate, PodCertificateRequest, DeviceTaintRule."""

import re
from typing import Any

from kapi.objects import names
from kapi.registry.kinds import certificates
from kapi.registry.kinds.resource import slices
from kapi.registry.strategy import NAME_COLUMN
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy

Object = dict[str, Any]

MOST_GROUPS, MOST_CLAIMS = 8, 4
SHORTEST_CERTIFICATE, LONGEST_CERTIFICATE = 3600, 91 * 86400
_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+].*)?")


def _check_claims(owner: Part) -> None:
    owner.limit("resourceClaims", MOST_CLAIMS)
    seen: set[str] = set()
    for claim in owner.parts("resourceClaims"):
        if claim.named("name", names.dns_label):
            claim.unique("name", seen)
        given = [field for field in ("resourceClaimName", "resourceClaimTemplateName") if field in claim]
        if len(given) != 1:
            claim.e.invalid(claim.at, None, "must specify exactly one of: `resourceClaimName`, `resourceClaimTemplateName`")
        for field in given:
            claim.checked(field, names.dns_subdomain)


def _check_policy(policy: Part) -> None:
    if ("basic" in policy) == ("gang" in policy):
        policy.e.invalid(policy.at, None, "must specify exactly one of: `basic`, `gang`")
    if "gang" in policy:
        policy.part("gang").at_least("minCount", 1)


class PodGroupStrategy(RuledStrategy):
    """scheduling.k8s.io PodGroup."""

    generation = False

    def check(self, new: Part, old: Object | None) -> None:
        _check_policy(new.part("spec").part("schedulingPolicy"))
        _check_claims(new.part("spec"))
        if old is not None:
            new.immutable(old, "spec")


class WorkloadStrategy(PlainStrategy):
    """scheduling.k8s.io Workload."""

    def check(self, new: Part, old: Object | None) -> None:
        spec, seen = new.part("spec"), set[str]()
        if "controllerRef" in spec:
            for field in ("kind", "name"):
                spec.part("controllerRef").named(field, names.path_segment)
        spec.need("podGroupTemplates", "must have at least one item")
        spec.limit("podGroupTemplates", MOST_GROUPS)
        for template in spec.parts("podGroupTemplates"):
            if template.named("name", names.dns_label):
                new.e.unique(template.at, template.text("name"), seen)
            _check_policy(template.part("schedulingPolicy"))
            _check_claims(template)
        if old is not None:
            spec.immutable(old["spec"], "podGroupTemplates")


class StorageVersionStrategy(RuledStrategy):
    """internal.apiserver.k8s.io StorageVersion."""

    generation = False
    columns = (NAME_COLUMN, *rules.columns("CommonEncodingVersion", "StorageVersions", "Age"))

    def check(self, new: Part, old: Object | None) -> None:
        meta = new.part("metadata")
        if meta.text("name") and "." not in meta.text("name").strip("."):
            meta.invalid("name", "name must be in the form of <group>.<resource>")

    def cells(self, obj: Object) -> list[Any]:
        status = obj.get("status") or {}
        servers = [f"{s.get('apiServerID')}={s.get('encodingVersion')}" for s in status.get("storageVersions") or ()]
        return [status.get("commonEncodingVersion", "<unset>"), rules.shown(servers, "<unset>")]


class LeaseCandidateStrategy(PlainStrategy):
    """coordination.k8s.io LeaseCandidate."""

    create_on_update = True
    unconditional_update = False
    fields = {"spec.leaseName": lambda o: o["spec"].get("leaseName") or ""}
    columns = rules.columns("Name", "LeaseName", "BinaryVersion", "EmulationVersion", "PingTime", "RenewTime", "Strategy", "Age")

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        emulation = spec.text("emulationVersion")
        spec.need("leaseName")
        if spec.need("binaryVersion") and not _VERSION.fullmatch(spec.text("binaryVersion")):
            spec.invalid("binaryVersion", "must be a valid semantic version")
        if emulation and not _VERSION.fullmatch(emulation):
            spec.invalid("emulationVersion", "must be a valid semantic version")
        elif spec.get("strategy") == "OldestEmulationVersion":
            spec.need("emulationVersion", "must be specified when `strategy` is 'OldestEmulationVersion'")
        spec.named("strategy", names.qualified_name)
        if old is not None:
            spec.immutable(old["spec"], "leaseName")

    def cells(self, obj: Object) -> list[Any]:
        spec = obj["spec"]
        return [spec.get(f, "") for f in ("leaseName", "binaryVersion", "emulationVersion", "pingTime", "renewTime", "strategy")]


class PodCertificateRequestStrategy(RuledStrategy):
    """certificates.k8s.io PodCertificateRequest."""

    generation = False
    fields = {
        "spec.signerName": lambda o: o["spec"].get("signerName") or "",
        "spec.podName": lambda o: o["spec"].get("podName") or "",
        "spec.nodeName": lambda o: o["spec"].get("nodeName") or "",
    }

    def default(self, obj: Object) -> None:
        obj["spec"].setdefault("maxExpirationSeconds", 86400)

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        certificates.signer(new.e, "spec.signerName", spec.text("signerName"))
        for field in ("podName", "serviceAccountName", "nodeName"):
            spec.checked(field, names.dns_subdomain)
        for field in ("podUID", "serviceAccountUID", "nodeUID"):
            if not spec.text(field):
                spec.invalid(field, "must not be empty")
            elif len(spec.text(field)) > 128:
                new.e.too_long(spec.path(field), 128)
        if not SHORTEST_CERTIFICATE <= spec.number("maxExpirationSeconds") <= LONGEST_CERTIFICATE:
            spec.invalid("maxExpirationSeconds", f"must be in the range [{SHORTEST_CERTIFICATE}, {LONGEST_CERTIFICATE}]")
        if old is not None:
            new.immutable(old, "spec")


class DeviceTaintRuleStrategy(RuledStrategy):
    """resource.k8s.io DeviceTaintRule."""

    returns_deleted = True

    def check(self, new: Part, old: Object | None) -> None:
        selector = new.part("spec").part("deviceSelector")
        for field, check in (("driver", names.dns_subdomain), ("pool", names.dns_subdomain), ("device", names.dns_label)):
            if field in selector:
                selector.checked(field, check)
        slices.taint(new.part("spec").part("taint"))


class RulesReviewStrategy(PlainStrategy):
    """authorization.k8s.io SelfSubjectRulesReview: never stored, asks what one may do in a namespace."""

