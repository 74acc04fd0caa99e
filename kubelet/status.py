"""The status of a pod, computed from its observed state, and the patch from the API's status to it. Pure.

Conditions and fields are those a v1.36 kubelet owns; conditions of other owners (PodScheduled, readiness gates) are not changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kapi.objects import conditions, pod_resources, time
from kapi.objects.meta import Object
from kubelet import observed_state, plan, pods, runtime
from kubelet.observed_state import ObservedState, ProbeState, Rejection
from kubelet.runtime import Container

CONTAINER_LOST = "The container could not be located when the pod was terminated"
MAX_MESSAGES_BYTES = 12 * 1024
"""Most bytes of all termination messages of a pod together."""
_RESIZE_CONDITIONS = ("PodResizePending", "PodResizeInProgress")
"""Conditions that are removed when they no longer hold, instead of becoming False."""
_EPHEMERAL, _INIT = "ephemeralContainers", "initContainers"
_FIELDS = {_INIT: "initContainerStatuses", "containers": "containerStatuses", _EPHEMERAL: "ephemeralContainerStatuses"}


@dataclass(frozen=True)
class Facts:
    """What a status needs besides the pod and its observed state."""

    host_ips: Sequence[str] = ()
    runtime: str = "containerd"
    waiting: Mapping[str, float] = field(default_factory=dict)
    """Containers in back-off, as Plan.waiting."""


def listed(pod: Object) -> list[Object]:
    """The container statuses in the pod's status, of all three lists."""
    known = pod.get("status") or {}
    return [status for field in _FIELDS.values() for status in known.get(field) or ()]


def _non_empty(**fields: Any) -> Object:
    """The fields whose value is not empty."""
    return {name: value for name, value in fields.items() if value}


def _list(names: Sequence[str]) -> str:
    """A slice of strings as Go prints it: ['a', 'b'] -> '[a b]'."""
    return "[" + " ".join(names) + "]"


def compute(pod: Object, observed: ObservedState, facts: Facts, now: float) -> Object:
    """The complete PodStatus. Transition times of unchanged conditions are taken from the pod's current status."""
    old = pod.get("status") or {}
    common = {"qosClass": pods.qos(pod), "startTime": old.get("startTime") or time.stamp(now)}
    common |= _non_empty(observedGeneration=pod["metadata"].get("generation"))
    if isinstance(observed.outcome, Rejection):  # its containers have no statuses, it has no conditions of ours
        return {"phase": "Failed", "reason": observed.outcome.reason, "message": observed.outcome.message, "conditions": [], **common}
    out: Object = {"phase": "Pending", "conditions": []}
    for group, target in _FIELDS.items():
        statuses = [_container(pod, group, c, observed, facts, now) for c in pod["spec"].get(group) or ()]
        if statuses:
            out[target] = sorted(statuses, key=lambda s: s["name"]) if group == "containers" else statuses
    _cut_messages(out)
    out["phase"] = _phase(pod, out, observed)
    if observed.outcome is not None:
        out["reason"], out["message"] = observed.outcome.reason, observed.outcome.message
    elif old.get("reason") and pods.terminal(pod):
        out |= {k: old[k] for k in ("reason", "message") if k in old}
    out["conditions"] = _conditions(pod, out, observed, now)
    return out | _addresses(pod, old, observed, facts) | common


def _cut_messages(out: Object) -> None:
    """Cut termination messages so that together they stay within MAX_MESSAGES_BYTES."""
    statuses = listed({"status": out})
    for ended in (s[part].get("terminated") for s in statuses for part in ("state", "lastState")):
        if ended and len(message := ended.get("message", "").encode()) > (most := MAX_MESSAGES_BYTES // len(statuses)):
            ended["message"] = message[:most].decode("utf-8", "ignore")


def _addresses(pod: Object, old: Object, observed: ObservedState, facts: Facts) -> Object:
    out: Object = {}
    if facts.host_ips:
        out["hostIP"] = facts.host_ips[0]
        out["hostIPs"] = [{"ip": ip} for ip in facts.host_ips]
    sandbox = observed_state.ready_sandbox(observed)
    if pods.host_network(pod):
        ips: Sequence[str] = facts.host_ips if sandbox or old.get("podIP") else ()
    else:
        ips = sandbox.ips if sandbox else [p["ip"] for p in old.get("podIPs") or ()]
    if ips:
        out["podIP"] = ips[0]
        out["podIPs"] = [{"ip": ip} for ip in ips]
    return out


def _container(pod: Object, group: str, container: Object, observed: ObservedState, facts: Facts, now: float) -> Object:
    name = container["name"]
    runs = [c for c in observed.state.containers if c.name == name]
    run = runs[0] if runs else None
    out: Object = {"name": name, "state": {}, "lastState": {}, "ready": False, "restartCount": run.attempt if run else 0}
    out |= {"image": container.get("image", ""), "imageID": "", "started": False}
    if group == _EPHEMERAL:
        del out["started"]
    if run is None:
        out |= _without_run(pod, group, container, observed)
        return out
    out |= {"image": run.image or out["image"], "imageID": run.image_id, "containerID": f"{facts.runtime}://{run.id}"}
    if len(runs) > 1:
        out["lastState"] = _terminated(runs[1], facts)
    if run.state == runtime.RUNNING:
        out |= _running(pod, group, container, run, observed)
    elif run.state == runtime.EXITED:
        out |= _ended(pod, group, container, run, observed, facts, now)
    else:
        out["state"] = {"waiting": _failing(observed, name) or {"reason": "ContainerCreating"}}
    return out


def _without_run(pod: Object, group: str, container: Object, observed: ObservedState) -> Object:
    """The state of a container that the runtime does not have: not started yet, or lost."""
    previous = _previous(pod, group, container["name"])
    if previous is not None and ("running" in previous["state"] or "terminated" in previous["state"]):
        if observed_state.ending(pod, observed) and "running" in previous["state"]:
            gone = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": CONTAINER_LOST, "startedAt": None, "finishedAt": None}
            return {"state": {"terminated": gone}, "restartCount": previous.get("restartCount", 0)}
        if "terminated" in previous["state"]:
            kept = ("state", "lastState", "ready", "restartCount", "image", "imageID", "containerID")
            return {k: previous[k] for k in kept if k in previous}
    if failing := _failing(observed, container["name"]):
        return {"state": {"waiting": failing}}
    blocked = bool(pods.inits(pod)) and (group == _INIT or not observed_state.initialized(pod, observed))
    return {"state": {"waiting": {"reason": "PodInitializing" if blocked else "ContainerCreating"}}}


def _previous(pod: Object, group: str, name: str) -> Object | None:
    return next((s for s in (pod.get("status") or {}).get(_FIELDS[group]) or () if s["name"] == name), None)


def _failing(observed: ObservedState, name: str) -> Object | None:
    failure = observed.failures.get(name)
    return None if failure is None else _non_empty(reason=failure.reason, message=failure.message)


def _running(pod: Object, group: str, container: Object, run: Container, observed: ObservedState) -> Object:
    probe_state = observed.probe_states.get(run.id, ProbeState())
    out: Object = {"state": {"running": {"startedAt": time.stamp(run.started)}}}
    if group == _EPHEMERAL:
        return out | _resources_and_mounts(container, run, observed)
    started = observed_state.started(container, run, observed)
    ready = started and (not container.get("readinessProbe") or bool(probe_state.ready))
    if group == _INIT and not pod_resources.is_sidecar(container):
        ready = False
    return out | {"started": started, "ready": ready} | _resources_and_mounts(container, run, observed)


def _resources_and_mounts(container: Object, run: Container, observed: ObservedState) -> Object:
    """allocatedResources, resources (those applied to the run) and volumeMounts of a container status."""
    allocated = container.get("resources") or {}
    has = observed.actual_resources.get(run.id, allocated)
    out: Object = {"resources": {k: has[k] for k in ("limits", "requests", "claims") if has.get(k)}}
    if allocated.get("requests"):
        out["allocatedResources"] = allocated["requests"]
    mounts = [_mount(m) for m in container.get("volumeMounts") or ()]
    if mounts:
        out["volumeMounts"] = mounts
    return out


def _mount(mount: Object) -> Object:
    out: Object = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        out |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return out


def _terminated(run: Container, facts: Facts) -> Object:
    ended = {"exitCode": run.exit_code, **_non_empty(reason=run.reason, message=run.message)}
    ended |= {"startedAt": time.stamp(run.started), "finishedAt": time.stamp(run.finished)}
    return {"terminated": ended | {"containerID": f"{facts.runtime}://{run.id}"}}


def _ended(pod: Object, group: str, container: Object, run: Container, observed: ObservedState, facts: Facts, now: float) -> Object:
    """The state of an exited container: terminated, or waiting for its restart with the exit in lastState."""
    ended = _terminated(run, facts)
    out: Object = {"state": ended} | ({} if group == _EPHEMERAL else _resources_and_mounts(container, run, observed))
    if group == _INIT and not pod_resources.is_sidecar(container):
        out["ready"] = run.exit_code == 0
    name = container["name"]
    waiting = _failing(observed, name)
    looping = name in facts.waiting and name in observed.backoffs and now - run.finished >= plan.TERMINATED_SHOWN
    if looping and (waiting is None or waiting["reason"] == "RunContainerError"):
        waiting = _crash_loop(pod, name, observed)
    if waiting is not None and not observed_state.ending(pod, observed):
        out |= {"state": {"waiting": waiting}, "lastState": ended}
    return out


def _crash_loop(pod: Object, name: str, observed: ObservedState) -> Object:
    backoff = observed.backoffs.get(name)
    delay = _duration(backoff.delay if backoff else plan.INITIAL_BACKOFF)
    return {"reason": "CrashLoopBackOff", "message": f"back-off {delay} restarting failed container={name} pod={pods.full_name(pod)}"}


def _duration(seconds: float) -> str:
    """A duration in whole seconds as Go prints it: '10s', '1m20s', '5m0s'."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _phase(pod: Object, status: Object, observed: ObservedState) -> str:
    if pods.terminal(pod):
        return pods.phase(pod)
    if observed.outcome is not None:
        return "Failed"
    begun = any(observed_state.latest_run(observed, c["name"]) for c in pods.regulars(pod))
    short = _incomplete_inits(pod, status)
    if any(observed_state.failed(pod, c, observed_state.latest_run(observed, c["name"])) for c in short):
        return "Failed"
    if short and not begun:
        return "Pending"
    states = [s["state"] | {"last": s["lastState"]} for s in status.get("containerStatuses") or ()]
    if any("waiting" in s and not s["last"] for s in states):
        return "Pending"
    ends = [s["terminated"] for s in states if "terminated" in s]
    running = any(c.state == runtime.RUNNING for c in observed.state.containers)
    if len(ends) < len(states) or running or not observed_state.ending(pod, observed):
        return "Running"
    return "Failed" if any(e["exitCode"] for e in ends) else "Succeeded"


def _incomplete_inits(pod: Object, status: Object) -> list[Object]:
    """Init containers that have not completed, and sidecars that have not started."""
    out = []
    for container, state in zip(pods.inits(pod), status.get("initContainerStatuses") or (), strict=True):
        ended = state["state"].get("terminated")
        passed = state.get("started") if pod_resources.is_sidecar(container) else ended and not ended["exitCode"]
        if not passed:
            out.append(container)
    return out


def _conditions(pod: Object, status: Object, observed: ObservedState, now: float) -> list[Object]:
    phase = status["phase"]
    known = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    up = observed_state.ready_sandbox(observed) is not None
    containers = _containers_ready(pod, status, phase)
    found = {
        "PodReadyToStartContainers": ("True" if up else "False", "", ""),
        "Initialized": _initialized(pod, status, phase, observed),
        "Ready": _ready(pod, known, containers),
        "ContainersReady": containers,
        "PodScheduled": ("True", "", ""),
    }
    if observed.outcome is not None and observed.outcome.reason == "Evicted":
        found["DisruptionTarget"] = ("True", "TerminationByKubelet", observed.outcome.message)
    found |= _resize(observed)
    mine = [type for type in found if type != "PodScheduled" or type not in known]
    return [_condition(pod, type, *found[type], known.get(type), now) for type in mine]


def _condition(pod: Object, type: str, status: str, reason: str, message: str, old: Object | None, now: float) -> Object:
    out: Object = {"type": type, "status": status, "lastProbeTime": None, "lastTransitionTime": conditions.since(old, status, now)}
    return out | _non_empty(reason=reason, message=message, observedGeneration=pod["metadata"].get("generation"))


def _resize(observed: ObservedState) -> dict[str, tuple[str, str, str]]:
    """PodResizePending and PodResizeInProgress: {type: (status, reason, message)}."""
    out = {}
    refused, generation, error = observed.resize
    if refused is not None:
        out["PodResizePending"] = ("True", refused.reason, refused.message)
    if generation:
        out["PodResizeInProgress"] = ("True", "Error" if error else "", error)
    return out


def _initialized(pod: Object, status: Object, phase: str, observed: ObservedState) -> tuple[str, str, str]:
    if phase == "Succeeded":
        return "True", "PodCompleted", ""
    if any(observed_state.latest_run(observed, c["name"]) for c in pods.regulars(pod)):
        return "True", "", ""
    if short := [c["name"] for c in _incomplete_inits(pod, status)]:
        return "False", "ContainersNotInitialized", f"containers with incomplete status: {_list(short)}"
    return "True", "", ""


def _containers_ready(pod: Object, status: Object, phase: str) -> tuple[str, str, str]:
    if phase == "Succeeded":
        return "False", "PodCompleted", ""
    if phase == "Failed":
        return "False", "PodFailed", ""
    ready = {s["name"]: s["ready"] for group in _FIELDS.values() for s in status.get(group) or ()}
    counted = pods.sidecars(pod) + pods.regulars(pod)
    unready = [c["name"] for c in counted if not ready.get(c["name"])]
    if unready:
        return "False", "ContainersNotReady", f"containers with unready status: {_list(unready)}"
    return "True", "", ""


def _ready(pod: Object, known: Mapping[str, Object], containers: tuple[str, str, str]) -> tuple[str, str, str]:
    if containers[0] != "True":
        return containers
    short = []
    for gate in pod["spec"].get("readinessGates") or ():
        type = gate["conditionType"]
        if type not in known:
            short.append(f'corresponding condition of pod readiness gate "{type}" does not exist.')
        elif known[type].get("status") != "True":
            short.append(f'the status of pod readiness gate "{type}" is not "True", but {known[type].get("status")}')
    return ("False", "ReadinessGatesNotReady", ", ".join(short)) if short else ("True", "", "")


def patch(pod: Object, new: Object) -> Object | None:
    """The strategic merge patch from the pod's status to `new`; None when there is nothing to change."""
    old = pod.get("status") or {}
    change: Object = {}
    changed = _changed_conditions(old.get("conditions") or [], new["conditions"])
    kept = {c["type"] for c in new["conditions"]}
    gone = [c["type"] for c in old.get("conditions") or () if c["type"] in _RESIZE_CONDITIONS and c["type"] not in kept]
    if changed or gone:
        change["conditions"] = changed + [{"$patch": "delete", "type": type} for type in gone]
        order = [c["type"] for c in new["conditions"]]
        order += [c["type"] for c in old.get("conditions") or () if c["type"] not in (*order, *gone)]
        change["$setElementOrder/conditions"] = [{"type": t} for t in order]
    for key in {*old, *new} - {"conditions"}:
        if key in new and old.get(key) != new[key]:
            change[key] = _replaced(key, old.get(key), new[key])
        elif key not in new and key in ("reason", "message"):
            change[key] = None
    if not change:
        return None
    return {"metadata": {"uid": pod["metadata"]["uid"]}, "status": change}


def _replaced(key: str, old: Any, new: Any) -> Any:
    """podIPs and hostIPs are lists with merge key `ip`: removed addresses need a $patch: delete."""
    if key not in ("podIPs", "hostIPs") or not old:
        return new
    gone = [{"$patch": "delete", "ip": e["ip"]} for e in old if e not in new]
    return [*new, *gone]


def _changed_conditions(old: Sequence[Object], new: Sequence[Object]) -> list[Object]:
    known = {c["type"]: {k: v for k, v in c.items() if v is not None} for c in old}
    out = []
    for condition in new:
        plain = {k: v for k, v in condition.items() if v is not None}
        before = known.get(condition["type"])
        if before == plain:
            continue
        gone = {k: None for k in ("reason", "message") if before and k in before and k not in plain}
        out.append(plain | gone)
    return out
