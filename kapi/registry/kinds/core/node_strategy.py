"""Node: pod address ranges, taints, capacity, its status, and the columns of `kubectl get nodes`."""

from typing import Any

from kapi.objects.meta import Object
from kapi.registry.kinds.columns import COLUMNS
from kapi.registry.kinds.core.pods import container_resources, placement
from kapi.registry.validation import addresses, internal
from kapi.registry.validation.part import Part, RuledStrategy

_KEPT = 'node updates may not change {} except from "" to valid'
_ROLE, _ROLES = "kubernetes.io/role", "node-role.kubernetes.io/"


def _sync_ranges(spec: Object) -> None:
    """podCIDR is the first of podCIDRs: whichever was sent, both are kept; the single one wins when they differ."""
    one, many = spec.get("podCIDR"), spec.get("podCIDRs")
    if one and (not many or many[0] != one):
        spec["podCIDRs"] = [one]
    elif many and not one:
        spec["podCIDR"] = many[0]


def _check(node: Part, old: Object) -> None:
    spec, known = node.part("spec"), (old.get("spec") or {}).get("podCIDRs") or ()
    listed = spec.items("podCIDRs")
    placement.taints(spec, "metadata.taints")
    _amounts(node.part("status"))
    for at, value in spec.values("podCIDRs"):
        addresses.legacy_cidr(node.e, at, value, known)
    if len(listed) > 1 and (len(listed) > 2 or (":" in listed[0]) == (":" in listed[1])):
        spec.invalid("podCIDRs", "may specify no more than one CIDR for each IP family")


def _amounts(status: Part) -> None:
    for kind in ("capacity", "allocatable"):
        for name, value in (status.get(kind) or {}).items():
            container_resources.amount(status.e, f"status.{kind}.{name}", name, value)


def _change(new: Part, old: Object) -> None:
    spec, status, before = new.part("spec"), new.part("status"), old.get("spec") or {}
    _amounts(status)
    seen: set[tuple[str, str]] = set()
    for address in status.parts("addresses"):
        pair = address.text("type"), address.text("address")
        if pair in seen:
            new.e.duplicate(address.at, internal.to_internal("NodeAddress", address.obj))
        seen.add(pair)
    _validate_pod_cidrs_unchanged(spec, before.get("podCIDRs") or [])
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        spec.forbidden("providerID", _KEPT.format("providerID"))
    placement.taints(spec, "metadata.taints")
    if spec.text("externalID") != (before.get("externalID") or ""):
        spec.forbidden("externalID", "may not be updated")


def _validate_pod_cidrs_unchanged(spec: Part, old: list[str]) -> None:
    """One cause for each range that differs, or one when their number does, as in stock."""
    new = spec.items("podCIDRs")
    differ = sum(a != b for a, b in zip(new, old, strict=True)) if len(new) == len(old) else 1
    for _ in range(differ if old else 0):
        spec.forbidden("podCIDRs", _KEPT.format("podCIDR"))


def _condition(node: Object) -> str:
    """Ready, NotReady or Unknown, and whether pods may be put here."""
    ready = next((c for c in (node.get("status") or {}).get("conditions") or () if c.get("type") == "Ready"), None)
    words = ["Unknown"] if ready is None else ["Ready" if ready.get("status") == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(labels: dict[str, str]) -> str:
    roles = {key[len(_ROLES) :] for key in labels if key.startswith(_ROLES) and key != _ROLES}
    if labels.get(_ROLE):
        roles.add(labels[_ROLE])
    return ",".join(sorted(roles)) or "<none>"


def _address(status: Object, kind: str) -> str:
    return next((a.get("address") or "" for a in status.get("addresses") or () if a.get("type") == kind), "<none>")


class NodeStrategy(RuledStrategy):
    status = False
    """A new node may bring its status along; what an update must leave alone is put back below."""
    generation = False
    reset_fields = (("status",),)
    columns = COLUMNS["nodes"]
    selects_namespace = False
    fields = {"spec.unschedulable": lambda obj: str(bool((obj.get("spec") or {}).get("unschedulable"))).lower()}

    def default(self, obj: Object) -> None:
        _sync_ranges(obj.setdefault("spec", {}))
        status = obj.get("status") or {}
        if status.get("capacity") and status.get("allocatable") is None:
            status["allocatable"] = dict(status["capacity"])

    def prepare(self, new: Object, old: Object | None) -> None:
        (new.get("spec") or {}).pop("configSource", None)
        if old is not None and "status" in old:
            new["status"] = old["status"]

    def prepare_status(self, new: Object, old: Object) -> None:
        (new.get("status") or {}).pop("config", None)

    def check(self, new: Part, old: Object | None) -> None:
        _check(new, old or {})
        if old is not None:
            _change(new, old)

    def check_status(self, new: Part, old: Object) -> None:
        _change(new, old)

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        spec, out = new.get("spec") or {}, []
        if spec.get("configSource") is not None:
            out.append("spec.configSource: the feature is no longer available")
        if spec.get("externalID"):
            out.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
        return out

    def cells(self, obj: Object) -> list[Any]:
        status = obj.get("status") or {}
        addresses = (_address(status, kind) for kind in ("InternalIP", "ExternalIP"))
        return [_condition(obj), _roles(obj["metadata"].get("labels") or {}), *addresses]
