"""What is read of image archives: their names in full, and what is refused."""

import bz2
import gzip
import io
import json
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kapi import limits
from kubelet import archives, images
from kubelet.images import ImageError
from tests.kubelet.archived import NAME, REF, digest, docker, files, foreign, oci, tarred, written


def names(path: Path) -> list[tuple[str, ...]]:
    return [image.names for image in archives.read(path).images]


def rewritten(archive: archives.Archive) -> dict[str, bytes]:
    out = io.BytesIO()
    archive.write(out)
    return files(out.getvalue())


@pytest.mark.parametrize(
    ("annotations", "full"),
    [
        ({NAME: "web", REF: "latest"}, "docker.io/library/web:latest"), ({REF: "web"}, "docker.io/library/web:latest"),
        ({REF: "example.com/web:2"}, "example.com/web:2"), ({REF: "web:2"}, "docker.io/library/web:2"),
        ({REF: "latest"}, ""), ({REF: "1.36"}, ""), ({REF: "v2"}, ""), ({}, ""),
    ],
)  # fmt: skip
def test_names_of_an_oci_archive(annotations: dict[str, str], full: str, tmp_path: Path) -> None:
    content = oci(annotations)
    archive = archives.read(written(tmp_path / "x.tar", tarred(content)))
    assert [image.names for image in archive.images] == [(full,) if full else ()]
    assert archive.images[0].digest == digest(content)
    assert archive.unnamed == (not full)


def test_containerd_gets_full_names_and_nothing_else(tmp_path: Path) -> None:
    content = oci({NAME: "web", "org.example": "kept"}) | {"manifest.json": b"[]", "more/readme": b"x"}
    made = rewritten(archives.read(written(tmp_path / "x.tar", tarred(content, prefix="./"))))
    (entry,) = json.loads(made["index.json"])["manifests"]
    assert entry["annotations"] == {"org.example": "kept", NAME: "docker.io/library/web:latest"}
    assert {name: data for name, data in made.items() if name != "index.json"} == {
        name: data for name, data in content.items() if name.startswith("blobs/") or name == "oci-layout"
    }  # fmt: skip


def test_docker_s_format(tmp_path: Path) -> None:
    link = tarfile.TarInfo("b/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
    content = docker(["web", "example.com/web:2"])
    archive = archives.read(written(tmp_path / "x.tar", tarred(content, link)))
    assert [image.names for image in archive.images] == [("docker.io/library/web:latest", "example.com/web:2")]
    made = rewritten(archive)
    assert json.loads(made["manifest.json"])[0]["RepoTags"] == ["docker.io/library/web:latest", "example.com/web:2"]
    assert made["a/layer.tar"] == content["a/layer.tar"]
    assert archives.read(written(tmp_path / "n.tar", tarred(docker(None)))).unnamed == 1


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    content = oci({NAME: "web"}, program=b"x" * 3_000_000)
    path = written(tmp_path / "x", packed(tarred(content)))
    assert names(path) == [("docker.io/library/web:latest",)]
    assert rewritten(archives.read(path)).keys() == content.keys()


def test_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = written(tmp_path / "x.tar", tarred(oci({NAME: "web"})))
    packed = tmp_path / "x.tar.zst"
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-q", str(plain), "-o", str(packed)], check=True)
        assert names(packed) == [("docker.io/library/web:latest",)]
        assert "blobs" in "".join(rewritten(archives.read(packed)))
    packed.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ImageError, match=r"zstd, which is missing\. Install it with: apt-get install zstd"):
        archives.read(packed)


def test_a_given_name(tmp_path: Path) -> None:
    one = archives.read(written(tmp_path / "x.tar", tarred(oci({REF: "1"}))))
    assert one.named("web").images[0].names == ("docker.io/library/web:latest",)
    two = archives.read(written(tmp_path / "y.tar", tarred(oci({}, {}))))
    with pytest.raises(ImageError, match="holds 2 images: a name can be given to one only"):
        two.named("web")


def _member(name: str, type: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type, target
    return member


def _index(**more: object) -> dict[str, bytes]:
    content = oci({NAME: "web"})
    return content | {"index.json": json.dumps(json.loads(content["index.json"]) | more).encode()}


REFUSED = {
    "no archive": (b"hello" * 1000, "is no image archive"),
    "empty": (b"", "is no image archive"),
    "a tar of something else": (tarred({"etc/passwd": b"x"}), "holds neither index.json nor manifest.json"),
    "its end is missing": (tarred(oci({NAME: "web"})).rstrip(b"\0")[:-10], "damaged"),
    "its gzip is broken": (gzip.compress(tarred(oci({NAME: "web"})))[:400], "damaged"),
    "gzip of nothing": (gzip.compress(b""), "is no image archive"),
    "no image": (tarred(_index(manifests=[])), "holds no image"),
    "an index that is none": (tarred(oci({}) | {"index.json": b"{]"}), "its index.json is not understood"),
    "an index of other things": (tarred(_index(manifests=[1])), "its index.json is not understood"),
    "a deep index": (tarred(oci({}) | {"index.json": b"[" * 100_000}), "its index.json is not understood"),
    "a long index": (tarred(oci({}) | {"index.json": bytes(limits.IMAGE_INDEX_BYTES + 1)}), "has too long a index.json"),
    "a blob that is missing": (tarred({n: d for n, d in oci({}).items() if digest(oci({}))[7:] not in n}), "which it does not hold"),
    "a name that is none": (tarred(oci({NAME: "../../x"})), "names an image '../../x', which must be the name of an image"),
    "a name twice": (tarred(oci({NAME: "web"}, {REF: "web:latest"})), "docker.io/library/web:latest twice"),
    "a path upwards": (tarred(oci({NAME: "web"}), _member("a/../../x")), "leads out of the archive"),
    "an absolute path": (tarred(oci({NAME: "web"}), _member("/etc/passwd")), "leads out of the archive"),
    "a link upwards": (tarred(oci({NAME: "web"}), _member("x", tarfile.SYMTYPE, "../../etc")), "leads out of the archive"),
    "an absolute link": (tarred(oci({NAME: "web"}), _member("x", tarfile.SYMTYPE, "/etc")), "leads out of the archive"),
    "a hard link": (tarred(oci({NAME: "web"}), _member("x", tarfile.LNKTYPE, "index.json")), "or to another file"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path) -> None:
    data, why = REFUSED[what]
    path = written(tmp_path / "x", data)
    with pytest.raises(ImageError, match=why) as error:
        archives.read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_what_it_runs_on(tmp_path: Path) -> None:
    ours = f"linux/{images.architecture()}"
    for content, found in (
        (oci({NAME: "web"}), {ours}), (docker(["web"]), {ours}), (foreign({NAME: "web"}), {"linux/mips64le"}),
        ({name: b"[" if name.startswith("blobs") else data for name, data in oci({NAME: "web"}).items()}, set()),
    ):  # fmt: skip
        (image,) = archives.read(written(tmp_path / "x", tarred(content))).images
        assert image.platforms == found


async def test_an_image_of_another_architecture(tmp_path: Path) -> None:
    """Containerd is not even asked."""
    archive = archives.read(written(tmp_path / "x", tarred(foreign({NAME: "web"}))))
    with pytest.raises(ImageError) as why:
        await archives.load("/nowhere", archive)
    assert str(why.value) == f"{tmp_path}/x is for linux/mips64le, and this machine is linux/{images.architecture()}"


def test_a_header_that_claims_to_be_huge(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 4 << 30
    with open(tmp_path / "x", "wb") as file:
        file.write(header.tobuf())
        file.truncate(5 << 30)
    with pytest.raises(ImageError, match="header of it is too long"):
        archives.read(tmp_path / "x")


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IMAGE_ARCHIVE_FILES", 3)
    with pytest.raises(ImageError, match="more than 3 files"):
        archives.read(written(tmp_path / "x", tarred(oci({NAME: "web"}))))


def test_a_blob_with_another_digest(tmp_path: Path) -> None:
    content = oci({NAME: "web"})
    name = next(n for n, data in content.items() if n.startswith("blobs/") and data.startswith(b"\x1f\x8b"))
    path = written(tmp_path / "x", tarred(content | {name: content[name][:-1] + b"?"}))
    archive = archives.read(path)
    with pytest.raises(ImageError, match=f"{name} has another digest"):
        archive.write(io.BytesIO())
