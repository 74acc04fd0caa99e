"""Alpha and beta versions through the generated API, against an API server alone that serves them all."""

import datetime
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes import client, config

from kapi.cli.processes import Process
from kapi.objects.meta import Object
from tests.clients.test_generated import Story, filled, label
from tests.e2e.cluster import free_port

pytestmark = pytest.mark.slow

PREVIEWS: list[Object] = yaml.safe_load((Path(__file__).parent / "previews.yaml").read_text())


@pytest.fixture(scope="module")
def previews() -> Iterator[client.ApiClient]:
    """The official client of a server with every version switched on."""
    directory = Path(tempfile.mkdtemp(prefix="kapi-previews-"))
    process = Process("apiserver", directory)
    options = ["--data-dir", str(directory), "--port", str(free_port()), "--runtime-config", "api/all=true"]
    starting = process.start([sys.executable, "-m", "kapi", "apiserver", *options])
    try:
        starting.wait()
        with config.new_client_from_config(str(directory / "pki" / "admin.conf")) as api:
            client.CoreV1Api(api).create_namespace({"metadata": {"name": "previews"}})
            yield api
            api.rest_client.pool_manager.clear()
    finally:
        process.stop()
        starting.child.wait()
        shutil.rmtree(directory)


def authority() -> str:
    """The certificate of an authority, as PEM."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("row", PREVIEWS, ids=label)
def test_a_kind(previews: client.ApiClient, row: Object) -> None:
    story = Story(previews, filled(row, {"PEM": authority()}), "previews")
    story.made_and_found()
    story.sent_back()
    story.patched()
    story.applied()
    story.statuses()
    story.ended()
