"""`kapi image load`: an archive of images into the cluster's own containerd, where pods find them by their names."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from kapi.cli import advice, datadir
from kapi.cli.cluster import ClusterSettings
from kapi.cli.processes import Process
from kapi.process import Failure
from kapi.settings import types
from kubelet import archives
from kubelet.images import ImageError


@dataclass(frozen=True)
class Settings(ClusterSettings):
    """Load an image archive into the cluster's containerd."""

    action: Literal["load"] = field(kw_only=True)
    """load: put the images of an archive where the cluster's pods find them."""
    file: types.ExistingFile = field(kw_only=True)
    """An image archive (docker save or OCI layout), plain or compressed with gzip, bzip2, xz or zstd."""
    name: types.ImageName = ""
    """Name of the image in an archive of one that names none, or names it otherwise."""


def run(settings: Settings) -> int:
    """Print a line for each loaded image: its full name and its digest."""
    endpoint = settings.data_dir / "containerd" / "containerd.sock"
    options = [settings.action, str(settings.file), *(["--name", settings.name] if settings.name else [])]
    if not settings.directory_exists("image", *options) or not datadir.is_cluster(settings.data_dir):
        raise Failure(datadir.absence(settings.data_dir))
    if not endpoint.exists():
        raise Failure(_no_containerd(settings))
    try:
        archive = _named(settings)
        for name, digest in asyncio.run(archives.load(str(endpoint), archive)):
            print(f"Loaded {name} ({digest})")
    except ImageError as why:
        raise Failure(f"{str(why).rstrip('.')}.") from None
    except OSError as why:
        raise Failure(f"{settings.file} can't be read: {why.strerror or why}.") from None
    return 0


def _no_containerd(settings: Settings) -> str:
    """Why the cluster has no containerd, and what to do."""
    if "--simulate" in datadir.last_options(settings.data_dir):
        return f"The cluster in {settings.data_dir} is simulated: its pods only pretend to run, and need no images."
    if Process("kubelet", settings.data_dir).pid:
        return f"The cluster in {settings.data_dir} uses another's container runtime: load the image there, into the namespace k8s.io."
    if Process("apiserver", settings.data_dir.resolve()).pid:
        return f"Only an API server runs in {settings.data_dir}: there is no container runtime that could load an image."
    return f"The cluster in {settings.data_dir} is down. Start it with: {datadir.start_command(settings.data_dir)}"


def _named(settings: Settings) -> archives.Archive:
    """The archive, with a name for every image. Raises Failure, ImageError, OSError."""
    archive = archives.read(settings.file)
    if settings.name:
        return archive.named(settings.name)
    if not archive.unnamed:
        return archive
    if len(archive.images) > 1:
        some = f"{archive.unnamed} of its {len(archive.images)} images"
        raise Failure(f"{settings.file} does not name {some}; nothing was loaded. Save them again by their names: docker save NAME...")
    again = advice.command("image", settings.data_dir, "load", str(settings.file), "--name", "NAME")
    raise Failure(f"{settings.file} does not name its image. Give it the name that pods use: {again}")
