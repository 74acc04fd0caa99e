"""/openapi/v2 and /openapi/v3: an index with a hash per group version, a document for each, and the old one for all together.

Documents are made when asked for and kept packed until the catalogue changes; a hash tells clients when to ask again, and
is taken from what a document is made of, not from the document, so that the index costs nothing. The contents come from
kapi.api.definitions and kapi.api.operations.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from kapi.api import definitions, operations, packing, published
from kapi.api.definitions import V2, V3
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.schema import builtin, texts

Object = dict[str, Any]
Answer = tuple[bytes, str, dict[str, str]]
"""Bytes, Content-Type, further headers."""

JSON = "application/json"
VERSION = "v1.36.2"
NAME = re.compile(r"version|api(?:/(?P<core>[^/]+))?|apis(?:/(?P<group>[^/]+)(?:/(?P<version>[^/]+))?)?")
ROOTS = ("APIVersions", "APIGroupList", "APIGroup", "APIResourceList")
HEAD: Object = {"title": "Kubernetes", "version": VERSION}
TOKEN: Object = {"BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}}


def document(catalogue: Catalogue, path: str, query: Mapping[str, str], accept: str) -> Answer | None:
    """The document of a path; None where there is none."""
    if path == "/openapi/v2":
        headers = _headers(_hash(catalogue, list(catalogue)))
        if any(media in accept for media in packing.ACCEPTED):
            packed = _kept(catalogue, path + ".pb", lambda: packing.document(version2(catalogue)))
            return packed, packing.MEDIA, headers
        return _kept(catalogue, path, lambda: orjson.dumps(version2(catalogue))), JSON, headers
    name = path.removeprefix("/openapi/v3").strip("/")
    if not name:
        return orjson.dumps(index(catalogue)), JSON, {"cache-control": "no-cache, private"}
    if name not in _names(catalogue):
        return None
    kinds = _of(catalogue, name)
    digest = _hash(catalogue, kinds)
    headers = _headers(digest)
    if query.get("hash") == digest:
        headers["cache-control"] = "public, immutable, max-age=31536000"
    return _kept(catalogue, path, lambda: orjson.dumps(version3(f"/{name}/", kinds))), JSON, headers


def _names(catalogue: Catalogue) -> list[str]:
    """What there is a document of, e.g. ["api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version"]."""
    out = ["api", "apis", "version"]
    for group, versions in catalogue.groups().items():
        out += [f"apis/{group}"] if group else []
        out += [f"apis/{group}/{version}" if group else f"api/{version}" for version in versions]
    return sorted(out)


def _of(catalogue: Catalogue, name: str) -> list[Kind]:
    """The kinds a document is about; none for that of a group or a root."""
    found = NAME.fullmatch(name)
    version = found and (found["core"] or found["version"])
    return catalogue.kinds(found["group"] or "", version) if found and version else []


def _headers(digest: str) -> dict[str, str]:
    return {"etag": f'"{digest}"', "vary": "Accept", "cache-control": "no-cache, private"}


def _kept(catalogue: Catalogue, path: str, make: Callable[[], bytes]) -> bytes:
    """The document's bytes, packed in between: they are many and rarely asked for."""
    key = ("openapi", path)
    if key not in catalogue.kept:
        raw = make()
        catalogue.kept[key] = zlib.compress(raw, 1)
        return raw
    return zlib.decompress(catalogue.kept[key])


def _installed() -> str:
    """The version of the package descriptions come from."""
    from importlib import metadata  # archives and all, for whoever asks for a document

    try:
        return metadata.version("kubernetes-validate")
    except metadata.PackageNotFoundError:
        return ""


def _hash(catalogue: Catalogue, kinds: list[Kind]) -> str:
    """What a document of these kinds depends on."""
    if "texts" not in catalogue.kept:
        catalogue.kept["texts"] = _installed()
    facts = [[k.resource.kind, k.verbs, sorted(k.subresources), k.sign if k.custom else k.schema.name] for k in kinds]
    made_of = [VERSION, catalogue.kept["texts"], facts]
    return hashlib.sha512(orjson.dumps(made_of, default=str)).hexdigest().upper()


def index(catalogue: Catalogue) -> Object:
    """{"paths": {"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=…"}}}."""
    hashes = {name: _hash(catalogue, _of(catalogue, name)) for name in _names(catalogue)}
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"} for name, digest in hashes.items()}}


def _types(kinds: list[Kind], prefix: str) -> Object:
    """Every type these kinds need."""
    names = {builtin.META + name for name in ("DeleteOptions", "Status", "Patch", "ObjectMeta", "ListMeta")} | _root_types()
    said = texts.definitions()
    customs: Object = {}
    for kind in kinds:
        names |= {published.type_name(kind), published.type_name(kind, True), *operations.spoken_types(kind)}
        if kind.custom:
            customs |= published.types(kind, prefix, said)
    return definitions.Definitions(prefix, said).closure(names) | customs


def version3(root: str, kinds: list[Kind]) -> Object:
    """The OpenAPI 3 document of a group version, or of a root or group (which have no kinds)."""
    paths = dict([operations.root(root), *(pair for kind in kinds for pair in operations.paths(kind))])
    needed = _types(kinds, V3) if kinds else definitions.Definitions(V3, texts.definitions()).closure(_root_types())
    components = {"schemas": needed, "securitySchemes": TOKEN}
    return {"openapi": "3.0.0", "info": HEAD, "paths": dict(sorted(paths.items())), "components": components}


def _root_types() -> set[str]:
    return {builtin.META + name for name in ROOTS} | {operations.INFO}


def version2(catalogue: Catalogue) -> Object:
    """The OpenAPI 2 document of everything."""
    kinds = list(catalogue)
    pairs = [operations.root(f"/{name}/") for name in _names(catalogue)]
    pairs += [pair for kind in kinds for pair in operations.paths(kind)]
    paths = {path: operations.version2(item) for path, item in pairs}
    out: Object = {"swagger": "2.0", "info": HEAD, "paths": dict(sorted(paths.items())), "definitions": _types(kinds, V2)}
    return out | {"securityDefinitions": TOKEN, "security": [{"BearerToken": []}]}
