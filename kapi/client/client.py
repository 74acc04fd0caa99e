"""The API client: one method per verb, JSON objects in and out; error responses are raised as kapi.objects.errors.

`on_write` and `on_delete` are called for this client's own successful writes; the informers set them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from kapi.client.transport import Stream, Transport
from kapi.http.client import Headers, Response
from kapi.objects import errors, nested
from kapi.objects.errors import StatusError
from kapi.objects.meta import Object
from kapi.objects.resource import Resource

PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
JSON = "application/json"
PARTIAL = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
REQUEST_TIMEOUT = 65.0
RETRIES = 10
RETURNS_OBJECT = frozenset(["", "status", "finalize", "approval", "resize", "ephemeralcontainers"])
"""Subresources whose response is the object itself."""


def _path_and_query(path: str, query: dict[str, Any]) -> str:
    """The request target; empty values are omitted, True becomes 'true'."""
    parameters = {k: "true" if v is True else v for k, v in query.items() if v not in ("", None, False)}
    return quote(path, safe="/:@!$&'()*+,;=~") + ("?" + urlencode(parameters) if parameters else "")


def _status_error(status: int, headers: Headers, body: bytes) -> StatusError:
    """The exception for an error response; a body that is not a Status becomes its message."""
    try:
        parsed = nested.received(body)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, dict) and parsed.get("kind") == "Status":
        return errors.from_status({"code": status, **parsed})
    return errors.from_status({"code": status, "message": body.decode("utf-8", "replace").strip() or f"the server answered {status}"})


class Client:
    """A client of one server as one user. `agent` is the User-Agent, and thereby the field manager, of its requests."""

    def __init__(self, transport: Transport, *, agent: str = "kapi") -> None:
        self.transport = transport
        self.on_write: Callable[[Resource, Object], None] | None = None
        self.on_delete: Callable[[Resource, str | None, str, str], None] | None = None
        self._headers = {"User-Agent": agent, "Accept": "application/json"}

    async def close(self) -> None:
        await self.transport.close()

    async def raw(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers | None = None,
        *,
        seconds: float = REQUEST_TIMEOUT,
        retries: int = RETRIES,
    ) -> Response:
        """Send one request; 429 and 503 with Retry-After are retried after that time. Raises only OSError."""
        merged = {**self._headers, **headers} if headers else self._headers
        while True:
            response = await self.transport.request(method, path, merged, body, seconds)
            after = response[1].get("retry-after", "")
            if response[0] not in (429, 503) or not after.isdigit() or retries <= 0:
                return response
            retries -= 1
            await asyncio.sleep(int(after))

    async def send(self, method: str, path: str, obj: Any = None, *, media: str = JSON, accept: str = "", **query: Any) -> Any:
        """Send one request with a JSON body; returns the parsed response. Raises StatusError, OSError."""
        headers = {"Content-Type": media} if obj is not None else {}
        if accept:
            headers["Accept"] = accept
        sent = orjson.dumps(obj) if obj is not None else b""
        status, answered, body = await self.raw(method, _path_and_query(path, query), sent, headers)
        if not 200 <= status < 300:
            raise _status_error(status, answered, body)
        return nested.received(body)

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, subresource: str = "", **query: Any) -> Object:
        found: Object = await self.send("GET", resource.path(namespace, name, subresource), **query)
        return found

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_: str = "",
        version: str = "",
        metadata: bool = False,
        **query: Any,
    ) -> Object:
        """The list. `metadata`: as PartialObjectMetadata; `version`: resourceVersion; `limit` and `continue_`: one page."""
        query |= {"labelSelector": labels, "fieldSelector": fields, "resourceVersion": version}
        query |= {"limit": limit or None, "continue": continue_}
        accept = PARTIAL.format("List") if metadata else ""
        listed: Object = await self.send("GET", resource.path(namespace), accept=accept, **query)
        return listed

    async def create(self, resource: Resource, obj: Object, *, namespace: str | None = None, **query: Any) -> Object:
        where = namespace or obj.get("metadata", {}).get("namespace")
        return self._wrote(resource, query, await self.send("POST", resource.path(where), obj, **query))

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "", **query: Any) -> Object:
        meta = obj["metadata"]
        done = await self.send("PUT", resource.path(meta.get("namespace"), meta["name"], subresource), obj, **query)
        return self._wrote(resource, query, done) if subresource in RETURNS_OBJECT else done

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        kind: str = "merge",
        subresource: str = "",
        **query: Any,
    ) -> Object:
        """`kind` is merge, strategic, json or apply (with `fieldManager`, and `force=True` to take over conflicting fields)."""
        path = resource.path(namespace, name, subresource)
        done = await self.send("PATCH", path, patch, media=PATCHES[kind], **query)
        return self._wrote(resource, query, done) if subresource in RETURNS_OBJECT else done

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        version: str | None = None,
        grace: int | None = None,
        propagation: str | None = None,
        **query: Any,
    ) -> Object:
        """The object while it is terminating, else a Status. `propagation` is Foreground, Background or Orphan."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation:
            options["propagationPolicy"] = propagation
        if uid or version:
            options["preconditions"] = {k: v for k, v in (("uid", uid), ("resourceVersion", version)) if v}
        done: Object = await self.send("DELETE", resource.path(namespace, name), options, **query)
        if not query.get("dryRun"):
            self._deleted(resource, namespace, name, uid, done)
        return done

    async def delete_collection(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = "", propagation: str = "", **query: Any
    ) -> Object:
        query |= {"labelSelector": labels, "fieldSelector": fields, "propagationPolicy": propagation}
        done: Object = await self.send("DELETE", resource.path(namespace), **query)
        return done

    async def post(self, path: str, obj: Object, **query: Any) -> Object:
        """POST to a path of its own, e.g. resource.path("default", "web", "eviction")."""
        done: Object = await self.send("POST", path, obj, **query)
        return done

    async def stream(self, method: str, path: str, *, accept: str = "", seconds: float | None = None, **query: Any) -> Stream:
        """A streamed response (logs); the caller must close it. Raises StatusError, OSError."""
        headers = {**self._headers, "Accept": accept} if accept else self._headers
        stream = await self.transport.open(method, _path_and_query(path, query), headers, b"", seconds)
        if 200 <= stream.status < 300:
            return stream
        try:
            body = b"".join([chunk async for chunk in stream])
        finally:
            await stream.close()
        raise _status_error(stream.status, stream.headers, body)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        version: str = "",
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
        timeout: int | None = None,  # noqa: ASYNC109 (timeoutSeconds of the API)
        metadata: bool = False,
        **query: Any,
    ) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of every change after `version`, until the server ends it after `timeout` seconds. Close it with `aclosing`.

        An ERROR event is raised as a StatusError: Gone means that the server no longer has the events after `version`.
        """
        query |= {"labelSelector": labels, "fieldSelector": fields, "resourceVersion": version, "timeoutSeconds": timeout}
        accept = PARTIAL.format("") if metadata else ""
        query |= {"watch": True, "allowWatchBookmarks": bookmarks}
        silence = timeout + 30 if timeout else None
        stream = await self.stream("GET", resource.path(namespace), accept=accept, seconds=silence, **query)
        parts: list[bytes] = []
        try:
            async for chunk in stream:
                parts.append(chunk)
                if b"\n" not in chunk:
                    continue
                *lines, rest = b"".join(parts).split(b"\n")
                parts = [rest] if rest else []
                for line in lines:
                    if line:
                        event = nested.received(line)
                        if event["type"] == "ERROR":
                            raise errors.from_status(event["object"])
                        yield event["type"], event["object"]
        finally:
            await stream.close()

    def _wrote(self, resource: Resource, query: dict[str, Any], obj: Object) -> Object:
        if self.on_write is not None and not query.get("dryRun"):
            self.on_write(resource, obj)
        return obj

    def _deleted(self, resource: Resource, namespace: str | None, name: str, uid: str | None, done: Object) -> None:
        meta = done.get("metadata") or {}
        if self.on_write is not None and meta.get("deletionTimestamp"):
            self.on_write(resource, done)
        elif self.on_delete is not None:
            self.on_delete(resource, namespace, name, uid or meta.get("uid") or (done.get("details") or {}).get("uid") or "")
