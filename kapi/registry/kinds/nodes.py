"""Node: pod address ranges, taints, capacity, what a kubelet may report, and how `kubectl get nodes` shows one."""

from typing import Any

from kapi.objects.errors import Cause
from kapi.registry.kinds import container_resources, internal, placement, rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.kinds.tables import COLUMNS
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

_KEPT = 'node updates may not change {} except from "" to valid'
_ROLE, _ROLES = "kubernetes.io/role", "node-role.kubernetes.io/"
_INFO = ("osImage", "kernelVersion", "containerRuntimeVersion")


def _sync_ranges(spec: Object) -> None:
    """podCIDR is the first of podCIDRs: whichever was sent, both are kept; the single one wins when they differ."""
    one, many = spec.get("podCIDR"), spec.get("podCIDRs")
    if one and (not many or many[0] != one):
        spec["podCIDRs"] = [one]
    elif many and not one:
        spec["podCIDR"] = many[0]


def _ranges(e: Errors, listed: list[str], old: list[str]) -> None:
    for i, value in enumerate(listed):
        rules.legacy_cidr(e, f"spec.podCIDRs[{i}]", value, old)
    if len(listed) > 1 and (len(listed) > 2 or (":" in listed[0]) == (":" in listed[1])):
        e.invalid("spec.podCIDRs", listed, "may specify no more than one CIDR for each IP family")


def _check(e: Errors, node: Object, old: Object | None) -> None:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    placement.taints(e, "metadata.taints", spec.get("taints") or [])
    _amounts(e, status)
    _ranges(e, spec.get("podCIDRs") or [], ((old or {}).get("spec") or {}).get("podCIDRs") or [])


def _amounts(e: Errors, status: Object) -> None:
    for kind in ("capacity", "allocatable"):
        for name, value in (status.get(kind) or {}).items():
            container_resources.amount(e, f"status.{kind}.{name}", name, value)


def _change(e: Errors, new: Object, old: Object) -> None:
    spec, status, before = new.get("spec") or {}, new.get("status") or {}, old.get("spec") or {}
    _amounts(e, status)
    seen: set[tuple[str, str]] = set()
    for i, address in enumerate(status.get("addresses") or ()):
        pair = (address.get("type") or "", address.get("address") or "")
        if pair in seen:
            e.duplicate(f"status.addresses[{i}]", internal.to_internal("NodeAddress", address))
        seen.add(pair)
    mine, theirs = spec.get("podCIDRs") or [], before.get("podCIDRs") or []
    if theirs and mine != theirs:
        e.forbidden("spec.podCIDRs", _KEPT.format("podCIDR"))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        e.forbidden("spec.providerID", _KEPT.format("providerID"))
    placement.taints(e, "metadata.taints", spec.get("taints") or [])
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        e.forbidden("spec.externalID", "may not be updated")


def _condition(node: Object) -> str:
    """Ready, NotReady or Unknown, and whether pods may be put here."""
    ready = next((c for c in (node.get("status") or {}).get("conditions") or () if c.get("type") == "Ready"), None)
    words = ["Unknown"] if ready is None else ["Ready" if ready.get("status") == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(found: dict[str, str]) -> str:
    roles = {key[len(_ROLES) :] for key in found if key.startswith(_ROLES) and key != _ROLES}
    if found.get(_ROLE):
        roles.add(found[_ROLE])
    return ",".join(sorted(roles)) or "<none>"


def _address(status: Object, kind: str) -> str:
    return next((a.get("address") or "" for a in status.get("addresses") or () if a.get("type") == kind), "<none>")


class NodeStrategy(Strategy):
    status = False
    """A new node may bring its status along; what an update must leave alone is put back below."""
    generation = False
    reset_fields = (("status",),)
    columns = COLUMNS["nodes"]
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

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        _check(e, new, old)
        if old is not None:
            _change(e, new, old)
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e = Errors()
        _change(e, new, old)
        return e

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        spec, out = new.get("spec") or {}, []
        if spec.get("configSource") is not None:
            out.append("spec.configSource: the feature is no longer available")
        if spec.get("externalID"):
            out.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
        return out

    def row(self, obj: Object, now: float) -> list[Any]:
        status = obj.get("status") or {}
        info = status.get("nodeInfo") or {}
        return [
            obj["metadata"]["name"], _condition(obj), _roles(obj["metadata"].get("labels") or {}), rules.age(obj, now),
            info.get("kubeletVersion") or "", _address(status, "InternalIP"), _address(status, "ExternalIP"),
            *(info.get(name) or "<unknown>" for name in _INFO),
        ]  # fmt: skip
