"""Image archives that others wrote (docker save, OCI layout; plain or compressed), and their import with full names.

containerd takes a name as it stands in the archive, loads nothing for an image without one, and says nothing of it; and a name that is
not in full keeps pods from starting that use the same content under another. So the archive's own index is read first, and containerd is
given the archive with an index that holds full names. Blobs pass in pieces, each held to its digest; nothing is unpacked here.
"""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import posixpath
import re
import secrets
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from kapi import limits
from kapi.objects.image_names import full_name
from kubelet import images, tarballs
from kubelet.images import ImageError

_OCI, _DOCKER = "index.json", "manifest.json"
_NAME, _REF = "io.containerd.image.name", "org.opencontainers.image.ref.name"
_ONLY_A_TAG = re.compile(r"latest|v?[0-9][\w.-]*", re.ASCII)
"""What stands where a name may, and is none: 'latest', '1.36'."""
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_NO_PLATFORM = "unknown/unknown"
"""The platform of an attestation about an image (BuildKit), which is not an image."""
_DEPTH = 3
"""An index of platforms, the manifest of one, its configuration."""
_TEMPORARY = "zzz.invalid/import"
"""It comes last in the order of names: containerd makes containers of an image by the first of its names."""


@dataclass(frozen=True)
class Image:
    """An image of an archive: its names in full, and its entry in the index."""

    names: tuple[str, ...]
    entry: dict[str, Any]
    platforms: frozenset[str] = frozenset()
    """The platforms it runs on: {'linux/amd64'}; empty where the archive does not name one."""

    @property
    def digest(self) -> str:
        """Of its manifest; '' in docker's format, which has none."""
        return str(self.entry.get("digest", ""))


@dataclass(frozen=True)
class Archive:
    """What an archive holds, by its own index."""

    path: Path
    format: str
    """The name of the index."""
    images: tuple[Image, ...]

    @property
    def unnamed(self) -> int:
        """How many of its images have no name."""
        return sum(not image.names for image in self.images)

    def named(self, name: str) -> "Archive":
        """Its only image under that name alone. Raises ImageError where there are several."""
        if len(self.images) != 1:
            raise ImageError(f"{self.path} holds {len(self.images)} images: a name can be given to one only")
        return replace(self, images=(replace(self.images[0], names=(full_name(name),)),))

    def write(self, out: BinaryIO) -> None:
        """The archive with full names in its index, and without what no image of it needs. Raises ImageError, OSError."""
        with tarfile.open(fileobj=out, mode="w|", bufsize=tarfile.BLOCKSIZE * 128) as made, tarballs.opened(self.path) as tar:
            for name, member in tarballs.members(self.path, tar):
                if name == self.format:
                    _add(made, name, io.BytesIO(self._index), len(self._index))
                elif member.issym() and self.format == _DOCKER:
                    member.name = name
                    made.addfile(member)
                elif member.isfile() and (name == "oci-layout" or self._is_wanted(name)):
                    _add(made, name, _Held(self.path, name, tarballs.content(tar, member), member.size), member.size)

    def _is_wanted(self, name: str) -> bool:
        return bool(_BLOB.fullmatch(name)) or (self.format == _DOCKER and name not in (_OCI, "oci-layout"))

    @property
    def _index(self) -> bytes:
        entries = [image.entry | {"RepoTags": image.names} for image in self.images]
        if self.format == _OCI:
            entries = [_annotated(image.entry, name) for image in self.images for name in image.names]
        return json.dumps({"schemaVersion": 2, "manifests": entries} if self.format == _OCI else entries).encode()


def _annotated(entry: dict[str, Any], name: str) -> dict[str, Any]:
    others = {key: value for key, value in (entry.get("annotations") or {}).items() if key not in (_NAME, _REF)}
    return entry | {"annotations": others | {_NAME: name}}


def _add(made: tarfile.TarFile, name: str, content: Any, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    made.addfile(entry, content)


class _Held:
    """The content of a file; a blob is held to its digest when all of it has been read."""

    def __init__(self, path: Path, name: str, content: BinaryIO, size: int) -> None:
        self._path, self._name, self._content, self._left, self._sum = path, name, content, size, hashlib.sha256()
        found = _BLOB.fullmatch(name)
        self._wanted = found[1] if found else ""

    def read(self, size: int) -> bytes:
        data = self._content.read(size)
        self._left -= len(data)
        if self._wanted:
            self._sum.update(data)
            if not self._left and self._sum.hexdigest() != self._wanted:
                raise ImageError(f"{self._path} is damaged: {self._name} has another digest")
        return data


# reading ------------------------------------------------------------------------------------------------------------------------------


def read(path: Path) -> Archive:
    """What the archive holds. Raises ImageError, OSError."""
    found: dict[str, bytes] = {}
    present = set[str]()
    documents: dict[str, _Document] = {}
    left = limits.IMAGE_INDEX_BYTES  # of documents that are looked into for their platforms
    with tarballs.opened(path) as tar:
        for name, member in tarballs.members(path, tar):
            if name in (_OCI, _DOCKER) and member.isfile():
                if name in found or member.size > limits.IMAGE_INDEX_BYTES:
                    raise ImageError(f"{path} has {'two' if name in found else 'too long a'} {name}")
                found[name] = b"".join(tarballs.chunks(tar, member))
            elif member.isfile() and member.size <= left and (known := _document(tar, member)):
                documents[name], left = known, left - member.size
            present.add(name)
    format = _OCI if _OCI in found and "oci-layout" in present else _DOCKER
    if format not in found:
        raise ImageError(f"{path} is no image archive: it holds neither {_OCI} nor {_DOCKER}. {tarballs.WAYS}")
    try:
        read = _oci if format == _OCI else _docker
        made = (replace(i, platforms=_platforms(i, documents)) for i in read(path, json.loads(found[format]), present))
        archive = Archive(path, format, tuple(made))
    except _MALFORMED:
        raise ImageError(f"{path} is damaged: its {format} is not understood") from None
    return _checked(archive)


@dataclass(frozen=True)
class _Document:
    """A manifest, an index of manifests or a configuration: what it runs on, and the files it leads to."""

    platform: str
    files: tuple[str, ...]


def _document(tar: tarfile.TarFile, member: tarfile.TarInfo) -> _Document | None:
    """None for a layer or anything else that is not such a document."""
    chunks = tarballs.chunks(tar, member)
    if not (first := next(chunks, b"")).startswith(b"{"):
        return None
    try:
        read = json.loads(first + b"".join(chunks))
        files = [_blob(entry) for entry in (read.get("config"), *read.get("manifests", ())) if "digest" in (entry or ())]
        platform = f"{read['os']}/{read['architecture']}" if "architecture" in read else ""
    except _MALFORMED:
        return None
    return _Document("" if platform == _NO_PLATFORM else platform, tuple(files))


def _blob(entry: Any) -> str:
    return f"blobs/{entry['digest'].replace(':', '/')}"


def _platforms(image: Image, documents: dict[str, _Document]) -> frozenset[str]:
    files = {posixpath.normpath(image.entry["Config"]) if "Config" in image.entry else _blob(image.entry)}
    found = set[str]()
    for _ in range(_DEPTH):
        known = [documents[file] for file in files if file in documents]
        found |= {document.platform for document in known} - {""}
        files = {file for document in known for file in document.files}
    return frozenset(found)


def _oci(path: Path, index: Any, present: set[str]) -> Iterator[Image]:
    for entry in index["manifests"]:
        annotations = entry.get("annotations") or {}
        name = annotations.get(_NAME) or annotations.get(_REF) or ""
        _need(path, present, _blob(entry))
        bare = _NAME not in annotations and _ONLY_A_TAG.fullmatch(name)
        yield Image((_full(path, name),) if name and not bare else (), entry)


def _docker(path: Path, manifest: Any, present: set[str]) -> Iterator[Image]:
    for entry in manifest:
        for file in (entry["Config"], *entry["Layers"]):
            _need(path, present, posixpath.normpath(file))
        yield Image(tuple(_full(path, name) for name in entry.get("RepoTags") or ()), entry)


def _need(path: Path, present: set[str], file: str) -> None:
    if file not in present:
        raise ImageError(f"{path} is damaged: its index names {file[:200]}, which it does not hold")


def _full(path: Path, name: str) -> str:
    try:
        return full_name(name)
    except ValueError as why:
        raise ImageError(f"{path} names an image {name[:100]!r}, which {why}") from None


def _checked(archive: Archive) -> Archive:
    """Raises ImageError where there is nothing in it, or one name for two images."""
    if not archive.images:
        raise ImageError(f"{archive.path} holds no image. {tarballs.WAYS}")
    names = [name for image in archive.images for name in image.names]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ImageError(f"{archive.path} has {twice} twice")
    return archive


# import -------------------------------------------------------------------------------------------------------------------------------


async def load(socket: str, archive: Archive) -> list[tuple[str, str]]:
    """Imports an archive whose images have names into containerd, for Kubernetes: (name, digest) of each. Raises ImageError, OSError.

    All of it or nothing: images get their names when they are whole. containerd names them before it unpacks them.
    """
    _check_platforms(archive)
    token = secrets.token_hex(8)
    temporary = [f"{_TEMPORARY}/{token}:{number}" for number in range(len(archive.images))]
    unproven = tuple(replace(image, names=(name,)) for image, name in zip(archive.images, temporary, strict=True))
    out = []
    try:
        await _import(socket, replace(archive, images=unproven))
        digests = await _digests(socket, temporary)
        for image, name in zip(archive.images, temporary, strict=True):
            await images.ctr(socket, "tag", "--force", name, *image.names)
            out += [(full, digests[name]) for full in image.names]
    finally:
        with contextlib.suppress(ImageError):
            await images.ctr(socket, "delete", *temporary)
    return out


def _check_platforms(archive: Archive) -> None:
    """Raises ImageError for an image of other machines; containerd takes it, or says that it might be filtered out."""
    ours = f"linux/{images.architecture()}"
    for image in archive.images:
        if image.platforms and ours not in image.platforms:
            name = f"{image.names[0]} in " if len(archive.images) > 1 and image.names else ""
            raise ImageError(f"{name}{archive.path} is for {', '.join(sorted(image.platforms))}, and this machine is {ours}")


async def _import(socket: str, archive: Archive) -> None:
    reader, writer = os.pipe()
    importing = asyncio.ensure_future(images.ctr(socket, "import", "-", stdin=reader))
    try:
        await asyncio.to_thread(_feed, archive, writer)
        await importing
    except BaseException:
        importing.cancel()
        await asyncio.gather(importing, return_exceptions=True)
        raise


def _feed(archive: Archive, descriptor: int) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb") as out:  # ctr reports the reason itself
        archive.write(out)


async def _digests(socket: str, names: Sequence[str]) -> dict[str, str]:
    """Digests of images that containerd has, by name. Raises ImageError."""
    listed = await images.ctr(socket, "list", *(f"name=={name}" for name in names))
    return {words[0]: words[2] for words in map(str.split, listed.splitlines()[1:])}
