"""The generated tables: types.json (every type) and resources.json (everything served). See openapi.generate.

Reading costs about 2 ms; what the notations mean is known to kapi.schema.builtin and kapi.registry.catalogue.
"""

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
def resources() -> list[dict[str, Any]]:
    """Groups in order of priority, each with its versions and what they serve."""
    table: list[dict[str, Any]] = orjson.loads((HERE / "resources.json").read_bytes())
    return table
