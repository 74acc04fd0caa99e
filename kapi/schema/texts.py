"""Descriptions of fields as in Kubernetes' documentation, from the file of the `kubernetes-validate` package, which is installed with kapi.

The package is never imported, and its file is read each time and not kept (15 ms, 1.6 MB): callers keep the few texts they need.
"""

from collections.abc import Iterable
from importlib import util
from pathlib import Path
from typing import Any

import orjson

Texts = dict[str, Any]
"""Definition name -> its description in the package."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_API = "io.k8s.api."


def definitions() -> Texts:
    """The definitions of v1.36 with their descriptions; {} without the package."""
    spec = util.find_spec("kubernetes_validate")
    try:
        root = Path(spec.origin or "").parent if spec else Path()
        known = orjson.loads((root / "kubernetes-json-schema" / "v1.36.0-local" / "_definitions.json").read_bytes())
    except OSError:
        return {}
    found: Texts = known.get("$defs") or known.get("definitions") or {}
    return found


def of(sources: Iterable[str]) -> dict[str, str]:
    """The texts of fields: "core.v1.PodStatus.podIP", "ObjectMeta.name" (of meta/v1), or a path in a type, "core.v1.Pod:spec.nodeName"."""
    wanted = [source for source in sources if source]
    known = definitions() if wanted else {}
    return {source: _text(known, source) for source in wanted}


def _text(known: Texts, source: str) -> str:
    name, _, path = source.partition(":") if ":" in source else source.rpartition(".")
    full = _API + name if "." in name else _META + name
    field: Texts = {"$ref": full}
    for step in path.split("."):
        field = known.get(field.get("$ref", "").rpartition("/")[2], {}).get("properties", {}).get(step, {})
    return str(field.get("description", ""))
