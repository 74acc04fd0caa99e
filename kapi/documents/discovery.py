"""What is served: the documents of /api, /apis and below, and the aggregated ones of both roots.

Pure functions of the catalogue; what they return is kept by `building`, and HTTP (routes, ETags) is done by kapi.api.infrastructure.
Field order and contents are stock's. Source: KEP-3352 for the aggregated form.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from kapi.objects.accept import JSON, PROTOBUF, Accepted, Target, first
from kapi.objects.meta import Object
from kapi.registry.catalogue import Catalogue, subresource_kind
from kapi.registry.kind import Kind
from kapi.schema import protobuf_encoding
from openapi.tables import storage_hash

_AGGREGATED = [Target("apidiscovery.k8s.io", version, "APIGroupDiscoveryList") for version in ("v2", "v2beta1")]
PATH = re.compile(r"/api(?:/(?P<core>[^/]+))?/?|/apis(?:/(?P<group>[^/]+))?(?:/(?P<version>[^/]+))?/?")


class Asked(NamedTuple):
    """A document that is asked for: its path, the version of the aggregated form, "" for the old form, and the media type."""

    path: str
    version: str
    media: str = JSON


class Answer(NamedTuple):
    """A document: in protobuf if that is its media type, else in JSON."""

    payload: bytes
    media: str
    etag: str
    """"" for the documents stock sends without one."""


def asked(catalogue: Catalogue, path: str, accept: str) -> Asked | None:
    """The document of a path in the form the client wants; None where nothing is served."""
    found = PATH.fullmatch(path)
    if not found:
        return None
    group, version = found["group"] or "", found["core"] or found["version"]
    versions = catalogue.groups().get(group, [])
    if (version and version not in versions) or (group and not versions):
        return None
    path = path.rstrip("/")
    wanted = first(accept, _allows_aggregated if path in ("/api", "/apis") else _allows) or Accepted()
    return Asked(path, wanted.target.version if wanted.target else "", wanted.media)


def document(catalogue: Catalogue, asked: Asked, address: str = "") -> Answer:
    """The document, of a catalogue that has it. `address` is this server's host:port."""
    path, version, media = asked
    core = path == "/api" or path.startswith("/api/")
    if version:
        found = aggregated(catalogue, core, version)
        raw = orjson.dumps(found)
        etag = f'"{hashlib.sha512(raw).hexdigest().upper()}"'
        payload = raw if media != PROTOBUF else protobuf_encoding.whole(found)
        return Answer(payload, f"{media};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", etag)
    parts = path.split("/")[2:]
    found = _core(catalogue, parts, address) if core else _named(catalogue, *parts)
    return Answer(orjson.dumps(found) if media != PROTOBUF else protobuf_encoding.whole(found), media, "")


def _allows(media: str, target: Target | None) -> bool:
    return target is None


def _allows_aggregated(media: str, target: Target | None) -> bool:
    return target is None or target in _AGGREGATED


def _core(catalogue: Catalogue, parts: list[str], address: str) -> Object:
    if parts:
        return resource_list(catalogue, "", parts[0])
    out: Object = {"kind": "APIVersions", "versions": catalogue.groups().get("", [])}
    if address:
        out["serverAddressByClientCIDRs"] = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return out


def _named(catalogue: Catalogue, group: str = "", version: str = "") -> Object:
    if version:
        return resource_list(catalogue, group, version)
    if group:
        return {"kind": "APIGroup", "apiVersion": "v1"} | _group(group, catalogue.groups().get(group, []))
    groups = [_group(*pair) for pair in catalogue.groups().items() if pair[0]]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _group(group: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0] if listed else {}}


def resource_list(catalogue: Catalogue, group: str, version: str) -> Object:
    """The APIResourceList of a group version."""
    head: Object = {"kind": "APIResourceList"} if not group else {"kind": "APIResourceList", "apiVersion": "v1"}
    head["groupVersion"] = f"{group}/{version}" if group else version
    rows = (row for kind in catalogue.kinds(group, version) for row in _rows(kind))
    return {**head, "resources": sorted(rows, key=lambda row: str(row["name"])) if not _custom(catalogue, group, version) else list(rows)}


def _custom(catalogue: Catalogue, group: str, version: str) -> bool:
    """Whether CustomResourceDefinitions make up the group: subresources are in their own order there."""
    return any(kind.custom for kind in catalogue.kinds(group, version))


def _rows(kind: Kind) -> Iterator[Object]:
    """A resource and its subresources as APIResources."""
    resource = kind.resource
    row = {"name": resource.plural, "singularName": kind.singular, "namespaced": resource.namespaced, "kind": resource.kind}
    row["verbs"] = kind.discovered or sorted(kind.verbs)
    row |= _names(kind)
    if kind.stored:
        group, _, version = kind.stored.rpartition("/")
        row["storageVersionHash"] = storage_hash(group, version, resource.kind)
    yield row
    for name, verbs in kind.subresources.items():
        group, version, spoken = subresource_kind(kind, name)
        where = {"group": group, "version": version} if version else {}
        sub = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
        yield {**sub, **where, "kind": spoken, "verbs": sorted(verbs)}


def _names(kind: Kind) -> Object:
    out: Object = {}
    if kind.short_names:
        out["shortNames"] = list(kind.short_names)
    if kind.categories:
        out["categories"] = list(kind.categories)
    return out


def aggregated(catalogue: Catalogue, core: bool, version: str) -> Object:
    """The APIGroupDiscoveryList of /api (core) or /apis."""
    items = []
    for group, versions in catalogue.groups().items():
        if core != bool(group):
            listed = [_discovered_version(catalogue, group, v) for v in versions]
            items.append({"metadata": {"name": group} if group else {}, "versions": listed})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}, "items": items}


def _discovered_version(catalogue: Catalogue, group: str, version: str) -> Object:
    if there := catalogue.remotes.get((group, version)):
        listed = orjson.loads(there.resources)
        return {"version": version, **({"resources": listed} if listed else {}), "freshness": "Stale" if there.stale else "Current"}
    return {"version": version, "resources": [_discovered(kind) for kind in catalogue.kinds(group, version)], "freshness": "Current"}


def _own(kind: Kind) -> Object:
    """How a kind's own objects are named: stock leaves out group and version of the built-in ones."""
    where = (kind.resource.group, kind.resource.version) if kind.custom else ("", "")
    return {"group": where[0], "version": where[1], "kind": kind.resource.kind}


def _discovered(kind: Kind) -> Object:
    resource = kind.resource
    out: Object = {"resource": resource.plural, "responseKind": _own(kind)}
    out |= {"scope": "Namespaced" if resource.namespaced else "Cluster", "singularResource": kind.singular}
    out |= {"verbs": kind.discovered or sorted(kind.verbs), **_names(kind)}
    if kind.subresources:
        out["subresources"] = [_discovered_sub(kind, name) for name in sorted(kind.subresources)]
    return out


def _discovered_sub(kind: Kind, name: str) -> Object:
    group, version, spoken = subresource_kind(kind, name)
    response = {"group": group, "version": version, "kind": spoken} if version or not kind.custom else _own(kind)
    return {"subresource": name, "responseKind": response, "verbs": sorted(kind.subresources[name])}
