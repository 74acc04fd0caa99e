"""The planner's decisions, as stories: what is seen, and what it does about it."""

from typing import Any

import pytest

from kapi.objects import time
from kubelet import observed_state, plan, runtime
from kubelet.observed_state import Backoff, Failure, ProbeState, Resize
from kubelet.plan import Fail, Finish, Kill, Remove, RunSandbox, Start, StopSandbox, UpdateResources
from tests.kubelet.build import NOW, deleted, observed, one, pod, run, sandbox

EXITED, RUNNING, CREATED = runtime.EXITED, runtime.RUNNING, runtime.CREATED
TWO = (one("a"), one("b"))


def actions(of: dict[str, object], what: observed_state.ObservedState) -> list[plan.Action]:
    return list(plan.plan(of, what, NOW).actions)


def test_a_new_pod_gets_its_sandbox_then_its_containers_in_order() -> None:
    assert actions(pod(*TWO), observed(boxes=())) == [RunSandbox(0)]
    assert actions(pod(*TWO), observed()) == [Start("a", 0), Start("b", 0)]
    assert actions(pod(*TWO), observed(run("a"), run("b"))) == []


def test_what_is_being_done_is_not_planned_again() -> None:
    assert actions(pod(), observed(boxes=(), busy={plan.SANDBOX: 0.0})) == []
    assert actions(pod(), observed(busy={plan.START: 0.0})) == []


@pytest.mark.parametrize(("policy", "code", "again"), [("Always", 0, True), ("Always", 1, True), ("OnFailure", 1, True)])
def test_an_exit_restarts_by_policy(policy: str, code: int, again: bool) -> None:
    ended = run(state=EXITED, code=code, ago=3)
    assert actions(pod(restartPolicy=policy), observed(ended)) == [Start("web", 1, NOW - 3)]


@pytest.mark.parametrize(("policy", "code"), [("OnFailure", 0), ("Never", 0), ("Never", 1)])
def test_an_exit_that_is_not_restarted_ends_the_pod(policy: str, code: int) -> None:
    ended = run(state=EXITED, code=code)
    assert actions(pod(restartPolicy=policy), observed(ended)) == [StopSandbox("box0")]
    assert actions(pod(restartPolicy=policy), observed(ended, boxes=(sandbox(ready=False),))) == [Finish()]


def test_the_first_crash_restarts_at_once_and_later_ones_wait() -> None:
    backoff = plan.next_backoff(None, NOW - 100)
    assert backoff == Backoff(10.0, NOW - 100)
    ended = run(state=EXITED, code=1, attempt=1, ago=4)
    steps = plan.plan(pod(), observed(ended, backoffs={"web": backoff}), NOW)
    assert (list(steps.actions), steps.waiting, steps.wake) == ([], {"web": NOW + 6}, NOW + 1)
    later = plan.plan(pod(), observed(run(state=EXITED, code=1, attempt=1, ago=10), backoffs={"web": backoff}), NOW)
    assert list(later.actions) == [Start("web", 2, NOW - 10)]


def test_back_off_doubles_to_five_minutes_and_is_forgiven_after_ten() -> None:
    backoff = None
    delays = []
    for crash in range(7):
        backoff = plan.next_backoff(backoff, NOW + crash)
        delays.append(backoff.delay)
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert plan.next_backoff(backoff, NOW + 700).delay == 10
    assert actions(pod(), observed(run(state=EXITED, ago=1), backoffs={"web": Backoff(300, NOW - 700)})) == [Start("web", 1, NOW - 1)]


def test_init_containers_run_one_after_the_other() -> None:
    of = pod(initContainers=[one("i1"), one("i2")])
    assert actions(of, observed()) == [Start("i1", 0)]
    assert actions(of, observed(run("i1"))) == []
    assert actions(of, observed(run("i1", EXITED))) == [Start("i2", 0)]
    assert actions(of, observed(run("i1", EXITED), run("i2", EXITED))) == [Start("web", 0)]


def test_a_failed_init_container_is_tried_again_or_fails_the_pod() -> None:
    inits = [one("i1")]
    failed = observed(run("i1", EXITED, code=1, ago=2))
    assert actions(pod(initContainers=inits), failed) == [Start("i1", 1, NOW - 2)]
    assert actions(pod(initContainers=inits, restartPolicy="Never"), failed) == [StopSandbox("box0")]


def test_a_sidecar_must_have_started_before_what_follows() -> None:
    of = pod(initContainers=[one("side", restartPolicy="Always", startupProbe={"exec": {}}), one("i2")])
    assert actions(of, observed()) == [Start("side", 0)]
    assert actions(of, observed(run("side"))) == []
    up = {"side-0": ProbeState(started=True)}
    assert actions(of, observed(run("side"), probe_states=up)) == [Start("i2", 0)]
    assert actions(of, observed(run("side"), run("i2", EXITED), probe_states=up)) == [Start("web", 0)]


def test_a_sidecar_is_restarted_beside_the_others_and_ended_after_them() -> None:
    of = pod(initContainers=[one("s1", restartPolicy="Always"), one("s2", restartPolicy="Always")], restartPolicy="Never")
    assert actions(of, observed(run("s1", EXITED, ago=1), run("s2"), run("web"))) == [Start("s1", 1, NOW - 1)]
    done = (run("s1"), run("s2"), run("web", EXITED))
    assert [a.name for a in actions(of, observed(*done)) if isinstance(a, Kill)] == ["s2"]
    assert [a.name for a in actions(of, observed(run("s1"), run("s2", EXITED), run("web", EXITED))) if isinstance(a, Kill)] == ["s1"]


def test_deletion_kills_then_stops_the_sandbox_then_ends() -> None:
    going = deleted(pod(), 7)
    assert actions(going, observed(run())) == [Kill("web-0", "web", 7.0)]
    assert actions(going, observed(run(), busy={"web-0": 7.0})) == []
    assert actions(going, observed(run(state=EXITED))) == [StopSandbox("box0")]
    assert actions(going, observed(run(state=EXITED), boxes=(sandbox(ready=False),))) == [Finish()]


def test_a_shorter_grace_kills_again() -> None:
    assert actions(deleted(pod(), 0), observed(run(), busy={"web-0": 30.0})) == [Kill("web-0", "web", 2.0)]


def test_a_pod_gone_from_the_api_is_torn_down() -> None:
    assert actions(pod(), observed(run(), gone=True)) == [Kill("web-0", "web", 30.0)]


@pytest.mark.parametrize(("probe_state", "probe"), [(ProbeState(live=False), "liveness"), (ProbeState(started=False), "startup")])
def test_a_failed_probe_kills_the_container(probe_state: ProbeState, probe: str) -> None:
    found = actions(pod(), observed(run(), probe_states={"web-0": probe_state}))
    assert found == [Kill("web-0", "web", 30.0, f"Container web failed {probe} probe, will be restarted", restart=True)]


def test_what_was_stopped_to_start_again_does_so_whatever_its_exit_code() -> None:
    ended = run(state=EXITED, ago=1)
    assert actions(pod(restartPolicy="OnFailure"), observed(ended, restarting=frozenset({"web-0"}))) == [Start("web", 1, NOW - 1)]


def test_the_grace_of_a_probe_goes_before_the_pods() -> None:
    of = pod(one(livenessProbe={"terminationGracePeriodSeconds": 3}))
    (kill,) = actions(of, observed(run(), probe_states={"web-0": ProbeState(live=False)}))
    assert isinstance(kill, Kill)
    assert kill.grace == 3


def test_another_image_replaces_the_container() -> None:
    (kill,) = actions(pod({"name": "web", "image": "busybox:2"}), observed(run()))
    assert isinstance(kill, Kill)
    assert kill.message == "Container web definition changed, will be restarted"


def test_a_lost_sandbox_is_replaced_and_everything_starts_again() -> None:
    of = pod(initContainers=[one("i1")])
    dead = (sandbox(ready=False),)
    assert actions(of, observed(run(), run("i1", EXITED), boxes=dead)) == [Kill("web-0", "web", 2.0, hook=False)]
    assert actions(of, observed(run(state=EXITED), run("i1", EXITED), boxes=dead)) == [RunSandbox(1)]
    fresh = (sandbox(1), sandbox(ready=False))
    found = actions(of, observed(run(state=EXITED, ago=9), run("i1", EXITED, ago=60), boxes=fresh))
    assert found == [Start("i1", 1, NOW - 60)]


def test_only_the_last_two_runs_are_kept() -> None:
    runs = [run(attempt=2), run(state=EXITED, attempt=1), run(state=EXITED, attempt=0)]
    assert actions(pod(), observed(*runs)) == [Remove("web-0")]


def test_an_empty_old_sandbox_is_removed() -> None:
    assert actions(pod(), observed(run(box="box1"), boxes=(sandbox(1), sandbox(ready=False)))) == [Remove("box0", sandbox=True)]


def test_the_deadline_fails_the_pod() -> None:
    of = pod(activeDeadlineSeconds=60)
    of["status"]["startTime"] = time.stamp(NOW)
    late = plan.plan(of, observed(run()), NOW + 60)
    assert list(late.actions) == [Fail("DeadlineExceeded", plan.DEADLINE)]
    assert plan.plan(of, observed(run()), NOW).wake == NOW + 60


def test_an_outcome_ends_the_pod() -> None:
    assert actions(pod(), observed(run(), outcome=Failure("Evicted", "low"))) == [Kill("web-0", "web", 30.0)]


def test_a_failed_start_is_held() -> None:
    steps = plan.plan(pod(), observed(retry_at={"web": NOW + 5}, failures={"web": Failure("ErrImagePull")}), NOW)
    assert (list(steps.actions), steps.wake) == ([], NOW + 5)


def test_an_ephemeral_container_starts_once() -> None:
    of = pod(ephemeralContainers=[one("debug")])
    assert actions(of, observed(run())) == [Start("debug", 0)]
    assert actions(of, observed(run(), run("debug", EXITED))) == []


def test_a_sidecar_has_what_is_left_of_the_grace() -> None:
    of = deleted(pod(initContainers=[one("side", restartPolicy="Always")]), 30)
    ended = (run("side"), run(state=EXITED))
    assert actions(of, observed(*ended, ending=NOW - 10)) == [Kill("side-0", "side", 20.0)]
    assert actions(of, observed(*ended, ending=NOW - 60)) == [Kill("side-0", "side", 2.0)]


def test_an_evicted_pod_has_its_own_grace() -> None:
    assert actions(pod(), observed(run(), outcome=Failure("Evicted"), grace=1.0)) == [Kill("web-0", "web", 2.0)]


def ruled(action: str, operator: str = "In", **more: Any) -> dict[str, Any]:
    return one(restartPolicyRules=[{"action": action, "exitCodes": {"operator": operator, "values": [42]}}], **more)


@pytest.mark.parametrize(("operator", "code", "again"), [("In", 42, True), ("In", 1, False), ("NotIn", 42, False), ("NotIn", 1, True)])
def test_a_rule_for_an_exit_code_goes_before_the_policy(operator: str, code: int, again: bool) -> None:
    of = pod(ruled("Restart", operator, restartPolicy="Never"))
    wanted = [Start("web", 1, NOW)] if again else [StopSandbox("box0")]
    assert actions(of, observed(run(state=EXITED, code=code))) == wanted


def test_a_containers_policy_goes_before_the_pods() -> None:
    ended = observed(run("a", EXITED, ago=1), run("b", EXITED, ago=1))
    assert actions(pod(one("a", restartPolicy="Always"), one("b"), restartPolicy="Never"), ended) == [Start("a", 1, NOW - 1)]


def test_an_exit_may_have_all_containers_start_anew() -> None:
    of = pod(ruled("RestartAllContainers"), one("b"), initContainers=[one("i")], restartPolicy="Never")
    before = (run("i", EXITED, ago=40), run(state=EXITED, code=42, ago=5))
    assert actions(of, observed(*before, run("b"))) == [Kill("b-0", "b", 2.0, hook=False)]
    assert actions(of, observed(*before, run("b", EXITED, code=137, ago=1))) == [Start("i", 1, NOW - 40)]


def sized(cpu: str, **more: Any) -> dict[str, Any]:
    return one(resources={"requests": {"cpu": cpu}}, **more)


def test_a_granted_resize_reaches_the_container_then_the_pod() -> None:
    of, resize = pod(sized("2")), Resize(generation=2)
    old = {"web-0": {"requests": {"cpu": "1"}}}
    assert actions(of, observed(run(), actual_resources=old, resize=resize)) == [UpdateResources([("web-0", "web")])]
    assert actions(of, observed(run(), actual_resources=old, resize=resize, busy={plan.RESIZE: 0.0})) == []
    assert actions(of, observed(run(), actual_resources={"web-0": {"requests": {"cpu": "2000m"}}}, resize=resize)) == [UpdateResources([])]
    assert actions(of, observed(run(), actual_resources=old)) == []


def test_a_resize_restarts_where_the_policy_says_so() -> None:
    of = pod(sized("2", resizePolicy=[{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]))
    what = observed(run(), actual_resources={"web-0": {"requests": {"cpu": "1"}}}, resize=Resize(generation=2))
    assert actions(of, what) == [Kill("web-0", "web", 30.0, "Container web resize requires restart", restart=True)]
