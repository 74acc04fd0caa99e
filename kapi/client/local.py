"""A Transport without a socket: calls an ASGI application in this process as a fixed user.

A request runs in the caller's task. A stream runs the application in a task of its own, which `close` cancels.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from kapi.http.client import Headers, Response
from kapi.objects.user import User

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def _scope(user: User, method: str, target: str, headers: Headers, body: bytes) -> Message:
    path, _, query = target.partition("?")
    if body:
        headers = {**headers, "content-length": str(len(body))}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {},
        "extensions": {"kapi.user": user},
    }


def _headers(message: Message) -> Headers:
    return {bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1") for name, value in message.get("headers", ())}


class _Call:
    """A request in progress: the ASGI receive and send callables."""

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers: Headers = {}
        self.parts: list[bytes] = []
        self._body: bytes | None = body
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], _headers(message)
        elif message["type"] == "http.response.body":
            self.parts.append(bytes(message.get("body", b"")))
            if not message.get("more_body"):
                self._gone.set()


class _Stream(_Call):
    """A streamed response; at most 64 chunks are buffered."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(64)
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def start(self, app: App, scope: Message) -> None:
        self._task = asyncio.create_task(self._run(app, scope))
        try:
            await self._started
        except BaseException:
            await self.close()
            raise

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self.receive, self.send)
        finally:
            if not self._started.done():
                self._started.set_exception(ConnectionResetError("no answer"))
        await self._chunks.put(None)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], _headers(message)
            self._started.set_result(None)
        elif message["type"] == "http.response.body" and message.get("body"):
            await self._chunks.put(bytes(message["body"]))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def close(self) -> None:
        self._gone.set()
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


class LocalTransport:
    """A Transport to an ASGI application, with requests as `user`."""

    def __init__(self, app: App, user: User) -> None:
        self.app = app
        self._user = user
        self._open: set[_Stream] = set()

    async def request(self, method: str, target: str, headers: Headers, body: bytes, seconds: float) -> Response:
        call = _Call(body)
        await self.app(_scope(self._user, method, target, headers, body), call.receive, call.send)
        return call.status, call.headers, call.parts[0] if len(call.parts) == 1 else b"".join(call.parts)

    async def open(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> _Stream:
        stream = _Stream(body)
        await stream.start(self.app, _scope(self._user, method, target, headers, body))
        self._open = {s for s in self._open if s._task and not s._task.done()} | {stream}
        return stream

    async def close(self) -> None:
        for stream in self._open:
            await stream.close()
