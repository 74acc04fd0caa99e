"""A real cluster inside a test: API server on a free port, controllers, scheduler and simulated nodes, in a thread of this process.

    with kapi.testing.cluster() as cluster:
        api = kubernetes.config.new_client_from_config(str(cluster.kubeconfig))

An extension API server of a test may listen on 127.0.0.1: EndpointSlices may not name that address, but a Service of type ExternalName may
name its host, here `localhost`; the port is that of the APIService.

    {"kind": "Service", "metadata": {"name": "wardle", …}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    {"kind": "APIService", …, "spec": {…, "service": {"namespace": "default", "name": "wardle", "port": 8443}, "caBundle": …}}

Its certificate is for wardle.default.svc. Who asks is told by the headers X-Remote-User, X-Remote-Group and so on of a client whose
certificate is signed by `Cluster.front_proxy_authority`.

Objects are kept in memory only. Pods are scheduled and become Running, but no container runs. In pytest the fixture `cluster`
(kapi.testing.plugin, registered by installing kapi) is the same, started once per session.
"""

import asyncio
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kapi.cli import components
from kapi.client import config
from kapi.client.client import Client
from kapi.objects.resource import NODES, SERVICE_ACCOUNTS, Resource
from kubelet.settings import simulated_names

__all__ = ["Cluster", "cluster"]


@dataclass(frozen=True)
class Cluster:
    """A running cluster and its administrator's credentials."""

    directory: Path
    port: int

    @property
    def server(self) -> str:
        """'https://127.0.0.1:34567'."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file of the administrator."""
        return self.directory / "pki" / "admin.conf"

    @property
    def authority(self) -> Path:
        """The certificate of the cluster's CA."""
        return self.directory / "pki" / "ca.crt"

    @property
    def front_proxy_authority(self) -> Path:
        """The certificate of the CA that signs the cluster's requests to extension API servers."""
        return self.directory / "pki" / "front-proxy-ca.crt"

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return (self.directory / "tokens.csv").read_text().partition(",")[0]


@contextmanager
def cluster(nodes: int = 1) -> Iterator[Cluster]:
    """A ready cluster: its `nodes` simulated nodes (node-0 …) and the ServiceAccount of namespace default exist.

    Nothing of it is left afterwards: no thread, no file, and the process as it was. Raises ValueError for fewer nodes than one.
    """
    if not isinstance(nodes, int) or nodes < 1:
        raise ValueError(f"nodes must be an integer of at least 1, not {nodes!r}")
    with _directory() as directory:
        started = Cluster(directory, _free_port())
        running = _Running(components.SimulatedSettings(started.directory, started.port, "memory:", nodes))
        running.start()
        try:
            yield started
        finally:
            running.stop()


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory that is removed when the block ends or this process dies: a helper process waits for its pipe to close."""
    path = tempfile.mkdtemp(prefix="kapi-testing-")
    script = 'trap "" HUP INT TERM; read _; rm -rf -- "$1"'
    command = ["sh", "-c", script, "kapi-testing", path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, cwd="/"):
        yield Path(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Running:
    """The thread and event loop of the cluster."""

    def __init__(self, settings: components.SimulatedSettings) -> None:
        self._settings = settings
        self._ready: Future[None] = Future()
        self._stop: Callable[[], Any] = lambda: None
        self._thread = threading.Thread(target=self._run, name="kapi-cluster", daemon=True)

    def start(self) -> None:
        """Start the cluster; returns when it is ready. Raises the exception that prevented it."""
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        self._stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            return
        except BaseException as why:
            if self._ready.done():
                raise
            while isinstance(why, BaseExceptionGroup):
                why = why.exceptions[0]
            self._ready.set_exception(why)

    async def _serve(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        registered = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(components.simulated_cluster(self._settings, registered.set))
            await registered.wait()
            await _wait_until_usable(self._settings)
            self._ready.set_result(None)


async def _wait_until_usable(settings: components.SimulatedSettings) -> None:
    """Wait until pods can be created and scheduled."""
    client = config.connect(config.from_kubeconfig(settings.data_dir / "pki" / "admin.conf"), agent="kapi-testing")
    try:
        await _wait_for(client, NODES, None, set(simulated_names(settings.node_name, settings.nodes)))
        await _wait_for(client, SERVICE_ACCOUNTS, "default", {"default"})
    finally:
        await client.close()


async def _wait_for(client: Client, resource: Resource, namespace: str | None, names: set[str]) -> None:
    """Wait until all these objects exist (nodes: are Ready)."""
    missing = set(names)
    async with aclosing(client.watch(resource, namespace, version="0")) as events:  # type: ignore[type-var]
        async for _, obj in events:
            conditions = (obj.get("status") or {}).get("conditions") or ()
            if resource is not NODES or any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                missing.discard(obj["metadata"]["name"])
            if not missing:
                return
