"""ComponentStatus: how the cluster's components are, asked of them with each request and never kept. Deprecated, yet `kubectl get cs` asks.

As stock's server does, this one asks the scheduler and the controller manager at their health ports on this machine, and its own store;
who runs them in the same process puts other checks into `App.components`.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import orjson

from kapi import limits
from kapi.api import negotiation, options, reading
from kapi.api.request import Request
from kapi.http import failures
from kapi.http.client import HttpTransport
from kapi.objects import errors, together
from kapi.registry.kind import Kind
from kapi.storage.store import Entry, Store

Health = tuple[bool, str, str]
"""Whether it is healthy, its message, and the error."""
Checks = dict[str, Callable[[], Awaitable[Health]]]
_PORTS = {"scheduler": 10259, "controller-manager": 10257}


def checks(store: Store) -> Checks:
    """What is asked in a cluster whose components have their usual ports."""

    async def stored() -> Health:
        return (True, "ok", "") if store.healthy else (False, "", "the store cannot be written")

    return {**{name: _prober(port) for name, port in _PORTS.items()}, "etcd-0": stored}


def running(task: asyncio.Task[None]) -> Callable[[], Awaitable[Health]]:
    """The check of a component that is a task of this process."""

    async def check() -> Health:
        return (False, "stopped", "") if task.done() else (True, "ok", "")

    return check


def _prober(port: int) -> Callable[[], Awaitable[Health]]:
    return lambda: probe(port)


async def probe(port: int) -> Health:
    """The answer of a component's health port on this machine; its certificate is not verified."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = f"https://127.0.0.1:{port}"
    transport = HttpTransport(server, context)
    try:
        async with asyncio.timeout(limits.COMPONENT_HEALTH_SECONDS):
            status, body = await _answer(transport)
    except TimeoutError:
        why = "context deadline exceeded"
    except OSError as error:
        why = failures.message(error, "127.0.0.1", failures.address("127.0.0.1", port))
    else:
        well = 200 <= status < 400
        return well, body if well else f"HTTP probe failed with statuscode: {status}", ""
    finally:
        await transport.close()
    return False, f'Get "{server}/healthz": {why}', ""


async def _answer(transport: HttpTransport) -> tuple[int, str]:
    exchange = await transport.open("GET", "/healthz", {}, b"", limits.COMPONENT_HEALTH_SECONDS)
    body = b""
    async for piece in exchange:
        body += piece
        if len(body) > limits.COMPONENT_HEALTH_BYTES:
            break
    return exchange.status, body[: limits.COMPONENT_HEALTH_BYTES].decode(errors="replace")


async def get(request: Request, checks: Checks, kind: Kind, name: str) -> None:
    """Answer with one component."""
    if name not in checks:
        raise errors.StatusError(f"Component not found: {name}", code=500, reason="")
    entry = await _entry(checks, kind, name)
    await reading.send_stored(request, 200, kind, entry.body, negotiation.of(request, kind))


async def list_(request: Request, checks: Checks, kind: Kind, how: options.ListOptions) -> None:
    """Answer with those that are selected."""
    form = negotiation.of(request, kind)
    entries = await together.run(_entry(checks, kind, name) for name in checks)
    chosen = [entry for entry in entries if how.where is None or how.where(entry)]
    await reading.send_page(request, kind, chosen, {}, form)


async def _entry(checks: Checks, kind: Kind, name: str) -> Entry:
    """A component as if it were stored."""
    well, message, error = await checks[name]()
    condition = {"type": "Healthy", "status": "True" if well else "False", "message": message, "error": error}
    body = {"metadata": {"name": name}, "conditions": [{key: value for key, value in condition.items() if value}]}
    return Entry(kind.key(None, name), 0, 0, orjson.dumps(body), {}, {"metadata.name": name})
