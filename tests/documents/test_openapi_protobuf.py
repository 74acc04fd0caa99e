from typing import Any

from kapi.documents import openapi, openapi_protobuf
from kapi.documents.building import Entry
from kapi.registry import catalogue
from kapi.schema import protobuf


def message(document: dict[str, Any]) -> bytes:
    return b"".join(openapi_protobuf.chunks(Entry((), key, value) for key, value in document.items()))


def fields(data: bytes) -> dict[int, list[Any]]:
    """Number -> values of a message."""
    out: dict[int, list[Any]] = {}
    for number, _, value in protobuf._wire(data):
        out.setdefault(number, []).append(value)
    return out


def test_schemas_keep_their_properties_and_extensions() -> None:
    labels = {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"}
    thing = {"type": "object", "required": ["labels"], "properties": {"labels": labels, "next": {"$ref": "#/definitions/Thing"}}}
    document = fields(message({"swagger": "2.0", "definitions": {"Thing": thing}}))
    assert document[1] == [b"2.0"]
    named = fields(fields(document[9][0])[1][0])
    assert named[1] == [b"Thing"]
    schema = fields(named[2][0])
    assert schema[19] == [b"labels"]
    first, second = (fields(pair) for pair in fields(schema[25][0])[1])
    packed = fields(first[2][0])
    assert fields(packed[22][0]) == {1: [b"object"]}
    assert fields(fields(fields(packed[21][0])[1][0])[22][0]) == {1: [b"string"]}
    extension = fields(packed[31][0])
    assert (extension[1], fields(extension[2][0])[2]) == ([b"x-kubernetes-map-type"], [b'"atomic"'])
    assert fields(second[2][0])[1] == [b"#/definitions/Thing"]


def test_parameters_by_their_place() -> None:
    query = {"type": "string", "uniqueItems": True, "name": "dryRun", "in": "query"}
    body = {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Thing"}}
    item = {"post": {"operationId": "createThing", "parameters": [body, query], "responses": {"200": {"description": "OK"}}}}
    path = fields(fields(fields(message({"paths": {"/things": item}}))[8][0])[2][0])
    operation = fields(fields(path[2][0])[4][0])
    assert operation[5] == [b"createThing"]
    packed_body, packed_query = (fields(fields(p)[1][0]) for p in operation[8])
    assert fields(packed_body[1][0])[2] == [b"body"]
    assert fields(fields(packed_query[2][0])[3][0]) == {20: [1], 2: [b"query"], 4: [b"dryRun"], 6: [b"string"]}


def test_kubectl_is_given_what_it_asks_for() -> None:
    served = catalogue.Catalogue([catalogue.standard(strategies={}).get("", "v1", "namespaces")])  # type: ignore[list-item]
    found = openapi.find(served, "/openapi/v2", {}, openapi_protobuf.ACCEPTED[0])
    assert found is not None
    assert found.media == openapi_protobuf.MEDIA
    assert fields(b"".join(found.chunks(served)))[1] == [b"2.0"]
