"""Image pulls: pull policies, pull secrets, back-off after failures, and their events.

Concurrent requests for one image share one pull.
"""

import asyncio
import base64
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import orjson

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.resource import SECRETS
from kubelet.environment import Lookup, data
from kubelet.observed_state import Failure, NotStarted
from kubelet.runtime import Config, Image, Runtime, RuntimeFailure

RecordEvent = Callable[[str, str, str], None]
"""(type, reason, message): an event about the container."""

NORMAL, WARNING = "Normal", "Warning"
INITIAL_BACKOFF, MAX_BACKOFF = 10.0, 300.0
_REPOSITORY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")
_HOSTED = re.compile(r"^[A-Za-z0-9.-]+(:[0-9]+)?/[a-z0-9._/-]+$")


class NotPulled(NotStarted):
    """The image is not available; the events for it have been recorded."""


@dataclass
class _Backoff:
    delay: float
    until: float
    message: str


def normalized(image: str) -> str:
    """The image with its default tag, e.g. 'busybox' -> 'busybox:latest'. Raises ValueError."""
    name = image.partition("@")[0]
    last = name.rpartition("/")[2]
    repository = name[: len(name) - len(last)] + last.partition(":")[0]
    bad = f'couldn\'t parse image name "{image}": invalid reference format'
    if repository != repository.lower() and not _HOSTED.match(repository):
        raise ValueError(f"{bad}: repository name (library/{repository}) must be lowercase")
    if not _REPOSITORY.match(repository):
        raise ValueError(bad)
    return image if "@" in image or ":" in last else f"{image}:latest"


def registry(image: str) -> str:
    """'docker.io' of 'busybox', 'reg.example.com' of 'reg.example.com/a/b:1'."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def logs_into(server: str, image: str) -> bool:
    """Whether the key of a login ("https://index.docker.io/v1/", "*.example.com", "reg.example.com/team") applies to an image."""
    host, _, path = server.removeprefix("https://").removeprefix("http://").replace("index.docker.io", "docker.io").partition("/")
    path = "" if path.startswith(("v1/", "v2/")) or path in ("v1", "v2") else path.rstrip("/")
    asked = registry(image)
    repository = image.removeprefix(f"{asked}/")
    same_depth = host.count(".") == asked.count(".")
    return same_depth and fnmatchcase(asked, host) and (not path or f"{repository}/".startswith(f"{path}/"))


def credentials(secret: Object, image: str) -> list[Config]:
    """The logins of a pull secret that apply to an image, most specific first, as CRI AuthConfigs."""
    held = data(secret)
    raw = held.get(".dockerconfigjson") or held.get(".dockercfg")
    if not raw:
        return []
    parsed = orjson.loads(raw)
    logins = parsed.get("auths", parsed) if ".dockerconfigjson" in held else parsed
    return [_login(login) for server, login in sorted(logins.items(), reverse=True) if logs_into(server, image)]


def _login(login: Object) -> Config:
    user, password = login.get("username", ""), login.get("password", "")
    if not user and login.get("auth"):
        user, _, password = base64.b64decode(login["auth"]).decode().partition(":")
    return {"username": user, "password": password}


class Puller:
    """Pulls images. Back-offs are kept per pod and image."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._backoffs: dict[tuple[str, str], _Backoff] = {}
        self._pulls: dict[str, asyncio.Task[str]] = {}

    async def ensure(self, pod: Object, container: Object, sandbox: Config, lookup: Lookup, record: RecordEvent) -> Image:
        """The image of a container, pulled if its policy requires it. Raises NotPulled."""
        asked = container.get("image") or ""
        try:
            name = normalized(asked)
        except ValueError as error:
            record(WARNING, "InspectFailed", f'Failed to apply default image tag "{asked}": {error}')
            raise NotPulled(Failure("InvalidImageName", f'Failed to apply default image tag "{asked}": {error}')) from None
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        try:
            present = await self._runtime.image(name)
        except RuntimeFailure as error:
            message = f'Failed to inspect image "{asked}": {error}'
            record(WARNING, "InspectFailed", message)
            raise NotPulled(Failure("ImageInspectError", message)) from None
        if present is not None and policy != "Always":
            record(NORMAL, "Pulled", f'Container image "{asked}" already present on machine and can be accessed by the pod')
            return present
        if policy == "Never":
            message = f'Container image "{asked}" is not present with pull policy of Never'
            record(WARNING, "ErrImageNeverPull", message)
            raise NotPulled(Failure("ErrImageNeverPull", message))
        return await self._pull(pod, asked, name, sandbox, lookup, record)

    async def _pull(self, pod: Object, asked: str, name: str, sandbox: Config, lookup: Lookup, record: RecordEvent) -> Image:
        key = (pod["metadata"]["uid"], asked)
        wait = self._backoffs.get(key)
        now = time.now()
        if wait is not None and now < wait.until:
            record(NORMAL, "BackOff", f'Back-off pulling image "{asked}"')
            record(WARNING, "Failed", "Error: ImagePullBackOff")
            message = f'Back-off pulling image "{asked}": ErrImagePull: {wait.message}'
            raise NotPulled(Failure("ImagePullBackOff", message), wait.until)
        record(NORMAL, "Pulling", f'Pulling image "{asked}"')
        try:
            await self._shared(pod, name, sandbox, lookup)
            image = await self._runtime.image(name)
        except RuntimeFailure as error:
            raise self._failed(key, asked, str(error), record) from None
        if image is None:
            raise self._failed(key, asked, "the image vanished after it was pulled", record)
        self._backoffs.pop(key, None)
        took = _seconds(time.now() - now)
        text = f'Successfully pulled image "{asked}" in {took} ({took} including waiting). Image size: {image.size} bytes.'
        record(NORMAL, "Pulled", text)
        return image

    def _failed(self, key: tuple[str, str], asked: str, message: str, record: RecordEvent) -> NotPulled:
        record(WARNING, "Failed", f'Failed to pull image "{asked}": {message}')
        record(WARNING, "Failed", "Error: ErrImagePull")
        old = self._backoffs.get(key)
        delay = min(old.delay * 2, MAX_BACKOFF) if old else INITIAL_BACKOFF
        self._backoffs[key] = _Backoff(delay, time.now() + delay, message)
        return NotPulled(Failure("ErrImagePull", message), time.now() + delay / 2)

    async def _shared(self, pod: Object, name: str, sandbox: Config, lookup: Lookup) -> None:
        task = self._pulls.get(name)
        if task is None:
            task = self._pulls[name] = asyncio.ensure_future(self._fetch(pod, name, sandbox, lookup))
            task.add_done_callback(lambda _: self._pulls.pop(name, None))
        await asyncio.shield(task)

    async def _fetch(self, pod: Object, name: str, sandbox: Config, lookup: Lookup) -> str:
        failed: RuntimeFailure | None = None
        for auth in await self._logins(pod, name, lookup):
            try:
                return await self._runtime.pull(name, auth, sandbox)
            except RuntimeFailure as error:
                failed = error
        raise failed or RuntimeFailure("Unknown", "no way to pull")

    async def _logins(self, pod: Object, name: str, lookup: Lookup) -> list[Config | None]:
        out: list[Config | None] = []
        for ref in pod["spec"].get("imagePullSecrets") or ():
            secret = await lookup(SECRETS, pod["metadata"]["namespace"], ref.get("name", ""))
            with contextlib.suppress(ValueError):
                out += credentials(secret, name) if secret else []
        return out or [None]

    def forget(self, uid: str) -> None:
        """Drop the back-offs of a removed pod."""
        self._backoffs = {k: v for k, v in self._backoffs.items() if k[0] != uid}


def _seconds(seconds: float) -> str:
    """'1.234s', '45ms': as stock prints a duration to the millisecond."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s" if seconds >= 1 else f"{round(seconds * 1000)}ms"
