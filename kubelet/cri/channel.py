"""A gRPC channel: calls by message names (cri/messages.py); failures become RuntimeFailure.

The only module that loads grpcio (15 MB resident, 12 of them pages of its library), so simulated nodes do not import it.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from kubelet.cri.messages import MESSAGES
from kubelet.runtime import RuntimeFailure

_OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


def _failure(error: grpc.aio.AioRpcError) -> RuntimeFailure:
    """NOT_FOUND -> 'NotFound', as Go prints codes."""
    return RuntimeFailure(error.code().name.title().replace("_", ""), error.details() or "")


class Channel:
    """A channel to `endpoint`, e.g. Channel("unix:///run/containerd/containerd.sock"). It connects with the first call."""

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)

    async def close(self) -> None:
        """Cancel calls in progress."""
        await self._channel.close()

    async def call(self, method: str, request: str, response: str, seconds: float, /, **fields: Any) -> Any:
        """Call `method`, e.g. "/runtime.v1.RuntimeService/Version", with `fields`. Raises RuntimeFailure."""
        make = MESSAGES[request]
        call = self._channel.unary_unary(method, make.SerializeToString, MESSAGES[response].FromString)
        try:
            return await call(make(**fields), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None

    async def stream(self, method: str, request: str, response: str, namespace: str = "", /, **fields: Any) -> AsyncIterator[Any]:
        """The responses of a streaming call; `namespace` is containerd's. Raises RuntimeFailure."""
        make = MESSAGES[request]
        call = self._channel.unary_stream(method, make.SerializeToString, MESSAGES[response].FromString)
        try:
            async for response in call(make(**fields), metadata=(("containerd-namespace", namespace),) if namespace else ()):
                yield response
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
