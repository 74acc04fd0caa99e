"""What is known of a pod beyond its spec, and what follows from it at first sight. Pure; what to do about it is kubelet.plan's affair.

Rules: KEP-753 (sidecars), KEP-5307 and KEP-5532 (restart rules of containers).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kapi.objects import pod_resources
from kapi.objects.meta import Object, deleting
from kubelet import pods, runtime
from kubelet.runtime import Container, PodState, Sandbox


class Failure(NamedTuple):
    """Why a container (or the pod) is not what it should be, e.g. Failure("ErrImagePull", "...")."""

    reason: str
    message: str = ""


class NotStarted(Exception):
    """A container cannot be started; `failure` is its waiting state, `until` when to try again (0: as always)."""

    def __init__(self, failure: Failure, until: float = 0.0) -> None:
        super().__init__(failure.message)
        self.failure, self.until = failure, until


class Rejection(Failure):
    """Why the node did not take the pod: nothing of it ever ran here."""


class Resize(NamedTuple):
    """How a pod's resize stands."""

    refused: Failure | None = None
    """Why it has not been granted."""
    generation: int = 0
    """Of the spec whose resources are being given to the containers; 0: none are."""
    error: str = ""
    """What went wrong with that."""


_AT_REST = Resize()


class Backoff(NamedTuple):
    """A container that keeps failing: how long it waits, and the end of the run that made it wait."""

    delay: float
    at: float


class Verdict(NamedTuple):
    """What probes say of a running container; None: nothing yet."""

    live: bool | None = None
    ready: bool | None = None
    started: bool | None = None


@dataclass(frozen=True)
class Seen:
    """What is known of a pod beyond its spec."""

    state: PodState = field(default_factory=PodState)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """By container id."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """Why the last try to start a container failed, by name."""
    holds: Mapping[str, float] = field(default_factory=dict)
    """Until when a container is not tried again after such a failure, by name."""
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)
    """By container name."""
    busy: Mapping[str, float] = field(default_factory=dict)
    """What is being done: "sandbox", "start", or a container or sandbox id being stopped, with the grace it was given."""
    outcome: Failure | None = None
    """Set when the pod must end as Failed (evicted, deadline, rejected)."""
    gone: bool = False
    """The pod is no more in the API (or its manifest is gone)."""
    hooking: frozenset[str] = frozenset()
    """Ids of containers whose postStart hook has not ended."""
    again: frozenset[str] = frozenset()
    """Ids of containers that were stopped to be started again, whatever their exit code."""
    grace: float | None = None
    """Seconds the containers have to end, where it is not the pod's own affair."""
    ending: float = 0.0
    """When the pod's end began."""
    given: Mapping[str, Object] = field(default_factory=dict)
    """The resources running containers have, by id."""
    resize: Resize = _AT_REST


def ending(pod: Object, seen: Seen) -> bool:
    """Whether the pod's containers are to be stopped for good."""
    return seen.gone or deleting(pod) or seen.outcome is not None or pods.terminal(pod) or finished(pod, seen)


def current(seen: Seen) -> Sandbox | None:
    """The sandbox that is up, if any."""
    newest = seen.state.sandboxes[0] if seen.state.sandboxes else None
    if newest is None or not newest.ready or not (newest.ips or newest.host_network):
        return None
    return newest


def latest(seen: Seen, name: str) -> Container | None:
    return next((c for c in seen.state.containers if c.name == name), None)


def in_sandbox(pod: Object, seen: Seen, name: str, sandbox: Sandbox | None) -> Container | None:
    """The newest run of a container in the sandbox that is up, since all containers last started anew."""
    found = latest(seen, name)
    if found is None or sandbox is None or found.sandbox != sandbox.id or found.created < renewed(pod, seen):
        return None
    return found


def _ruling(container: Object, run: Container) -> str:
    """The action of the first restart rule that an exit meets, e.g. 'Restart', or ""."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (run.exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return str(rule["action"])
    return ""


def policy(pod: Object, container: Object) -> str:
    return container.get("restartPolicy") or pod["spec"].get("restartPolicy") or "Always"


def restarts(pod: Object, container: Object, run: Container) -> bool:
    """Whether a container that has ended is to be started again: a rule for its exit code goes before its policy."""
    if _ruling(container, run):
        return True
    own = policy(pod, container)
    return own == "Always" or (own == "OnFailure" and run.exit_code != 0)


def renewed(pod: Object, seen: Seen) -> float:
    """When a container last ended in a way that has all containers start anew (RestartAllContainers); 0: never."""
    ends = [run.finished for run in seen.state.containers if run.state == runtime.EXITED and _renews(pod, run)]
    return max(ends, default=0.0)


def _renews(pod: Object, run: Container) -> bool:
    found = pods.find(pod, run.name)
    return found is not None and _ruling(found[1], run) == "RestartAllContainers"


def done(pod: Object, container: Object, seen: Seen) -> bool:
    """Whether a regular container has ended and will not be started again."""
    run = latest(seen, container["name"])
    if run is None or run.state != runtime.EXITED or run.id in seen.again or run.created < renewed(pod, seen):
        return False
    return not restarts(pod, container, run)


def finished(pod: Object, seen: Seen) -> bool:
    """Whether the pod has run its course: every container done, or an init container failed for good."""
    if all(done(pod, c, seen) for c in pods.regulars(pod)):
        return True
    if any(latest(seen, c["name"]) for c in pods.regulars(pod)):
        return False
    return any(failed(pod, c, latest(seen, c["name"])) for c in pods.inits(pod) if not pod_resources.is_sidecar(c))


def failed(pod: Object, container: Object, run: Container | None) -> bool:
    """Whether an init container has failed for good."""
    return run is not None and run.state == runtime.EXITED and run.exit_code != 0 and not restarts(pod, container, run)


def started(container: Object, run: Container, seen: Seen) -> bool:
    """Whether a running container has come up: its postStart hook has ended and its startup probe has passed."""
    if run.state != runtime.RUNNING or run.id in seen.hooking:
        return False
    return not container.get("startupProbe") or bool(seen.verdicts.get(run.id, Verdict()).started)


def initialized(pod: Object, seen: Seen) -> bool:
    """Whether the init containers are behind us in this sandbox."""
    sandbox = current(seen)
    if any(in_sandbox(pod, seen, c["name"], sandbox) for c in pods.regulars(pod)):
        return True
    for container in pods.inits(pod):
        run = in_sandbox(pod, seen, container["name"], sandbox)
        if run is None:
            return False
        passed = started(container, run, seen) if pod_resources.is_sidecar(container) else run.state == runtime.EXITED and not run.exit_code
        if not passed:
            return False
    return True


def alive(seen: Seen) -> list[Container]:
    return [c for c in seen.state.containers if c.state in (runtime.RUNNING, runtime.UNKNOWN)]
