"""The next actions for one pod, computed from the pod, its observed state and the time. Pure: kubelet.operations executes them.

Level-triggered: the same state gives the same plan, whatever caused the sync. Operations in progress (`ObservedState.busy`) are not
planned again.
Rules: KEP-753 (sidecars), the pod lifecycle documentation, crash back-off 10 s doubling to 5 min (v1.36).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kapi.objects import pod_resources, time
from kapi.objects.meta import Object
from kubelet import observed_state, pods, runtime
from kubelet.observed_state import Backoff, ObservedState, ProbeState
from kubelet.runtime import Container, Sandbox

INITIAL_BACKOFF, MAX_BACKOFF, BACKOFF_RESET = 10.0, 300.0, 600.0
MIN_GRACE = 2.0
TERMINATED_SHOWN = 5.0
"""Seconds for which the status of a container in back-off still shows it as terminated, before CrashLoopBackOff."""
SANDBOX, START, RESIZE = "sandbox", "start", "resize"
DEADLINE = "Pod was active on the node longer than the specified deadline"


@dataclass(frozen=True)
class RunSandbox:
    attempt: int


@dataclass(frozen=True)
class StopSandbox:
    id: str


@dataclass(frozen=True)
class Remove:
    """Remove a dead container, or a sandbox, from the runtime."""

    id: str
    sandbox: bool = False


@dataclass(frozen=True)
class Start:
    """Start a container. `attempt` is its restart count; `after` is when its last run exited (0: it has not run)."""

    name: str
    attempt: int
    after: float = 0.0


@dataclass(frozen=True)
class Kill:
    """Stop a container. `message` is the text of the event ("": stock's default); `hook`: run preStop; `restart`: it will run again."""

    id: str
    name: str
    grace: float
    message: str = ""
    hook: bool = True
    restart: bool = False


@dataclass(frozen=True)
class UpdateResources:
    """Apply the allocated resources to running containers, as (id, name) pairs. With no containers left, set the pod's cgroup itself."""

    containers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Fail:
    """Terminate the pod with phase Failed."""

    reason: str
    message: str


@dataclass(frozen=True)
class Finish:
    """Nothing of the pod is running: release its resources."""


Action = RunSandbox | StopSandbox | Remove | Start | Kill | UpdateResources | Fail | Finish


class Plan(NamedTuple):
    """Actions to take now. `wake` is the time of the next sync (seconds since the epoch; None: not needed). `waiting` maps the
    containers in back-off to the end of it."""

    actions: Sequence[Action] = ()
    wake: float | None = None
    waiting: Mapping[str, float] = {}


def next_backoff(old: Backoff | None, finished: float) -> Backoff:
    """The back-off after another run that exited at `finished`: doubled, or reset after a run of BACKOFF_RESET seconds without one."""
    if old is None or finished - old.at > BACKOFF_RESET:
        return Backoff(INITIAL_BACKOFF, finished)
    return Backoff(min(old.delay * 2, MAX_BACKOFF), finished)


def plan(pod: Object, observed: ObservedState, now: float) -> Plan:
    """The next actions for the pod."""
    if observed_state.ending(pod, observed):
        return _teardown(pod, observed, now)
    deadline = _deadline(pod)
    if deadline and now >= deadline:
        return Plan([Fail("DeadlineExceeded", DEADLINE)])
    steps = _sync(pod, observed, now)
    wakes = [t for t in (deadline, steps.wake) if t]
    return steps._replace(wake=min(wakes) if wakes else None)


def _deadline(pod: Object) -> float:
    seconds = pod["spec"].get("activeDeadlineSeconds")
    started = (pod.get("status") or {}).get("startTime")
    return time.parse(started) + seconds if seconds is not None and started else 0.0


def _teardown(pod: Object, observed: ObservedState, now: float) -> Plan:
    """Stop the containers (sidecars last, in reverse order, with the remaining grace), then the sandboxes, then finish."""
    grace = max(pods.grace(pod) if observed.grace is None else observed.grace, MIN_GRACE)
    sidecars = [c["name"] for c in pods.sidecars(pod)]
    alive = observed_state.alive(observed)
    first = [c for c in alive if c.name not in sidecars]
    if not first and alive:
        last = max(alive, key=lambda c: sidecars.index(c.name))
        first = [c for c in alive if c.name == last.name]
        grace = max(grace - max(now - observed.ending, 0.0) if observed.ending else grace, MIN_GRACE)
    if first:
        due = [c for c in first if grace < observed.busy.get(c.id, grace + 1)]
        return Plan([Kill(c.id, c.name, grace) for c in due])
    if SANDBOX in observed.busy or START in observed.busy:
        return Plan()
    standing = [s for s in observed.state.sandboxes if s.ready]
    if standing:
        return Plan([StopSandbox(s.id) for s in standing if s.id not in observed.busy])
    return Plan([Finish()]) if not observed.busy else Plan()


def _sync(pod: Object, observed: ObservedState, now: float) -> Plan:
    sandbox = observed_state.ready_sandbox(observed)
    if sandbox is None:
        return _recreate_sandbox(pod, observed)
    since = observed_state.all_restarted_at(pod, observed)
    if old := [c for c in observed_state.alive(observed) if c.created < since]:
        return Plan([Kill(c.id, c.name, MIN_GRACE, hook=False) for c in old if c.id not in observed.busy])
    actions: list[Action] = [*_kills(pod, observed, sandbox), *_resize_step(pod, observed, sandbox), *_dead_containers(observed, sandbox)]
    wanted, waiting = _containers_to_start(pod, observed, sandbox, now)
    if START not in observed.busy:
        actions += wanted
    ends = [observed_state.latest_run(observed, name) for name in waiting]
    shown = [t for t in (run.finished + TERMINATED_SHOWN for run in ends if run is not None) if t > now]
    return Plan(actions, min([*waiting.values(), *shown]) if waiting else None, waiting)


def _recreate_sandbox(pod: Object, observed: ObservedState) -> Plan:
    """No sandbox is ready: stop the containers of the old one, then run a new one."""
    if SANDBOX in observed.busy:
        return Plan()
    alive = [c for c in observed_state.alive(observed) if c.id not in observed.busy]
    if alive:
        return Plan([Kill(c.id, c.name, MIN_GRACE, hook=False) for c in alive])
    if any(c.id in observed.busy for c in observed.state.containers):
        return Plan()
    attempt = max((s.attempt + 1 for s in observed.state.sandboxes), default=0)
    return Plan([RunSandbox(attempt)])


def _kills(pod: Object, observed: ObservedState, sandbox: Sandbox) -> list[Action]:
    """Kill running containers that must be replaced: changed definition, failed liveness or startup probe, resize with restart."""
    out: list[Action] = []
    for field_name, container in pods.all_containers(pod):
        run = observed_state.current_run(pod, observed, container["name"], sandbox)
        if run is None or run.state != runtime.RUNNING or run.id in observed.busy or field_name == "ephemeralContainers":
            continue
        name, probe_state = container["name"], observed.probe_states.get(run.id, ProbeState())
        again = "" if observed_state.restart_policy(pod, container) == "Never" else ", will be restarted"
        if run.annotations.get(runtime.HASH, pods.container_hash(container)) != pods.container_hash(container):
            out.append(Kill(run.id, name, pods.grace(pod), f"Container {name} definition changed, will be restarted", restart=True))
        elif failed := [kind for kind, well in (("liveness", probe_state.live), ("startup", probe_state.started)) if well is False]:
            grace, text = _probe_grace(pod, container, f"{failed[0]}Probe"), f"Container {name} failed {failed[0]} probe{again}"
            out.append(Kill(run.id, name, grace, text, restart=bool(again)))
        elif _resize_needs_restart(container, unapplied_resources(container, run, observed)):
            out.append(Kill(run.id, name, max(pods.grace(pod), MIN_GRACE), f"Container {name} resize requires restart", restart=True))
    return out


def unapplied_resources(container: Object, run: Container, observed: ObservedState) -> set[str]:
    """Which of "cpu" and "memory" differ between a running container and its allocated resources."""
    actual_resources = {"resources": observed.actual_resources.get(run.id, container.get("resources") or {})}
    kinds = (("cpu", "requests"), ("cpu", "limits"), ("memory", "limits"))
    return {name for name, what in kinds if pods.resources(actual_resources, what, name) != pods.resources(container, what, name)}


def _resize_needs_restart(container: Object, differs: set[str]) -> bool:
    policies = container.get("resizePolicy") or ()
    return any(p["resourceName"] in differs and p.get("restartPolicy") == "RestartContainer" for p in policies)


def _resize_step(pod: Object, observed: ObservedState, sandbox: Sandbox) -> list[Action]:
    """The next step of a resize."""
    if not observed.resize.generation or RESIZE in observed.busy:
        return []
    runs = [(c, observed_state.current_run(pod, observed, c["name"], sandbox)) for _, c in pods.all_containers(pod)]
    running = [(c, run) for c, run in runs if run is not None and run.state == runtime.RUNNING]
    pending = [(c, run, differs) for c, run in running if (differs := unapplied_resources(c, run, observed))]
    due = [(run.id, run.name) for c, run, differs in pending if run.id not in observed.busy and not _resize_needs_restart(c, differs)]
    return [UpdateResources(due)] if due or not pending else []


def _probe_grace(pod: Object, container: Object, probe: str) -> float:
    own = (container.get(probe) or {}).get("terminationGracePeriodSeconds")
    return max(float(own) if own is not None else pods.grace(pod), MIN_GRACE)


def _dead_containers(observed: ObservedState, sandbox: Sandbox) -> list[Action]:
    """Remove all but the last two runs of each container, and sandboxes without containers."""
    out: list[Action] = []
    runs: dict[str, int] = {}
    kept = {sandbox.id}
    for container in observed.state.containers:
        runs[container.name] = runs.get(container.name, 0) + 1
        if runs[container.name] > 2 and container.state in (runtime.EXITED, runtime.CREATED):
            if container.id not in observed.busy:
                out.append(Remove(container.id))
        else:
            kept.add(container.sandbox)
    stale = [s for s in observed.state.sandboxes if s.id not in kept and s.id not in observed.busy]
    return out + [Remove(s.id, sandbox=True) for s in stale]


def _containers_to_start(pod: Object, observed: ObservedState, sandbox: Sandbox, now: float) -> tuple[list[Action], dict[str, float]]:
    """(Start actions, {container in back-off: end of the back-off})."""
    names, complete = _init_containers_to_start(pod, observed, sandbox)
    if complete or any(observed_state.current_run(pod, observed, c["name"], sandbox) for c in pods.regulars(pod)):
        for container in pods.regulars(pod):
            run = observed_state.current_run(pod, observed, container["name"], sandbox)
            if run is None or (run.state in (runtime.EXITED, runtime.CREATED) and not observed_state.done(pod, container, observed)):
                names.append(container["name"])
    names += [c["name"] for c in pods.ephemerals(pod) if observed_state.latest_run(observed, c["name"]) is None]
    actions: list[Action] = []
    waiting: dict[str, float] = {}
    for name in names:
        run = observed_state.latest_run(observed, name)
        until = _back_off_until(observed, name, run)
        if until > now:
            waiting[name] = until
        else:
            actions.append(Start(name, run.attempt + 1 if run else 0, run.finished if run and run.state == runtime.EXITED else 0.0))
    return actions, waiting


def _back_off_until(observed: ObservedState, name: str, run: Container | None) -> float:
    """When a container may be started, after a failed start or in the back-off of its last run; 0: now."""
    retry_at = observed.retry_at.get(name, 0.0)
    backoff = observed.backoffs.get(name)
    if backoff is None or run is None or run.state != runtime.EXITED or run.finished - backoff.at > BACKOFF_RESET:
        return retry_at
    return max(retry_at, run.finished + backoff.delay)


def _init_containers_to_start(pod: Object, observed: ObservedState, sandbox: Sandbox) -> tuple[list[str], bool]:
    """(init containers to start now, whether the regular containers may start)."""
    begun = any(observed_state.current_run(pod, observed, c["name"], sandbox) for c in pods.regulars(pod))
    names: list[str] = []
    for container in pods.inits(pod):
        run = observed_state.current_run(pod, observed, container["name"], sandbox)
        if pod_resources.is_sidecar(container):
            if run is None or run.state != runtime.RUNNING:
                names.append(container["name"])
                if not begun:
                    return names, False
            elif not begun and not observed_state.started(container, run, observed):
                return names, False
        elif not begun:
            if run is not None and run.state == runtime.EXITED and run.exit_code == 0:
                continue
            if run is None or run.state in (runtime.EXITED, runtime.CREATED):
                names.append(container["name"])
            return names, False
    return names, True
