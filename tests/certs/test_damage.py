"""Damaged files: what others rely on is never made anew on its own, everything else is, and nobody notices."""

import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs import Settings, Unusable, checking, ensure, making
from certs.spec import CertificateSpec

SETTINGS = Settings(nodes={"n1": ("192.0.2.7",)})
RELIED_ON = {"ca.crt": "ca", "ca.key": "ca", "front-proxy-ca.crt": "front-proxy-ca", "front-proxy-ca.key": "front-proxy-ca", "sa.key": "sa"}
"""Files that others rely on, and the key they belong to."""
DAY = 86400


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    ensure(directory, SETTINGS)
    return directory


@pytest.fixture
def pki(whole: Path, tmp_path: Path) -> Path:
    return copytree(whole, tmp_path / "pki")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def junk(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def swap(path: Path) -> None:
    """Another one's of the same sort is there."""
    others = {".crt": "scheduler.crt", ".key": "scheduler.key", ".pub": "../other.pub", ".conf": "proxy.conf"}
    if path.suffix == ".pub":
        (path.parent / "../other.pub").write_bytes(making.public_key(making.new_key()))
    other = path.parent / others[path.suffix] if "nodes" not in path.parts else path.parents[2] / others[path.suffix]
    copy(other if other != path else path.with_name("admin" + path.suffix), path)


def turn(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    middle = data.index(b"\n", data.index(b"-----BEGIN")) + 30 if b"-----BEGIN" in data else len(data) // 2
    data[middle] ^= 1
    path.write_bytes(data)


DAMAGES = (truncate, empty, junk, swap, turn, Path.unlink)
PAIRS = (
    "ca", "front-proxy-ca", "apiserver", "apiserver-kubelet-client", "front-proxy-client", "admin", "controller-manager", "scheduler",
    "proxy", "nodes/n1/client", "nodes/n1/serving",
)  # fmt: skip
FILES = [
    *(f"{name}.{kind}" for name in PAIRS for kind in ("crt", "key")),
    *(f"{name}.conf" for name in ("admin", "controller-manager", "scheduler", "proxy", "nodes/n1/kubelet")),
    "sa.key", "sa.pub",
]  # fmt: skip


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_list_is_complete(whole: Path) -> None:
    assert set(content(whole)) == set(FILES)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", FILES)
def test_one_damaged_file(pki: Path, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture) -> None:
    before = content(pki)
    damage(pki / name)
    broken = content(pki)
    if name in RELIED_ON or (name == "sa.pub" and damage is swap):
        with pytest.raises(Unusable) as refused:
            ensure(pki, SETTINGS)
        assert refused.value.name == RELIED_ON.get(name, "sa")
        assert Path(name).stem in str(refused.value)
        assert content(pki) == broken, "nothing is touched"
        return
    ensure(pki, SETTINGS)
    after = content(pki)
    assert {file for file in before if file in RELIED_ON and after[file] != before[file]} == set()
    for file in (path for path in pki.rglob("*.crt")):
        assert checking.fits(file, file.with_suffix(".key"))
    assert after["sa.pub"] == before["sa.pub"]
    told = [record.getMessage() for record in caplog.records]
    unnoticed = name.endswith(".conf") or (name.endswith((".crt", ".pub")) and damage in (Path.unlink, swap))
    if not unnoticed and after[name] != broken.get(name):
        assert any(Path(name).stem in line for line in told), told
    ensure(pki, SETTINGS)
    assert content(pki) == after


def test_an_expired_authority(tmp_path: Path) -> None:
    ensure(tmp_path, SETTINGS, time.time() - 11 * 365 * DAY)
    with pytest.raises(Unusable, match=r"ca\.crt expired on 20"):
        ensure(tmp_path, SETTINGS)


def test_an_authority_that_is_about_to_end_keeps_its_key(tmp_path: Path) -> None:
    ensure(tmp_path, SETTINGS, time.time() - 9 * 365 * DAY)
    key, certificate = (tmp_path / "ca.key").read_bytes(), (tmp_path / "ca.crt").read_bytes()
    ensure(tmp_path, SETTINGS)
    assert (tmp_path / "ca.key").read_bytes() == key
    assert (tmp_path / "ca.crt").read_bytes() != certificate


def test_both_authorities_exchanged(pki: Path) -> None:
    for kind in ("crt", "key"):
        ca, proxy = pki / f"ca.{kind}", pki / f"front-proxy-ca.{kind}"
        first, second = ca.read_bytes(), proxy.read_bytes()
        ca.write_bytes(second)
        proxy.write_bytes(first)
    with pytest.raises(Unusable, match=r"ca\.crt is of CN=front-proxy-ca, not of CN=kubernetes"):
        ensure(pki, SETTINGS)


def test_a_certificate_that_is_no_authority(pki: Path) -> None:
    key = making.new_key()
    spec, ca, ca_key = CertificateSpec("x", "kubernetes", usages=("client",)), (pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes()
    pem = making.certificate(spec, key, ca, ca_key, time.time())
    (pki / "ca.crt").write_bytes(pem)
    (pki / "ca.key").write_bytes(key)
    with pytest.raises(Unusable, match="is not the certificate of an authority"):
        ensure(pki, SETTINGS)


@pytest.mark.slow
def test_somebody_s_own_authority_is_kept(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = making.authority(CertificateSpec("ca", "kubernetes"), key, time.time())
    (tmp_path / "ca.crt").write_bytes(pem)
    (tmp_path / "ca.key").write_bytes(key)
    ensure(tmp_path, SETTINGS)
    assert ((tmp_path / "ca.crt").read_bytes(), (tmp_path / "ca.key").read_bytes()) == (pem, key)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "admin.crt", tmp_path / "admin.key")


def test_whoever_removes_both_files_gets_a_new_authority(pki: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = content(pki)
    for kind in ("crt", "key"):
        (pki / f"ca.{kind}").unlink()
    ensure(pki, SETTINGS)
    assert "is made anew" in caplog.text
    assert content(pki)["admin.crt"] != before["admin.crt"]
    assert content(pki)["sa.key"] == before["sa.key"]


@pytest.mark.parametrize("cut", ["ca.key", "front-proxy-ca.key", "sa.key"])
def test_a_first_start_that_was_killed_is_gone_on_with(whole: Path, tmp_path: Path, cut: str) -> None:
    """A key is written before its certificate; nothing was signed yet."""
    order = ["ca.key", "ca.crt", "front-proxy-ca.key", "front-proxy-ca.crt", "sa.key"]
    for name in order[: order.index(cut) + 1]:
        copy(whole / name, tmp_path / name)
    ensure(tmp_path, SETTINGS)
    assert (tmp_path / cut).read_bytes() == (whole / cut).read_bytes()
    assert set(content(tmp_path)) == set(FILES)


def test_with_everything_in_place_no_cryptography_is_loaded(whole: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from certs import Settings, ensure;"
        f"ensure(Path({str(whole)!r}), Settings(nodes={{'n1': ('192.0.2.7',)}})); print('cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
