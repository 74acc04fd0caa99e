"""The cluster's certificates: complete, fitting, renewed in time and otherwise left alone."""

import contextlib
import ssl
import time
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from certs import Settings, ensure, files

SETTINGS = Settings(server="https://127.0.0.1:7443", hosts=("myhost", "192.0.2.7"), nodes={"n1": ("192.0.2.7",)})
DAY = 86400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    ensure(directory, SETTINGS)
    return directory


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def content(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_every_certificate_fits_its_key_and_its_issuer(made: Path) -> None:
    certificates = sorted(made.rglob("*.crt"))
    assert len(certificates) == 11
    for path in certificates:
        certificate = load(path)
        key = load_pem_private_key(path.with_suffix(".key").read_bytes(), None)
        assert key.public_key() == certificate.public_key()
        issuer = "front-proxy-ca" if path.name.startswith("front-proxy") else "ca"
        certificate.verify_directly_issued_by(load(made / f"{issuer}.crt"))


def test_the_serving_certificate_names_the_server_in_every_way(made: Path) -> None:
    names = load(made / "apiserver.crt").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "myhost",
    ]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.96.0.1", "192.0.2.7"]


@pytest.mark.parametrize(
    ("file", "subject"),
    [
        ("admin", "CN=kubernetes-admin,O=system:masters"),
        ("controller-manager", "CN=system:kube-controller-manager,O=kapi:controllers"),
        ("scheduler", "CN=system:kube-scheduler"),
        ("proxy", "CN=system:kube-proxy"),
        ("apiserver-kubelet-client", "CN=kube-apiserver-kubelet-client,O=system:masters"),
        ("nodes/n1/client", "CN=system:node:n1,O=system:nodes"),
    ],
)
def test_clients_are_the_users_the_roles_are_bound_to(made: Path, file: str, subject: str) -> None:
    assert load(made / f"{file}.crt").subject.rfc4514_string() == subject


def test_private_files_are_private(made: Path) -> None:
    for path in made.rglob("*"):
        if path.suffix in (".key", ".conf"):
            assert path.stat().st_mode & 0o777 == 0o600


def test_the_service_account_keys_are_a_pair(made: Path) -> None:
    key = load_pem_private_key((made / "sa.key").read_bytes(), None)
    assert key.public_key() == load_pem_public_key((made / "sa.pub").read_bytes())


def test_the_files_are_good_for_tls_in_the_strictest_mode(made: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made / "apiserver.crt", made / "apiserver.key")
    server.load_verify_locations(made / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(made / "ca.crt"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_cert_chain(made / "admin.crt", made / "admin.key")
    a, b, c, d = (ssl.MemoryBIO() for _ in range(4))
    ends = [client.wrap_bio(a, b, server_hostname="localhost"), server.wrap_bio(c, d, server_side=True)]
    for _ in range(4):
        for end, out, into in ((ends[0], b, c), (ends[1], d, a)):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
            into.write(out.read())
    assert ("commonName", "kubernetes-admin") in [part[0] for part in (ends[1].getpeercert() or {})["subject"]]


def test_the_kubeconfigs_name_the_server(made: Path) -> None:
    for name in ("admin.conf", "controller-manager.conf", "scheduler.conf", "proxy.conf", "nodes/n1/kubelet.conf"):
        config = yaml.safe_load((made / name).read_text())
        assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:7443"


def test_a_second_time_nothing_changes(made: Path) -> None:
    before = content(made)
    ensure(made, SETTINGS)
    assert content(made) == before


def test_expiry_is_read_from_the_certificate(made: Path) -> None:
    assert files.expiry(made / "admin.crt") == load(made / "admin.crt").not_valid_after_utc.timestamp()
    assert files.expiry(made / "absent.crt") == 0.0
    assert files.expiry(made / "sa.pub") == 0.0


def test_certificates_are_renewed_before_they_end_and_keys_are_kept(tmp_path: Path) -> None:
    now = time.time()
    ensure(tmp_path, SETTINGS, now)
    before = content(tmp_path)
    ensure(tmp_path, SETTINGS, now + 310 * DAY)
    after = content(tmp_path)
    changed = {path.name for path in before if before[path] != after[path]}
    assert {"apiserver.crt", "admin.crt", "admin.conf", "kubelet.conf"} <= changed
    assert not {"ca.crt", "ca.key", "apiserver.key", "sa.key"} & changed


def test_a_new_host_or_ca_makes_new_certificates(tmp_path: Path) -> None:
    ensure(tmp_path, SETTINGS)
    before = content(tmp_path)
    ensure(tmp_path, Settings(server=SETTINGS.server, hosts=("other",), nodes=SETTINGS.nodes))
    assert {p.name for p, data in content(tmp_path).items() if before[p] != data} == {"apiserver.crt"}
    (tmp_path / "ca.crt").unlink()
    (tmp_path / "ca.key").unlink()
    ensure(tmp_path, SETTINGS)
    load(tmp_path / "admin.crt").verify_directly_issued_by(load(tmp_path / "ca.crt"))


def test_a_broken_file_is_made_again(tmp_path: Path) -> None:
    ensure(tmp_path, SETTINGS)
    (tmp_path / "admin.crt").write_text("")
    ensure(tmp_path, SETTINGS)
    assert load(tmp_path / "admin.crt").subject.rfc4514_string().startswith("CN=kubernetes-admin")
