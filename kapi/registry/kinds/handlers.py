"""Probes and lifecycle hooks: one way to act each (a command, a request, a connection, a pause), with its numbers."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds.rules import Errors, Rule

Object = dict[str, Any]

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_SIGNALS = (
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT",
    "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM",
    "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
    "SIGRTMIN", "SIGRTMAX",
    *(f"SIGRTMIN+{i}" for i in range(1, 16)),
    *(f"SIGRTMAX-{i}" for i in range(1, 15)),
)
_WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")


def _http(e: Errors, field: str, action: Object) -> None:
    e.need(f"{field}.path", action.get("path"))
    e.port_or_name(f"{field}.port", action.get("port", 0))
    e.enum(f"{field}.scheme", action.get("scheme"), ("HTTP", "HTTPS"))
    for header in action.get("httpHeaders") or ():
        e.text(f"{field}.httpHeaders", header.get("name") or "", names.http_header)


def _socket(e: Errors, field: str, action: Object) -> None:
    e.port_or_name(f"{field}.port", action.get("port", 0))


_ACTIONS: dict[str, Rule] = {
    "exec": lambda e, field, action: e.need(f"{field}.command", action.get("command")),
    "httpGet": _http,
    "tcpSocket": _socket,
    "grpc": _socket,
}


def _handler(e: Errors, field: str, part: Object, grace: int | None) -> None:
    found = [kind for kind in (*_ACTIONS, "sleep") if kind in part]
    for i, kind in enumerate(found):
        if i:
            e.forbidden(f"{field}.{kind}", "may not specify more than 1 handler type")
        elif kind == "sleep":
            _sleep(e, f"{field}.sleep", part["sleep"].get("seconds") or 0, grace)
        else:
            _ACTIONS[kind](e, f"{field}.{kind}", part[kind])
    if not found:
        e.required(field, "must specify a handler type")


def _sleep(e: Errors, field: str, seconds: int, grace: int | None) -> None:
    if grace is not None and not 0 <= seconds <= grace:
        e.invalid(field, seconds, f"must be non-negative and less than terminationGracePeriodSeconds ({grace})")


def probe(e: Errors, field: str, part: Object, grace: int | None, kind: str) -> None:
    _handler(e, field, part, grace)
    for name in _NUMBERS:
        if (part.get(name) or 0) < 0:
            e.non_negative(f"{field}.{name}", part[name])
    seconds = part.get("terminationGracePeriodSeconds")
    if seconds is not None:
        e.at_least(f"{field}.terminationGracePeriodSeconds", seconds, 1, "must be greater than 0")
    if kind == "readinessProbe":
        if seconds is not None:
            e.invalid(f"{field}.terminationGracePeriodSeconds", seconds, "must not be set for readinessProbes")
    elif part.get("successThreshold") != 1:
        e.invalid(f"{field}.successThreshold", part.get("successThreshold") or 0, "must be 1")


def lifecycle(e: Errors, field: str, part: Object, grace: int | None, os: str | None) -> None:
    for kind in ("postStart", "preStop"):
        if kind in part:
            _handler(e, f"{field}.{kind}", {k: v for k, v in part[kind].items() if k != "grpc"}, grace)
    signal = part.get("stopSignal")
    if signal is None:
        return
    if os is None:
        e.forbidden(f"{field}.stopSignal", "may not be set for containers with empty `spec.os.name`")
    elif os in ("windows", "linux"):
        e.enum(f"{field}.stopSignal", signal, _WINDOWS_SIGNALS if os == "windows" else _SIGNALS)
