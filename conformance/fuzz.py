"""`make fuzz`: schemathesis sends generated requests for every operation of our OpenAPI documents to an API server of its own.

Checks that there is no server error, no hang, and no response that the document does not describe.
"""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from conformance.soak import Server
from kapi.objects import conditions
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS
from kapi.settings import Parser, add_arguments, parse, suggestion
from kapi.settings.types import Count

EXAMPLES = ("python -m conformance.fuzz --seconds 10 apis/node.k8s.io/v1",)
CHECKS = "answered,response_schema_conformance"
STREAMS = r"/(exec|attach|portforward|proxy|log)(/\{path\})?$|/watch/"
"""Operations that require a kubelet, and watches."""
LEAST = 3
"""Least seconds for a document of one operation."""


_SPEC: dict[str, Any] = {
    "type": "object", "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 0, "maximum": 9, "default": 1}, "color": {"type": "string", "enum": ["red", "blue"]},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, "port": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time", "nullable": True}, "ratio": {"type": "number", "multipleOf": 0.5},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["p"], "maxItems": 5,
            "items": {"type": "object", "required": ["p"], "properties": {"p": {"type": "integer"}, "name": {"type": "string"}}},
        },
        "labels": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[a-z]*$", "maxLength": 9}},
    },
    "x-kubernetes-validations": [
        {"rule": "self.size < 9 || self.?color.orValue('') == 'red'", "messageExpression": "'too large'"},
        {"rule": "self.size >= oldSelf.size", "reason": "FieldValueForbidden"},
    ],
}  # fmt: skip
_SUBRESOURCES = {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}}
_STATUS = {"type": "object", "properties": {"size": {"type": "integer"}}}
DEFINITION: dict[str, Any] = {
    "metadata": {"name": "things.fuzz.example.com"},
    "spec": {
        "group": "fuzz.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True, "subresources": _SUBRESOURCES,
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": _SPEC, "status": _STATUS}}},
            }
        ],
    },
}  # fmt: skip
"""A custom resource with something of everything; its document is tried as all others are."""


async def documents(server: Server, definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The OpenAPI documents of all group versions, by name, that of a custom resource among them."""
    client = await server.client()
    try:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
        about = f"metadata.name={definition['metadata']['name']}"
        async with aclosing(client.watch(CUSTOM_RESOURCE_DEFINITIONS, fields=about)) as seen:  # type: ignore[type-var]
            async for _, obj in seen:
                found = conditions.find((obj.get("status") or {}).get("conditions") or (), "Established")
                if found and found["status"] == "True":
                    break
        index = await client.send("GET", "/openapi/v3")
        return {name: await client.send("GET", f"/openapi/v3/{name}") for name in index["paths"]}
    finally:
        await client.close()


def with_nulls(node: Any) -> Any:
    """The document with null allowed for empty times, lists and maps, which stock's documents do not mention."""
    if isinstance(node, list):
        return [with_nulls(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: with_nulls(value) for key, value in node.items()}
    if out.get("type") == "array" or out.get("format") in ("date-time", "byte") or "additionalProperties" in out:
        out["nullable"] = True
    return out


def with_protobuf(document: dict[str, Any]) -> dict[str, Any]:
    """The document with JSON and protobuf as forms of each body that may come in any."""
    for path in document["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}) if isinstance(operation, dict) else {}
            if any_form := content.pop("*/*", None):
                content |= {"application/json": any_form, "application/vnd.kubernetes.protobuf": any_form}
    return document


def with_deleted(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the terminating object as a response of DELETE, for which stock's documents have only Status."""
    for path in document["paths"].values():
        for answer in path.get("delete", {}).get("responses", {}).values():
            answer.pop("content", None)
    return document


def run(server: Server, name: str, document: dict[str, Any], seconds: int, directory: Path) -> int:
    """Send requests for one document. Returns the exit code of schemathesis."""
    path = directory / (name.replace("/", "_") + ".json")
    path.write_bytes(orjson.dumps(with_protobuf(with_deleted(with_nulls(document)))))
    token, authority = (directory / "data" / "tokens.csv").read_text().partition(",")[0], directory / "data" / "pki" / "ca.crt"
    command = [
        "run", str(path), "--url", server.url, "--header", f"Authorization: Bearer {token}", "--tls-verify", str(authority), "--checks",
        CHECKS, "--exclude-path-regex", STREAMS, "--phases", "coverage,fuzzing", "--max-time", str(seconds),
        "--request-timeout", "15", "--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off",
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "conformance.fuzz_hooks", "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run([sys.executable, "-m", "schemathesis.cli", *command], env=environment, cwd=directory, check=False).returncode


@dataclass(frozen=True)
class Settings:
    """Which documents are tested, and for how long."""

    documents: tuple[str, ...] = ()
    """Documents by their names, apis/apps/v1 for instance; none: all."""
    seconds: Count = 900
    """For how long in all."""


def parser() -> Parser:
    out = Parser("python -m conformance.fuzz", __doc__ or "", EXAMPLES)
    add_arguments(out, Settings, positional=("documents",))
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    settings = parse(parser(), Settings, arguments)
    if importlib.util.find_spec("schemathesis") is None:
        print("conformance.fuzz: schemathesis is missing. Install it with: pip install 'kapi[fuzz]'", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="kapi-fuzz-") as place:
        directory = Path(place)
        server = Server(directory)
        server.start()
        try:
            every = asyncio.run(documents(server, DEFINITION))
            if unknown := [name for name in settings.documents if name not in every]:
                print(f"conformance.fuzz: there is no document {unknown[0]}{suggestion(unknown[0], every)}", file=sys.stderr)
                return 1
            chosen = {name: every[name] for name in settings.documents or every}
            whole = sum(len(document["paths"]) for document in chosen.values())
            shares = {name: max(LEAST, settings.seconds * len(document["paths"]) // whole) for name, document in chosen.items()}
            failed = [name for name, document in chosen.items() if run(server, name, document, shares[name], directory)]
            trouble = [line for line in (directory / "server.log").read_text().splitlines() if line.startswith("Traceback")]
        finally:
            server.stop(signal.SIGKILL)
    print(f" ✗ {len(trouble)} errors of the server, faults in {', '.join(failed)}" if failed or trouble else f" ✓ {len(chosen)} documents")
    return 1 if failed or trouble else 0


if __name__ == "__main__":
    sys.exit(main())
