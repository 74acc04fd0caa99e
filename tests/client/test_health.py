"""The health port of a component, over TLS, with the API server asked who may read the figures."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import orjson
import pytest

from kapi.client import health
from kapi.client.client import Client
from kapi.objects.resource import SERVICE_ACCOUNTS
from kapi.objects.resource import Resource as R


def context(pki: Path, certificate: str = "") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if certificate:
        made.load_cert_chain(pki / f"{certificate}.crt", pki / f"{certificate}.key")
    return made


async def get(port: int, path: str, tls: ssl.SSLContext, token: str = "") -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        more = f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        return int(head.split(" ")[1]), body
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_health_for_everybody_figures_for_some(client: Client, pki: Path, unused_tcp_port: int) -> None:
    async with health.serving(client, "127.0.0.1", unused_tcp_port, pki) as figures:
        figures.append(lambda: ["mine 1"])
        for path in ("/healthz", "/livez?verbose", "/readyz/leaderElection"):
            assert await get(unused_tcp_port, path, context(pki)) == (200, "ok")
        code, text = await get(unused_tcp_port, "/metrics", context(pki))
        said = orjson.loads(text)
        assert (code, said["reason"]) == (403, "Forbidden")
        assert said["message"] == 'forbidden: User "system:anonymous" cannot get path "/metrics"'
        code, text = await get(unused_tcp_port, "/metrics", context(pki, "admin"))
        assert code == 200
        assert "process_cpu_seconds_total " in text
        assert text.endswith("mine 1\n")
        assert (await get(unused_tcp_port, "/nothing", context(pki, "admin")))[0] == 404


async def test_tokens(client: Client, pki: Path, unused_tcp_port: int) -> None:
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "reader", "namespace": "default"}})
    path = SERVICE_ACCOUNTS.path("default", "reader", "token")
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = (await client.post(path, body))["status"]["token"]
    async with health.serving(client, "127.0.0.1", unused_tcp_port, pki):
        assert (await get(unused_tcp_port, "/metrics", context(pki), "nonsense"))[0] == 401
        assert (await get(unused_tcp_port, "/metrics", context(pki), token))[0] == 403
        group = "rbac.authorization.k8s.io"
        rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
        await client.create(R(group, "v1", "clusterroles", "ClusterRole", False), {"metadata": {"name": "m"}, "rules": rules})
        role = {"apiGroup": group, "kind": "ClusterRole", "name": "m"}
        subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]
        binding = {"metadata": {"name": "m"}, "roleRef": role, "subjects": subjects}
        await client.create(R(group, "v1", "clusterrolebindings", "ClusterRoleBinding", False), binding)
        assert (await get(unused_tcp_port, "/metrics", context(pki), token))[0] == 200


@pytest.mark.parametrize("port", [0, 1])
async def test_no_port_is_no_failure(client: Client, tmp_path: Path, port: int) -> None:
    async with health.serving(client, "127.0.0.1", port, tmp_path) as figures:
        assert figures
