"""/openapi/v2 and /openapi/v3: an index with a hash per group version, a document for each, and the old one for all together.

Documents are made when asked for and kept packed until the catalogue changes; a hash tells clients when to ask again, and
is taken from what a document is made of, not from the document, so that the index costs nothing. The contents come from
kapi.documents.definitions and kapi.documents.operations.
"""

import gzip
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from kapi.documents import crd_schemas, definitions, openapi_protobuf, operations
from kapi.documents.definitions import V2, V3
from kapi.documents.version import VERSION as SERVER
from kapi.objects.meta import Object
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.schema import builtin, texts

Answer = tuple[bytes, str, dict[str, str]]
"""Bytes, Content-Type, further headers."""

JSON = "application/json"
VERSION = SERVER["gitVersion"]
NAME = re.compile(r"version|api(?:/(?P<core>[^/]+))?|apis(?:/(?P<group>[^/]+)(?:/(?P<version>[^/]+))?)?")
ROOTS = ("APIVersions", "APIGroupList", "APIGroup", "APIResourceList")
HEAD: Object = {"title": "Kubernetes", "version": VERSION}
TOKEN: Object = {"BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}}


class _Found(NamedTuple):
    """A document still to be made."""

    make: Callable[[], bytes]
    media: str
    headers: dict[str, str]


def document(catalogue: Catalogue, path: str, query: Mapping[str, str], accept: str, *, gzipped: bool = False) -> Answer | None:
    """The document of a path, packed with gzip if asked for (its headers say so); None where there is none."""
    if path.rstrip("/") == "/openapi/v3":
        return orjson.dumps(index(catalogue)), JSON, {}
    found = _find(catalogue, path, query, accept)
    if found is None:
        return None
    key = ("openapi", path, found.media)
    if key not in catalogue.kept:
        catalogue.kept[key] = gzip.compress(found.make(), 1)
    packed: bytes = catalogue.kept[key]
    if gzipped:
        return packed, found.media, found.headers | {"content-encoding": "gzip", "vary": "Accept, Accept-Encoding"}
    return gzip.decompress(packed), found.media, found.headers


def exists(catalogue: Catalogue, path: str) -> bool:
    """Whether there is a document of a path; it is not made (which takes 4 MB)."""
    return _find(catalogue, path, {}, "") is not None


def _find(catalogue: Catalogue, path: str, query: Mapping[str, str], accept: str) -> _Found | None:
    if path == "/openapi/v2":
        headers = _headers(_hash(catalogue, list(catalogue)))
        if any(media in accept for media in openapi_protobuf.ACCEPTED):
            return _Found(lambda: openapi_protobuf.document(version2(catalogue)), openapi_protobuf.MEDIA, headers)
        return _Found(lambda: orjson.dumps(version2(catalogue)), JSON, headers)
    name = path.removeprefix("/openapi/v3").strip("/")
    if name not in _names(catalogue):
        return None
    kinds = _of(catalogue, name)
    digest = _hash(catalogue, kinds)
    headers = _headers(digest)
    if query.get("hash") == digest:
        headers["cache-control"] = "public, immutable, max-age=31536000"
    return _Found(lambda: orjson.dumps(version3(f"/{name}/", kinds)), JSON, headers)


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
        names |= {crd_schemas.type_name(kind), crd_schemas.type_name(kind, True), *operations.spoken_types(kind)}
        if kind.custom:
            customs |= crd_schemas.types(kind, prefix, said)
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
