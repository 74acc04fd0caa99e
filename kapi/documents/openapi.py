"""/openapi/v2 and /openapi/v3: an index with a hash per group version, a document for each, and the old one for all together.

A hash tells clients when to ask again; it is taken from what a document is made of, not from the document, so that nothing is made before
it is asked for. The contents come from `definitions` and `operations`; `building` makes and keeps the
documents.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import formatdate
from functools import partial
from itertools import chain
from typing import NamedTuple

import orjson

from kapi.documents import building, crd_schemas, definitions, merging, openapi_protobuf, operations
from kapi.documents.building import Entries, Entry
from kapi.documents.definitions import V2, V3
from kapi.documents.version import VERSION as SERVER
from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.schema import builtin, texts
from openapi import tables

JSON = "application/json"
FORMS3 = {JSON: JSON}
FORMS2 = {JSON: JSON} | dict.fromkeys(openapi_protobuf.ACCEPTED, openapi_protobuf.MEDIA)
"""Media types in an Accept header -> those of the answers."""
INDEX = "index"
YEAR = 365 * 86400.0
VERSION = SERVER["gitVersion"]
NAME = re.compile(r"api(?:/(?P<core>[^/]+))?|apis(?:/(?P<group>[^/]+)(?:/(?P<version>[^/]+))?)?")
HEAD: Object = {"title": "Kubernetes", "version": VERSION}
CUSTOM_HEAD: Object = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
SERVERS_OWN = frozenset({"admission.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "imagepolicy.k8s.io"})
"""Groups that are not in the scheme of client-go."""
TOKEN: Object = {"BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}}


class Found(NamedTuple):
    """A document there is: its name ("" for that of version 2, "index"), the form that is wanted, and the headers it goes out with."""

    name: str
    media: str
    """"" when none of the forms there are is acceptable."""
    headers: dict[str, str]

    def chunks(self, catalogue: Catalogue) -> Iterator[bytes]:
        """The document, made now."""
        if self.name == INDEX:
            return index(catalogue)
        entries = version3(catalogue, self.name) if self.name else version2(catalogue)
        return openapi_protobuf.chunks(entries) if self.media == openapi_protobuf.MEDIA else building.as_json(entries)


def find(catalogue: Catalogue, path: str, query: Mapping[str, str], accept: str) -> Found | None:
    """The document of a path below /openapi, which is not made yet; None where there is none.

    It has moved ("location" in its headers) when the query gives a hash that is not its own.
    """
    if path == "/openapi/v2":
        return Found("", _media(accept, FORMS2), _headers(_hash(catalogue, catalogue)))
    name = path.removeprefix("/openapi/v3").strip("/")
    if not name:
        return Found(INDEX, JSON, {"etag": f'"{_hash(catalogue, catalogue)}"'})
    if name not in _names(catalogue):
        return None
    digest = _hash(catalogue, _of(catalogue, name))
    headers, hash_ = _headers(digest), query.get("hash")
    if hash_ == digest:
        headers |= {"cache-control": "public, immutable", "expires": formatdate(time.now() + YEAR, usegmt=True)}
    elif hash_:
        headers["location"] = _url(name, digest)
    return Found(name, _media(accept, FORMS3), headers)


def _media(accept: str, forms: Mapping[str, str]) -> str:
    """The first of these forms that is acceptable, "" for none."""
    for clause in (accept or "*/*").split(","):
        wanted = clause.partition(";")[0].strip()
        for form, media in forms.items():
            if wanted in (form, "*/*", "application/*"):
                return media
    return ""


def _names(catalogue: Catalogue) -> list[str]:
    """What there is a document of that is made here, e.g. ["api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version"]."""
    out = ["api", "apis", "version", *operations.OPENID]
    for group, versions in catalogue.groups().items():
        own = [version for version in versions if (group, version) not in catalogue.remotes]
        out += [f"apis/{group}"] if group and own else []
        out += [f"apis/{group}/{version}" if group else f"api/{version}" for version in own]
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


def _hash(catalogue: Catalogue, kinds: Iterable[Kind]) -> str:
    """What a document of these kinds depends on."""
    if "texts" not in catalogue.kept:
        catalogue.kept["texts"] = _installed()
    facts = [[k.resource.kind, k.verbs, sorted(k.subresources), k.sign if k.custom else crd_schemas.type_name(k)] for k in kinds]
    made_of = [VERSION, catalogue.kept["texts"], facts, *(_of_others(catalogue) if kinds is catalogue else ())]
    return hashlib.sha512(orjson.dumps(made_of, default=str)).hexdigest().upper()


def _of_others(catalogue: Catalogue) -> list[object]:
    """What the documents of everything depend on beside our own kinds."""
    return [[pair, there.documents, there.digest] for pair, there in sorted(catalogue.remotes.items())]


def _url(name: str, digest: str) -> str:
    return f"/openapi/v3/{name}?hash={digest}"


def index(catalogue: Catalogue) -> Iterator[bytes]:
    """{"paths": {"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=…"}}}."""
    urls = {name: url for there in catalogue.remotes.values() for name, url in there.documents}
    urls |= {name: _url(name, _hash(catalogue, _of(catalogue, name))) for name in _names(catalogue)}
    yield from building.as_json(Entry(("paths",), name, {"serverRelativeURL": urls[name]}) for name in sorted(urls))


def _types(
    kinds: Iterable[Kind], names: set[str], prefix: str, told: Callable[[Object], bool] = bool
) -> Iterator[tuple[str, Object]]:
    """The types with these names, and all they refer to."""
    said, customs = texts.definitions(), [kind for kind in kinds if kind.custom]
    if customs:
        names = names | {builtin.META + "ObjectMeta", builtin.META + "ListMeta"}
    yield from definitions.Definitions(prefix, said, told).closure(names)
    for kind in customs:
        yield from crd_schemas.types(kind, prefix, said)


def _told(name: str, custom: bool, kind: Object) -> bool:
    """Whether the document lists this kind for a type shared by all groups: only its own, but in documents of custom kinds all."""
    if custom:
        return kind["group"] not in SERVERS_OWN
    return not kind["group"] or f"apis/{kind['group']}/{kind['version']}" == name


def version3(catalogue: Catalogue, name: str) -> Entries:
    """The OpenAPI 3 document of a group version ("apis/apps/v1"), or of a root or group (which have no kinds)."""
    kinds = _of(catalogue, name)
    custom = any(kind.custom for kind in kinds)
    yield Entry((), "openapi", "3.0.0")
    yield Entry((), "info", CUSTOM_HEAD if custom else HEAD)
    names: set[str] = set()
    for path, item in chain([] if custom else [operations.root(f"/{name}/")], *map(operations.paths, kinds)):
        names |= operations.types(item)
        yield Entry(("paths",), path, operations.version3(item))
    for type_ in _types(kinds, names, V3, partial(_told, name, custom)):
        yield Entry(("components", "schemas"), *type_)
    if not custom:
        yield Entry(("components",), "securitySchemes", TOKEN)


def version2(catalogue: Catalogue) -> Entries:
    """The OpenAPI 2 document of everything."""
    others = merging.Merger(catalogue, _definition2(catalogue))
    yield Entry((), "swagger", "2.0")
    yield Entry((), "info", HEAD)
    names, there = set[str](), set[str]()
    for path, item in chain((operations.root(f"/{name}/") for name in _names(catalogue)), *map(operations.paths, catalogue)):
        names |= operations.types(item)
        there.add(path)
        yield Entry(("paths",), path, operations.version2(item))
    yield from others.paths(there)
    for type_ in others.definitions(_types(catalogue, names, V2)):
        yield Entry(("definitions",), *type_)
    for name, parameter in operations.shared_parameters():
        yield Entry(("parameters",), name, parameter)
    yield Entry((), "securityDefinitions", TOKEN)
    yield Entry((), "security", [{"BearerToken": []}])


def _definition2(catalogue: Catalogue) -> merging.Own:
    """Finds a definition of ours by its name."""
    said = texts.definitions() if catalogue.remotes else {}
    built = definitions.Definitions(V2, said)
    customs = {name for kind in catalogue if kind.custom for name in (crd_schemas.type_name(kind), crd_schemas.type_name(kind, True))}

    def find(name: str) -> Object | None:
        if name in customs:
            return {}  # nobody else means just that
        return built.whole(name) if name in tables.types() else None

    return find
