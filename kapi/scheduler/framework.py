"""The scheduling framework: what a plugin may do, and the cycle it does it in.

A plugin overrides only the steps it takes part in; the profile calls only what is overridden. For example::

    class OnlyBigNodes(SchedulingPlugin):
        name, local = "OnlyBigNodes", True

        def filter(self, cycle, node):
            if node.allocatable.get("cpu", 0) < 8000:
                return Status(Code.UNRESOLVABLE, ("node(s) were too small",))
            return None
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, NamedTuple

from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import Cluster, NodeInfo

MAX_SCORE = 100


class Code(Enum):
    UNSCHEDULABLE = "Unschedulable"
    """Not now; removing pods may help."""
    UNRESOLVABLE = "UnschedulableAndUnresolvable"
    """Not now, and preemption cannot help."""
    PENDING = "Pending"
    """Waits for something outside; no retry by time."""
    ERROR = "Error"
    SKIP = "Skip"
    """From pre_filter or pre_score: this plugin has nothing to do for this pod."""
    WAIT = "Wait"
    """From permit: bind later."""
    SUCCESS = "Success"
    """From post_filter only: a node was nominated. Everywhere else success is None."""


class Status(NamedTuple):
    """Why not. Success is None."""

    code: Code
    reasons: tuple[str, ...] = ()
    plugin: str = ""
    seconds: float = 0.0
    """With WAIT: how long at most."""

    @property
    def message(self) -> str:
        return ", ".join(self.reasons)


SKIP = Status(Code.SKIP)


class Event(NamedTuple):
    """What happened in the cluster, as queueing hints see it, e.g. Event("node", "taint")."""

    resource: str
    action: str


@dataclass(slots=True, eq=False)
class Cycle:
    """One attempt to place one pod."""

    pod: Pod
    cluster: Cluster
    data: dict[str, Any] = field(default_factory=dict)
    """What plugins keep from one step to the next, by plugin name."""
    names: frozenset[str] | None = None
    """The only nodes worth looking at, when pre_filter found that out."""
    narrowed_by: list[str] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    """Plugins whose pre_filter said SKIP."""
    nominated: str | None = None
    """What post_filter wants in status.nominatedNodeName; None leaves it."""

    def narrow(self, names: frozenset[str], plugin: str) -> None:
        self.names = names if self.names is None else self.names & names
        self.narrowed_by.append(plugin)


class SchedulingPlugin:
    """A plugin; see the scheduling framework's documentation for when each step runs."""

    name: ClassVar[str] = ""
    local: ClassVar[bool] = False
    """True: filter and score depend only on the pod's Spec and the node with its pods; answers are kept until the node changes."""
    wakes: ClassVar[tuple[Event, ...]] = ()
    """Events that may make a pod schedulable that this plugin rejected. An action of "*" means any."""

    def attach(self, search: Any) -> None:
        """Called once with the profile's Search, for plugins that try things on imagined nodes."""

    def sort_key(self, pod: Pod, since: float) -> tuple[Any, ...]:
        """Queue order; the smallest key is tried first. `since`: when the pod entered the queue."""
        return (since,)

    def pre_enqueue(self, pod: Pod) -> Status | None:
        """A status keeps the pod out of the active queue."""
        return None

    def pre_filter(self, cycle: Cycle) -> Status | None:
        """Once per attempt: prepare `cycle.data`, narrow the nodes, say SKIP or give up."""
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Why the node cannot take the pod."""
        return None

    def add_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        """Another pod is imagined on the node: adapt `cycle.data`. Only plugins that are not local need this."""

    def remove_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        """Another pod is imagined gone from the node."""

    def copy_data(self, data: Any) -> Any:
        """A copy of what pre_filter left in `cycle.data`, so that add_pod and remove_pod may change it."""
        return data

    def post_filter(self, cycle: Cycle, statuses: dict[NodeInfo, Status]) -> Status | None:
        """No node fits. SUCCESS with `cycle.nominated` set: room is being made there."""
        return None

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Status | None:
        return None

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        """0 to 100, or anything if `normalize` brings it there."""
        return 0

    def normalize(self, cycle: Cycle, scores: list[int]) -> list[int]:
        return scores

    def scores(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
        """All nodes at once; override where one loop is faster than many calls."""
        score = self.score
        return self.normalize(cycle, [score(cycle, node) for node in nodes])

    def reserve(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        return None

    def unreserve(self, cycle: Cycle, node: NodeInfo) -> None:
        """Undo `reserve`; called for all plugins, also those whose `reserve` never ran."""

    def permit(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """None: go on. WAIT with seconds: hold the binding until `Scheduler.allow` or `reject`."""
        return None

    async def pre_bind(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        return None

    async def bind(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """SKIP: the next plugin shall bind."""
        return SKIP

    def hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        """Whether this event (of an awaited sort, about API object or Pod `obj`) can help the pod it once rejected."""
        return True


def overrides(plugin: SchedulingPlugin, step: str) -> bool:
    return getattr(type(plugin), step) is not getattr(SchedulingPlugin, step)


def default_normalize(scores: list[int], reverse: bool = False) -> list[int]:
    """Scale to 0..100 by the largest (stock's DefaultNormalizeScore)."""
    top = max(scores, default=0)
    if top == 0:
        return [MAX_SCORE] * len(scores) if reverse else scores
    scaled = [MAX_SCORE * s // top for s in scores]
    return [MAX_SCORE - s for s in scaled] if reverse else scaled
