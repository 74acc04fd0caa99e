"""OpenAPI 2 of other API servers beside ours: what is the same is there once, what is not has another name."""

from typing import Any

import orjson

from kapi.documents.merging import Merger
from kapi.objects.meta import Object
from kapi.registry.catalogue import Catalogue, Priority, Remote

KINDS = "x-kubernetes-group-version-kind"
OPTIONS = {"kind": "Options", "group": "", "version": "v1"}
OURS: dict[str, Object] = {"Meta": {"type": "object"}, "Options": {"type": "object", KINDS: [OPTIONS]}}


def merged(*parts: tuple[dict[str, Any], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Paths and definitions of ours with the (paths, definitions) of others."""
    catalogue = Catalogue()
    written = [[{name: orjson.dumps(value) for name, value in section.items()} for section in part] for part in parts]
    found = {(f"g{at}", "v1"): Remote(paths=part[0], definitions=part[1]) for at, part in enumerate(written)}
    catalogue.register({pair: Priority(100 - at, 1) for at, pair in enumerate(found)}, found)
    merger = Merger(catalogue, OURS.get)
    paths = {entry.key: entry.value for entry in merger.paths({"/ours"})}
    return paths, dict(merger.definitions(OURS.items()))


def refers(name: str) -> Any:
    return {"get": {"responses": {"200": {"schema": {"$ref": f"#/definitions/{name}"}}}}}


def test_what_is_the_same_is_there_once() -> None:
    paths, types = merged(({"/a": refers("Meta")}, {"Meta": {"type": "object"}}))
    assert (paths, types) == ({"/a": refers("Meta")}, OURS)


def test_what_is_not_has_another_name() -> None:
    mine = {"Meta": {"type": "string"}, "A": {"$ref": "#/definitions/Meta"}}
    paths, types = merged(({"/a": refers("A"), "/b": refers("Meta")}, mine))
    assert paths == {"/a": refers("A"), "/b": refers("Meta_v2")}
    assert types == OURS | {"A": {"$ref": "#/definitions/Meta_v2"}, "Meta_v2": {"type": "string"}}


def test_names_of_the_same_document_are_not_taken() -> None:
    _, types = merged(({"/a": {}}, {"Meta": {"type": "string"}, "Meta_v2": {"type": "integer"}}))
    assert types == OURS | {"Meta_v3": {"type": "string"}, "Meta_v2": {"type": "integer"}}


def test_two_others_that_mean_the_same_share_it() -> None:
    paths, types = merged(({"/a": refers("Meta")}, {"Meta": {"type": "string"}}), ({"/b": refers("Meta")}, {"Meta": {"type": "string"}}))
    assert types == OURS | {"Meta_v2": {"type": "string"}}
    assert paths["/b"] == refers("Meta_v2")


def test_kinds_of_shared_types_come_together() -> None:
    more = {"kind": "Options", "group": "g0", "version": "v1"}
    _, types = merged(({"/a": {}}, {"Options": {"type": "object", KINDS: [more, more]}}))
    assert types["Options"][KINDS] == [OPTIONS, more]


def test_our_paths_stay_ours() -> None:
    assert merged(({"/ours": refers("Meta")}, {}), ({"/b": {}}, {}), ({"/b": refers("Meta")}, {}))[0] == {"/b": {}}
