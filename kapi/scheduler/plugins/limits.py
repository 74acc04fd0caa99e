"""NodeVolumeLimits: the most volumes a CSI driver can attach to a node, from the node's CSINode."""

from collections.abc import Iterable

from kapi.objects.resource import CSI_NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from kapi.scheduler.framework import SKIP, Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.handle import Handle
from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import NodeInfo

Volume = tuple[str, str]
"""(driver, volume handle, or the claim's key before the volume exists)."""


class NodeVolumeLimits(SchedulingPlugin):
    name = "NodeVolumeLimits"
    events_to_register = (Event("csinode", "*"), Event("pod", "delete"), Event("pvc", "*"))
    _full = Status(Code.UNSCHEDULABLE, ("node(s) exceed max volume count",), name)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def pre_filter(self, cycle: Cycle) -> Status | None:
        if not cycle.pod.claims or not len(self._handle.informers[CSI_NODES]):
            return SKIP
        cycle.data[self.name] = set(self._volumes(cycle.pod))
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        volumes: set[Volume] = cycle.data[self.name]
        limits = self._limits(node.name) if volumes else {}
        if not limits:
            return None
        attached = {volume for pod in node.pods.values() for volume in self._volumes(pod)}
        for driver in {driver for driver, _ in volumes - attached} & limits.keys():
            if sum(volume[0] == driver for volume in volumes | attached) > limits[driver]:
                return self._full
        return None

    def _limits(self, node: str) -> dict[str, int]:
        """Driver -> most volumes on the node, of drivers that have a limit."""
        drivers = ((self._handle.get(CSI_NODES, node) or {}).get("spec") or {}).get("drivers") or ()
        counts = {d["name"]: (d.get("allocatable") or {}).get("count") for d in drivers}
        return {name: count for name, count in counts.items() if count is not None}

    def _volumes(self, pod: Pod) -> Iterable[Volume]:
        """The CSI volumes of a pod. A volume that is not provisioned yet is counted by its claim."""
        for name, _ in pod.claims:
            key = f"{pod.namespace}/{name}"
            spec = (self._handle.get(PERSISTENT_VOLUME_CLAIMS, key) or {}).get("spec") or {}
            volume = self._handle.get(PERSISTENT_VOLUMES, spec.get("volumeName") or "")
            if volume is not None:
                if csi := volume["spec"].get("csi"):
                    yield csi["driver"], csi["volumeHandle"]
            elif storage_class := self._handle.get(STORAGE_CLASSES, spec.get("storageClassName") or ""):
                yield storage_class["provisioner"], key
