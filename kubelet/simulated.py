"""A node without containers: pods become Ready, sleeps are timers, exit codes follow the command. For clusters of hundreds of nodes in
one process, and for tests.

The behaviour of a container is derived from its command: `sleep N` exits after N seconds, `sh -c "... exit 3"` exits with 3, `true` and
`false` exit at once, everything else runs until it is stopped. Probes and hooks succeed unless their command would fail.
"""

import asyncio
import ipaddress
import itertools
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from kapi.objects import time
from kapi.objects.meta import Object
from kubelet import images, machine, runtime
from kubelet.handlers import ProbeResult, Target
from kubelet.runtime import Change, Config, Container, ExecResult, Image, PodState, RuntimeFailure, Sandbox, Traffic, Usage, Version

_SLEEP = re.compile(r"\bsleep\s+([0-9.]+)")
_EXIT = re.compile(r"\bexit\s+([0-9]+)")
_IMAGES = 256 << 20
TERMINATED, KILLED = 143, 137


def simulated_exit(command: Sequence[str]) -> tuple[float | None, int]:
    """(seconds until the command exits or None, its exit code)."""
    text = " ".join(command)
    slept = _SLEEP.search(text)
    left = _EXIT.search(text)
    word = command[0].rpartition("/")[2] if command else ""
    if word in ("true", "false"):
        return 0.0, int(word == "false")
    if "while true" in text or "sleep infinity" in text or "tail -f" in text:
        return None, 0
    if slept:
        return float(slept[1]), int(left[1]) if left else 0
    if left:
        return 0.0, int(left[1])
    if word in ("echo", "date", "ls", "cat", "printf", "env", "hostname", "id"):
        return 0.0, 0
    return (0.0, 0) if word in ("sh", "bash") and re.fullmatch(r".*-c\s+(true|echo [^;&|]*)", text) else (None, 0)


class SimulatedRuntime:
    """The Runtime of one simulated node with the addresses of `cidr`."""

    def __init__(self, cidr: str = "10.244.0.0/24") -> None:
        self._hosts = itertools.cycle(list(itertools.islice(ipaddress.ip_network(cidr).hosts(), 1, 1022)))
        self._used: set[str] = set()
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._of: dict[str, list[str]] = {}
        self._commands: dict[str, list[str]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._changes: asyncio.Queue[Change] = asyncio.Queue()

    async def version(self) -> Version:
        return Version("simulated", "1.0.0")

    async def conditions(self) -> dict[str, tuple[bool, str]]:
        return {"RuntimeReady": (True, ""), "NetworkReady": (True, "")}

    async def sandboxes(self) -> list[Sandbox]:
        return list(self._sandboxes.values())

    async def containers(self) -> list[Container]:
        return list(self._containers.values())

    async def pod(self, uid: str) -> PodState:
        ids = self._of.get(uid, [])
        boxes = [self._sandboxes[i] for i in reversed(ids) if i in self._sandboxes]
        return PodState(boxes, [self._containers[i] for i in reversed(ids) if i in self._containers])

    async def run_sandbox(self, config: Config, handler: str = "") -> str:
        meta, id = config["metadata"], secrets.token_hex(32)
        ips = () if config.get("host_network") else (self._address(),)
        self._sandboxes[id] = Sandbox(
            id, meta["uid"], meta["name"], meta["namespace"], meta["attempt"], True, time.now(), ips, {runtime.POD_UID: meta["uid"]},
            not ips,
        )
        self._of.setdefault(meta["uid"], []).append(id)
        return id

    def _address(self) -> str:
        for host in self._hosts:
            if str(host) not in self._used:
                self._used.add(str(host))
                return str(host)
        raise RuntimeFailure("ResourceExhausted", "no address left")

    async def stop_sandbox(self, id: str) -> None:
        box = self._sandboxes.get(id)
        if box is None or not box.ready:
            return
        for container in [c for c in self._containers.values() if c.sandbox == id and c.state == runtime.RUNNING]:
            self._exit(container.id, KILLED)
        self._used.difference_update(box.ips)
        self._sandboxes[id] = replace(box, ready=False)
        self._changes.put_nowait(Change(id))

    async def remove_sandbox(self, id: str) -> None:
        await self.stop_sandbox(id)
        box = self._sandboxes.pop(id, None)
        if box is not None:
            self._forget(box.uid, id)

    def _forget(self, uid: str, id: str) -> None:
        ids = self._of.get(uid, [])
        if id in ids:
            ids.remove(id)
        if not ids:
            self._of.pop(uid, None)

    async def create_container(self, sandbox: str, config: Config, sandbox_config: Config) -> str:
        box, id, meta = self._sandboxes[sandbox], secrets.token_hex(32), config["metadata"]
        image = config["image"]
        self._containers[id] = Container(
            id, sandbox, box.uid, meta["name"], meta["attempt"], runtime.CREATED, time.now(),
            image=image["user_specified_image"], image_id=image["image"], labels=config["labels"], annotations=config["annotations"],
        )
        self._commands[id] = [*config["command"], *config["args"]]
        self._of[box.uid].append(id)
        return id

    async def start_container(self, id: str) -> None:
        self._containers[id] = replace(self._containers[id], state=runtime.RUNNING, started=time.now())
        seconds, code = simulated_exit(self._commands[id])
        if seconds is not None:
            self._timers[id] = asyncio.get_running_loop().call_later(seconds, self._exit, id, code)

    def _exit(self, id: str, code: int) -> None:
        container = self._containers.get(id)
        if container is None or container.state != runtime.RUNNING:
            return
        if timer := self._timers.pop(id, None):
            timer.cancel()
        reason = "Error" if code else "Completed"
        self._containers[id] = replace(container, state=runtime.EXITED, finished=time.now(), exit_code=code, reason=reason)
        self._changes.put_nowait(Change(id))

    async def stop_container(self, id: str, grace: float) -> None:
        self._exit(id, TERMINATED)

    async def remove_container(self, id: str) -> None:
        self._exit(id, KILLED)
        container = self._containers.pop(id, None)
        self._commands.pop(id, None)
        if container is not None:
            self._forget(container.uid, id)

    async def update_container(self, id: str, resources: Config) -> None:
        return

    async def exec(self, id: str, command: Sequence[str], seconds: float) -> ExecResult:
        return ExecResult(simulated_exit(command)[1], b"", b"")

    async def reopen_log(self, id: str) -> None:
        return

    async def usages(self) -> list[Usage]:
        now = time.now()
        running = [c for c in self._containers.values() if c.state == runtime.RUNNING]
        return [Usage(c.id, c.uid, c.name, 0, 0, 0, 0, 0, 0, now) for c in running]

    async def traffic(self) -> dict[str, list[Traffic]]:
        return {}

    async def images(self) -> list[Image]:
        return []

    async def image(self, name: str) -> Image | None:
        return Image(f"sha256:{abs(hash(name)):064x}"[:71], (name,), (), _IMAGES)

    async def pull(self, name: str, auth: Config | None, sandbox_config: Config) -> str:
        return name

    async def remove_image(self, name: str) -> None:
        return

    async def image_disk(self) -> tuple[str, int]:
        return "/", 0

    async def changes(self) -> AsyncIterator[Change]:
        yield Change("")
        while True:
            yield await self._changes.get()

    async def stream_url(self, method: str, **request: Any) -> str:
        raise RuntimeFailure("Unimplemented", f"{method}: simulated pods have neither processes nor a network")

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()


class SimulatedHandlers:
    """The Handlers of simulated containers: hooks and probes succeed unless their command fails."""

    async def run(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        if "sleep" in handler:
            await asyncio.sleep(min(handler["sleep"]["seconds"], seconds))
        if "exec" in handler:
            code = simulated_exit(handler["exec"].get("command") or [])[1]
            return ProbeResult(code == 0, "" if code == 0 else "command terminated with a failure")
        return ProbeResult(True)


def facts(cpus: int = 32, memory: int = 256 << 30) -> machine.Facts:
    """The machine that a simulated node reports."""
    id = secrets.token_hex(16)
    return machine.Facts(cpus, memory, 1 << 40, id, id, id, "0.0.0-simulated", "Simulated", images.architecture())
