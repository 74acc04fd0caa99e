"""What happens in the runtime, as it happens, so that nothing has to be polled.

containerd's own event stream is asked first (every version has it: a task's exit names the container); a runtime without it is
asked for CRI's GetContainerEvents. With neither, `stream` raises RuntimeFailure("Unimplemented") and kubelet.pleg lists now and then.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from kubelet.cri.messages import MESSAGES
from kubelet.runtime import Change, RuntimeFailure

_NAMESPACE = "k8s.io"
_FILTERS = ['topic=="/tasks/exit"', 'topic=="/tasks/oom"']
_STOPPED, _DELETED = 2, 3


async def stream(channel: Any) -> AsyncIterator[Change]:
    """Yields an empty Change when it begins to listen, then one per exit."""
    try:
        async for change in _containerd(channel):
            yield change
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise RuntimeFailure(error.code().name.title().replace("_", ""), error.details() or "") from None
    else:
        return
    try:
        async for change in _cri(channel):
            yield change
    except grpc.aio.AioRpcError as error:
        raise RuntimeFailure(error.code().name.title().replace("_", ""), error.details() or "") from None


async def _containerd(channel: Any) -> AsyncIterator[Change]:
    call = channel.unary_stream(
        "/containerd.services.events.v1.Events/Subscribe",
        request_serializer=MESSAGES["SubscribeRequest"].SerializeToString,
        response_deserializer=MESSAGES["Envelope"].FromString,
    )(MESSAGES["SubscribeRequest"](filters=_FILTERS), metadata=(("containerd-namespace", _NAMESPACE),))
    yield Change("")
    async for envelope in call:
        if envelope.namespace != _NAMESPACE:
            continue
        exit = MESSAGES["TaskExit"].FromString(envelope.event.value)
        if envelope.topic == "/tasks/oom":
            yield Change(exit.container_id, "oom")
        elif exit.id in ("", exit.container_id):
            yield Change(exit.container_id)


async def _cri(channel: Any) -> AsyncIterator[Change]:
    call = channel.unary_stream(
        "/runtime.v1.RuntimeService/GetContainerEvents",
        request_serializer=MESSAGES["GetEventsRequest"].SerializeToString,
        response_deserializer=MESSAGES["ContainerEventResponse"].FromString,
    )(MESSAGES["GetEventsRequest"]())
    yield Change("")
    async for event in call:
        if event.container_event_type in (_STOPPED, _DELETED):
            yield Change(event.container_id)
