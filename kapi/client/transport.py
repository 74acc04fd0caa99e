"""What the client asks of whatever carries its requests: a socket (kapi.http.client) or an application in this process (local.py).

Failures below HTTP are OSError (ConnectionError, TimeoutError); answers that are failures are the client's business.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from kapi.http.client import Answer, Headers


class Stream(Protocol):
    """An answer whose body arrives in pieces; must be closed."""

    status: int
    headers: Headers

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None: ...


class Transport(Protocol):
    async def request(self, method: str, target: str, headers: Headers, body: bytes, seconds: float) -> Answer:
        """One request and its whole answer; `target` is path and query, `seconds` the longest silence. Raises OSError."""
        ...

    async def open(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> Stream:
        """One request whose answer is read in pieces; `seconds` is the longest silence between two of them."""
        ...

    async def close(self) -> None: ...
