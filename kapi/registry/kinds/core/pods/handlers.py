"""Probes and lifecycle hooks: one way to act each (a command, a request, a connection, a pause), with its numbers."""

from collections.abc import Callable

from kapi.objects import names
from kapi.registry.validation.part import Part

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


def _http(action: Part) -> None:
    action.need("path")
    action.port_or_name("port")
    action.enum("scheme", ("HTTP", "HTTPS"))
    for header in action.items("httpHeaders"):
        action.e.text(action.path("httpHeaders"), header.get("name") or "", names.http_header)


def _socket(action: Part) -> None:
    action.port_or_name("port")


_ACTIONS: dict[str, Callable[[Part], object]] = {
    "exec": lambda action: action.need("command"), "httpGet": _http, "tcpSocket": _socket, "grpc": _socket,
}  # fmt: skip


def _handler(handler: Part, grace: int | None, *others: str) -> None:
    """The one way to act; `others` are those that only a lifecycle hook or only a probe has."""
    types = [kind for kind in ("exec", "httpGet", "tcpSocket", *others) if kind in handler.obj]
    for i, kind in enumerate(types):
        if i:
            handler.forbidden(kind, "may not specify more than 1 handler type")
        elif kind == "sleep":
            _sleep(handler.part(kind), grace)
        else:
            _ACTIONS[kind](handler.part(kind))
    if not types:
        handler.e.required(handler.at, "must specify a handler type")


def _sleep(sleep: Part, grace: int | None) -> None:
    if grace is not None and not 0 <= sleep.number("seconds") <= grace:
        text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        sleep.e.invalid(sleep.at, sleep.number("seconds"), text)


def probe(part: Part, grace: int | None, kind: str) -> None:
    _handler(part, grace, "grpc")
    for name in _NUMBERS:
        part.non_negative(name)
    if "terminationGracePeriodSeconds" in part:
        part.at_least("terminationGracePeriodSeconds", 1, "must be greater than 0")
        if kind == "readinessProbe":
            part.invalid("terminationGracePeriodSeconds", "must not be set for readinessProbes")
    if kind != "readinessProbe" and part.get("successThreshold") != 1:
        part.e.invalid(part.path("successThreshold"), part.number("successThreshold"), "must be 1")


def lifecycle(part: Part, grace: int | None, os: str | None) -> None:
    for kind in ("postStart", "preStop"):
        if kind in part:
            _handler(part.part(kind), grace, "sleep")
    if "stopSignal" not in part:
        return
    if os is None:
        part.forbidden("stopSignal", "may not be set for containers with empty `spec.os.name`")
    elif os in ("windows", "linux"):
        part.enum("stopSignal", _WINDOWS_SIGNALS if os == "windows" else _SIGNALS)
