"""The observed state of a pod (runtime, probes, past failures) and predicates on it. Pure. Actions are decided in kubelet.plan.

Rules: KEP-753 (sidecars), KEP-5307 and KEP-5532 (restart rules of containers).

Example: a container `web` that exited with code 1 three seconds ago and is restarted in seven:

    ObservedState(
        state=PodState(sandboxes=[Sandbox("box0", ready=True, …)], containers=[Container("web-0", state="exited", exit_code=1, …)]),
        backoffs={"web": Backoff(delay=10.0, at=<when it exited>)},
    )
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kapi.objects import pod_resources
from kapi.objects.meta import Object, deleting
from kubelet import pods, runtime
from kubelet.runtime import Container, PodState, Sandbox


class Failure(NamedTuple):
    """Reason and message of a failed container or pod, e.g. Failure("ErrImagePull", "...")."""

    reason: str
    message: str = ""


class NotStarted(Exception):
    """A container cannot be started. `failure` is its waiting state; `until` is when to retry, in seconds since the epoch
    (0: after the default delay)."""

    def __init__(self, failure: Failure, until: float = 0.0) -> None:
        super().__init__(failure.message)
        self.failure, self.until = failure, until


class Rejection(Failure):
    """The node did not admit the pod; none of its containers ran."""


class Resize(NamedTuple):
    """The state of a pod's in-place resize."""

    refused: Failure | None = None
    """Why it is deferred or infeasible; None: it is not."""
    generation: int = 0
    """metadata.generation of the spec that is being applied to the containers; 0: none is."""
    error: str = ""
    """The last error of applying it."""


_NO_RESIZE = Resize()


class Backoff(NamedTuple):
    """The restart back-off of a container: seconds to wait after `at`, the end of its last counted run (seconds since the epoch)."""

    delay: float
    at: float


class ProbeState(NamedTuple):
    """The probe results of a running container; None: no result yet."""

    live: bool | None = None
    ready: bool | None = None
    started: bool | None = None


@dataclass(frozen=True)
class ObservedState:
    """Everything known of a pod apart from its API object. Times are seconds since the epoch."""

    state: PodState = field(default_factory=PodState)
    probe_states: Mapping[str, ProbeState] = field(default_factory=dict)
    """By container id."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """Why the last attempt to start a container failed, by container name."""
    retry_at: Mapping[str, float] = field(default_factory=dict)
    """When the start is retried after such a failure, by container name."""
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)
    """By container name."""
    busy: Mapping[str, float] = field(default_factory=dict)
    """Operations in progress: "sandbox", "start", or the id of a container or sandbox that is being stopped -> its grace in seconds."""
    outcome: Failure | None = None
    """Set when the pod must end as Failed (evicted, deadline, rejected)."""
    gone: bool = False
    """The pod was deleted from the API, or its manifest was removed."""
    post_start_running: frozenset[str] = frozenset()
    """Ids of containers whose postStart hook is running."""
    restarting: frozenset[str] = frozenset()
    """Ids of containers that were stopped to be restarted, whatever their exit code."""
    grace: float | None = None
    """Termination grace in seconds that overrides the pod's own, e.g. for eviction."""
    ending: float = 0.0
    """When the termination of the pod began; 0: it has not."""
    actual_resources: Mapping[str, Object] = field(default_factory=dict)
    """The resources that are applied to running containers, by container id."""
    resize: Resize = _NO_RESIZE


def ending(pod: Object, observed: ObservedState) -> bool:
    """Whether the pod is terminating: its containers are to be stopped and not restarted."""
    return observed.gone or deleting(pod) or observed.outcome is not None or pods.terminal(pod) or finished(pod, observed)


def ready_sandbox(observed: ObservedState) -> Sandbox | None:
    """The newest sandbox if it is ready and has its addresses."""
    newest = observed.state.sandboxes[0] if observed.state.sandboxes else None
    if newest is None or not newest.ready or not (newest.ips or newest.host_network):
        return None
    return newest


def latest_run(observed: ObservedState, name: str) -> Container | None:
    return next((c for c in observed.state.containers if c.name == name), None)


def current_run(pod: Object, observed: ObservedState, name: str, sandbox: Sandbox | None) -> Container | None:
    """The newest run of a container in the ready sandbox, ignoring runs from before the last RestartAllContainers."""
    found = latest_run(observed, name)
    if found is None or sandbox is None or found.sandbox != sandbox.id or found.created < all_restarted_at(pod, observed):
        return None
    return found


def _restart_rule_action(container: Object, run: Container) -> str:
    """The action of the first restart rule that matches the exit code, e.g. 'Restart', or ""."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (run.exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return str(rule["action"])
    return ""


def restart_policy(pod: Object, container: Object) -> str:
    return container.get("restartPolicy") or pod["spec"].get("restartPolicy") or "Always"


def should_restart(pod: Object, container: Object, run: Container) -> bool:
    """Whether an exited container is to be restarted. A rule that matches its exit code takes precedence over its restartPolicy."""
    if _restart_rule_action(container, run):
        return True
    own = restart_policy(pod, container)
    return own == "Always" or (own == "OnFailure" and run.exit_code != 0)


def all_restarted_at(pod: Object, observed: ObservedState) -> float:
    """When a container last exited with the action RestartAllContainers; 0: never."""
    ends = [run.finished for run in observed.state.containers if run.state == runtime.EXITED and _restarts_all(pod, run)]
    return max(ends, default=0.0)


def _restarts_all(pod: Object, run: Container) -> bool:
    found = pods.find(pod, run.name)
    return found is not None and _restart_rule_action(found[1], run) == "RestartAllContainers"


def done(pod: Object, container: Object, observed: ObservedState) -> bool:
    """Whether a regular container has exited and will not be restarted."""
    run = latest_run(observed, container["name"])
    if run is None or run.state != runtime.EXITED or run.id in observed.restarting or run.created < all_restarted_at(pod, observed):
        return False
    return not should_restart(pod, container, run)


def finished(pod: Object, observed: ObservedState) -> bool:
    """Whether the pod has completed: every regular container is done, or an init container has failed permanently."""
    if all(done(pod, c, observed) for c in pods.regulars(pod)):
        return True
    if any(latest_run(observed, c["name"]) for c in pods.regulars(pod)):
        return False
    return any(failed(pod, c, latest_run(observed, c["name"])) for c in pods.inits(pod) if not pod_resources.is_sidecar(c))


def failed(pod: Object, container: Object, run: Container | None) -> bool:
    """Whether an init container has failed and will not be restarted."""
    return run is not None and run.state == runtime.EXITED and run.exit_code != 0 and not should_restart(pod, container, run)


def started(container: Object, run: Container, observed: ObservedState) -> bool:
    """Whether a running container counts as started: its postStart hook has ended and its startup probe has succeeded."""
    if run.state != runtime.RUNNING or run.id in observed.post_start_running:
        return False
    return not container.get("startupProbe") or bool(observed.probe_states.get(run.id, ProbeState()).started)


def initialized(pod: Object, observed: ObservedState) -> bool:
    """Whether all init containers have completed (sidecars: have started) in this sandbox."""
    sandbox = ready_sandbox(observed)
    if any(current_run(pod, observed, c["name"], sandbox) for c in pods.regulars(pod)):
        return True
    for container in pods.inits(pod):
        run = current_run(pod, observed, container["name"], sandbox)
        if run is None:
            return False
        succeeded = run.state == runtime.EXITED and not run.exit_code
        if not (started(container, run, observed) if pod_resources.is_sidecar(container) else succeeded):
            return False
    return True


def alive(observed: ObservedState) -> list[Container]:
    return [c for c in observed.state.containers if c.state in (runtime.RUNNING, runtime.UNKNOWN)]
