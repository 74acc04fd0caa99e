"""Container images built on this machine without a registry: tar archives in the OCI layout, and their import.

`pause()` is the sandbox image, whose process keeps a pod's namespaces open; `busybox()` is a small workload image. Both are made of
Debian's static binaries.
"""

import asyncio
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PAUSE = "localhost/kapi/pause:1"
BUSYBOX = "localhost/kapi/busybox:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
_EPOCH = "1970-01-01T00:00:00Z"


class ImageError(Exception):
    """An image cannot be built or imported; the text is the reason, in one sentence."""


def architecture() -> str:
    """'amd64': Go's name of this machine's architecture."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _tar(files: Mapping[str, bytes], links: Mapping[str, str] | None = None, directories: Sequence[str] = ()) -> bytes:
    out, entries = io.BytesIO(), [(_entry(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755), b"") for name in directories]
    entries += [(_entry(name, mode=0o755 if name.startswith(("bin/", "pause")) else 0o644), data) for name, data in files.items()]
    entries += [(_entry(name, tarfile.SYMTYPE, target=target), b"") for name, target in (links or {}).items()]
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _entry(name: str, type: bytes = tarfile.REGTYPE, mode: int = 0o644, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = type, mode, target
    return entry


def build(
    name: str,
    files: Mapping[str, bytes],
    *,
    links: Mapping[str, str] | None = None,
    directories: Sequence[str] = (),
    config: Mapping[str, object] | None = None,
) -> bytes:
    """An OCI archive of one layer, e.g. build("localhost/x:1", {"bin/x": ...}, config={"Entrypoint": ["/bin/x"]})."""
    blobs: dict[str, bytes] = {}

    def add(data: bytes, media: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{media}", "digest": f"sha256:{digest}", "size": len(data)}

    layer = _tar(files, links, directories)
    about = {
        "created": _EPOCH,
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": _EPOCH, "created_by": "kapi"}],
    }
    described = add(json.dumps(about).encode(), "config.v1+json")
    packed = add(gzip.compress(layer, 6, mtime=0), "layer.v1.tar+gzip")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": described, "layers": [packed]}
    top = add(json.dumps(manifest).encode(), "manifest.v1+json")
    top["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [top]}
    content = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    return _tar(content | {f"blobs/sha256/{digest}": data for digest, data in blobs.items()})


def _program(name: str, package: str) -> bytes:
    path = shutil.which(name)
    if path is None:
        raise ImageError(f"{name} is missing: install {package}")
    return Path(path).read_bytes()


def pause(name: str = PAUSE) -> bytes:
    """The pause image, from catatonit."""
    return build(name, {"pause": _program("catatonit", "catatonit")}, config={"Entrypoint": ["/pause", "-P"], "User": "65535:65535"})


def busybox(name: str = BUSYBOX) -> bytes:
    """A busybox image with its applets as links, from busybox-static."""
    program = _program("busybox", "busybox-static")
    listed = subprocess.run([shutil.which("busybox") or "busybox", "--list"], capture_output=True, check=True, text=True).stdout.split()
    files = {
        "bin/busybox": program,
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        "etc/group": b"root:x:0:\nnobody:x:65534:\n",
        "etc/nsswitch.conf": b"hosts: files dns\n",
    }
    links = {f"bin/{applet}": "/bin/busybox" for applet in listed if applet != "busybox"}
    directories = ("bin", "etc", "root", "tmp", "var", "var/www", "home", "usr", "usr/bin", "usr/sbin", "sbin", "dev", "proc", "sys")
    return build(name, files, links=links, directories=directories, config={"Cmd": ["sh"]})


async def missing(socket: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that containerd does not have. Raises ImageError."""
    out = await ctr(socket, "list", "--quiet")
    present = set(out.split())
    return [name for name in names if name not in present]


async def load(socket: str, archive: bytes) -> None:
    """Import an archive of our own making into containerd for Kubernetes' use. Raises ImageError. Those of others: kubelet.archives."""
    await ctr(socket, "import", "-", data=archive)


async def ctr(socket: str, *arguments: str, data: bytes = b"", stdin: int = subprocess.PIPE) -> str:
    """The output of `ctr images …`; the descriptor `stdin` is closed. Raises ImageError."""
    try:
        program = shutil.which("ctr")
        if program is None:
            raise ImageError("ctr is missing. Install it with: apt-get install --no-install-recommends containerd")
        process = await asyncio.create_subprocess_exec(
            program, "--address", socket, "--namespace", "k8s.io", "images", *arguments,
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        if stdin != subprocess.PIPE:
            os.close(stdin)
    try:
        out, err = await process.communicate(data or None)
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        why = err.decode(errors="replace").strip().splitlines()
        raise ImageError(f"containerd refuses: {(why or ['it says nothing'])[-1].removeprefix('ctr: ')}")
    return out.decode()
