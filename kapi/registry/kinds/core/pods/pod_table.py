"""The columns of `kubectl get pods`: READY, STATUS and RESTARTS are computed from container states, as in stock's printer."""

from typing import Any

from kapi.objects import duration, time
from kapi.objects.meta import Object
from kapi.registry.validation import rules


def _condition(status: Object, kind: str) -> Object:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), {})


def _ended(state: Object) -> str:
    """'Error', 'OOMKilled', 'Signal:9' or 'ExitCode:3'."""
    if state.get("reason"):
        return str(state["reason"])
    if state.get("signal"):
        return f"Signal:{state['signal']}"
    return f"ExitCode:{state.get('exitCode') or 0}"


class _Restarts:
    """Counts restarts and remembers the last one."""

    def __init__(self) -> None:
        self.count, self.last = 0, 0.0

    def add(self, status: Object) -> None:
        self.count += status.get("restartCount") or 0
        finished = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
        if finished:
            self.last = max(self.last, time.parse(finished))

    def shown(self, now: float) -> str:
        if self.count and self.last:
            return f"{self.count} ({duration.human(now - self.last)} ago)"
        return str(self.count)


def _initializing(spec: Object, status: Object, restarts: _Restarts, sidecars: _Restarts) -> tuple[str, int]:
    """(STATUS while init containers run or '', how many sidecars are ready)."""
    known = {part.get("name"): part for part in spec.get("initContainers") or ()}
    ready = 0
    for i, entry in enumerate(status.get("initContainerStatuses") or ()):
        restarts.add(entry)
        sidecar = (known.get(entry.get("name")) or {}).get("restartPolicy") == "Always"
        state = entry.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if sidecar:
            sidecars.add(entry)
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and entry.get("started"):
            ready += bool(entry.get("ready"))
            continue
        if ended is not None:
            return f"Init:{_ended(ended)}", ready
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", ready
        return f"Init:{i}/{len(known)}", ready
    return "", ready


def _running(status: Object, reason: str, restarts: _Restarts) -> tuple[str, int]:
    """(STATUS once initialized, ready containers)."""
    ready, running = 0, False
    for entry in reversed(status.get("containerStatuses") or []):
        restarts.add(entry)
        state = entry.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = _ended(ended)
        elif entry.get("ready") and "running" in state:
            running = True
            ready += 1
    if reason == "Completed" and running:
        reason = "Running" if _condition(status, "Ready").get("status") == "True" else "NotReady"
    return reason, ready


def _gates(spec: Object, status: Object) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return "<none>"
    met = sum(_condition(status, gate.get("conditionType") or "").get("status") == "True" for gate in gates)
    return f"{met}/{len(gates)}"


def row(pod: Object, now: float) -> list[Any]:
    """The cells of one pod under COLUMNS."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or ""
    if _condition(status, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    restarts, sidecars = _Restarts(), _Restarts()
    initializing, ready = _initializing(spec, status, restarts, sidecars)
    if initializing and _condition(status, "Initialized").get("status") != "True":
        reason = initializing
    else:
        reason, more = _running(status, reason, sidecars)
        restarts, ready = sidecars, ready + more
    if meta.get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Failed", "Succeeded"):
            reason = "Terminating"
    total = len(spec.get("containers") or ()) + sum(c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or ())
    ips = status.get("podIPs") or ()
    return [
        meta["name"], f"{ready}/{total}", reason, restarts.shown(now), rules.age(pod, now),
        (ips[0].get("ip") if ips else status.get("podIP")) or "<none>", spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>", _gates(spec, status),
    ]  # fmt: skip
