"""The queue: order, back-off, hints, gates."""

from typing import Any

from kapi.scheduler.framework import Event, SchedulingPlugin
from kapi.scheduler.plugins.queueing import PrioritySort, SchedulingGates
from kapi.scheduler.pods import Pod
from kapi.scheduler.queue import MAX_UNSCHEDULABLE_SECONDS, Queue, QueuedPod
from tests.scheduler.making import pod

SORT, GATES = PrioritySort(), SchedulingGates()


class Fit(SchedulingPlugin):
    name = "Fit"
    events_to_register = (Event("pod", "delete"), Event("pvc", "*"))

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        return bool(obj != "useless")


def made() -> Queue:
    return Queue(SORT.sort_key, lambda p: GATES.name if GATES.pre_enqueue(p) else "", lambda p: {"Fit": Fit(), GATES.name: GATES})


def popped(queue: Queue) -> QueuedPod:
    found = queue.pop()
    assert found is not None
    return found


def failing(queue: Queue, now: float = 0.0) -> QueuedPod:
    queue.add(Pod(pod("p")), now)
    queued = popped(queue)
    queue.add_unschedulable(queued, {"Fit"}, now)
    return queued


def test_priority_then_age() -> None:
    queue = made()
    for name, priority, now in (("old", 0, 0.0), ("new", 0, 1.0), ("vip", 5, 2.0)):
        queue.add(Pod(pod(name, priority=priority)), now)
    assert [popped(queue).pod.name for _ in range(3)] == ["vip", "old", "new"]
    assert queue.pop() is None


def test_an_updated_pod_is_tried_once() -> None:
    queue = made()
    queue.add(Pod(pod("p")), 0)
    queue.update(Pod(pod("p", priority=9)), (), 1)
    assert popped(queue).pod.priority == 9
    assert queue.pop() is None


def test_a_rejected_pod_waits_for_an_event_that_helps() -> None:
    queue = made()
    failing(queue)
    queue.move_on_event(Event("node", "add"), None, 5)
    queue.move_on_event(Event("pod", "delete"), "useless", 5)
    assert queue.pop() is None
    queue.move_on_event(Event("pod", "delete"), "useful", 5)
    assert popped(queue).attempts == 2


def test_back_off_grows_and_ends_by_the_clock() -> None:
    queue = made()
    queue.add(Pod(pod("p")), 0)
    waits = []
    now = 0.0
    for _ in range(6):
        queued = popped(queue)
        queue.add_unschedulable(queued, (), now, error=True)
        assert queue.pop() is None
        due = queue.next_due()
        assert due is not None
        waits.append(due - now)
        now = due
        queue.flush(now)
    assert waits == [1, 2, 4, 8, 10, 10]


def test_a_woken_pod_is_tried_early_when_nothing_else_is() -> None:
    queue = made()
    failing(queue, now=10)
    queue.move_on_event(Event("pvc", "update"), "x", 10.1)
    assert queue.lengths() == {"backoff": 1}
    assert popped(queue).pod.name == "p"


def test_after_five_minutes_it_is_tried_whatever_happened() -> None:
    queue = made()
    failing(queue, now=10)
    assert queue.next_due() == 10 + MAX_UNSCHEDULABLE_SECONDS
    queue.flush(10 + MAX_UNSCHEDULABLE_SECONDS)
    assert popped(queue).attempts == 2


def test_a_gated_pod_waits_for_its_gates_and_for_nothing_else() -> None:
    queue = made()
    queue.add(Pod(pod("p", schedulingGates=[{"name": "g"}])), 0)
    assert queue.lengths() == {"gated": 1}
    assert queue.next_due() is None
    queue.move_on_event(Event("pod", "delete"), "x", 1)
    assert queue.pop() is None
    queue.update(Pod(pod("p")), (Event("pod", "gates"),), 2)
    assert popped(queue).pod.name == "p"


def test_a_removed_pod_is_gone_wherever_it_was() -> None:
    queue = made()
    queued = failing(queue)
    queue.remove("default/p")
    queue.move_on_event(Event("pod", "delete"), "x", 1)
    queue.add_unschedulable(queued, {"Fit"}, 2)
    queue.activate("default/p")
    assert queue.pop() is None
    assert len(queue) == 0
    assert queue.next_due() is None


def test_activate_tries_now_or_only_opens_a_gate() -> None:
    queue = made()
    failing(queue)
    queue.activate("default/p", True)
    assert queue.pop() is None
    queue.activate("default/p")
    assert popped(queue).pod.name == "p"
