"""An extension API server of somebody's test, on this machine's loopback address."""

import json
import ssl
import time
import urllib.request
from pathlib import Path
from typing import Any

import kapi.testing
from tests import extension
from tests.extension import API, GROUP


def ask(cluster: kapi.testing.Cluster, path: str, body: Any = None, method: str = "") -> Any:
    headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(cluster.server + path, data, headers, method=method or ("POST" if data else "GET"))
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(cluster.authority))) as answer:
        return json.loads(answer.read())


def test_an_extension_server_on_loopback(cluster: kapi.testing.Cluster, tmp_path: Path) -> None:
    with extension.serving(cluster.front_proxy_authority.parent, tmp_path, "localhost") as wardle:
        ask(cluster, "/api/v1/namespaces/default/services", extension.service(wardle)[0])
        apis = "/apis/apiregistration.k8s.io/v1/apiservices"
        ask(cluster, apis, extension.api_service(wardle.port, wardle.authority))
        end = time.monotonic() + 10
        while ask(cluster, f"{apis}/v1.{GROUP}").get("status", {}).get("conditions", [{}])[0].get("status") != "True":
            assert time.monotonic() < end
        assert ask(cluster, f"{API}/namespaces/default/flunders", {"metadata": {"name": "a"}})["kind"] == "Flunder"
        ask(cluster, f"{apis}/v1.{GROUP}", method="DELETE")
        ask(cluster, "/api/v1/namespaces/default/services/wardle", method="DELETE")
