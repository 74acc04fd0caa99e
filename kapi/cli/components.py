"""Each component alone: `kapi apiserver`, `controllers`, `scheduler`, `proxy`; and `kapi control`, the latter three in one process.

They speak HTTPS to any API server, ours or a stock one, as the identity of a kubeconfig.
"""

import asyncio
import contextlib
import errno
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import certs
from certs import checking
from kapi import logs, process
from kapi.cli import advice, datadir, gc_tuning, locks
from kapi.client import config, health
from kapi.client.client import Client
from kapi.documents import version
from kapi.objects import errors
from kapi.process import Failure, Run, notify_ready, private, reason
from kapi.settings.logs import configurable
from kapi.settings.types import (
    CIDR,
    Address,
    Count,
    Directory,
    ExistingDirectory,
    ExistingFile,
    NodeName,
    Port,
    Storage,
    TableName,
    check_pod_ranges,
)

log = logging.getLogger(__name__)
_PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)
"""Errors of bind that concern the port."""
def supervise(name: str, settings: Any, main: Coroutine[Any, Any, None], run: Run = asyncio.run) -> int:
    """Run a component that writes into the data directory, until SIGTERM or SIGINT. The exit status. Raises Failure."""
    with private():
        return process.supervise(name, version.VERSION["gitVersion"], settings, main, run)


@dataclass(frozen=True)
class ClientSettings:
    """A component that is a client of an API server."""

    kubeconfig: ExistingFile | None = None
    """File with the API server's address and the user's credentials (default: $KUBECONFIG, then ~/.kube/config)."""


def standalone(name: str) -> type[Any]:
    """The settings class of a component in its own process: that of its module, with a kubeconfig."""
    module: Any = import_module(f"kapi.{name}.settings").Settings

    @dataclass(frozen=True)
    class Standalone(ClientSettings, module):  # type: ignore[misc]
        pass

    return Standalone


@contextlib.asynccontextmanager
async def client(kubeconfig: Path | None, agent: str) -> AsyncIterator[Client]:
    """A client for a component; `agent` is its name in managedFields and audit logs. Raises Failure."""
    try:
        connected = config.connect(config.from_kubeconfig(kubeconfig or ""), agent=agent)
    except (OSError, config.ConfigError) as why:
        raise Failure(f"There is no usable kubeconfig: {reason(why)}. Name one with --kubeconfig.") from None
    try:
        yield connected
    finally:
        await connected.close()


def keys(settings: Any, nodes: dict[str, tuple[str, ...]] | None = None) -> Path:
    """The directory of a server's keys and certificates, which are created or renewed where needed. Raises Failure."""
    from kapi.apiserver import settings as servers

    try:
        return servers.certificates(settings, nodes)
    except certs.Unusable as why:
        command = advice.command("certs", settings.data_dir, "replace", why.name)
        restore = f"Restore it from a backup, or replace it ({checking.LOST[why.name]}) with: {command}"
        raise Failure(f"The keys in {settings.data_dir / 'pki'} can't be used: {why}. {restore}") from None


@contextlib.contextmanager
def start_failures(served: Any) -> Iterator[None]:
    """Turn the errors that keep an API server from starting into Failure."""
    from kapi import storage
    from kapi.access import token_file

    try:
        yield
    except (storage.Unusable, token_file.Malformed) as why:
        raise Failure(sentence(str(why))) from None
    except OSError as why:
        if why.errno == errno.EADDRNOTAVAIL:
            address = served.bind_address or served.advertise_address
            raise Failure(f"This machine has no address {address}. Name another with --bind-address.") from None
        if why.errno in _PORT_ERRORS and why.filename is None:
            raise Failure(f"Port {served.port} can't be used: {why.strerror}. Choose another with --port.") from None
        raise


async def apiserver(settings: Any) -> None:
    """The API server."""
    from kapi.apiserver import assembly as module

    with in_data_directory(settings, "apiserver"), gc_tuning.of_server() as started:
        await module.run(settings, keys(settings), lambda: _ready(started))


@contextlib.contextmanager
def in_data_directory(settings: Any, name: str) -> Iterator[None]:
    """Prepare the data directory, and hold the lock of the process `name`, inherited or acquired here. Raises Failure."""
    directory = settings.data_dir.resolve()
    lock = directory / "run" / f"{name}.lock"
    with contextlib.ExitStack() as undo:
        inherited = locks.is_held(lock)
        with contextlib.nullcontext() if inherited else datadir.locked(directory, name):
            for mended in datadir.prepare(directory):
                log.warning("Mended", extra=logs.fields(what=mended))
        try:
            if not inherited:
                undo.callback(os.close, locks.acquire(lock))
            with start_failures(settings):
                yield
        except BlockingIOError:
            raise Failure(f"The data in {directory} is in use by another server.") from None
        except ssl.SSLError as why:
            raise Failure(f"The keys and certificates in {directory / 'pki'} can't be used: {why.reason or why}.") from None
        except OSError as why:
            raise datadir.unusable(directory, why) from None
        except (errors.InternalError, BaseExceptionGroup) as why:
            if refused := next((e for e in _leaves(why) if isinstance(e, errors.InternalError)), None):
                reason = str(refused).removeprefix("storage: ")
                way = " Make room on its disk and try again." if "full" in reason else ""
                raise Failure(f"The data in {directory} can't be written: {reason}.{way}") from None
            raise


def _leaves(why: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, and in the groups in it."""
    if isinstance(why, BaseExceptionGroup):
        for inner in why.exceptions:
            yield from _leaves(inner)
    else:
        yield why


def _ready(started: Callable[[], None]) -> None:
    started()
    notify_ready()


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


async def controllers(settings: Any) -> None:
    """The controllers."""
    from kapi import controllers as module

    directory = settings.kubeconfig.parent if settings.kubeconfig else None
    async with (
        client(settings.kubeconfig, "kube-controller-manager") as api,
        health.serving(api, settings.bind_address, settings.secure_port, directory) as figures,
    ):  # fmt: skip
        notify_ready()
        authority = config.from_kubeconfig(settings.kubeconfig or "").authority.decode()
        await module.run(api, module.with_keys(replace(settings, cluster_ca=authority), directory), figures)


async def scheduler(settings: Any) -> None:
    """The scheduler."""
    from kapi import scheduler as module

    directory = settings.kubeconfig.parent if settings.kubeconfig else None
    async with (
        client(settings.kubeconfig, "kube-scheduler") as api,
        health.serving(api, settings.bind_address, settings.secure_port, directory) as figures,
    ):
        notify_ready()
        await module.run(api, settings, figures=figures)


async def proxy(settings: Any) -> None:
    """The service proxy."""
    from kapi import proxy as module

    async with client(settings.kubeconfig, "kube-proxy") as api:
        notify_ready()
        await module.run(api, settings)


@dataclass(frozen=True)
class ControlSettings:
    """Controllers, scheduler and proxy in one process."""

    pki: ExistingDirectory = Path("pki")
    """Directory with controller-manager.conf, scheduler.conf and proxy.conf."""
    proxy: bool = True
    """Run the service proxy too (needs root and nftables)."""
    table: TableName = "kapi"
    """Name of the proxy's nftables table."""
    bind_address: Address = "127.0.0.1"
    """Address of the health ports, 10257 and 10259."""


async def control(settings: ControlSettings) -> None:
    """Everything of floor 6 but the kubelet, each under its own identity."""
    for name in ("controller-manager", "scheduler", *(["proxy"] if settings.proxy else [])):
        if not (file := settings.pki / f"{name}.conf").is_file():
            raise Failure(f"There is no kubeconfig {file}: name a cluster's directory of keys with --pki.")
    address = settings.bind_address
    async with asyncio.TaskGroup() as group:
        kubeconfig = settings.pki / "controller-manager.conf"
        group.create_task(controllers(standalone("controllers")(kubeconfig=kubeconfig, bind_address=address)))
        group.create_task(scheduler(standalone("scheduler")(kubeconfig=settings.pki / "scheduler.conf", bind_address=address)))
        if settings.proxy:
            group.create_task(proxy(standalone("proxy")(kubeconfig=settings.pki / "proxy.conf", table=settings.table)))


async def simulated(settings: Any) -> None:
    """A whole simulated cluster in a process of its own."""
    with gc_tuning.of_server() as started:
        await simulated_cluster(settings, lambda: _ready(started))


async def simulated_cluster(settings: Any, ready: Callable[[], None]) -> None:
    """Run a simulated cluster in this process: the components call the API server without a socket, and no container runs."""
    from kapi import controllers as controller_room
    from kapi import scheduler as scheduler_room
    from kapi.api.components import running
    from kapi.apiserver import assembly as server_room
    from kapi.apiserver.settings import Settings
    from kapi.client.local import LocalTransport
    from kapi.objects.user import MASTERS, User
    from kubelet import assembly
    from kubelet.settings import Settings as KubeletSettings

    def local(app: Any, name: str) -> Client:
        return Client(LocalTransport(app, User(f"system:{name}", (MASTERS, "system:authenticated"))), agent=name)

    served = Settings(data_dir=settings.data_dir, port=settings.port, storage=settings.storage, bind_address=settings.bind_address)
    with in_data_directory(served, "simulated"):
        pki = keys(served)
        nodes = KubeletSettings(
            simulate=True, nodes=settings.nodes, node_name=settings.node_name, control_plane=True, port=0,
            root_dir=settings.data_dir.absolute() / "kubelet", pod_cidr=settings.pod_cidr,
            tls_cert_file=pki / "apiserver.crt", tls_private_key_file=pki / "apiserver.key", client_ca_file=pki / "ca.crt",
        )  # fmt: skip
        authority = controller_room.with_keys(controller_room.Settings(cluster_ca=(pki / "ca.crt").read_text()), pki)
        async with server_room.serving(served, pki) as server, asyncio.TaskGroup() as group:
            parts = {
                "scheduler": scheduler_room.run(local(server.app, "kube-scheduler"), scheduler_room.Settings()),
                "controller-manager": controller_room.run(local(server.app, "kube-controller-manager"), authority),
            }
            server.app.components.update({name: running(group.create_task(part)) for name, part in parts.items()})
            group.create_task(assembly.run(nodes, local(server.app, "kubelet"), ready))


@dataclass(frozen=True)
class SimulatedSettings:
    """A simulated cluster."""

    data_dir: Directory = Path("kapi-data")
    """Directory of the cluster."""
    port: Port = 6443
    """Port of the API server."""
    storage: Storage = ""
    """Where objects are kept: "memory:" or the path of an SQLite file; empty: kapi.db in the data directory."""
    nodes: Count = 1
    """How many nodes."""
    node_name: NodeName = ""
    """Name of the nodes: NAME, or of several NAME-0 and so on; empty: node-0 and so on."""
    bind_address: Address = "127.0.0.1"
    """Address the API server listens on, beside 127.0.0.1; 0.0.0.0: all there are."""
    pod_cidr: CIDR = "10.244.0.0/24"
    """Addresses of the first node's pods; the other nodes' follow."""

    def __post_init__(self) -> None:
        check_pod_ranges(self.pod_cidr, self.nodes)


def _runner(part: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], int]:
    def run(settings: Any) -> int:
        with gc_tuning.of_client():
            return supervise(part.__name__, settings, part(settings))

    return run


def _server(part: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], int]:
    """A component with many connections: on uvloop, which takes 12 MB that other components save."""

    def run(settings: Any) -> int:
        import uvloop

        return supervise(part.__name__, settings, part(settings), uvloop.run)

    return run


_COMMANDS: dict[str, tuple[Callable[[], type[Any]], Callable[[Any], int]]] = {
    "apiserver": (lambda: import_module("kapi.apiserver.settings").Settings, _server(apiserver)),
    "controllers": (partial(standalone, "controllers"), _runner(controllers)),
    "scheduler": (partial(standalone, "scheduler"), _runner(scheduler)),
    "proxy": (partial(standalone, "proxy"), _runner(proxy)),
    "control": (lambda: ControlSettings, _runner(control)),
    "simulated": (lambda: SimulatedSettings, _server(simulated)),
}


def command(name: str) -> tuple[type[Any], Callable[[Any], int]]:
    """The settings class of a command and the function that runs it; only its own module is imported."""
    settings, run = _COMMANDS[name]
    return configurable(settings()), run
