"""kubectl on a kind of two versions that a webhook converts: it asks for either by name."""

import base64
import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import peers
from tests.attacks.test_conversion_attacks import converting
from tests.e2e.cluster import Kubectl

pytestmark = pytest.mark.slow
GROUP = "convert.example.com"


def version(name: str, **more: Any) -> dict[str, Any]:
    count = {"type": "integer", "description": f"How many, as {name} says."}
    spec = {"type": "object", "properties": {"count": count, "note": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return {"name": name, "served": True, "storage": name == "v1", "schema": schema, **more}


@pytest.fixture
def things(kubectl: Kubectl, tmp_path: Path) -> Iterator[Kubectl]:
    context, ca = peers.authority(tmp_path, "127.0.0.1")
    columns = [{"name": "Count", "type": "integer", "jsonPath": ".spec.count"}]
    with converting(context) as port:
        client = {"url": f"https://127.0.0.1:{port}/", "caBundle": base64.b64encode(ca).decode()}
        spec = {
            "group": GROUP, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing", "singular": "thing"},
            "versions": [version("v1"), version("v1beta1", additionalPrinterColumns=columns)],
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}},
        }  # fmt: skip
        meta = {"name": f"things.{GROUP}"}
        definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": meta, "spec": spec}
        kubectl("apply", "-f", "-", given=json.dumps(definition))
        kubectl("wait", "--for=condition=Established", f"crd/things.{GROUP}", "--timeout=10s")
        yield kubectl
        kubectl("delete", f"crd/things.{GROUP}", "--timeout=20s")


def thing(name: str, count: int) -> str:
    return json.dumps({"apiVersion": f"{GROUP}/{name}", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"count": count}})


def test_get_apply_edit_explain(things: Kubectl, tmp_path: Path) -> None:
    assert "created" in things("apply", "-f", "-", given=thing("v1", 1))
    assert f'"apiVersion": "{GROUP}/v1"' in things("get", "thing", "t", "-o", "json")
    old = things("get", f"things.v1beta1.{GROUP}", "t", "-o", "json")
    assert json.loads(old)["apiVersion"] == f"{GROUP}/v1beta1"
    assert things("get", f"thing.v1beta1.{GROUP}").split()[:2] == ["NAME", "COUNT"]
    assert "configured" in things("apply", "-f", "-", given=thing("v1beta1", 2))
    assert things("get", "thing", "t", "-o", "jsonpath={.spec.count}") == "2"
    assert "serverside-applied" in things("apply", "--server-side", "--force-conflicts", "-f", "-", given=thing("v1beta1", 3))
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/count: 3/count: 4/' \"$1\"\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    edit = things.command("edit", f"things.v1beta1.{GROUP}", "t")
    edited = subprocess.run(edit, env={**things.cluster.env, "KUBE_EDITOR": str(editor)}, capture_output=True, text=True, check=True)
    assert "edited" in edited.stdout
    assert things("get", "thing", "t", "-o", "jsonpath={.spec.count}") == "4"
    for name in ("v1", "v1beta1"):
        assert f"How many, as {name} says." in things("explain", "things.spec.count", f"--api-version={GROUP}/{name}")
    assert "labeled" in things("label", f"things.v1beta1.{GROUP}", "t", "a=b")
    assert things("get", f"things.v1beta1.{GROUP}", "-l", "a=b", "-o", "name") .strip() == f"thing.{GROUP}/t"
    assert "deleted" in things("delete", f"things.v1beta1.{GROUP}", "t")
