"""The scheduling framework: extension points of plugins, and the cycle they run in.

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
    """Rejected; preempting pods may help."""
    UNRESOLVABLE = "UnschedulableAndUnresolvable"
    """Rejected, and preemption cannot help."""
    PENDING = "Pending"
    """Waits for something outside the scheduler; not retried after a time."""
    ERROR = "Error"
    SKIP = "Skip"
    """From pre_filter or pre_score: this plugin does not apply to this pod."""
    WAIT = "Wait"
    """From permit: the binding waits."""
    SUCCESS = "Success"
    """From post_filter only: a node was nominated. Everywhere else success is None."""


class Status(NamedTuple):
    """The result of a plugin that does not succeed. Success is None."""

    code: Code
    reasons: tuple[str, ...] = ()
    plugin: str = ""
    seconds: float = 0.0
    """With WAIT: the most seconds to wait."""

    @property
    def message(self) -> str:
        return ", ".join(self.reasons)


SKIP = Status(Code.SKIP)


class Event(NamedTuple):
    """A cluster event as queueing hints see it, e.g. Event("node", "taint")."""

    resource: str
    action: str


@dataclass(slots=True, eq=False)
class Cycle:
    """One scheduling attempt of one pod (stock's CycleState)."""

    pod: Pod
    cluster: Cluster
    data: dict[str, Any] = field(default_factory=dict)
    """What plugins pass from one extension point to the next, by plugin name."""
    names: frozenset[str] | None = None
    """The only nodes to evaluate, if a pre_filter narrowed them; None: all."""
    narrowed_by: list[str] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    """Plugins whose pre_filter returned SKIP."""
    nominated: str | None = None
    """The new value of status.nominatedNodeName, set by post_filter; None: unchanged."""

    def narrow(self, names: frozenset[str], plugin: str) -> None:
        self.names = names if self.names is None else self.names & names
        self.narrowed_by.append(plugin)


class SchedulingPlugin:
    """A plugin. When each extension point runs is described in the documentation of stock's scheduling framework."""

    name: ClassVar[str] = ""
    local: ClassVar[bool] = False
    """True: filter and score depend only on the pod's Spec and the node with its pods, so results are cached until the node changes."""
    events_to_register: ClassVar[tuple[Event, ...]] = ()
    """Events that may make a pod schedulable that this plugin rejected (stock's EventsToRegister). The action "*" matches any."""

    def attach(self, search: Any) -> None:
        """Called once with the profile's Search, for plugins that simulate adding or removing pods."""

    def sort_key(self, pod: Pod, since: float) -> tuple[Any, ...]:
        """Sort key of the active queue, smallest first. `since`: when the pod entered the queue."""
        return (since,)

    def pre_enqueue(self, pod: Pod) -> Status | None:
        """Not None: keep the pod out of the active queue."""
        return None

    def pre_filter(self, cycle: Cycle) -> Status | None:
        """Runs once per attempt: prepares `cycle.data`, narrows the nodes, returns SKIP, or rejects the pod."""
        return None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Why the node cannot run the pod; None: it can."""
        return None

    def add_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        """Update `cycle.data` for another pod that is added to the node in a simulation. Only plugins that are not local need this."""

    def remove_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        """Update `cycle.data` for another pod that is removed from the node in a simulation."""

    def copy_data(self, data: Any) -> Any:
        """A copy of this plugin's `cycle.data` that add_pod and remove_pod may change."""
        return data

    def post_filter(self, cycle: Cycle, statuses: dict[NodeInfo, Status]) -> Status | None:
        """Runs when no node fits. SUCCESS with `cycle.nominated` set: victims are being removed from that node."""
        return None

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Status | None:
        return None

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        """0 to 100, or any integer if `normalize` maps it to 0 to 100."""
        return 0

    def normalize(self, cycle: Cycle, scores: list[int]) -> list[int]:
        return scores

    def scores(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
        """Normalized scores of all nodes; override where one loop is faster than a call per node."""
        score = self.score
        return self.normalize(cycle, [score(cycle, node) for node in nodes])

    def reserve(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        return None

    def unreserve(self, cycle: Cycle, node: NodeInfo) -> None:
        """Undo `reserve`. Called for all plugins, also those whose `reserve` did not run."""

    def permit(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """None: bind. WAIT with seconds: hold the binding until `Scheduler.allow` or `Scheduler.reject`."""
        return None

    async def pre_bind(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        return None

    async def bind(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Bind the pod; SKIP: leave it to the next plugin."""
        return SKIP

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        """Whether a registered event about `obj` (an API object or a Pod) may make the rejected pod schedulable (stock's
        QueueingHintFn)."""
        return True


def overrides(plugin: SchedulingPlugin, step: str) -> bool:
    return getattr(type(plugin), step) is not getattr(SchedulingPlugin, step)


def default_normalize(scores: list[int], reverse: bool = False) -> list[int]:
    """Scale to 0..100 by the maximum (stock's DefaultNormalizeScore)."""
    top = max(scores, default=0)
    if top == 0:
        return [MAX_SCORE] * len(scores) if reverse else scores
    scaled = [MAX_SCORE * s // top for s in scores]
    return [MAX_SCORE - s for s in scaled] if reverse else scaled
