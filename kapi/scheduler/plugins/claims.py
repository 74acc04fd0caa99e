"""DynamicResources: this scheduler does not allocate devices, so a pod with resource claims stays pending.

For pods without claims the plugin only takes part in post_filter, as stock's does.
"""

from kapi.scheduler.framework import SKIP, Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.handle import Handle
from kapi.scheduler.snapshot import NodeInfo


class DynamicResources(SchedulingPlugin):
    name = "DynamicResources"
    events_to_register = (Event("resourceclaim", "*"), Event("pod", "claims"), Event("node", "add"), Event("node", "label"))

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def pre_filter(self, cycle: Cycle) -> Status | None:
        named = cycle.pod.obj["spec"].get("resourceClaims")
        if not named:
            return SKIP
        made = {s.get("name"): s.get("resourceClaimName") for s in (cycle.pod.obj.get("status") or {}).get("resourceClaimStatuses") or ()}
        for entry in named:
            name = entry.get("resourceClaimName") or made.get(entry["name"])
            if not name:
                text = f'pod "{cycle.pod.key}": waiting for dynamic resource controller to create the resourceclaim'
                return Status(Code.UNRESOLVABLE, (text,), self.name)
            return Status(Code.UNRESOLVABLE, ("cannot allocate all claims",), self.name)
        return None

    def post_filter(self, cycle: Cycle, statuses: dict[NodeInfo, Status]) -> Status | None:
        return Status(Code.UNSCHEDULABLE, ("no new claims to deallocate",), self.name)
