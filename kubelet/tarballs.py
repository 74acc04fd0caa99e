"""Tar archives of strangers, plain or compressed, read once from beginning to end: in bounded pieces, and by names that stay inside."""

import bz2
import contextlib
import gzip
import lzma
import posixpath
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from kapi import limits
from kubelet.images import ImageError

WAYS = "Make one with docker save, podman save, or skopeo copy … oci-archive:FILE:NAME"
_ZSTD = b"\x28\xb5\x2f\xfd"
_READERS: dict[bytes, Callable[[BinaryIO], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""How a compressed file begins, and what reads it."""
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError)


class _Stream:
    """A file that is read from its beginning to its end, a bounded piece at a time; what tarfile needs of one."""

    def __init__(self, raw: BinaryIO, plain: bool) -> None:
        self._raw, self._plain, self._at, self._last, self._again = raw, plain, 0, b"", False

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        if size > limits.IMAGE_PIECE_BYTES:
            raise tarfile.ReadError("a header of it is too long")
        if self._again and size:
            self._again, self._at = False, self._at + 1
            return self._last
        data = self._raw.read(size)
        self._at, self._last = self._at + len(data), data[-1:] or self._last
        return data

    def seek(self, position: int) -> None:
        """Onwards, or back by one byte (tarfile looks whether the last one of a member is there)."""
        if self._plain:
            self._at = self._raw.seek(position)
        elif position == self._at - 1:
            self._again, self._at = True, position
        while self._at < position and self.read(min(position - self._at, limits.IMAGE_PIECE_BYTES)):
            pass


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Its tar archive, decompressed. Raises ImageError, also for errors within the block."""
    try:
        with open(path, "rb") as file, _decompressed(path, file) as stream, tarfile.open(fileobj=cast(Any, stream), mode="r:") as tar:
            yield tar
    except tarfile.ReadError as why:
        raise ImageError(f"{path} is no image archive, or a damaged one ({why}). {WAYS}") from None
    except _DAMAGE as why:
        raise ImageError(f"{path} is damaged: {why}") from None


@contextlib.contextmanager
def _decompressed(path: Path, file: BinaryIO) -> Iterator[_Stream]:
    start = file.read(6)
    file.seek(0)
    if start.startswith(_ZSTD):
        with _zstd(path) as unpacked:
            yield _Stream(unpacked, plain=False)
        return
    reader = next((reader for magic, reader in _READERS.items() if start.startswith(magic)), None)
    yield _Stream(reader(file), plain=False) if reader else _Stream(file, plain=True)


@contextlib.contextmanager
def _zstd(path: Path) -> Iterator[BinaryIO]:
    program = shutil.which("zstd")
    if program is None:
        raise ImageError(f"{path} is compressed with zstd, which is missing. Install it with: apt-get install zstd")
    with subprocess.Popen([program, "-dcq", "--", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield cast(BinaryIO, process.stdout)
        finally:
            process.kill()


def members(path: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Its members by their names, which stay within the archive. Raises ImageError."""
    for number, member in enumerate(tar):
        tar.members.clear()  # type: ignore[attr-defined]  # they are not looked at again
        if number >= limits.IMAGE_ARCHIVE_FILES:
            raise ImageError(f"{path} holds more than {limits.IMAGE_ARCHIVE_FILES:,} files")
        name = posixpath.normpath(member.name)
        target = posixpath.join(posixpath.dirname(name), member.linkname) if member.issym() else name
        if _leads_out(name) or _leads_out(target) or member.islnk():
            raise ImageError(f"{path} holds {member.name[:200]!r}, which leads out of the archive or to another file")
        yield name, member


def _leads_out(name: str) -> bool:
    return posixpath.isabs(name) or posixpath.normpath(name).split("/")[0] == ".."


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    """What a file holds."""
    return cast(BinaryIO, tar.extractfile(member))


def chunks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    """The same in pieces."""
    file = content(tar, member)
    while data := file.read(limits.IMAGE_PIECE_BYTES):
        yield data
