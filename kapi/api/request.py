"""A request: the URL taken apart, headers and body at hand. Knows nothing of kinds."""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from kapi import limits
from kapi.api import options
from kapi.http import server
from kapi.objects import errors, offload
from kapi.objects.caching import kept
from kapi.objects.user import User

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Target(NamedTuple):
    """What a URL names, e.g. /apis/apps/v1/namespaces/d/deployments/web/scale."""

    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows a subresource: the path behind /proxy/."""
    watch: bool = False
    """The old /watch/ prefix."""


@kept(1024)
def target(path: str) -> Target | None:
    """The Target of a path below /api/V/ or /apis/G/V/; None for any other path."""
    parts = path.split("/")
    if parts[1] == "api" and len(parts) > 3:
        group, version, parts = "", parts[2], parts[3:]
    elif parts[1] == "apis" and len(parts) > 4:
        group, version, parts = parts[2], parts[3], parts[4:]
    else:
        return None
    if not parts[-1] and "proxy" not in parts:
        parts.pop()
    watch = bool(parts) and parts[0] == "watch"
    if watch:
        parts = parts[1:]
    if not parts:
        return None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and (group or parts[2] not in ("status", "finalize")):
        namespace, parts = parts[1], parts[2:]
    plural = parts[0]
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    rest = "/".join(parts[3:])
    return Target(
        group, version, plural, namespace or (name if plural == "namespaces" and not group else ""), name, subresource, rest, watch
    )


class Request:
    """One HTTP request. Headers are looked up in one pass over what the handlers need."""

    __slots__ = (
        "_body", "_query", "accept", "audit_id", "authorization", "began", "cache", "code", "content_type", "encoding", "impersonates",
        "known", "method", "packed", "path", "receive", "scope", "send", "size", "target", "turn", "user", "user_agent", "verb", "warnings",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.accept = self.content_type = self.user_agent = self.authorization = self.audit_id = self.encoding = ""
        self.impersonates = self.packed = credentials = False
        for name, value in scope["headers"]:
            if name == b"authorization":
                if not credentials:  # of several the first counts
                    self.authorization, credentials = value.decode("latin-1"), True
            elif name == b"accept":
                self.accept = _accepted(self.accept, value)
            elif name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"user-agent":
                self.user_agent = value.decode("latin-1")
            elif name == b"accept-encoding":
                self.encoding = value.decode("latin-1")
            elif name == b"audit-id":
                self.audit_id = value.decode("latin-1")
            elif name == b"content-encoding":
                self.packed = value == b"gzip"
            elif name.startswith(b"impersonate-"):
                self.impersonates = True
        self.target: Target | None = None
        self.verb = ""
        self.known = False
        """Whether the target is something that is served."""
        self.code = 200
        """Of the answer, once there is one."""
        self.size = 0
        """Bytes of its body."""
        self.began = 0.0
        """When it came, of time.perf_counter."""
        self.cache = b"no-cache, private"
        """What the answer says of keeping it."""
        self.user = User("")
        self.warnings: list[str] = []
        self._query: options.Query | None = None
        self._body: bytes | None = None
        self.turn: offload.Turn | None = None
        """To work on a large body or object."""

    @property
    def query(self) -> options.Query:
        if self._query is None:
            self._query = options.parse_query(self.scope["query_string"])
        return self._query

    def read_query(self) -> None:
        """Take the query and its selectors apart now, which takes its time for a long one. Raises BadRequest."""
        self.query.read()

    def header(self, name: bytes) -> str:
        """The last value of a header, by its lower-case name."""
        return next((v.decode("latin-1") for k, v in reversed(self.scope["headers"]) if k == name), "")

    async def body(self, work: int = 0, waits: Callable[[], bool] = lambda: False) -> bytes:
        """The whole body, unpacked if it came as gzip; once it, or the object of so many bytes it is about, may be worked on.

        `waits`: whether that includes waiting for rules or webhooks, asked for what is large.
        Raises RequestEntityTooLarge, Timeout, ConnectionError, TooMuch.
        """
        if self._body is None:
            try:
                raw = await self._read()
            except TimeoutError:
                raise errors.Timeout("Timeout: request did not complete within the allotted timeout", {}) from None
            if len(raw) > limits.REQUEST_BODY_BYTES:
                raise too_large()
            await self.take_turn(limits.REQUEST_BODY_BYTES if self.packed else max(work, len(raw)), waits)
            self._body = _unpacked(raw) if self.packed else raw
        return self._body

    async def take_turn(self, size: int, waits: Callable[[], bool] = lambda: False) -> None:
        """Wait until as much as this may be worked on, which is at once for what is small. Raises TooMuch."""
        if self.turn is not None or size < limits.OFFLOAD_BYTES:
            return
        self.turn = offload.Turn(size, waits=waits())
        connection = self.scope["extensions"].get(server.CONNECTION)
        if connection is not None:
            connection.set_turn(self.turn.ready)
        await self.turn.ready

    @asynccontextmanager
    async def without_turn(self) -> AsyncIterator[None]:
        """Within, others may work on large bodies: the request waits for somebody else. Raises TooMuch."""
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.give_back()
        yield
        if turn is not None:
            await self.take_turn(turn.size)

    def end_turn(self) -> None:
        """The work is done: what remains is to write the answer, and the body is not kept while a client takes that."""
        if self.turn is not None:
            self.turn.give_back()
            self._body = b""

    async def _read(self) -> bytes:
        message = await self.receive()
        raw: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [raw], len(raw)
            while message.get("more_body"):
                message = await self.receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limits.REQUEST_BODY_BYTES:
                    raise too_large()
            raw = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client is gone")
        return raw

    @property
    def gone(self) -> bool:
        """Whether the client has disconnected: with its connection the server clears the extensions. May be read in any thread."""
        return not self.scope.get("extensions", True)

    @property
    def manager(self) -> str:
        """The field manager where the request names none: the user agent up to the first '/'."""
        return self.user_agent.partition("/")[0] or "unknown"


def _accepted(before: str, value: bytes) -> str:
    """What is looked at of an Accept header that follows on others: whole clauses."""
    left = limits.ACCEPT_CHARACTERS - len(before)
    text = value.decode("latin-1") if len(value) <= left else value[: max(left, 0)].decode("latin-1").rpartition(",")[0]
    return f"{before},{text}" if before and text else before or text


def too_large() -> errors.RequestEntityTooLarge:
    return errors.RequestEntityTooLarge(f"Request entity too large: limit is {limits.REQUEST_BODY_BYTES}", {})


def _unpacked(raw: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        out = unpacker.decompress(raw, limits.REQUEST_BODY_BYTES + 1)
    except zlib.error as why:
        raise errors.BadRequest(f"unable to read gzip body: {why}") from None
    if len(out) > limits.REQUEST_BODY_BYTES:
        raise too_large()
    if not unpacker.eof:
        raise errors.BadRequest("unable to read gzip body: unexpected EOF")
    return out
