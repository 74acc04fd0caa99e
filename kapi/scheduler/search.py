"""Finding the best node for a pod: filter, then score, over as many nodes as stock would look at.

What plugins say of one node for one Spec is kept on a `Board` until that node changes; pods of one template therefore cost
little more than the walk over the nodes. Plugins that look beyond one node (spread, inter-pod affinity) are asked every time.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from kapi.scheduler.framework import Code, Cycle, SchedulingPlugin, Status, overrides
from kapi.scheduler.pods import Pod, Spec
from kapi.scheduler.snapshot import Cluster, NodeInfo

LEAST_FEASIBLE = 100
"""Below so many nodes all are looked at (stock's minFeasibleNodesToFind)."""
BOARDS = 64
Filter = Callable[[Cycle, NodeInfo], Status | None]
_UNSEEN = Status(Code.PENDING)
_FITS = Status(Code.SUCCESS)


def enough(nodes: int, percentage: int = 0) -> int:
    """How many feasible nodes are enough to choose from; percentage 0 adapts it to the size of the cluster."""
    if nodes < LEAST_FEASIBLE or percentage >= 100:
        return nodes
    share = percentage or max(50 - nodes // 125, 5)
    return max(nodes * share // 100, LEAST_FEASIBLE)


@dataclass(slots=True)
class Weighted:
    plugin: SchedulingPlugin
    weight: int


@dataclass(slots=True)
class Misfit(Exception):
    """No node fits: why, node by node, or why not at all."""

    nodes: int
    statuses: dict[NodeInfo, Status] = field(default_factory=dict)
    absent: Status | None = None
    """The status of nodes that were not looked at."""
    before: str = ""
    """What pre_filter said, when it ended the attempt."""
    after: str = ""
    """What post_filter said."""
    plugins: set[str] = field(default_factory=set)

    @property
    def message(self) -> str:
        if not self.nodes:
            return "no nodes available to schedule pods"
        text = f"0/{self.nodes} nodes are available:"
        if self.before:
            text += f" {self.before}."
        else:
            listed = self._counted()
            text += f" {', '.join(listed)}." if listed else ""
        return f"{text} {self.after}" if self.after else text

    def _counted(self) -> list[str]:
        counts: dict[str, int] = {}
        for status in self.statuses.values():
            for reason in status.reasons:
                counts[reason] = counts.get(reason, 0) + 1
        rest = self.nodes - len(self.statuses)
        for reason in self.absent.reasons if self.absent and rest else ():
            counts[reason] = counts.get(reason, 0) + rest
        return sorted(f"{count} {reason}" for reason, count in counts.items())


class Board:
    """Verdict and score of every node for one Spec, by local plugins alone."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._epoch = -1
        self._seen = 0
        self.verdicts: list[Status] = []
        self.scores: list[int] = []
        self.scorers: list[tuple[int, Callable[[Cycle, NodeInfo], int]]] | None = None
        """The local scorers with their weights, those that skip this Spec left out."""

    def refresh(self) -> None:
        """Forget what changed nodes have made stale."""
        cluster = self._cluster
        size = len(cluster.listed())
        now = cluster.forgotten + len(cluster.changes)
        if self._epoch != cluster.epoch or self._seen < cluster.forgotten or now - self._seen > size:
            self.verdicts, self.scores = [_UNSEEN] * size, [0] * size
            self._epoch = cluster.epoch
        else:
            for index in cluster.changes[self._seen - cluster.forgotten :]:
                self.verdicts[index] = _UNSEEN
        self._seen = now


class Search:
    """The filter and score plugins of a profile, applied."""

    def __init__(self, plugins: Sequence[Weighted], cluster: Cluster, percentage: int = 0) -> None:
        self._cluster, self._percentage = cluster, percentage
        everyone = [w.plugin for w in plugins]
        self.pre_filters = [p for p in everyone if overrides(p, "pre_filter")]
        self.filters = [p for p in everyone if overrides(p, "filter")]
        self._near = [p for p in self.filters if p.local]
        self._far = [p for p in self.filters if not p.local]
        scoring = [w for w in plugins if overrides(w.plugin, "score") or overrides(w.plugin, "scores")]
        whole = ("normalize", "scores")
        self._near_scores = [w for w in scoring if w.plugin.local and not any(overrides(w.plugin, s) for s in whole)]
        self._far_scores = [w for w in scoring if w not in self._near_scores]
        self._boards: OrderedDict[bytes, Board] = OrderedDict()
        self._start = 0

    def place(self, cycle: Cycle) -> NodeInfo:
        """The node for the pod. Raises Misfit."""
        nodes = self._cluster.listed()
        if not nodes:
            raise Misfit(0)
        self.prepare(cycle, len(nodes))
        board = self.board(cycle.pod.spec)
        board.refresh()
        feasible, looked_at, rejected = self._waiting_place(cycle, board, nodes) or self._feasible(cycle, board, nodes)
        if not feasible:
            raise self._misfit(cycle, board, nodes, rejected)
        self._start = (self._start + looked_at) % len(nodes)
        if len(feasible) == 1:
            return nodes[feasible[0]]
        return nodes[self._best(cycle, board, nodes, feasible)]

    def prepare(self, cycle: Cycle, nodes: int) -> None:
        """Run pre_filter. Raises Misfit when a plugin gives up at once."""
        for plugin in self.pre_filters:
            status = plugin.pre_filter(cycle)
            if status is None:
                continue
            if status.code is Code.SKIP:
                cycle.skipped.add(plugin.name)
                continue
            raise Misfit(nodes, absent=status, before=status.message, plugins={plugin.name})
        if cycle.names is not None and not cycle.names:
            status = self._elsewhere(cycle)
            raise Misfit(nodes, absent=status, before=status.message, plugins=set(cycle.narrowed_by))

    def board(self, spec: Spec) -> Board:
        board = self._boards.get(spec.key)
        if board is None:
            board = self._boards[spec.key] = Board(self._cluster)
            if len(self._boards) > BOARDS:
                self._boards.popitem(last=False)
        else:
            self._boards.move_to_end(spec.key)
        return board

    def _waiting_place(self, cycle: Cycle, board: Board, nodes: list[NodeInfo]) -> tuple[list[int], int, dict[int, Status]] | None:
        """The nominated node alone, when the pod has one and fits there."""
        node = self._cluster.nodes.get(cycle.pod.nominated) if cycle.pod.nominated else None
        if node is None or (cycle.names is not None and node.name not in cycle.names):
            return None
        found = self._walk(cycle, board, nodes, iter((node.index,)), 1)
        return found if found[0] else None

    def _feasible(self, cycle: Cycle, board: Board, nodes: list[NodeInfo]) -> tuple[list[int], int, dict[int, Status]]:
        if cycle.names is not None:
            known = self._cluster.nodes
            indexes = sorted(known[name].index for name in cycle.names if name in known)
            return self._walk(cycle, board, nodes, iter(indexes), enough(len(indexes), self._percentage))
        start = self._start if self._start < len(nodes) else 0
        order = chain(range(start, len(nodes)), range(start))
        return self._walk(cycle, board, nodes, order, enough(len(nodes), self._percentage))

    def _walk(
        self, cycle: Cycle, board: Board, nodes: list[NodeInfo], order: Iterator[int], wanted: int
    ) -> tuple[list[int], int, dict[int, Status]]:
        """(indexes of nodes that fit, how many were looked at, what plugins that look beyond the node said)."""
        verdicts, judge = board.verdicts, self._judge
        near: list[Filter] | None = None
        far = [p.filter for p in self._far if p.name not in cycle.skipped]
        waiting = self._cluster.nominated
        feasible: list[int] = []
        rejected: dict[int, Status] = {}
        looked_at = 0
        for index in order:
            looked_at += 1
            verdict = verdicts[index]
            if verdict is _UNSEEN:
                if near is None:
                    near = [p.filter for p in self._near if p.name not in cycle.skipped]
                verdict = judge(cycle, board, nodes[index], near)
            if verdict is not _FITS:
                continue
            if far or waiting:
                status = None
                for ask in far:
                    status = ask(cycle, nodes[index])
                    if status is not None:
                        break
                if status is None and waiting:
                    status = self._crowded(cycle, nodes[index])
                if status is not None:
                    rejected[index] = status
                    continue
            feasible.append(index)
            if len(feasible) >= wanted:
                break
        return feasible, looked_at, rejected

    def _judge(self, cycle: Cycle, board: Board, node: NodeInfo, filters: list[Filter]) -> Status:
        """Ask the local plugins about one node and write it on the board."""
        verdict = _FITS
        for ask in filters:
            status = ask(cycle, node)
            if status is not None:
                verdict = status
                break
        if verdict is _FITS:
            if board.scorers is None:
                board.scorers = [(w.weight, w.plugin.score) for w in self._near_scores if w.plugin.pre_score(cycle, ()) is None]
            board.scores[node.index] = sum([weight * score(cycle, node) for weight, score in board.scorers])
        board.verdicts[node.index] = verdict
        return verdict

    def _crowded(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Why the pod would not fit beside those that wait for room on the node."""
        waiting = self._cluster.nominated_on(node, cycle.pod)
        if not waiting:
            return None
        imagined = node.copy()
        twin = self.imagine(cycle)
        for pod in waiting:
            self.imagine_added(twin, pod, imagined)
        return self.judge_alone(twin, imagined)

    # imagining (preemption and nominated pods)

    def imagine(self, cycle: Cycle) -> Cycle:
        """A cycle whose data may be changed."""
        plugins = {p.name: p for p in self.pre_filters}
        data = {name: plugins[name].copy_data(d) if name in plugins else d for name, d in cycle.data.items()}
        return Cycle(cycle.pod, cycle.cluster, data, cycle.names, cycle.narrowed_by, cycle.skipped)

    def imagine_added(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        node.add(pod)
        for plugin in self._far:
            if plugin.name not in cycle.skipped:
                plugin.add_pod(cycle, pod, node)

    def imagine_removed(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        node.remove(pod.key)
        for plugin in self._far:
            if plugin.name not in cycle.skipped:
                plugin.remove_pod(cycle, pod, node)

    def judge_alone(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """All filters on one node as it is (a copy, perhaps), past the board."""
        for plugin in self.filters:
            if plugin.name not in cycle.skipped:
                status = plugin.filter(cycle, node)
                if status is not None:
                    return status
        return None

    # scoring

    def _best(self, cycle: Cycle, board: Board, nodes: list[NodeInfo], feasible: list[int]) -> int:
        """The index with the highest score; any of them when several have it."""
        scores = board.scores
        totals = [scores[index] for index in feasible]
        candidates: list[NodeInfo] | None = None
        for weighted in self._far_scores:
            plugin, weight = weighted.plugin, weighted.weight
            if candidates is None:
                candidates = [nodes[index] for index in feasible]
            if plugin.pre_score(cycle, candidates) is None:
                totals = [t + weight * s for t, s in zip(totals, plugin.scores(cycle, candidates), strict=True)]
        top = max(totals)
        ties = [index for index, total in zip(feasible, totals, strict=True) if total == top]
        return ties[0] if len(ties) == 1 else random.choice(ties)

    # failing

    def _elsewhere(self, cycle: Cycle) -> Status:
        listed = " ".join(sorted(set(cycle.narrowed_by)))
        return Status(Code.UNRESOLVABLE, (f"node(s) didn't satisfy plugin(s) [{listed}]",))

    def _misfit(self, cycle: Cycle, board: Board, nodes: list[NodeInfo], rejected: dict[int, Status]) -> Misfit:
        statuses = {}
        for node in nodes:
            if cycle.names is None or node.name in cycle.names:
                status = rejected.get(node.index) or board.verdicts[node.index]
                if status is not _FITS and status is not _UNSEEN:
                    statuses[node] = status
        absent = self._elsewhere(cycle) if cycle.names is not None else None
        plugins = {status.plugin for status in statuses.values()}
        if cycle.names is not None and len(statuses) < len(nodes):
            plugins.update(cycle.narrowed_by)
        return Misfit(len(nodes), statuses, absent, plugins=plugins - {""})
