"""The interface of transports: HTTPS (kapi.http.client) or an application in this process (local.py).

Failures below HTTP are OSError (ConnectionError, TimeoutError). HTTP error responses are returned; the client raises them.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from kapi.http.client import Headers, Response


class Stream(Protocol):
    """A streamed response, which must be closed."""

    status: int
    headers: Headers

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None: ...


class Transport(Protocol):
    async def request(self, method: str, target: str, headers: Headers, body: bytes, seconds: float) -> Response:
        """Send a request and return the complete response. `target`: path and query; `seconds`: idle timeout. Raises OSError."""
        ...

    async def open(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> Stream:
        """Send a request and return the streamed response; `seconds` is the idle timeout between chunks."""
        ...

    async def close(self) -> None: ...
