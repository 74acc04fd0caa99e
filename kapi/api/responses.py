"""Answers: bytes onto the wire (JSON, YAML or protobuf, gzip, Warning headers, Status for errors).

JSON is what objects are stored in; YAML and protobuf are made from it when asked for.
"""

import gzip
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from typing import Any

import orjson
import yaml

from kapi import limits
from kapi.api.negotiation import JSON, PROTOBUF, YAML, Form, of_document
from kapi.api.request import Request
from kapi.http import server
from kapi.objects import errors, nested, offload
from kapi.objects.meta import Object
from kapi.schema import protobuf_encoding

Headers = list[tuple[bytes, bytes]]

WARNINGS_LONG, WARNING_LONG = 4096, 256
"""Characters of all warnings from which they are cut, and what is left of each then."""
GZIP_FROM = 128 * 1024
"""Bytes from which stock packs an answer for a client that takes gzip."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What a header may not carry (a line's end would end the header): a warning with one, of a field's name say, is left out as by stock."""
_EYES = ("curl", "Wget", "Mozilla/5.0")
_CHUNK = 72 * 1024
"""Bytes a write: TLS out of Python is fastest near this size."""


def common_headers(request: Request) -> Headers:
    """Headers every answer carries."""
    out = [(b"audit-id", request.audit_id.encode("latin-1")), (b"cache-control", request.cache), (b"date", _date())]
    if request.warnings:
        out += [(b"warning", f"299 - {_quoted(text)}".encode("utf-8", "replace")) for text in warnings(request.warnings)]
    return out


def warnings(texts: Iterable[str]) -> list[str]:
    """What is said of them: each once, none with control characters; when they are long, their beginnings, and of many the first."""
    said = [text for text in dict.fromkeys(texts) if text and not _CONTROL.search(text)]
    if sum(map(len, said)) <= WARNINGS_LONG:
        return said
    out: list[str] = []
    left = WARNINGS_LONG
    for text in said:
        if left <= 0:
            break
        out.append(text[:WARNING_LONG])
        left -= len(out[-1])
    return out


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The Date header of this second."""
    global _dated
    second = int(time.time())
    if _dated[0] != second:
        _dated = (second, formatdate(second, usegmt=True).encode())
    return _dated[1]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def send(request: Request, code: int, payload: bytes, media: bytes = JSON, headers: Headers | None = None) -> None:
    """One whole answer."""
    request.code = code
    out = [(b"content-type", media), *common_headers(request), *(headers or ())]
    if len(payload) >= GZIP_FROM and "gzip" in request.encoding and not any(name == b"content-encoding" for name, _ in out):
        payload = await offload.run(gzip.compress, payload, 1)
        out += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    if request.turn is not None:
        request.end_turn()
    request.size = len(payload)
    out.append((b"content-length", b"%d" % request.size))
    if request.method == "HEAD":
        payload = b""
    answer = request.scope["extensions"].get(server.ANSWER) if len(payload) <= _CHUNK else None
    if answer:
        answer(code, out, payload)
        return
    await request.send({"type": "http.response.start", "status": code, "headers": out})
    await request.send({"type": "http.response.body", "body": payload})


def pretty(request: Request, form: Form | None = None) -> bool:
    """Whether somebody reads the answer with their own eyes: they ask for it, or use a tool for that."""
    if form is not None and form.pretty:
        return True
    if wanted := request.query.get("pretty"):
        return wanted in ("1", "t", "T", "true", "True", "TRUE")
    return request.user_agent.startswith(_EYES)


async def send_encoded(request: Request, code: int, payload: bytes, form: Form) -> None:
    """An object's JSON bytes, as the client wants them."""
    payload = await encoded(request, payload, form)  # the bytes before are not kept while the client takes these
    await send(request, code, payload, form.media)


async def encoded(request: Request, payload: bytes, form: Form) -> bytes:
    """JSON bytes as the client wants them; what nobody reads is a line, as Go writes it."""
    if form.media is YAML:
        return await _written(request, payload, _as_yaml)
    return await _written(request, payload, _indented) if pretty(request, form) else payload + b"\n"


async def _written(request: Request, payload: bytes, write: Callable[[bytes], bytes]) -> bytes:
    if len(payload) < limits.OFFLOAD_BYTES:
        return write(payload)
    return await offload.run(lambda: b"" if request.gone else write(payload))


def _as_yaml(payload: bytes) -> bytes:
    return yaml_bytes(nested.plain(payload))


def _indented(payload: bytes) -> bytes:
    return orjson.dumps(nested.loads(payload), option=orjson.OPT_INDENT_2)


async def send_object(request: Request, code: int, obj: Object, form: Form | None = None) -> None:
    """An object of any type that is answered."""
    if form is not None and form.media is PROTOBUF:
        await send(request, code, protobuf_encoding.whole(obj), PROTOBUF)
        return
    await send_encoded(request, code, orjson.dumps(obj), form or Form())


async def send_text(request: Request, code: int, text: str) -> None:
    headers = [(b"x-content-type-options", b"nosniff")]
    await send(request, code, text.encode(), b"text/plain; charset=utf-8", headers)


async def send_missing(request: Request) -> None:
    """Stock's response for an unknown path."""
    await send_text(request, 404, "404 page not found\n")


async def send_too_many(request: Request) -> None:
    """Stock's response when too many requests are in flight."""
    headers = [(b"x-content-type-options", b"nosniff"), (b"retry-after", b"1")]
    await send(request, 429, b"Too many requests, please try again later.\n", b"text/plain; charset=utf-8", headers)


async def send_error(request: Request, error: errors.StatusError) -> None:
    """The Status of a failure."""
    headers: Headers = []
    seconds = (error.details or {}).get("retryAfterSeconds")
    if seconds:
        headers.append((b"retry-after", str(seconds).encode()))
    if error.code == 401:
        headers.append((b"www-authenticate", b'Basic realm="kubernetes-master"'))
    try:
        form = of_document(request)
    except errors.NotAcceptable:
        form = Form(pretty=True)
    if form.media is PROTOBUF:
        payload = protobuf_encoding.whole(error.status())
    else:
        payload = await encoded(request, orjson.dumps(error.status()), form)
    await send(request, error.code, payload, form.media, headers)


def yaml_bytes(obj: Any) -> bytes:
    """Keys sorted, as stock's YAML."""
    return _Dumper.written(obj)


_DUMPER: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_DUMPER):  # type: ignore[misc, valid-type]
    """Writes a value as it goes, without making a tree of nodes of it first: that takes ten times the memory."""

    @classmethod
    def written(cls, obj: Any) -> bytes:
        stream = io.BytesIO()
        dumper = cls(stream, encoding="utf-8", default_flow_style=False)
        try:
            for event in dumper.document(obj):
                dumper.emit(event)
        except yaml.representer.RepresenterError:  # a leaf of kapi.objects.nested
            raise errors.NotAcceptable("the object is nested too deeply for this media type", {}) from None
        return stream.getvalue()

    def document(self, value: Any) -> Iterator[yaml.Event]:
        yield yaml.StreamStartEvent(encoding="utf-8")
        yield yaml.DocumentStartEvent(explicit=False)
        yield from self.events(value)
        yield yaml.DocumentEndEvent(explicit=False)
        yield yaml.StreamEndEvent()

    def events(self, value: Any) -> Iterator[yaml.Event]:
        if isinstance(value, dict):
            yield yaml.MappingStartEvent(None, None, True, flow_style=False)
            for key in sorted(value):
                yield self._scalar(key)
                yield from self.events(value[key])
            yield yaml.MappingEndEvent()
        elif isinstance(value, list):
            yield yaml.SequenceStartEvent(None, None, True, flow_style=False)
            for item in value:
                yield from self.events(item)
            yield yaml.SequenceEndEvent()
        else:
            yield self._scalar(value)

    def _scalar(self, value: Any) -> yaml.ScalarEvent:
        node = self.represent_data(value)
        implicit = node.tag == self.resolve(yaml.ScalarNode, node.value, (True, False)), isinstance(value, str)
        return yaml.ScalarEvent(None, node.tag, implicit, node.value, style=node.style)
