"""The runtime's event stream, so that states need no polling.

containerd's own event service is tried first (every version has it; a TaskExit event has the container's id), then CRI's
GetContainerEvents. If both are unimplemented, `stream` raises RuntimeFailure("Unimplemented") and kubelet.pleg relists periodically.
"""

from collections.abc import AsyncIterator

from kubelet.cri.channel import Channel
from kubelet.cri.messages import MESSAGES
from kubelet.runtime import Change, RuntimeFailure

_NAMESPACE = "k8s.io"
_FILTERS = ('topic=="/tasks/exit"', 'topic=="/tasks/oom"')
_STOPPED, _DELETED = 2, 3


async def stream(channel: Channel) -> AsyncIterator[Change]:
    """Yields an empty Change when it starts listening, then one per exit."""
    try:
        async for change in _containerd(channel):
            yield change
    except RuntimeFailure as error:
        if error.code != "Unimplemented":
            raise
    else:
        return
    async for change in _cri(channel):
        yield change


async def _containerd(channel: Channel) -> AsyncIterator[Change]:
    yield Change("")
    method = "/containerd.services.events.v1.Events/Subscribe"
    async for envelope in channel.stream(method, "SubscribeRequest", "Envelope", _NAMESPACE, filters=_FILTERS):
        if envelope.namespace != _NAMESPACE:
            continue
        exit = MESSAGES["TaskExit"].FromString(envelope.event.value)
        if envelope.topic == "/tasks/oom":
            yield Change(exit.container_id, "oom")
        elif exit.id in ("", exit.container_id):
            yield Change(exit.container_id)


async def _cri(channel: Channel) -> AsyncIterator[Change]:
    yield Change("")
    async for event in channel.stream("/runtime.v1.RuntimeService/GetContainerEvents", "GetEventsRequest", "ContainerEventResponse"):
        if event.container_event_type in (_STOPPED, _DELETED):
            yield Change(event.container_id)
