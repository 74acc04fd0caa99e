"""`kapi image load`: an archive of images into the cluster's own containerd, where pods find them by their names."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from kapi.cli import advice, datadir
from kapi.cli.cluster import Place
from kapi.cli.processes import Process
from kapi.process import Failure
from kapi.settings import types
from kubelet import archives
from kubelet.images import ImageError


@dataclass(frozen=True)
class Settings(Place):
    """Load an image archive into the cluster's containerd."""

    action: Literal["load"] = field(kw_only=True)
    """What to do."""
    file: types.ExistingFile = field(kw_only=True)
    """An image archive (docker save or OCI layout), plain or compressed with gzip, bzip2, xz or zstd."""
    name: types.ImageName = ""
    """Name of the image in an archive of one that names none, or names it otherwise."""


def run(given: Settings) -> int:
    """A line for each image that was loaded: its name in full and its digest."""
    endpoint = given.data_dir / "containerd" / "containerd.sock"
    options = [given.action, str(given.file), *(["--name", given.name] if given.name else [])]
    if not given.there("image", *options) or not datadir.is_cluster(given.data_dir):
        raise Failure(f"There is no cluster in {given.data_dir}. Start one with: {datadir.start(given.data_dir)}")
    if not endpoint.exists():
        raise Failure(_no_containerd(given))
    try:
        archive = _named(given)
        for name, digest in asyncio.run(archives.load(str(endpoint), archive)):
            print(f"Loaded {name} ({digest})")
    except ImageError as why:
        raise Failure(f"{str(why).rstrip('.')}.") from None
    except OSError as why:
        raise Failure(f"{given.file} can't be read: {why.strerror or why}.") from None
    return 0


def _no_containerd(given: Settings) -> str:
    """Why there is none, and the way on."""
    if "--simulate" in datadir.started_with(given.data_dir):
        return f"The cluster in {given.data_dir} is simulated: its pods only pretend to run, and need no images."
    if Process("kubelet", given.data_dir).pid:
        return f"The cluster in {given.data_dir} uses another's container runtime: load the image there, into the namespace k8s.io."
    return f"The cluster in {given.data_dir} is down. Start it with: {datadir.start(given.data_dir)}"


def _named(given: Settings) -> archives.Archive:
    """The archive, all of whose images have names. Raises Failure, ImageError, OSError."""
    archive = archives.read(given.file)
    if given.name:
        return archive.named(given.name)
    if not archive.unnamed:
        return archive
    if len(archive.images) > 1:
        some = f"{archive.unnamed} of its {len(archive.images)} images"
        raise Failure(f"{given.file} does not name {some}; nothing was loaded. Save them again by their names: docker save NAME...")
    again = advice.command("image", given.data_dir, "load", str(given.file), "--name", "NAME")
    raise Failure(f"{given.file} does not name its image. Give it the name that pods use: {again}")
