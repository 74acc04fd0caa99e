"""Kubeconfig files for the components and for `kapi kubeconfig`. The user's own file is in `certs.userconfig`."""

import base64

NAME = "kapi"
"""Name of the cluster, user and context in the file."""


def text(server: str, ca: bytes, certificate: bytes, key: bytes, name: str = NAME) -> bytes:
    """A kubeconfig with one context; `ca`, `certificate` and `key` are PEM."""
    return f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {_data(ca)}
    server: {server}
  name: {name}
contexts:
- context:
    cluster: {name}
    user: {name}
  name: {name}
current-context: {name}
kind: Config
preferences: {{}}
users:
- name: {name}
  user:
    client-certificate-data: {_data(certificate)}
    client-key-data: {_data(key)}
""".encode()


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
