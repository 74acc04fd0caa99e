"""What to do next for one pod: pure. From the pod, what was seen of it and the time to a list of actions; nothing is done here.

Level-triggered: the same sight gives the same plan, whoever woke us. What is being done already (`Seen.busy`) is not planned again.
Rules: KEP-753 (sidecars), the pod lifecycle documentation, crash back-off 10 s doubling to 5 min (v1.36).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kapi.objects import pod_resources, time
from kapi.objects.meta import Object
from kubelet import observed_state, pods, runtime
from kubelet.observed_state import Backoff, Seen, Verdict
from kubelet.runtime import Container, Sandbox

FIRST_DELAY, LAST_DELAY, FORGIVEN = 10.0, 300.0, 600.0
MINIMUM_GRACE = 2.0
SHOWN = 5.0
"""Seconds a container that waits for its back-off is still shown as it ended."""
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
    """Forget a dead container or a sandbox."""

    id: str
    sandbox: bool = False


@dataclass(frozen=True)
class Start:
    """Start containers in this order, each with its restart count; `after` is when its last run ended."""

    name: str
    attempt: int
    after: float = 0.0


@dataclass(frozen=True)
class Kill:
    """Stop a container; `message` goes into the event, the empty one is the ordinary text."""

    id: str
    name: str
    grace: float
    message: str = ""
    hook: bool = True
    again: bool = False


@dataclass(frozen=True)
class Adjust:
    """Give running containers, by id and name, the resources they are allotted; with none left to do, the pod's cgroup its own."""

    containers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Fail:
    """The pod ends here as Failed."""

    reason: str
    message: str


@dataclass(frozen=True)
class Finish:
    """Nothing of the pod runs any more."""


Action = RunSandbox | StopSandbox | Remove | Start | Kill | Adjust | Fail | Finish


class Plan(NamedTuple):
    """Actions for now; `wake` is when to look again (seconds since the epoch), `waiting` names containers in back-off until then."""

    actions: Sequence[Action] = ()
    wake: float | None = None
    waiting: Mapping[str, float] = {}


def advance(old: Backoff | None, finished: float) -> Backoff:
    """The back-off after another run that ended at `finished`."""
    if old is None or finished - old.at > FORGIVEN:
        return Backoff(FIRST_DELAY, finished)
    return Backoff(min(old.delay * 2, LAST_DELAY), finished)


def plan(pod: Object, seen: Seen, now: float) -> Plan:
    """The next actions for the pod."""
    if observed_state.ending(pod, seen):
        return _teardown(pod, seen, now)
    deadline = _deadline(pod)
    if deadline and now >= deadline:
        return Plan([Fail("DeadlineExceeded", DEADLINE)])
    steps = _sync(pod, seen, now)
    wakes = [t for t in (deadline, steps.wake) if t]
    return steps._replace(wake=min(wakes) if wakes else None)


def _deadline(pod: Object) -> float:
    seconds = pod["spec"].get("activeDeadlineSeconds")
    started = (pod.get("status") or {}).get("startTime")
    return time.parse(started) + seconds if seconds is not None and started else 0.0


def _teardown(pod: Object, seen: Seen, now: float) -> Plan:
    """Containers first (sidecars last, in reverse order, with what is left of the grace), then the sandbox, then the end."""
    grace = max(pods.grace(pod) if seen.grace is None else seen.grace, MINIMUM_GRACE)
    sidecars = [c["name"] for c in pods.sidecars(pod)]
    alive = observed_state.alive(seen)
    first = [c for c in alive if c.name not in sidecars]
    if not first and alive:
        last = max(alive, key=lambda c: sidecars.index(c.name))
        first = [c for c in alive if c.name == last.name]
        grace = max(grace - max(now - seen.ending, 0.0) if seen.ending else grace, MINIMUM_GRACE)
    if first:
        due = [c for c in first if grace < seen.busy.get(c.id, grace + 1)]
        return Plan([Kill(c.id, c.name, grace) for c in due])
    if SANDBOX in seen.busy or START in seen.busy:
        return Plan()
    standing = [s for s in seen.state.sandboxes if s.ready]
    if standing:
        return Plan([StopSandbox(s.id) for s in standing if s.id not in seen.busy])
    return Plan([Finish()]) if not seen.busy else Plan()


def _sync(pod: Object, seen: Seen, now: float) -> Plan:
    sandbox = observed_state.current(seen)
    if sandbox is None:
        return _renew_sandbox(pod, seen)
    since = observed_state.renewed(pod, seen)
    if old := [c for c in observed_state.alive(seen) if c.created < since]:
        return Plan([Kill(c.id, c.name, MINIMUM_GRACE, hook=False) for c in old if c.id not in seen.busy])
    actions: list[Action] = [*_changed(pod, seen, sandbox), *_adjusted(pod, seen, sandbox), *_garbage(seen, sandbox)]
    wanted, waiting = _wanted(pod, seen, sandbox, now)
    if START not in seen.busy:
        actions += wanted
    ends = [observed_state.latest(seen, name) for name in waiting]
    shown = [t for t in (run.finished + SHOWN for run in ends if run is not None) if t > now]
    return Plan(actions, min([*waiting.values(), *shown]) if waiting else None, waiting)


def _renew_sandbox(pod: Object, seen: Seen) -> Plan:
    """No sandbox is up: stop what is left of the old one, then run the next."""
    if SANDBOX in seen.busy:
        return Plan()
    alive = [c for c in observed_state.alive(seen) if c.id not in seen.busy]
    if alive:
        return Plan([Kill(c.id, c.name, MINIMUM_GRACE, hook=False) for c in alive])
    if any(c.id in seen.busy for c in seen.state.containers):
        return Plan()
    attempt = max((s.attempt + 1 for s in seen.state.sandboxes), default=0)
    return Plan([RunSandbox(attempt)])


def _changed(pod: Object, seen: Seen, sandbox: Sandbox) -> list[Action]:
    """Running containers that must be replaced: another image, or probes that gave them up."""
    out: list[Action] = []
    for field_name, container in pods.all_containers(pod):
        run = observed_state.in_sandbox(pod, seen, container["name"], sandbox)
        if run is None or run.state != runtime.RUNNING or run.id in seen.busy or field_name == "ephemeralContainers":
            continue
        name, verdict = container["name"], seen.verdicts.get(run.id, Verdict())
        again = "" if observed_state.policy(pod, container) == "Never" else ", will be restarted"
        if run.annotations.get(runtime.HASH, pods.container_hash(container)) != pods.container_hash(container):
            out.append(Kill(run.id, name, pods.grace(pod), f"Container {name} definition changed, will be restarted", again=True))
        elif failed := [kind for kind, well in (("liveness", verdict.live), ("startup", verdict.started)) if well is False]:
            grace, text = _probe_grace(pod, container, f"{failed[0]}Probe"), f"Container {name} failed {failed[0]} probe{again}"
            out.append(Kill(run.id, name, grace, text, again=bool(again)))
        elif _restarted(container, differing(container, run, seen)):
            out.append(Kill(run.id, name, max(pods.grace(pod), MINIMUM_GRACE), f"Container {name} resize requires restart", again=True))
    return out


def differing(container: Object, run: Container, seen: Seen) -> set[str]:
    """Which of cpu and memory a running container has not been given as it is allotted."""
    given = {"resources": seen.given.get(run.id, container.get("resources") or {})}
    kinds = (("cpu", "requests"), ("cpu", "limits"), ("memory", "limits"))
    return {name for name, what in kinds if pods.resources(given, what, name) != pods.resources(container, what, name)}


def _restarted(container: Object, differs: set[str]) -> bool:
    policies = container.get("resizePolicy") or ()
    return any(p["resourceName"] in differs and p.get("restartPolicy") == "RestartContainer" for p in policies)


def _adjusted(pod: Object, seen: Seen, sandbox: Sandbox) -> list[Action]:
    """The next step of a resize."""
    if not seen.resize.generation or RESIZE in seen.busy:
        return []
    runs = [(c, observed_state.in_sandbox(pod, seen, c["name"], sandbox)) for _, c in pods.all_containers(pod)]
    short = [(c, run) for c, run in runs if run is not None and run.state == runtime.RUNNING and differing(c, run, seen)]
    due = [(run.id, run.name) for c, run in short if run.id not in seen.busy and not _restarted(c, differing(c, run, seen))]
    return [Adjust(due)] if due or not short else []


def _probe_grace(pod: Object, container: Object, probe: str) -> float:
    own = (container.get(probe) or {}).get("terminationGracePeriodSeconds")
    return max(float(own) if own is not None else pods.grace(pod), MINIMUM_GRACE)


def _garbage(seen: Seen, sandbox: Sandbox) -> list[Action]:
    """All but the last two runs of each container, and sandboxes that hold nothing."""
    out: list[Action] = []
    runs: dict[str, int] = {}
    kept = {sandbox.id}
    for container in seen.state.containers:
        runs[container.name] = runs.get(container.name, 0) + 1
        if runs[container.name] > 2 and container.state in (runtime.EXITED, runtime.CREATED):
            if container.id not in seen.busy:
                out.append(Remove(container.id))
        else:
            kept.add(container.sandbox)
    stale = [s for s in seen.state.sandboxes if s.id not in kept and s.id not in seen.busy]
    return out + [Remove(s.id, sandbox=True) for s in stale]


def _wanted(pod: Object, seen: Seen, sandbox: Sandbox, now: float) -> tuple[list[Action], dict[str, float]]:
    """Containers to start now, and those that wait for the end of their back-off."""
    names, complete = _wanted_inits(pod, seen, sandbox)
    if complete or any(observed_state.in_sandbox(pod, seen, c["name"], sandbox) for c in pods.regulars(pod)):
        for container in pods.regulars(pod):
            run = observed_state.in_sandbox(pod, seen, container["name"], sandbox)
            if run is None or (run.state in (runtime.EXITED, runtime.CREATED) and not observed_state.done(pod, container, seen)):
                names.append(container["name"])
    names += [c["name"] for c in pods.ephemerals(pod) if observed_state.latest(seen, c["name"]) is None]
    actions: list[Action] = []
    waiting: dict[str, float] = {}
    for name in names:
        run = observed_state.latest(seen, name)
        until = _held(seen, name, run)
        if until > now:
            waiting[name] = until
        else:
            actions.append(Start(name, run.attempt + 1 if run else 0, run.finished if run and run.state == runtime.EXITED else 0.0))
    return actions, waiting


def _held(seen: Seen, name: str, run: Container | None) -> float:
    """Until when a failed start or the back-off of its last run holds a container."""
    held = seen.holds.get(name, 0.0)
    backoff = seen.backoffs.get(name)
    if backoff is None or run is None or run.state != runtime.EXITED or run.finished - backoff.at > FORGIVEN:
        return held
    return max(held, run.finished + backoff.delay)


def _wanted_inits(pod: Object, seen: Seen, sandbox: Sandbox) -> tuple[list[str], bool]:
    """Init containers to start now; and whether the regular ones may follow."""
    begun = any(observed_state.in_sandbox(pod, seen, c["name"], sandbox) for c in pods.regulars(pod))
    names: list[str] = []
    for container in pods.inits(pod):
        run = observed_state.in_sandbox(pod, seen, container["name"], sandbox)
        if pod_resources.is_sidecar(container):
            if run is None or run.state != runtime.RUNNING:
                names.append(container["name"])
                if not begun:
                    return names, False
            elif not begun and not observed_state.started(container, run, seen):
                return names, False
        elif not begun:
            if run is not None and run.state == runtime.EXITED and run.exit_code == 0:
                continue
            if run is None or run.state in (runtime.EXITED, runtime.CREATED):
                names.append(container["name"])
            return names, False
    return names, True
