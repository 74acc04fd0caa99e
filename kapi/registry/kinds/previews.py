"""Kinds that are still alpha or beta: PodGroup, Workload, StorageVersion, LeaseCandidate, PodCertificateRequest, DeviceTaintRule."""

import re
from typing import Any

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import certificates, devices, rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import NAME_COLUMN, Strategy

Object = dict[str, Any]

MOST_GROUPS, MOST_CLAIMS = 8, 4
SHORTEST_CERTIFICATE, LONGEST_CERTIFICATE = 3600, 91 * 86400
_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+].*)?")


def _claims(e: Errors, at: str, listed: list[Object]) -> None:
    if len(listed) > MOST_CLAIMS:
        e.too_many(at, len(listed), MOST_CLAIMS)
    seen: set[str] = set()
    for i, claim in enumerate(listed):
        where, name = f"{at}[{i}]", claim.get("name") or ""
        if e.named(f"{where}.name", name, names.dns_label):
            e.unique(f"{where}.name", name, seen)
        given = [field for field in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(field) is not None]
        if len(given) != 1:
            e.invalid(where, None, "must specify exactly one of: `resourceClaimName`, `resourceClaimTemplateName`")
        for field in given:
            e.text(f"{where}.{field}", claim[field], names.dns_subdomain)


def _policy(e: Errors, at: str, policy: Object) -> None:
    given = [field for field in ("basic", "gang") if policy.get(field) is not None]
    if len(given) != 1:
        e.invalid(at, None, "must specify exactly one of: `basic`, `gang`")
    if policy.get("gang") is not None:
        e.at_least(f"{at}.gang.minCount", policy["gang"].get("minCount", 0), 1)


class PodGroupStrategy(Strategy):
    """scheduling.k8s.io PodGroup."""

    generation = False

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("schedulingPolicy", {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        _policy(e, "spec.schedulingPolicy", spec["schedulingPolicy"])
        _claims(e, "spec.resourceClaims", spec.get("resourceClaims") or [])
        if old is not None:
            e.immutable("spec", spec, old["spec"])
        return e


class WorkloadStrategy(Strategy):
    """scheduling.k8s.io Workload."""

    status = False
    generation = False

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podGroupTemplates", None)
        for template in spec["podGroupTemplates"] or ():
            template.setdefault("name", "")
            template.setdefault("schedulingPolicy", {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        templates, seen = new["spec"].get("podGroupTemplates") or [], set[str]()
        ref = new["spec"].get("controllerRef")
        if ref is not None:
            for field in ("kind", "name"):
                e.named(f"spec.controllerRef.{field}", ref.get(field) or "", names.path_segment)
        e.need("spec.podGroupTemplates", templates, "must have at least one item")
        if len(templates) > MOST_GROUPS:
            e.too_many("spec.podGroupTemplates", len(templates), MOST_GROUPS)
        for i, template in enumerate(templates):
            at = f"spec.podGroupTemplates[{i}]"
            if e.named(f"{at}.name", template["name"], names.dns_label):
                e.unique(at, template["name"], seen)
            _policy(e, f"{at}.schedulingPolicy", template["schedulingPolicy"])
            _claims(e, f"{at}.resourceClaims", template.get("resourceClaims") or [])
        if old is not None:
            e.immutable("spec.podGroupTemplates", templates, old["spec"].get("podGroupTemplates"))
        return e


class StorageVersionStrategy(Strategy):
    """internal.apiserver.k8s.io StorageVersion."""

    generation = False
    columns = (NAME_COLUMN, *rules.columns("CommonEncodingVersion", "StorageVersions", "Age"))

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        name = new["metadata"].get("name") or ""
        e = Errors()
        if name and "." not in name.strip("."):
            e.invalid("metadata.name", name, "name must be in the form of <group>.<resource>")
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        status = obj.get("status") or {}
        servers = [f"{s.get('apiServerID')}={s.get('encodingVersion')}" for s in status.get("storageVersions") or ()]
        encoding = status.get("commonEncodingVersion", "<unset>")
        return [obj["metadata"]["name"], encoding, rules.shown(servers, "<unset>"), rules.age(obj, now)]


class LeaseCandidateStrategy(Strategy):
    """coordination.k8s.io LeaseCandidate."""

    status = False
    generation = False
    create_on_update = True
    unconditional_update = False
    fields = {"spec.leaseName": lambda o: o["spec"].get("leaseName") or ""}
    columns = rules.columns("Name", "LeaseName", "BinaryVersion", "EmulationVersion", "PingTime", "RenewTime", "Strategy", "Age")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for field in ("leaseName", "binaryVersion", "strategy"):
            spec.setdefault(field, "")

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        e.need("spec.leaseName", spec["leaseName"])
        if e.need("spec.binaryVersion", spec["binaryVersion"]) and not _VERSION.fullmatch(spec["binaryVersion"]):
            e.invalid("spec.binaryVersion", spec["binaryVersion"], "must be a valid semantic version")
        emulation = spec.get("emulationVersion") or ""
        if emulation and not _VERSION.fullmatch(emulation):
            e.invalid("spec.emulationVersion", emulation, "must be a valid semantic version")
        elif spec["strategy"] == "OldestEmulationVersion":
            e.need("spec.emulationVersion", emulation, "must be specified when `strategy` is 'OldestEmulationVersion'")
        if e.need("spec.strategy", spec["strategy"]):
            e.qualified("spec.strategy", spec["strategy"])
        if old is not None:
            e.immutable("spec.leaseName", spec["leaseName"], old["spec"].get("leaseName"))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        cells = [spec.get(f, "") for f in ("leaseName", "binaryVersion", "emulationVersion", "pingTime", "renewTime", "strategy")]
        return [obj["metadata"]["name"], *cells, rules.age(obj, now)]


class PodCertificateRequestStrategy(Strategy):
    """certificates.k8s.io PodCertificateRequest."""

    generation = False
    fields = {
        "spec.signerName": lambda o: o["spec"].get("signerName") or "",
        "spec.podName": lambda o: o["spec"].get("podName") or "",
        "spec.nodeName": lambda o: o["spec"].get("nodeName") or "",
    }

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("maxExpirationSeconds", 86400)
        obj.setdefault("status", {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        certificates.signer(e, "spec.signerName", spec.get("signerName") or "")
        for field in ("podName", "serviceAccountName", "nodeName"):
            e.text(f"spec.{field}", spec.get(field) or "", names.dns_subdomain)
        for field in ("podUID", "serviceAccountUID", "nodeUID"):
            uid = spec.get(field) or ""
            if not uid:
                e.invalid(f"spec.{field}", uid, "must not be empty")
            elif len(uid) > 128:
                e.too_long(f"spec.{field}", 128)
        seconds = spec["maxExpirationSeconds"]
        if not SHORTEST_CERTIFICATE <= seconds <= LONGEST_CERTIFICATE:
            text = f"must be in the range [{SHORTEST_CERTIFICATE}, {LONGEST_CERTIFICATE}]"
            e.invalid("spec.maxExpirationSeconds", seconds, text)
        if old is not None:
            e.immutable("spec", spec, old["spec"])
        return e


class DeviceTaintRuleStrategy(Strategy):
    """resource.k8s.io DeviceTaintRule."""

    returns_deleted = True
    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("taint", {})
        obj.setdefault("status", {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        selector = new["spec"].get("deviceSelector") or {}
        for field, check in (("driver", names.dns_subdomain), ("pool", names.dns_subdomain), ("device", names.dns_label)):
            if selector.get(field) is not None:
                e.text(f"spec.deviceSelector.{field}", selector[field], check)
        devices.taint(e, "spec.taint", new["spec"]["taint"])
        return e


class RulesReviewStrategy(Strategy):
    """authorization.k8s.io SelfSubjectRulesReview: never stored, asks what one may do in a namespace."""

    status = False
    generation = False

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
