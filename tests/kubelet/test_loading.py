"""Archives loaded into a real containerd, and the pods that use their images."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from kubelet import archives, images
from kubelet.images import ImageError
from tests.kubelet.archived import NAME, digest, docker, files, oci, tarred, written
from tests.kubelet.conftest import Containerd
from tests.kubelet.real import Real, container, ready

pytestmark = [pytest.mark.containers, pytest.mark.slow]


async def loaded(own: Containerd, path: Path, content: dict[str, bytes], name: str = "") -> list[tuple[str, str]]:
    archive = archives.read(written(path / "x.tar", tarred(content)))
    return await archives.load(str(own.settings.socket), archive.named(name) if name else archive)


async def test_the_same_content_under_other_names(node: Real, own_containerd: Containerd, tmp_path: Path) -> None:
    """A pod finds it under each, and pods that use the first name still start."""
    content = files(images.busybox())
    index = json.loads(content["index.json"])
    for name, full in (("aaa:2", "docker.io/library/aaa:2"), ("b/c", "docker.io/b/c:latest")):
        index["manifests"][0]["annotations"] = {NAME: name}
        packed = written(tmp_path / "x.tar.gz", gzip.compress(tarred(content | {"index.json": json.dumps(index).encode()})))
        assert await archives.load(str(own_containerd.settings.socket), archives.read(packed)) == [(full, digest(content))]
    several = [container(name=f"c{number}", image=image) for number, image in enumerate((images.BUSYBOX, "aaa:2", "docker.io/b/c"))]
    await node.run(*(each | {"imagePullPolicy": "Never"} for each in several))
    await node.until(ready)


async def test_docker_s_format(own_containerd: Containerd, tmp_path: Path) -> None:
    (first, second) = await loaded(own_containerd, tmp_path, docker(["d1", "example.com/d2:3"], program=b"docker's"))
    assert [first[0], second[0]] == ["docker.io/library/d1:latest", "example.com/d2:3"]
    assert first[1] == second[1]
    assert first[1].startswith("sha256:")
    unnamed = docker(None, program=b"of nobody")
    assert [name for name, _ in await loaded(own_containerd, tmp_path, unnamed, "d4")] == ["docker.io/library/d4:latest"]


async def test_an_image_of_several_platforms(own_containerd: Containerd, tmp_path: Path) -> None:
    """Only this machine's is in the archive, as docker save writes it; the name is that of all."""
    content = oci({}, program=b"of many")
    one = json.loads(content["index.json"])["manifests"][0] | {"platform": {"os": "linux", "architecture": images.architecture()}}
    other = {**one, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "mips64le"}}
    several = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [other, one]}).encode()
    name = hashlib.sha256(several).hexdigest()
    entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{name}", "size": len(several)}
    index = {"schemaVersion": 2, "manifests": [entry | {"annotations": {NAME: "many"}}]}
    content |= {f"blobs/sha256/{name}": several, "index.json": json.dumps(index).encode()}
    assert await loaded(own_containerd, tmp_path, content) == [("docker.io/library/many:latest", f"sha256:{name}")]


async def test_what_containerd_refuses(own_containerd: Containerd, tmp_path: Path) -> None:
    content = oci({NAME: "wrong"}, program=b"wrong")
    gone = next(name for name, data in content.items() if data.startswith(b"\x1f\x8b"))
    with pytest.raises(ImageError, match=r"^containerd refuses: [^\n]+$"):
        await loaded(own_containerd, tmp_path, {name: data for name, data in content.items() if name != gone})
    changed = content | {gone: content[gone] + b"?"}
    with pytest.raises(ImageError, match="has another digest"):
        await loaded(own_containerd, tmp_path, changed)
    listed = (await images.ctr(str(own_containerd.settings.socket), "list", "--quiet")).split()
    assert [name for name in listed if "wrong" in name or "import" in name] == []
    assert await loaded(own_containerd, tmp_path, content)
    broken = {name: data for name, data in oci({NAME: "wrong"}, program=b"broken").items() if not data.startswith(b"\x1f\x8b")}
    with pytest.raises(ImageError, match="refuses"):
        await loaded(own_containerd, tmp_path, broken)
    assert await loaded(own_containerd, tmp_path, content), "the name still leads to what it did"
