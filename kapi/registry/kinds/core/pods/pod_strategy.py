"""Pod: the strategy that puts defaults, checks, updates, grace, columns and subresources of pods together."""

from collections.abc import Callable
from typing import Any

from kapi.objects import references, time
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.objects.pod_resources import qos_class
from kapi.registry.kinds.columns import COLUMNS
from kapi.registry.kinds.core.pods import containers, placement, pod_defaults, pod_spec, pod_table, pod_updates, pod_warnings
from kapi.registry.validation.part import Part, RuledStrategy
from kapi.registry.validation.rules import Errors

_GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
          "message": "Scheduling is blocked due to non-empty scheduling gates"}  # fmt: skip


def _field(part: str, name: str) -> Callable[[Object], str]:
    return lambda pod: str((pod.get(part) or {}).get(name) or "")


def _pod_ip(pod: Object) -> str:
    status = pod.get("status") or {}
    return str(status.get("podIP") or next((entry.get("ip") for entry in status.get("podIPs") or ()), "") or "")


def sync_pod_ips(status: Object) -> None:
    """podIP is the first of podIPs: whichever a client sent, both are kept; the single one wins when they differ."""
    single, listed = status.get("podIP"), status.get("podIPs")
    if single and (not listed or listed[0].get("ip") != single):
        status["podIPs"] = [{"ip": single}]
    elif listed and not single and listed[0].get("ip"):
        status["podIP"] = listed[0]["ip"]


def check(pod: Part) -> None:
    """A whole pod, as it must be after every change."""
    metadata, spec = pod.part("metadata"), pod.part("spec")
    if metadata.get("annotations"):
        pod_spec.pod_annotations(metadata, spec)
    mirror = references.MIRROR in (metadata.get("annotations") or {})
    pod_spec.check(spec, pod_name=metadata.text("name"), is_pod=True, mirror=mirror)
    for volume in spec.parts("volumes") if not spec.text("serviceAccountName") else ():
        for source in volume.part("projected").parts("sources"):
            if "serviceAccountToken" in source:
                source.forbidden("serviceAccountToken", "must not be specified when serviceAccountName is not set")
    for kind in ("containers", "initContainers"):
        for container in spec.parts(kind):
            containers.whitespace(container)


def _known(new: Object, old: Object | None) -> bool:
    """Whether a change leaves alone all that `check` looks at, so that it would find nothing (labels, finalizers, owners)."""
    if old is None or new.get("spec") != old.get("spec"):
        return False
    return (new["metadata"].get("annotations") or {}) == (old["metadata"].get("annotations") or {})


def _select_by_own_labels(pod: Object) -> None:
    """matchLabelKeys become requirements on the pod's own labels."""
    labels, spec = pod["metadata"].get("labels") or {}, pod.get("spec") or {}
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        part = affinity.get(kind) or {}
        for term in part.get(placement.REQUIRED) or ():
            placement.selector_from_labels(term, labels)
        for weighted in part.get(placement.PREFERRED) or ():
            placement.selector_from_labels(weighted.get("podAffinityTerm") or {}, labels)
    for constraint in spec.get("topologySpreadConstraints") or ():
        placement.selector_from_labels(constraint, labels)


class PodStrategy(RuledStrategy):
    columns = COLUMNS["pods"]
    fields: dict[str, Callable[[Object], str]] = {
        **{f"spec.{name}": _field("spec", name) for name in ("nodeName", "restartPolicy", "schedulerName", "serviceAccountName")},
        "spec.hostNetwork": lambda pod: _field("spec", "hostNetwork")(pod).lower() or "false",
        **{f"status.{name}": _field("status", name) for name in ("phase", "nominatedNodeName")},
        "status.podIP": _pod_ip,
    }
    selected_as = {**{name: name for name in fields}, "spec.host": "spec.nodeName", "status.podIPs": "status.podIPs"}
    """spec.host is what clients of before v1 say; every pod's podIPs are empty to selectors."""
    status_reset_fields = (("spec",), ("metadata", "deletionTimestamp"), ("metadata", "ownerReferences"))
    graceful = True
    returns_deleted = True

    def default(self, obj: Object) -> None:
        pod_defaults.pod(obj.setdefault("spec", {}))
        if obj.get("status"):
            sync_pod_ips(obj["status"])

    def prepare(self, new: Object, old: Object | None) -> None:
        spec = new.get("spec") or {}
        pod_defaults.drop_disabled_fields(spec)
        if old is not None:
            return
        new["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            new["status"]["conditions"] = [{**_GATED, "lastProbeTime": None, "lastTransitionTime": time.stamp()}]
        if "affinity" in spec or "topologySpreadConstraints" in spec:
            _select_by_own_labels(new)

    def prepare_status(self, new: Object, old: Object) -> None:
        status, owners = new.setdefault("status", {}), old["metadata"].get("ownerReferences")
        new["metadata"].pop("ownerReferences", None)
        if owners:
            new["metadata"]["ownerReferences"] = owners
        before = old.get("status") or {}
        if not status.get("qosClass") and before.get("qosClass"):
            status["qosClass"] = before["qosClass"]

    def prepare_subresource(self, subresource: str, new: Object, old: Object) -> None:
        if subresource == "status":
            self.prepare_status(new, old)
        else:
            pod_updates.restore_fields(new, old, subresource)

    def check(self, new: Part, old: Object | None) -> None:
        if not _known(new.obj, old):
            check(new)
        if old is not None:
            pod_updates.update(new, old)
            return
        spec, annotations = new.part("spec"), new.obj["metadata"].get("annotations")
        if spec.items("ephemeralContainers"):
            spec.forbidden("ephemeralContainers", "cannot be set on create")
        if spec.text("nodeName") and spec.items("schedulingGates"):
            spec.forbidden("nodeName", "cannot be set until all schedulingGates have been cleared")
        if annotations:
            pod_spec.profiles(annotations, spec)

    def check_status(self, new: Part, old: Object) -> None:
        pod_updates.status(new, old)

    def validate_subresource(self, subresource: str, new: Object, old: Object) -> list[Cause]:
        if subresource == "status":
            return self.validate_status(new, old)
        pod = Part(Errors(), "", new)
        check(pod)
        change = pod_updates.resize if subresource == "resize" else pod_updates.ephemeral
        change(pod, old)
        return pod.e

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        """Only of new pods: changes are too many and rarely by people."""
        return pod_warnings.hostname(new, "the Pod's hostname") + pod_warnings.template("", new) if old is None else []

    def grace(self, obj: Object, seconds: int | None) -> int:
        """The wanted seconds, else the pod's own; none for a pod that never ran or has ended."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        period = seconds if seconds is not None else spec.get("terminationGracePeriodSeconds") or 0
        if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
            return 0
        return 1 if period < 0 else int(period)

    def row(self, obj: Object, now: float) -> list[Any]:
        return pod_table.row(obj, now)

    def row_conditions(self, obj: Object) -> list[Object]:
        phase = (obj.get("status") or {}).get("phase")
        text = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}.get(phase or "")
        return [{"type": "Completed", "status": "True", "reason": phase, "message": text}] if text else []
