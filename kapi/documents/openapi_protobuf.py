"""OpenAPI 2 in protobuf, which is how kubectl asks for it. One function, driven by a table of the messages of gnostic's openapi.v2.

A line of the table is a message: "name:number" is a text, a ? behind the number a boolean, * a list, and `>Message` a message;
"x-" takes every extension, and "{}" every key of a map as (name, value). Extensions travel as YAML, for which JSON will do.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from kapi.documents.building import Entry
from kapi.schema.protobuf_encoding import framed, tag

MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED = ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", MEDIA)

_TABLE = """
Document swagger:1 info:2>Info paths:8>Paths definitions:9>Schemas parameters:10>Parameters security:12*>Requirement
  securityDefinitions:13>Securities
Info title:1 version:2
Paths {}:2>PathItem
PathItem get:2>Operation put:3>Operation post:4>Operation delete:5>Operation options:6>Operation head:7>Operation patch:8>Operation
  parameters:9*>ParametersItem
Operation tags:1* summary:2 description:3 operationId:5 produces:6* consumes:7* parameters:8*>ParametersItem responses:9>Responses
  schemes:10* deprecated:11? x-:13
Responses {}:1>ResponseValue
ResponseValue self:1>Response
Response description:1 schema:2>SchemaItem
SchemaItem self:1>Schema
ParametersItem self:1>Parameter reference:2>Reference
Reference $ref:1
Parameters {}:1>Parameter
Parameter body:1>Body other:2>NonBody
Body description:1 name:2 in:3 required:4? schema:5>Schema
NonBody query:3>Query path:4>Path
Query required:1? in:2 description:3 name:4 type:6 format:7 uniqueItems:20?
Path required:1? in:2 description:3 name:4 type:5 format:6 uniqueItems:19?
Schemas {}:1>Schema
Schema $ref:1 format:2 title:3 description:4 default:5>Any pattern:13 required:19* enum:20*>Any additionalProperties:21>Additional
  type:22>Type items:23>Items properties:25>Schemas x-:31
Any json:2
Additional self:1>Schema
Items self:1>Schema
Type self:1*
Requirement {}:1>Type
Securities {}:1>Security
Security self:2>ApiKey
ApiKey type:1 name:2 in:3 description:4
"""


class Field(NamedTuple):
    """A field of a message."""

    number: int
    form: str
    """"" (text), "?" (boolean) or the name of a message."""
    repeated: bool


def _read(table: str) -> Iterator[tuple[str, dict[str, Field]]]:
    for line in table.strip().replace("\n  ", " ").splitlines():
        name, *words = line.split()
        fields = {}
        for word in words:
            key, _, rest = word.rpartition(":")
            number, _, message = rest.partition(">")
            fields[key] = Field(int(number.rstrip("*?")), message or "?" * number.endswith("?"), "*" in number)
        yield name, fields


MESSAGES = dict(_read(_TABLE))


def chunks(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The bytes of an OpenAPI 2 document. Paths and types come one at a time, in messages that readers merge."""
    for section, key, value in entries:
        inner = {key: value}
        for name in reversed(section):
            inner = {name: inner}
        yield b"".join(_message("Document", inner))


def _message(name: str, value: Any) -> Iterator[bytes]:
    """The fields of `value` as those of a message."""
    fields = MESSAGES[name]
    if name == "Any":
        yield framed(fields["json"].number, orjson.dumps(value))
        return
    if own := fields.get("self"):
        yield from _field(fields["reference"] if "reference" in fields and "$ref" in value else own, value)
        return
    if name in ("Parameter", "NonBody"):
        yield from _field(fields[value["in"] if value["in"] in fields else "other"], value)
        return
    named, extension = fields.get("{}"), fields.get("x-")
    for key, inner in value.items():
        if named:
            yield framed(named.number, framed(1, key.encode()) + framed(2, b"".join(_message(named.form, inner))))
        elif extension and key.startswith("x-"):
            yield framed(extension.number, framed(1, key.encode()) + framed(2, framed(2, orjson.dumps(inner))))
        elif field := fields.get(key):
            yield from _field(field, inner)


def _field(field: Field, value: Any) -> Iterator[bytes]:
    for one in value if isinstance(value, list) else (value,):
        if field.form == "?":
            yield tag(field.number, 0) + bytes([bool(one)])
        elif field.form:
            yield framed(field.number, b"".join(_message(field.form, one)))
        else:
            yield framed(field.number, one.encode())
