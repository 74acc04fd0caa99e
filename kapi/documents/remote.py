"""Documents of other API servers, read so that they can stand beside our own: discovery in both forms, OpenAPI's index and version 2.

Whatever such a server sends is read into the form this server would have written, and is refused whole when it is none. It is bounded by
whoever gets it (kapi.api.fetching); values are counted here. Source: kube-aggregator's discovery manager and OpenAPI aggregators (v1.36).
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kapi import limits
from kapi.documents import openapi_protobuf
from kapi.documents.building import Entry
from kapi.objects.meta import Object
from kapi.registry.catalogue import GroupVersion

ACCEPT = ",".join(f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1"))
"""The form of discovery that is asked for first: all group versions in one document."""
DEFINITIONS, _PARAMETERS = "#/definitions/", "#/parameters/"


class Junk(Exception):
    """A document that is none; the text says why."""


def is_aggregated(media: str) -> bool:
    """Whether a content type is that of aggregated discovery."""
    words = {word.strip() for word in media.split(";")}
    return {"g=apidiscovery.k8s.io", "as=APIGroupDiscoveryList"} <= words and bool({"v=v2", "v=v2beta1"} & words)


def aggregated(raw: bytes) -> dict[GroupVersion, bytes]:
    """The resources of each group version in an APIGroupDiscoveryList. Raises Junk."""
    out = {}
    for group in _objects(_parsed(raw), "items"):
        name = _text(_part(group, "metadata"), "name")
        for version in _objects(group, "versions"):
            out[name, _text(version, "version")] = orjson.dumps([_resource(one) for one in _objects(version, "resources")])
    return out


def _resource(given: Object) -> Object:
    out: Object = {"resource": _text(given, "resource"), "responseKind": _kind(given), "scope": _text(given, "scope")}
    out |= {"singularResource": _text(given, "singularResource"), "verbs": _texts(given, "verbs")} | _names(given)
    if subresources := _objects(given, "subresources"):
        out["subresources"] = [
            {"subresource": _text(one, "subresource"), "responseKind": _kind(one), "verbs": _texts(one, "verbs")} for one in subresources
        ]
    return out


def _kind(given: Object) -> Object:
    kind = _part(given, "responseKind")
    return {key: _text(kind, key) for key in ("group", "version", "kind")}


def _names(given: Object) -> Object:
    return {key: names for key in ("shortNames", "categories") if (names := _texts(given, key))}


def legacy(raw: bytes) -> bytes:
    """The resources of an APIResourceList. Raises Junk."""
    out: dict[str, Object] = {}
    for one in _objects(_parsed(raw), "resources"):
        name, slash, sub = _text(one, "name").partition("/")
        kind = {key: _text(one, key) for key in ("group", "version", "kind")}
        scope, verbs = "Namespaced" if one.get("namespaced") is True else "Cluster", _texts(one, "verbs")
        if slash:
            empty = {"resource": name, "responseKind": dict.fromkeys(kind, ""), "scope": scope, "singularResource": "", "verbs": []}
            below = {"subresource": sub, "responseKind": kind, "verbs": verbs}
            out.setdefault(name, empty).setdefault("subresources", []).append(below)
            continue
        whole = {"resource": name, "responseKind": kind, "scope": scope, "singularResource": _text(one, "singularName"), "verbs": verbs}
        out[name] = whole | _names(one) | {key: out[name][key] for key in ("subresources",) if key in out.get(name, {})}
    return orjson.dumps([*out.values()])


def index(raw: bytes, group: str, version: str) -> tuple[tuple[str, str], ...]:
    """(name, URL) of what the index of OpenAPI 3 lists of a group version and its group. Raises Junk."""
    paths = _part(_parsed(raw), "paths")
    wanted = (name for name in (f"apis/{group}", f"apis/{group}/{version}") if name in paths)
    urls = [(name, _text(_part(paths, name), "serverRelativeURL")) for name in wanted]
    return tuple((name, url) for name, url in urls if len(url) <= limits.AGGREGATED_URL_CHARS)


def openapi2(raw: bytes, group: str, version: str) -> tuple[dict[str, bytes], dict[str, bytes], str]:
    """Path items of a group version in an OpenAPI 2 document, the definitions they need, both in JSON by their names, and a hash of both.

    Raises Junk. Parameters that the document shares are written where they are used.
    """
    document = _parsed(raw)
    shared, types = _Shared(_part(document, "parameters")), _part(document, "definitions")
    try:
        paths = {
            path: shared.written(item)
            for path, item in _part(document, "paths").items() if path.startswith(f"/apis/{group}/{version}/")
        }  # fmt: skip
        definitions = _needed(paths, types)
        found = _written("paths", paths), _written("definitions", definitions)
    except RecursionError:
        raise Junk("it is nested too deeply") from None
    digest = hashlib.sha512()
    for section in found:
        for name, written in section.items():
            digest.update(b"%d %d " % (len(name), len(written)) + name.encode() + written)
    return *found, digest.hexdigest()


class _Shared:
    """The parameters a document shares, written where they are used, as long as that does not make too much of it."""

    def __init__(self, given: Object) -> None:
        self._given = given
        self._sizes: dict[str, int] = {}
        self._left = limits.AGGREGATED_OPENAPI_BYTES

    def written(self, value: Any) -> Any:
        """The value with parameters in place of references to them. Raises Junk."""
        if isinstance(value, list):
            return [self.written(one) for one in value]
        if not isinstance(value, dict):
            return value
        name = value.get("$ref")
        if isinstance(name, str) and name.startswith(_PARAMETERS):
            return self._use(name.removeprefix(_PARAMETERS))
        return {key: self.written(inner) for key, inner in value.items()}

    def _use(self, name: str) -> Object:
        found = _part(self._given, name)
        if name not in self._sizes:
            self._sizes[name] = len(orjson.dumps(found))
        self._left -= self._sizes[name]
        if self._left < 0:
            raise Junk("its parameters are too much")
        return found


def _needed(paths: Object, types: Object) -> Object:
    """The definitions that paths refer to, and those these refer to."""
    out: Object = {}
    waiting = [*references(paths)]
    while waiting:
        name = waiting.pop()
        if name not in out and name in types:
            out[name] = _part(types, name)
            waiting += references(out[name])
    return out


def references(value: Any) -> Iterator[str]:
    """The names of the definitions a value refers to."""
    if isinstance(value, dict):
        name = value.get("$ref")
        if isinstance(name, str) and name.startswith(DEFINITIONS):
            yield name.removeprefix(DEFINITIONS)
        value = value.values()
    elif not isinstance(value, list):
        return
    for inner in value:
        yield from references(inner)


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The value with references to other names."""
    if isinstance(value, list):
        return [renamed(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    out = {key: renamed(inner, names) for key, inner in value.items()}
    name = out.get("$ref")
    if isinstance(name, str) and (new := names.get(name.removeprefix(DEFINITIONS))):
        out["$ref"] = DEFINITIONS + new
    return out


def _written(section: str, parts: Object) -> dict[str, bytes]:
    """In JSON, of what protobuf can say as well. Raises Junk."""
    try:
        for _ in openapi_protobuf.chunks(Entry((section,), name, part) for name, part in parts.items()):
            continue
        return {name: encoded(part) for name, part in parts.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as why:
        raise Junk(f"it is no OpenAPI: {why!r}") from None


def encoded(value: Any) -> bytes:
    """JSON to keep: orjson's own bytes have a kilobyte of room."""
    return bytes(memoryview(orjson.dumps(value)))


# JSON of strangers ----------------------------------------------------------------------------------------------------------------------


def _parsed(raw: bytes) -> Object:
    if sum(map(raw.count, b"[{,")) > limits.AGGREGATED_VALUES:
        raise Junk(f"it has more than {limits.AGGREGATED_VALUES} values")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as why:
        raise Junk(str(why)) from None
    if not isinstance(found, dict):
        raise Junk("it is no object")
    return found


def _part(given: Object, key: str) -> Object:
    found = given.get(key)
    if not isinstance(found, dict | None):
        raise Junk(f"{key!r:.99} is no object")
    return found or {}


def _objects(given: Object, key: str) -> list[Object]:
    found = given.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Junk(f"{key!r:.99} is no list of objects")
    return found


def _text(given: Object, key: str) -> str:
    found = given.get(key) or ""
    if not isinstance(found, str):
        raise Junk(f"{key!r:.99} is no text")
    return found


def _texts(given: Object, key: str) -> list[str]:
    found = given.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Junk(f"{key!r:.99} is no list of texts")
    return found
