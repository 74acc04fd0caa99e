"""Garbage collection on a node: rotation of container logs, removal of unused images when the disk fills."""

import gzip
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from time import strftime

from kapi import logs
from kapi.objects import time
from kubelet import machine, runtime
from kubelet.runtime import Container, Image, Runtime, RuntimeFailure
from kubelet.settings import Settings

log = logging.getLogger(__name__)
_MIN_AGE_SECONDS = 120.0
"""Seconds an unused image is kept at least."""


class Logs:
    """Rotates container logs by size: NAME.log, then NAME.log.TIME, then NAME.log.TIME.gz."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings, self._runtime = settings, runtime

    async def rotate(self, containers: Iterable[Container]) -> None:
        """Rotate the logs that exceed their size. Raises RuntimeFailure, OSError."""
        for container in containers:
            if container.state != runtime.RUNNING or not container.log_path:
                continue
            try:
                size = os.stat(container.log_path).st_size
            except FileNotFoundError:
                continue
            if size >= self._settings.container_log_max_size:
                self._pack(container.log_path)
                await self._runtime.reopen_log(container.id)

    def _pack(self, path: str) -> None:
        """Compress the previously rotated file, rotate the log, delete the oldest files."""
        log = Path(path)
        old = sorted(log.parent.glob(log.name + ".*"))
        for turned in old:
            if turned.suffix != ".gz":
                with open(turned, "rb") as source, gzip.open(f"{turned}.gz", "wb") as packed:
                    shutil.copyfileobj(source, packed)
                turned.unlink()
        for extra in sorted(log.parent.glob(log.name + ".*"))[: -(self._settings.container_log_max_files - 2) or None]:
            extra.unlink()
        log.rename(f"{log}.{strftime('%Y%m%d-%H%M%S')}")


class Images:
    """Removes images that no container uses, least recently used first, while disk use is above the high threshold."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings, self._runtime = settings, runtime
        self._first_seen: dict[str, float] = {}
        self._used: dict[str, float] = {}

    async def collect(self) -> str:
        """Collect if needed. Returns why too little was freed, or "". Raises RuntimeFailure."""
        await self._unused()
        mount, _ = await self._runtime.image_disk()
        total, free = machine.disk(mount or "/")
        if not total or 100 - free * 100 // total < self._settings.image_gc_high_threshold:
            return ""
        wanted = total * (100 - self._settings.image_gc_low_threshold) // 100 - free
        freed = await self.remove(wanted)
        if freed >= wanted:
            return ""
        figures = f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
        return f"Failed to garbage collect required amount of images. {figures}"

    async def _unused(self) -> list[Image]:
        """Record which images are in use; returns those that are not."""
        now, unused = time.now(), []
        used = {name for c in await self._runtime.containers() for name in (c.image_id, c.image)}
        for image in await self._runtime.images():
            self._first_seen.setdefault(image.id, now)
            if used & {image.id, *image.tags, *image.digests}:
                self._used[image.id] = now
            elif not image.pinned and not any("pause" in tag for tag in image.tags):
                unused.append(image)
        return unused

    async def remove(self, wanted: int) -> int:
        """Remove unused images until `wanted` bytes are freed. Returns the bytes freed. Raises RuntimeFailure."""
        now, freed = time.now(), 0
        images = [i for i in await self._unused() if now - self._first_seen[i.id] >= _MIN_AGE_SECONDS]
        for image in sorted(images, key=lambda i: self._used.get(i.id, self._first_seen[i.id])):
            if freed >= wanted:
                break
            try:
                await self._runtime.remove_image(image.id)
            except RuntimeFailure as error:
                log.warning("An image could not be removed", extra=logs.once(image.id, image=image.id, error=error))
                continue
            freed += image.size
        return freed
