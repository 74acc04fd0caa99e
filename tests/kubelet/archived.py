"""Image archives for tests, as others write them."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kubelet import images

NAME, REF = "io.containerd.image.name", "org.opencontainers.image.ref.name"


def files(archive: bytes) -> dict[str, bytes]:
    """What a tar archive holds, by name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers() if member.isfile()}  # type: ignore[union-attr]


def tarred(content: dict[str, bytes], *more: tarfile.TarInfo, prefix: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in more:
            tar.addfile(member)
    return out.getvalue()


def oci(*annotations: dict[str, str], program: bytes = b"hello") -> dict[str, bytes]:
    """The files of an OCI archive with an image, once for each of the annotations."""
    content = files(images.build("localhost/x:1", {"bin/x": program}, config={"Cmd": ["/bin/x"]}))
    index = json.loads(content["index.json"])
    index["manifests"] = [index["manifests"][0] | {"annotations": each} for each in annotations]
    return content | {"index.json": json.dumps(index).encode()}


def foreign(*annotations: dict[str, str]) -> dict[str, bytes]:
    """The same for a machine of another architecture."""
    with patch.object(images, "architecture", lambda: "mips64le"):
        return oci(*annotations)


def docker(tags: list[str] | None, program: bytes = b"hello") -> dict[str, bytes]:
    """The files of what docker save writes (before version 25)."""
    content = oci({}, program=program)
    blobs = {name: data for name, data in content.items() if name.startswith("blobs/")}
    manifest = next(m for m in map(_parsed, blobs.values()) if "layers" in m)
    config = blobs[f"blobs/sha256/{manifest['config']['digest'].partition(':')[2]}"]
    layer = gzip.decompress(blobs[f"blobs/sha256/{manifest['layers'][0]['digest'].partition(':')[2]}"])
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    index = [{"Config": name, "RepoTags": tags, "Layers": ["a/layer.tar"]}]
    return {name: config, "a/layer.tar": layer, "a/VERSION": b"1.0", "repositories": b"{}", "manifest.json": json.dumps(index).encode()}


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(data))
    except ValueError:
        return {}


def digest(content: dict[str, bytes]) -> str:
    """Of the manifest of an OCI archive's image."""
    return str(json.loads(content["index.json"])["manifests"][0]["digest"])


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
