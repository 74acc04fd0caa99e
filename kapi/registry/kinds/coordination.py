"""Lease and LeaseCandidate (coordination.k8s.io)."""

import re

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy

_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+].*)?")


class LeaseStrategy(PlainStrategy):
    """coordination.k8s.io/v1 Lease."""

    loose_finalizers = True
    unconditional_update = False
    create_on_update = True
    columns = rules.columns("Name", "Holder@spec.holderIdentity", "Age", of="coordination.v1.Lease")
    defaults = {"spec": {}}

    def prepare(self, new: Object, old: Object | None) -> None:
        for field in ("strategy", "preferredHolder"):  # coordinated leader election is off by default
            if not (old or {}).get("spec", {}).get(field):
                new["spec"].pop(field, None)

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        if "leaseDurationSeconds" in spec:
            spec.at_least("leaseDurationSeconds", 1, "must be greater than 0")
        spec.non_negative("leaseTransitions")
        spec.optional("strategy", names.qualified_name)
        if spec.text("preferredHolder") and not spec.text("strategy"):
            spec.forbidden("preferredHolder", "may only be specified if `strategy` is defined")


class LeaseCandidateStrategy(PlainStrategy):
    """coordination.k8s.io LeaseCandidate."""

    create_on_update = True
    unconditional_update = False
    immutable = ("spec.leaseName",)
    fields = rules.selectable("spec.leaseName")
    columns = rules.columns(
        "Name", "LeaseName@spec.leaseName", "BinaryVersion@spec.binaryVersion", "EmulationVersion@spec.emulationVersion",
        "PingTime@spec.pingTime", "RenewTime@spec.renewTime", "Strategy@spec.strategy", "Age",
    )  # fmt: skip

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
