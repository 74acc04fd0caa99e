"""The generated tables: types.json (every type), resources.json (everything served) and others. See openapi.generate.

Reading costs about 2 ms; what the notations mean is known to kapi.schema.builtin and kapi.registry.catalogue.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import orjson

HERE = Path(__file__).parent


@cache
def types() -> dict[str, dict[str, str]]:
    """Definition name -> field -> notation."""
    table: dict[str, dict[str, str]] = orjson.loads((HERE / "types.json").read_bytes())
    return table


@cache
def wire() -> dict[str, str]:
    """Definition name -> "name=1 namespace=3": numbers of the protobuf encoding."""
    table: dict[str, str] = orjson.loads((HERE / "wire.json").read_bytes())
    return table


@cache
def resources() -> list[dict[str, Any]]:
    """Every resource with its subresources; groups and versions in order of preference, resources by name."""
    table: list[dict[str, Any]] = orjson.loads((HERE / "resources.json").read_bytes())
    return table


def published() -> dict[str, dict[str, Any]]:
    """OpenAPI's additions to types.json, read each time: "types", definition -> field -> {"enum": …}, and "parameters"."""
    table: dict[str, dict[str, Any]] = orjson.loads((HERE / "published.json").read_bytes())
    return table


def storage_hash(group: str, version: str, kind: str) -> str:
    """storageVersionHash of discovery: eight bytes of SHA-256 over what an object is stored as."""
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()[:8]).decode()
