"""/healthz, /livez and /readyz as they are answered. What is checked, and how: kapi.apiserver.health."""

from collections.abc import Collection
from typing import Protocol
from urllib.parse import parse_qs

from kapi.api import responses
from kapi.api.metrics import Metrics
from kapi.api.request import Request


class Checks(Protocol):
    """The health checks of a server."""

    def names(self, which: str) -> Collection[str]:
        """The checks of healthz, livez or readyz in their order."""

    def wrong(self, which: str, name: str) -> str:
        """What is wrong by one of their checks, "" when nothing is."""


async def answer(request: Request, checks: Checks, metrics: Metrics) -> None:
    """/livez, /livez?verbose&exclude=NAME, /livez/NAME."""
    which, _, single = request.path[1:].partition("/")
    if single:
        await _one(request, checks, which, single)
        return
    query = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    excluded, lines, failed = set(query.get("exclude", ())), [], False
    names = checks.names(which)
    for name in names:
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        well = not checks.wrong(which, name)
        metrics.checked(name, which, well)
        lines.append(f"[+]{name} ok" if well else f"[-]{name} failed: reason withheld")
        failed = failed or not well
    if unknown := sorted(excluded.difference(names)):
        listed = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
    text = "".join(f"{line}\n" for line in lines) + f"{which} check {'failed' if failed else 'passed'}\n"
    await responses.send_text(request, 500 if failed else 200, text if failed or "verbose" in query else "ok")


async def _one(request: Request, checks: Checks, which: str, name: str) -> None:
    if name not in checks.names(which):
        await responses.send_missing(request)
    elif wrong := checks.wrong(which, name):
        await responses.send_text(request, 500, f"internal server error: {wrong}\n")
    else:
        await responses.send(request, 200, b"ok", b"text/plain; charset=utf-8")
