"""Endpoints and credentials: from a kubeconfig or, in a pod, from the service account; and the Client for them.

Exec plugins and auth providers are not supported. Keys embedded in a kubeconfig are not written to disk.
"""

import base64
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kapi.client.client import Client
from kapi.http.client import HttpTransport
from kapi.objects import time

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS = 60.0


@dataclass(frozen=True)
class Endpoint:
    """A server and the credentials for it; PEM as bytes."""

    server: str
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""
    token_file: str = ""
    insecure: bool = False
    namespace: str = "default"


class ConfigError(Exception):
    """A kubeconfig that cannot be used; the message is one sentence for the user."""


def _named(config: dict[str, Any], section: str, name: str, inner: str) -> dict[str, Any]:
    entries = config.get(section) or []
    for item in entries if isinstance(entries, list) else []:
        if isinstance(item, dict) and item.get("name") == name and isinstance(item.get(inner), dict):
            return dict(item[inner])
    raise ConfigError(f'the kubeconfig has no {inner} named "{name}"')


def _pem(section: dict[str, Any], name: str, file: Path) -> bytes:
    """The PEM of NAME-data (base64) or of the file NAME, relative to the kubeconfig."""
    if data := section.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (ValueError, TypeError):
            raise ConfigError(f"{file}: {name}-data is not base64") from None
    path = _text(file, section, name)
    return Path(file.parent, path).read_bytes() if path else b""


def _text(file: Path, section: dict[str, Any], name: str) -> str:
    """A field that must be a string if it is set. Raises ConfigError."""
    value = section.get(name) or ""
    if not isinstance(value, str):
        raise ConfigError(f"{file}: {name} must be a string")
    return value


def from_kubeconfig(path: str | os.PathLike[str] = "", context: str = "") -> Endpoint:
    """The endpoint of a context (default: the current one). Raises ConfigError, OSError."""
    import yaml  # only processes that read a kubeconfig carry it

    from certs import userconfig

    file = Path(path) if path else userconfig.default_path()
    try:
        config = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise ConfigError(f"{file} is no kubeconfig")
    chosen = _named(config, "contexts", context or config.get("current-context") or "", "context")
    cluster = _named(config, "clusters", chosen.get("cluster", ""), "cluster")
    user = _named(config, "users", chosen["user"], "user") if chosen.get("user") else {}
    if "exec" in user or "auth-provider" in user:
        raise ConfigError(f"{file}: exec plugins and auth providers are not supported")
    if not re.match(r"https?://[^/]", _text(file, cluster, "server")):
        raise ConfigError(f'{file}: the server must be a URL with https or http, not "{cluster.get("server", "")}"')
    return Endpoint(
        server=cluster["server"],
        authority=_pem(cluster, "certificate-authority", file),
        certificate=_pem(user, "client-certificate", file),
        key=_pem(user, "client-key", file),
        token=_text(file, user, "token"),
        token_file=_text(file, user, "tokenFile"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=_text(file, chosen, "namespace") or "default",
    )


def in_cluster(root: Path = SERVICE_ACCOUNT) -> Endpoint:
    """The endpoint of the API server from inside a pod. Raises ConfigError outside of one."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise ConfigError("not inside a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace = (root / "namespace").read_text().strip() if (root / "namespace").exists() else "default"
    return Endpoint(server=server, authority=(root / "ca.crt").read_bytes(), token_file=str(root / "token"), namespace=namespace)


def tls(endpoint: Endpoint) -> ssl.SSLContext:
    """The TLS context of an endpoint. The key is passed through an anonymous memory file, because ssl reads only files."""
    context = ssl.create_default_context(cadata=endpoint.authority.decode() or None)
    if endpoint.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if endpoint.certificate:
        fd = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            os.write(fd, endpoint.certificate.rstrip() + b"\n" + endpoint.key)
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    return context


def _token(endpoint: Endpoint) -> Callable[[], str] | None:
    """A function that returns the bearer token. A token file is read again every minute, because it is rotated."""
    if not endpoint.token_file:
        return (lambda: endpoint.token) if endpoint.token else None
    known, read_at = "", 0.0

    def read() -> str:
        nonlocal known, read_at
        if time.now() - read_at > TOKEN_SECONDS:
            known, read_at = Path(endpoint.token_file).read_text().strip(), time.now()
        return known

    return read


def connect(endpoint: Endpoint, *, agent: str = "kapi") -> Client:
    """A client of the endpoint; requires a running event loop. Raises ConfigError."""
    try:
        context = tls(endpoint) if endpoint.server.startswith("https:") else None
    except (ssl.SSLError, ValueError) as why:
        raise ConfigError(f"the certificates for {endpoint.server} can't be used: {why}") from None
    return Client(HttpTransport(endpoint.server, context, token=_token(endpoint)), agent=agent)
