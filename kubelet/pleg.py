"""Pod lifecycle event generator: wakes workers from the runtime's event stream, or by relisting every second where it has none.

When the stream resumes after a break, every worker is woken, so events during a restart of the runtime are not lost.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Protocol

from kapi import logs
from kubelet import runtime
from kubelet.runtime import Runtime, RuntimeFailure

log = logging.getLogger(__name__)
INITIAL_BACKOFF, MAX_BACKOFF = 0.2, 2.0
RELIST_AGAIN = 1.0
RELIST = 1.0
"""Seconds between relists where the runtime has no event stream."""


class Listener(Protocol):
    """The worker of one pod."""

    def runtime_changed(self, id: str = "") -> None: ...


class Pleg:
    """`known`: container or sandbox id -> pod uid. `workers`: by pod uid. `changed` is called when the stream breaks or resumes."""

    def __init__(self, runtime: Runtime, known: dict[str, str], workers: Mapping[str, Listener], changed: Callable[[], None]) -> None:
        self._runtime, self._known, self._workers, self._changed = runtime, known, workers, changed

    async def run(self) -> None:
        """Consume events until cancelled."""
        delay = INITIAL_BACKOFF
        while True:
            try:
                await self._listen()
                delay = INITIAL_BACKOFF
            except RuntimeFailure as error:
                if error.code == "Unimplemented":
                    await self._relist()
                log.info("The events of the runtime broke off, listening again", extra=logs.once("", error=error))
            self._changed()
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_BACKOFF)

    async def _listen(self) -> None:
        async with aclosing(self._runtime.changes()) as changes:  # type: ignore[type-var]
            async for change in changes:
                if change.id:
                    self._notify(change.id)
                else:
                    self._changed()
                    self.notify_all()
                    asyncio.get_running_loop().call_later(RELIST_AGAIN, self.notify_all)

    def _notify(self, id: str, *, ended: bool = True) -> None:
        worker = self._workers.get(self._known.get(id, ""))
        if worker is not None:
            worker.runtime_changed(id if ended else "")

    def notify_all(self) -> None:
        for worker in list(self._workers.values()):
            worker.runtime_changed()

    async def _relist(self) -> None:
        """Without an event stream: list containers and sandboxes and compare their states, while there are workers."""
        before: dict[str, str] = {}
        while True:
            await asyncio.sleep(RELIST)
            if not self._workers:
                continue
            now = {c.id: c.state for c in await self._runtime.containers()}
            now |= {s.id: str(s.ready) for s in await self._runtime.sandboxes()}
            for id in before.keys() | now.keys():
                if before.get(id) != now.get(id):
                    self._notify(id, ended=now.get(id) in (None, runtime.EXITED, "False"))
            before = now
