"""GET: one object, a list (in pages), as JSON bytes joined from what the store keeps, or as Table and PartialObjectMetadata."""

from typing import Any

import orjson

from kapi.api import options, responses
from kapi.api.request import Request
from kapi.api.responses import Form
from kapi.objects import errors
from kapi.registry import encoding, table
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest
from kapi.storage.store import Page

Object = dict[str, Any]
_INCLUDES = ("", "None", "Metadata", "Object")


async def get(request: Request, rest: Rest, kind: Kind, namespace: str, name: str) -> None:
    """Answer with one object."""
    form = responses.negotiate(request.accept)
    if request.scope["query_string"]:
        wanted = options.get_version(request.query)
        if wanted > rest.store.revision:
            raise too_new(wanted, rest.store.revision)
    entry = rest.get(kind, namespace, name)
    if not form.shape and not request.scope["query_string"]:
        await responses.send_encoded(request, 200, encoding.wire(kind, entry.body), form)
        return
    await send_stored(request, 200, kind, entry.body, form)


async def send_stored(request: Request, code: int, kind: Kind, stored: bytes, form: Form) -> None:
    """A stored body in the form the client asked for."""
    if not form.shape:
        await responses.send_encoded(request, code, encoding.wire(kind, stored), form)
        return
    obj = encoding.served(kind, orjson.loads(stored))
    if form.shape == "Table":
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        out = table.table(kind, [obj], meta, include_object(request), version=form.version)
    elif form.shape == "PartialObjectMetadata":
        out = table.partial(obj, form.version)
    else:
        raise errors.NotAcceptable("406: Not Acceptable", {})
    await responses.send_object(request, code, out, form)


def include_object(request: Request) -> str:
    """The includeObject parameter of a Table request."""
    value = request.query.get("includeObject", "")
    if value not in _INCLUDES:
        raise errors.BadRequest(f'unrecognized includeObject value: "{value}"')
    return value


async def list_(request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions) -> None:
    """Answer with a page of a list."""
    form = responses.negotiate(request.accept)
    page = page_of(rest, kind, namespace, how)
    meta = list_meta(kind, namespace, how, page)
    resource = kind.resource
    if form.shape == "Table":
        objects = (encoding.parse(kind, e) for e in page.entries)
        await responses.send_object(request, 200, table.table(kind, objects, meta, include_object(request), version=form.version), form)
    elif form.shape:
        items = [table.partial(e.obj, form.version) for e in page.entries]
        out = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.version}", "metadata": meta, "items": items}
        await responses.send_object(request, 200, out, form)
    else:
        head = b'{"kind":"%sList","apiVersion":"%s","metadata":%s,"items":[' % (
            resource.kind.encode(),
            resource.api_version.encode(),
            orjson.dumps(meta),
        )
        if encoding.converts(kind) or kind.custom:
            joined = b",".join([encoding.item(kind, e.body) for e in page.entries])
        else:
            joined = b",".join([e.body for e in page.entries])
        await responses.send_encoded(request, 200, b"".join((head, joined, b"]}")), form)


def page_of(rest: Rest, kind: Kind, namespace: str, how: options.ListOptions) -> Page:
    """The entries asked for. Raises Timeout for a revision of the future, Expired for a forgotten one."""
    current = rest.store.revision
    wanted = int(how.version) if how.version and not how.after else how.at
    if wanted > current:
        raise too_new(wanted, current)
    prefix = kind.prefix(namespace)
    after = prefix + how.after if how.after else ""
    try:
        return rest.page(kind, namespace, after=after, limit=how.limit, at=how.at, equals=how.equals, where=how.where)
    except errors.Expired as error:
        if how.after:
            error.metadata = {"continue": options.continue_token(options.ANY_STATE, how.after)}
        raise


def too_new(wanted: int, current: int) -> errors.Timeout:
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}
    return errors.Timeout(f"Timeout: Too large resource version: {wanted}, current: {current}", details)


def list_meta(kind: Kind, namespace: str, how: options.ListOptions, page: Page) -> Object:
    """ListMeta of a page: revision, continue token, and how many remain (unknown when a selector filters)."""
    meta: Object = {"resourceVersion": str(page.revision)}
    if page.more and page.entries:
        after = page.entries[-1].key.removeprefix(kind.prefix(namespace))
        meta["continue"] = options.continue_token(page.revision, after)
        if how.where is None:
            meta["remainingItemCount"] = page.remaining
    return meta
