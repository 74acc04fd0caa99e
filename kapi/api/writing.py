"""POST, PUT, PATCH and DELETE of objects: bodies decoded, options checked, names compared; the rest is the registry's pipeline.

Every way to change an object is a `change` for Rest.update: PUT, JSON patch, merge patch, strategic merge patch, apply.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from kapi import limits
from kapi.api import negotiation, options, protobuf_responses, reading, responses
from kapi.api.pinned import PinnedEntries
from kapi.api.request import Request
from kapi.objects import errors, nested, offload, time, together
from kapi.objects.meta import Object
from kapi.registry import deletion, metadata
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Change, Rest, WriteResult
from kapi.schema import apply, decode, parsing, patching
from kapi.schema.reading import DecodeError
from kapi.schema.schema import Schema

_DELETE = "DeleteOptions"
_PARALLEL_DELETES, _PARALLEL_BYTES = 16, 1 << 20
"""Objects of a collection that are deleted at once, and bytes of them together, unless one is larger."""


def call(request: Request, kind: Kind, given: Object) -> Call:
    """The Call of a request with its checked options."""
    target = request.target
    assert target is not None
    return Call(
        kind=kind, user=request.user, namespace=target.namespace if kind.resource.namespaced else "", name=target.name,
        subresource=target.subresource, dry_run="dryRun" in given, manager=given.get("fieldManager") or request.manager,
        validation=given.get("fieldValidation", "Warn"), options=given, warnings=request.warnings, without_turn=request.without_turn,
    )  # fmt: skip


def media(request: Request) -> str:
    """'json', 'yaml' or 'protobuf', what the body is written in. Raises UnsupportedMediaType."""
    kind = request.content_type.partition(";")[0].strip()
    if kind in ("", "application/json"):
        return "json"
    if kind in ("application/yaml", "text/yaml"):
        return "yaml"
    if kind == "application/vnd.kubernetes.protobuf":
        return "protobuf"
    raise errors.UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf", {},
    )  # fmt: skip


def decoded(raw: bytes, form: str, what: Call) -> Object:
    """The body as an object of the call's kind, pruned. Raises BadRequest, RequestEntityTooLarge."""
    if form == "json":
        parsing.check_size(raw)
    resource = what.kind.resource
    obj, found = decode.decode(
        raw, form, what.kind.schema, api_version=resource.api_version, kind=resource.kind, validation=what.validation, empties=what.empties
    )
    what.warnings += found
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    return obj


async def answer(request: Request, kind: Kind, written: WriteResult) -> None:
    """What was written. Whoever watches in protobuf is told the same bytes as who wrote it so."""
    form, code = negotiation.of(request, kind), 201 if written.created else 200
    if written.entry is not None and form.media is negotiation.PROTOBUF and not form.shape:
        await protobuf_responses.send_entry(request, kind, written.entry, code)
    else:
        await reading.send_stored(request, code, kind, written.body, form)


async def body_for(request: Request, rest: Rest, what: Call, operation: str = "UPDATE") -> bytes:
    """The body of a write, once it and the object that it changes may be worked on. Raises what Request.body does."""
    entry = rest.store.get(what.key) if what.name else None
    raw = await request.body(len(entry.body) if entry is not None else 0, lambda: rest.waits(what, operation))
    what.weigh(raw)
    return raw


async def create(request: Request, rest: Rest, kind: Kind) -> None:
    """POST to a collection. What was parsed for it is not kept while the client takes the answer."""
    await answer(request, kind, await _created(request, rest, kind))


async def _created(request: Request, rest: Rest, kind: Kind) -> WriteResult:
    form = media(request)
    negotiation.of(request, kind)
    given = options.write_options(request.query, "CreateOptions") if request.scope["query_string"] else {}
    what = call(request, kind, given)
    raw = await body_for(request, rest, what, "CREATE")
    obj = await what.run(decoded, raw, form, what) if what.long else decoded(raw, form, what)
    metadata.check_namespace(obj["metadata"], kind.resource.namespaced, what.namespace)
    return await rest.create(what, obj)


async def update(request: Request, rest: Rest, kind: Kind) -> None:
    """PUT to an object or its /status."""
    await answer(request, kind, await _updated(request, rest, kind))


async def _updated(request: Request, rest: Rest, kind: Kind) -> WriteResult:
    form = media(request)
    negotiation.of(request, kind)
    given = options.write_options(request.query, "UpdateOptions") if request.scope["query_string"] else {}
    what = call(request, kind, given)
    raw = await body_for(request, rest, what)
    obj = await what.run(decoded, raw, form, what)
    metadata.check_name(obj["metadata"], what.name)
    metadata.check_namespace(obj["metadata"], kind.resource.namespaced, what.namespace)
    make = (lambda: obj) if kind.strategy.create_on_update and not what.subresource else None
    return await rest.update(what, lambda _: {**obj, "metadata": dict(obj["metadata"])}, create=make, replaces=True)


# patches ----------------------------------------------------------------------------------------------------------------------------


async def patch_(request: Request, rest: Rest, kind: Kind) -> None:
    """PATCH of an object or its /status, in any of the four kinds."""
    await answer(request, kind, await patched(request, rest, kind))


def patch_type(request: Request, kind: Kind) -> str:
    """The media type of a patch. Raises UnsupportedMediaType."""
    given = request.content_type.partition(";")[0].strip()
    allowed = [patching.JSON, patching.MERGE, *([] if kind.custom else [patching.STRATEGIC]), patching.APPLY]
    if given not in allowed:
        if given == patching.STRATEGIC:
            listed = ", ".join(allowed)
            raise errors.UnsupportedMediaType(f"the body of the request was in an unknown format - accepted media types include: {listed}")
        raise errors.UnsupportedMediaType("415: Unsupported Media Type", {})
    return given


async def patched(request: Request, rest: Rest, kind: Kind) -> WriteResult:
    """Carry out the PATCH."""
    type_ = patch_type(request, kind)
    negotiation.of(request, kind)
    given = options.write_options(request.query, "PatchOptions", apply=type_ == patching.APPLY, patch=True)
    what = call(request, kind, given)
    raw = await body_for(request, rest, what)
    if type_ == patching.APPLY:
        return await _apply(rest, what, raw, bool(given.get("force")))
    return await rest.update(what, await what.run(patch_change, what, type_, raw))


def merger(what: Call, type_: str, raw: bytes, schema: Schema, api_version: str, kind: str) -> Callable[[Object], Object]:
    """A function that applies a JSON, merge or strategic merge patch to an object and decodes the result as its type."""
    parsed, warnings = patching.parse(raw, type_, what.validation)
    what.warnings += warnings
    deep = nested.deep(raw)

    def merge(current: Object) -> Object:
        merged = patching.apply(schema, current, parsed, type_)
        what.empties.clear()
        obj, found = patching.result(
            schema, merged, parsed, type_, api_version=api_version, kind=kind, validation=what.validation, empties=what.empties, deep=deep
        )
        what.warnings += found
        obj.setdefault("metadata", {})
        return obj

    return merge


def patch_change(what: Call, type_: str, raw: bytes) -> Change:
    """The change a patch body asks for."""
    kind = what.kind
    merge = merger(what, type_, raw, kind.schema, kind.resource.api_version, kind.resource.kind)

    def change(current: Object) -> Object:
        obj = merge(current)
        metadata.check_name(obj["metadata"], what.name)
        metadata.check_namespace(obj["metadata"], kind.resource.namespaced, what.namespace)
        return obj

    return change


async def _apply(rest: Rest, what: Call, raw: bytes, force: bool) -> WriteResult:
    kind = what.kind
    wanted, warnings = await what.run(decode.decode_applied, raw, kind.resource.api_version, what.validation, kind.custom)
    what.warnings += warnings
    meta = wanted["metadata"] = {} if wanted.get("metadata") is None else wanted["metadata"]
    if isinstance(meta, dict):  # other values are rejected with the other fields of a wrong type
        if meta.get("managedFields"):
            raise errors.BadRequest("metadata.managedFields must be nil")
        metadata.check_name(wanted["metadata"], what.name)
        if meta.get("namespace"):
            metadata.check_namespace(wanted["metadata"], kind.resource.namespaced, what.namespace)
    return await applied(rest, what, wanted, force)


async def applied(rest: Rest, what: Call, wanted: Object, force: bool) -> WriteResult:
    """Server-side apply of `wanted`, a partial object."""
    kind = what.kind
    what.tracked = False
    strategy = kind.strategy
    reset = strategy.status_reset_fields if what.subresource == "status" else strategy.reset_fields
    if strategy.status and what.subresource != "status":
        reset = (*reset, ("status",))

    def change(live: Object | None) -> Object:
        out = apply.apply(
            kind.schema, live, wanted, manager=what.manager, force=force, api_version=kind.resource.api_version, kind=kind.resource.kind,
            subresource=what.subresource, reset=reset, stamp=time.stamp(), versions=what.versions,
        )  # fmt: skip
        metadata.check_namespace(out["metadata"], kind.resource.namespaced, what.namespace)
        if live is None and (uid := out["metadata"].get("uid")):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise errors.conflict(kind.resource.plural, kind.resource.group, what.name, why)
        return _typed(out, wanted, what)

    return await rest.update(what, change, create=None if what.subresource else lambda: change(None))


def _typed(merged: Object, wanted: Object, what: Call) -> Object:
    """The result of an apply, decoded as its type. Raises StatusError for strings that are not a valid quantity, time and so on."""
    what.empties.clear()
    try:
        obj: Object = decode.read(merged, what.kind.schema, what.empties)[0]
    except DecodeError as why:
        text = f"failed to convert new object {apply.described(wanted)} to proper version ({what.kind.resource.api_version}): {why}"
        raise errors.StatusError(text, reason="") from None
    return obj


# deletes ----------------------------------------------------------------------------------------------------------------------------


async def delete_body(request: Request) -> Object:
    """DeleteOptions sent as a body, or {}."""
    raw = await request.body()
    if not raw.strip():
        return {}
    form = media(request)
    read = decode.options
    return await offload.run(read, raw, form, _DELETE) if len(raw) >= limits.OFFLOAD_BYTES else read(raw, form, _DELETE)


def deletion_options(given: Object) -> deletion.Options:
    before = given.get("preconditions") or {}
    return deletion.Options(
        grace=given.get("gracePeriodSeconds"), propagation=given.get("propagationPolicy") or "", orphan=given.get("orphanDependents"),
        uid=before.get("uid") or "", version=before.get("resourceVersion") or "",
    )  # fmt: skip


async def delete(request: Request, rest: Rest, kind: Kind) -> None:
    """DELETE of one object: the object itself while it lives on, else a Status (or the object, for some kinds)."""
    form = negotiation.of(request, kind)
    given = options.delete_options(request.query, await delete_body(request))
    what = call(request, kind, given)
    entry = rest.store.get(what.key)
    await request.take_turn(len(entry.body) if entry is not None else 0, lambda: rest.waits(what, "DELETE"))
    written = await deletion.delete(rest, what, deletion_options(given))
    if written.deleted and not kind.strategy.returns_deleted:
        uid = await what.run(_uid, written.body)
        await responses.send_object(request, 200, success(kind, what.name, uid), form)
        return
    code = 202 if not written.deleted and given.get("orphanDependents") is False else 200
    await reading.send_stored(request, code, kind, written.body, form)


def _uid(stored: bytes) -> str:
    uid: str = nested.loads(stored)["metadata"]["uid"]
    return uid


def success(kind: Kind, name: str, uid: str) -> Object:
    """The Status of a delete that is done."""
    details = {"name": name, "kind": kind.resource.plural, "uid": uid}
    if kind.resource.group:
        details["group"] = kind.resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


async def delete_collection(request: Request, rest: Rest, kind: Kind) -> None:
    """DELETE of a collection: every object the selectors choose; answers with the list of them."""
    how = options.list_options(request.query, kind)
    form = negotiation.of(request, kind)
    given = options.delete_options(request.query, await delete_body(request))
    what = call(request, kind, given)
    page = await reading.page_of(rest, kind, what.namespace, how)
    wanted = deletion_options(given)
    keys = iter(enumerate([entry.key for entry in page.entries]))
    sizes = [len(entry.body) for entry in page.entries]
    largest = max(sizes, default=1)
    await request.take_turn(max(largest, min(sum(sizes), _PARALLEL_BYTES)), lambda: rest.waits(what, "DELETE"))

    failed: dict[int, Exception] = {}
    """By the place in the list: stock has one worker, which ends with the first."""

    async def some() -> None:
        for place, key in keys:
            namespace, _, name = key.removeprefix(kind.collection).rpartition("/")
            try:
                await deletion.delete(rest, replace(what, namespace=namespace, name=name), wanted)
            except errors.NotFound:
                pass
            except Exception as why:
                failed[place] = why
            if failed:  # what has not been begun stays
                return
            await asyncio.sleep(0)  # a dry run waits for nothing

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_PARALLEL_DELETES, max(1, _PARALLEL_BYTES // largest))):
            group.create_task(some())
    if failed:
        raise together.first([failed[place] for place in sorted(failed)])
    meta = reading.list_meta(kind, what.namespace, how, page)
    with PinnedEntries(request, rest.store, page.entries):
        await reading.send_page(request, kind, page.entries, meta, form)
