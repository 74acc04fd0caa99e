"""Namespace: the label with its name, the finalizers of its spec, and its two phases.

Emptying a namespace that is being deleted is the namespace controller's work.
"""

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.kinds.columns import COLUMNS
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy
from kapi.registry.validation.rules import Errors

LABEL, OWN = "kubernetes.io/metadata.name", "kubernetes"
_STANDARD = (OWN, "orphan", "foregroundDeletion")


def _finalizer(e: Errors, field: str, name: str) -> None:
    e.qualified(field, name)
    if "/" not in name and name not in _STANDARD:
        e.invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified")


class NamespaceStrategy(RuledStrategy):
    name_check = staticmethod(names.dns_label)
    generation = False
    columns = COLUMNS["namespaces"]
    selects_namespace = False
    fields = rules.selectable("status.phase")

    def default(self, obj: Object) -> None:
        if obj["metadata"].get("name"):
            obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), LABEL: obj["metadata"]["name"]}

    def prepare(self, new: Object, old: Object | None) -> None:
        if old is not None:
            if "spec" in old:
                new["spec"] = old["spec"]
            return
        self.default(new)
        new["status"] = {"phase": "Active"}
        spec = new.setdefault("spec", {})
        if OWN not in (spec.get("finalizers") or ()):
            spec["finalizers"] = [*(spec.get("finalizers") or ()), OWN]

    def prepare_subresource(self, subresource: str, new: Object, old: Object) -> None:
        if subresource == "finalize" and "status" in old:
            new["status"] = old["status"]

    def check(self, new: Part, old: Object | None) -> None:
        for name in new.part("spec").items("finalizers") if old is None else ():
            _finalizer(new.e, "spec.finalizers", name)

    def check_status(self, new: Part, old: Object) -> None:
        phase = new.part("status").text("phase")
        expected, word = ("Terminating", "not ") if new.obj["metadata"].get("deletionTimestamp") else ("Active", "")
        if phase != expected:
            new.e.invalid("status.Phase", phase, f"may only be '{expected}' if `deletionTimestamp` is {word}empty")

    def validate_subresource(self, subresource: str, new: Object, old: Object) -> list[Cause]:
        if subresource != "finalize":
            return self.validate_status(new, old)
        spec = Part(Errors(), "spec", new.get("spec"))
        for at, name in spec.values("finalizers"):
            _finalizer(spec.e, at, name)
        return spec.e

    def blocks_deletion(self, obj: Object) -> bool:
        return bool((obj.get("spec") or {}).get("finalizers"))

    def mark_deleted(self, obj: Object) -> None:
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        obj["metadata"].pop("deletionGracePeriodSeconds", None)  # its own storage marks it in stock, and sets no grace
