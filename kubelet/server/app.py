"""The application behind port 10250: a table of paths. Failures are plain text, as stock's kubelet returns them."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import orjson

from kapi import limits
from kapi.client.client import Client
from kapi.objects import errors, time, urls
from kubelet import waiting
from kubelet.kubelet import Kubelet
from kubelet.runtime import RUNNING, Container, RuntimeFailure, Usage
from kubelet.server import logs, metrics, streaming, summary
from kubelet.server.access import Access
from kubelet.status import listed
from kubelet.worker import Worker

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})


class Request:
    """A request: its path and query, and methods to respond."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.pairs = [*urls.parameters(scope["query_string"])]
        self.query = dict(self.pairs)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "") in _TRUE

    def number(self, name: str) -> int | None:
        """A query parameter as an integer. Raises BadRequest."""
        text = self.query.get(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None

    async def respond(self, status: int, body: bytes, media: bytes = b"text/plain; charset=utf-8") -> None:
        headers = [(b"content-type", media), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def json(self, what: dict[str, Any]) -> None:
        await self.respond(200, orjson.dumps(what), b"application/json")

    async def list(self, pods: Iterable[dict[str, Any]]) -> None:
        await self.json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [*pods]})

    async def stream(self, body: AsyncIterator[bytes]) -> None:
        """Send a body in chunks; stops early when the client disconnects."""
        await self.send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await self.send({"type": "http.response.body", "body": b"", "more_body": True})
        await waiting.first(self._send_body(body), self._wait_for_disconnect())

    async def _send_body(self, body: AsyncIterator[bytes]) -> None:
        async for chunk in body:
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def _wait_for_disconnect(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Nodes:
    """The server of all simulated nodes of a process. The local address of the connection selects the node."""

    def __init__(self, kubelets: Iterable[Kubelet], client: Client) -> None:
        self._apps = {address: App(kubelet, client) for kubelet in kubelets for address in kubelet.node.addresses}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        address = (scope.get("server") or ("",))[0]
        if app := self._apps.get(address):
            await app(scope, receive, send)
        else:
            await Request(scope, receive, send).respond(404, f"no node has the address {address}\n".encode())


class App:
    """The server of one node's kubelet."""

    def __init__(self, kubelet: Kubelet, client: Client) -> None:
        self._kubelet, self._access = kubelet, Access(client, kubelet.node.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, parts = Request(scope, receive, send), scope["path"].strip("/").split("/")
        try:
            await self._access.check(scope, scope["path"])
            handler = _ROUTES.get(parts[0])
            if handler is None:
                raise errors.NotFound("404 page not found")
            await handler(self, request, parts[1:])
        except errors.StatusError as why:
            await request.respond(why.code, f"{why.message}\n".encode())
        except RuntimeFailure as why:
            await request.respond(500, f"{why}\n".encode())
        except ConnectionError:
            return

    # finding what is meant ---------------------------------------------------------------------------------------------------------

    def _workers(self) -> Collection[Worker]:
        return self._kubelet.workers.values()

    def _worker(self, parts: list[str]) -> Worker:
        namespace, name = (*parts, "", "")[:2]
        for worker in self._workers():
            meta = worker.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                return worker
        raise errors.NotFound(f'pods "{name}" not found')

    def _container(self, parts: list[str]) -> tuple[Worker, Container]:
        """The newest container with a name, which must be running. Raises NotFound."""
        worker, name = self._worker(parts), (*parts, "", "", "")[2]
        found = next((c for c in worker.state.containers if c.name == name), None)
        if found is None or found.state != RUNNING:
            raise errors.NotFound(f'container not found ("{name}")')
        return worker, found

    # logs -----------------------------------------------------------------------------------------------------------------------------

    async def _logs(self, request: Request, parts: list[str]) -> None:
        worker, name = self._worker(parts), (*parts, "", "", "")[2]
        how = self._log_options(request)
        found = self._logged(worker, name, previous=how.previous)

        def running() -> bool:
            alive = any(c.id == found.id and c.state == RUNNING for c in worker.state.containers)
            return alive and worker in self._workers()

        if not found.log_path:  # a simulated container writes nothing
            await request.respond(200, b"", b"text/plain")
            return
        try:
            await request.stream(logs.read(Path(found.log_path), how, running))
        except FileNotFoundError:
            raise errors.InternalError(f"failed to try resolving symlinks in path {found.log_path}: no such file or directory") from None

    def _log_options(self, request: Request) -> logs.Options:
        since = 0.0
        if seconds := request.number("sinceSeconds"):
            since = time.now() - seconds
        elif request.query.get("sinceTime"):
            try:
                since = time.parse(request.query["sinceTime"])
            except ValueError as why:
                raise errors.BadRequest(str(why)) from None
        stream = request.query.get("stream", "All").lower()
        return logs.Options(
            follow=request.flag("follow"), previous=request.flag("previous"), timestamps=request.flag("timestamps"),
            tail=request.number("tailLines"), since=since, limit=request.number("limitBytes"), stream="" if stream == "all" else stream,
        )  # fmt: skip

    def _logged(self, worker: Worker, name: str, *, previous: bool) -> Container:
        """The container whose log is requested. Raises BadRequest with stock's texts."""
        own = [c for c in worker.state.containers if c.name == name]
        pod = worker.pod["metadata"]["name"]
        if previous:
            ended = [c for c in own[1:] if c.state != RUNNING]
            if not ended:
                raise errors.BadRequest(f'previous terminated container "{name}" in pod "{pod}" not found')
            return ended[0]
        if own:
            return own[0]
        raise errors.BadRequest(f'container "{name}" in pod "{pod}" is waiting to start: {_waiting_reason(worker.pod, name)}')

    # streams --------------------------------------------------------------------------------------------------------------------------

    async def _exec(self, request: Request, parts: list[str]) -> None:
        command = [v for k, v in request.pairs if k == "command"]
        if not command:
            raise errors.BadRequest("you must specify at least 1 command for the container")
        await self._remote(request, parts, "Exec", cmd=command)

    async def _attach(self, request: Request, parts: list[str]) -> None:
        await self._remote(request, parts, "Attach")

    async def _remote(self, request: Request, parts: list[str], method: str, **more: Any) -> None:
        """Attach to a container's streams; with a TTY there is no separate stderr."""
        worker, container = self._container(parts)
        tty = request.flag("tty")
        want = {"stdin": request.flag("input"), "stdout": request.flag("output"), "stderr": request.flag("error") and not tty, "tty": tty}
        url = await worker.dependencies.runtime.stream_url(method, container_id=container.id, **more, **want)
        await streaming.remote_command(request.scope, url, [streaming.CHANNEL_OF[name] for name in want if want[name]])

    async def _port_forward(self, request: Request, parts: list[str]) -> None:
        worker = self._worker(parts)
        sandbox = next((s for s in worker.state.sandboxes if s.ready), None)
        if sandbox is None:
            raise errors.NotFound(f'pod "{parts[1]}" has no sandbox')
        ports = [int(p) for k, v in request.pairs if k in ("ports", "port") for p in v.split(",") if p.isdecimal()]
        if len(ports) > limits.FORWARDED_PORTS:
            raise errors.BadRequest(f"at most {limits.FORWARDED_PORTS} ports can be forwarded on one connection")
        url = await worker.dependencies.runtime.stream_url("PortForward", pod_sandbox_id=sandbox.id, port=ports)
        await streaming.port_forward(request.scope, url, ports)

    # the rest -------------------------------------------------------------------------------------------------------------------------

    async def _pods(self, request: Request, parts: list[str]) -> None:
        await request.list(w.pod for w in self._workers())

    async def _running(self, request: Request, parts: list[str]) -> None:
        """The pods with running containers, without fields that only the API has."""
        await request.list(_bare(w) for w in self._workers() if any(c.state == RUNNING for c in w.state.containers))

    async def _usages(self) -> list[Usage]:
        return list(await self._kubelet.dependencies.runtime.usages())

    async def _figures(self) -> dict[str, Any]:
        started = {c.id: c.started for w in self._workers() for c in w.state.containers}
        traffic = await self._kubelet.dependencies.runtime.traffic()
        node, simulated = self._kubelet.node, self._kubelet.dependencies.settings.simulate
        figures = summary.of_nothing(node.facts) if simulated else summary.of_machine()
        pods = {w.uid: w.pod for w in self._workers()}
        return summary.of({"nodeName": node.name, **figures}, await self._usages(), pods, started, traffic)

    async def _summary(self, request: Request, parts: list[str]) -> None:
        await request.json(await self._figures())

    async def _metrics(self, request: Request, parts: list[str]) -> None:
        match parts:
            case []:
                states = [w.state for w in self._workers()]
                pods = sum(any(box.ready for box in s.sandboxes) for s in states)
                text = metrics.own(self._kubelet.node.name, pods, Counter(c.state for s in states for c in s.containers))
            case ["resource"]:
                text = metrics.resource(await self._figures())
            case ["cadvisor"]:
                known = {c.id: (w.pod, c) for w in self._workers() for c in w.state.containers}
                text = metrics.cadvisor((*known[u.container], u) for u in await self._usages() if u.container in known)
            case ["probes"]:
                text = metrics.probed({w.uid for w in self._workers()})
            case _:
                raise errors.NotFound("404 page not found")
        await request.respond(200, text, metrics.MEDIA)

    async def _healthz(self, request: Request, parts: list[str]) -> None:
        if parts not in ([], ["ping"], ["log"], ["syncloop"]):
            raise errors.NotFound("404 page not found")
        await request.respond(200, b"ok")

    async def _configz(self, request: Request, parts: list[str]) -> None:
        await request.json({"kubeletconfig": self._kubelet.dependencies.settings.shown()})


_ROUTES: dict[str, Callable[[App, Request, list[str]], Awaitable[None]]] = {
    "containerLogs": App._logs,
    "exec": App._exec,
    "attach": App._attach,
    "portForward": App._port_forward,
    "pods": App._pods,
    "runningpods": App._running,
    "configz": App._configz,
    "stats": App._summary,
    "metrics": App._metrics,
    "healthz": App._healthz,
}
"""First path segment -> handler."""


def _bare(worker: Worker) -> dict[str, Any]:
    meta = {k: worker.pod["metadata"][k] for k in ("name", "namespace", "uid")}
    names = [{"name": c.name, "image": c.image, "resources": {}} for c in worker.state.containers if c.state == RUNNING]
    return {"metadata": meta, "spec": {"containers": names}, "status": {}}


def _waiting_reason(pod: dict[str, Any], name: str) -> str:
    """The waiting reason of a container in the pod's status."""
    states = [c.get("state") or {} for c in listed(pod) if c["name"] == name]
    return next((s["waiting"].get("reason", "") for s in states if s.get("waiting")), "ContainerCreating")
