"""What `down` takes away."""

from pathlib import Path

import pytest

from kapi.cli import cleanup
from kubelet.cri import client
from kubelet.runtime import RuntimeFailure, Sandbox


class Busy:
    """A runtime with two pods; a container of the second is just being started when it is first to be removed."""

    def __init__(self) -> None:
        self.pods, self.starting = ["a", "b"], True

    async def sandboxes(self) -> list[Sandbox]:
        return [Sandbox(id, id, id, "default", 0, True, 0.0) for id in self.pods]

    async def stop_sandbox(self, id: str) -> None:
        return

    async def remove_sandbox(self, id: str) -> None:
        if id == "b" and self.starting:
            self.starting = False
            raise RuntimeFailure("Unknown", "container is in starting state, can't be removed")
        self.pods.remove(id)

    async def close(self) -> None:
        assert self.pods == []


async def test_a_pod_that_cannot_be_removed_yet_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = Busy()
    monkeypatch.setattr(client, "Cri", lambda endpoint: runtime)
    await cleanup.remove_pods(tmp_path, running=True)
    assert runtime.pods == []
