"""Each component alone: `kapi apiserver`, `controllers`, `scheduler`, `proxy`; and `kapi control`, the latter three in one process.

They speak HTTPS to any API server, ours or a stock one, as the identity of a kubeconfig.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from kapi.cli import datadir, holding, processes
from kapi.cli.progress import Failure
from kapi.client import config, health
from kapi.client.client import Client
from kapi.objects import errors

log = logging.getLogger(__name__)
_PORT_ERRORS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
"""What a socket's bind says of a port or address."""
GARBAGE = (50_000, 20, 50)
"""How seldom garbage is looked for: objects of the informers live long (a quarter of the scheduler's time went there)."""


def supervise(main: Coroutine[Any, Any, None], run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run) -> int:
    """Run a component until SIGTERM or SIGINT, then end it in order. The exit status."""
    os.umask(datadir.PRIVATE)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    gc.set_threshold(*GARBAGE)

    async def until_told() -> None:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    try:
        run(until_told())
    except BaseExceptionGroup as several:
        first = several.exceptions[0]
        if isinstance(first, Failure):
            raise first from None
        raise
    return 0


@dataclass(frozen=True)
class ClientSettings:
    """A component that is a client of an API server."""

    kubeconfig: Path | None = None
    """File that says where the API server is and who we are (default: $KUBECONFIG, then ~/.kube/config)."""


def alone(name: str) -> type[Any]:
    """The settings of a component with a process to itself: those of its room, and a kubeconfig."""
    room: Any = import_module(f"kapi.{name}.settings").Settings

    @dataclass(frozen=True)
    class Alone(ClientSettings, room):  # type: ignore[misc]
        pass

    return Alone


@contextlib.asynccontextmanager
async def client(kubeconfig: Path | None, agent: str) -> AsyncIterator[Client]:
    """A client for a component; `agent` is what managedFields and audit logs call it."""
    try:
        endpoint = config.from_kubeconfig(kubeconfig or "")
    except (OSError, config.ConfigError) as why:
        raise Failure(f"There is no usable kubeconfig: {why}. Name one with --kubeconfig.") from None
    made = config.connect(endpoint, agent=agent)
    try:
        yield made
    finally:
        await made.close()


async def apiserver(settings: Any) -> None:
    """The API server."""
    from kapi import storage
    from kapi.api import apiserver as room
    from kapi.api.settings import certificates

    with _at_home(settings, "apiserver"):
        try:
            await room.run(settings, certificates(settings), processes.say_ready)
        except storage.Unusable as why:
            raise Failure(_sentence(str(why))) from None


@contextlib.contextmanager
def _at_home(settings: Any, name: str) -> Iterator[None]:
    """A server in its data directory, which holds the lock of the process `name`, inherited or taken here. Raises Failure."""
    directory = settings.data_dir.resolve()
    lock = directory / "run" / f"{name}.lock"
    with contextlib.ExitStack() as undo:
        inherited = holding.holds(lock)
        with contextlib.nullcontext() if inherited else datadir.entered(directory, name):
            for mended in datadir.prepare(directory):
                log.warning("%s", mended)
        try:
            if not inherited:
                undo.callback(os.close, holding.hold(lock))
            yield
        except BlockingIOError:
            raise Failure(f"The data in {directory} is in use by another server.") from None
        except ssl.SSLError as why:
            raise Failure(f"The keys and certificates in {directory / 'pki'} can't be used: {why.reason or why}.") from None
        except OSError as why:
            if why.filename or why.errno not in _PORT_ERRORS:
                raise datadir.unusable(directory, why) from None
            raise Failure(f"Port {settings.port} can't be used: {why.strerror}. Choose another with --port.") from None
        except (errors.InternalError, BaseExceptionGroup) as why:
            if refused := next((e for e in _leaves(why) if isinstance(e, errors.InternalError)), None):
                raise Failure(f"The data in {directory} can't be written: {refused}.") from None
            raise


def _leaves(why: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, and in the groups in it."""
    if isinstance(why, BaseExceptionGroup):
        for inner in why.exceptions:
            yield from _leaves(inner)
    else:
        yield why


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


async def controllers(settings: Any) -> None:
    """The controllers."""
    from kapi import controllers as room

    directory = settings.kubeconfig.parent if settings.kubeconfig else None
    async with (
        client(settings.kubeconfig, "kube-controller-manager") as api, health.serving(api, settings.secure_port, directory) as figures,
    ):  # fmt: skip
        processes.say_ready()
        authority = config.from_kubeconfig(settings.kubeconfig or "").authority.decode()
        await room.run(api, room.with_keys(replace(settings, cluster_ca=authority), directory), figures)


async def scheduler(settings: Any) -> None:
    """The scheduler."""
    from kapi import scheduler as room

    directory = settings.kubeconfig.parent if settings.kubeconfig else None
    async with client(settings.kubeconfig, "kube-scheduler") as api, health.serving(api, settings.secure_port, directory) as figures:
        processes.say_ready()
        await room.run(api, settings, figures=figures)


async def proxy(settings: Any) -> None:
    """The service proxy."""
    from kapi import proxy as room

    async with client(settings.kubeconfig, "kube-proxy") as api:
        processes.say_ready()
        await room.run(api, settings)


@dataclass(frozen=True)
class ControlSettings:
    """Controllers, scheduler and proxy in one process."""

    pki: Path = Path("pki")
    """Directory with controller-manager.conf, scheduler.conf and proxy.conf."""
    proxy: bool = True
    """Run the service proxy too (needs root and nftables)."""
    table: str = "kapi"
    """Name of the proxy's nftables table."""


async def control(settings: ControlSettings) -> None:
    """Everything of floor 6 but the kubelet, each under its own identity."""
    async with asyncio.TaskGroup() as group:
        group.create_task(controllers(alone("controllers")(kubeconfig=settings.pki / "controller-manager.conf")))
        group.create_task(scheduler(alone("scheduler")(kubeconfig=settings.pki / "scheduler.conf")))
        if settings.proxy:
            group.create_task(proxy(alone("proxy")(kubeconfig=settings.pki / "proxy.conf", table=settings.table)))


async def simulated(settings: Any, ready: Callable[[], None] = processes.say_ready) -> None:
    """A whole cluster in this process: the components are clients of the API server without a socket, the nodes only pretend."""
    from kapi import controllers as controller_room
    from kapi import scheduler as scheduler_room
    from kapi import storage
    from kapi.api import apiserver as server_room
    from kapi.api.settings import Settings, certificates
    from kapi.client.local import LocalTransport
    from kapi.objects.user import MASTERS, User
    from kubelet import assembly
    from kubelet.settings import Settings as KubeletSettings

    def local(app: Any, name: str) -> Client:
        return Client(LocalTransport(app, User(f"system:{name}", (MASTERS, "system:authenticated"))), agent=name)

    served = Settings(data_dir=settings.data_dir, port=settings.port, storage=settings.storage)
    with _at_home(settings, "simulated"):
        pki = certificates(served)
        nodes = KubeletSettings(
            simulate=True, nodes=settings.nodes, node_name=settings.node_name, port=0, root_dir=str(settings.data_dir / "kubelet"),
            tls_cert_file=str(pki / "apiserver.crt"), tls_private_key_file=str(pki / "apiserver.key"), client_ca_file=str(pki / "ca.crt"),
        )  # fmt: skip
        authority = controller_room.Settings(cluster_ca=(pki / "ca.crt").read_text())
        try:
            async with server_room.serving(served, pki) as app, asyncio.TaskGroup() as group:
                group.create_task(controller_room.run(local(app, "kube-controller-manager"), authority))
                group.create_task(scheduler_room.run(local(app, "kube-scheduler"), scheduler_room.Settings()))
                group.create_task(assembly.run(nodes, local(app, "kubelet"), ready))
        except storage.Unusable as why:
            raise Failure(_sentence(str(why))) from None


@dataclass(frozen=True)
class SimulatedSettings:
    """A simulated cluster."""

    data_dir: Path = Path("kapi-data")
    """Directory of the cluster."""
    port: int = 6443
    """Port of the API server."""
    storage: str = ""
    """Where objects are kept: "memory:" or the path of an SQLite file; empty: kapi.db in the data directory."""
    nodes: int = 1
    """How many nodes."""
    node_name: str = "sim"
    """Name of the node; with several, what their names start with."""


def _runner(part: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], int]:
    return lambda settings: supervise(part(settings))


def _server(part: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], int]:
    """A component that serves many: on uvloop, whose 12 MB the others save."""

    def run(settings: Any) -> int:
        import uvloop

        return supervise(part(settings), uvloop.run)

    return run


_COMMANDS: dict[str, tuple[Callable[[], type[Any]], Callable[[Any], int]]] = {
    "apiserver": (lambda: import_module("kapi.api.settings").Settings, _server(apiserver)),
    "controllers": (partial(alone, "controllers"), _runner(controllers)),
    "scheduler": (partial(alone, "scheduler"), _runner(scheduler)),
    "proxy": (partial(alone, "proxy"), _runner(proxy)),
    "control": (lambda: ControlSettings, _runner(control)),
    "simulated": (lambda: SimulatedSettings, _server(simulated)),
}


def command(name: str) -> tuple[type[Any], Callable[[Any], int]]:
    """The settings class of a command and what runs it; only its own room is loaded."""
    settings, run = _COMMANDS[name]
    return settings(), run
