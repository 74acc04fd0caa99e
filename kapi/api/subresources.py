"""Requests on a subresource that is not simply another face of update: /scale, /binding, /eviction, /token.

/status, /approval, /finalize, /ephemeralcontainers and /resize go through the ordinary verbs (kapi.api.writing) with their name.
"""

from typing import Any

import orjson

from kapi.access.tokens import Tokens
from kapi.api import negotiation, options, reading, responses, writing
from kapi.api.request import Request
from kapi.objects import causes, errors
from kapi.objects.meta import Object
from kapi.registry import binding, conversion, encoding, eviction, metadata, scale, table
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest, WriteResult
from kapi.schema import builtin, decode, parsing, patching

SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


_ALSO = {"Eviction": ("policy/v1beta1",)}
"""Versions of a body that are taken beside its own."""


async def _body(request: Request, rest: Rest, what: Call, group: str, version: str, kind: str, form: str = "") -> Object:
    """A request body of a kind that is never stored."""
    form = form or writing.media(request)
    raw = await writing.body_for(request, rest, what)
    return await what.run(_decoded, raw, form, what, group, version, kind)


def _decoded(raw: bytes, form: str, what: Call, group: str, version: str, kind: str) -> Object:
    if form == "json":
        parsing.check_size(raw)
    api_version = f"{group}/{version}" if group else version
    schema = builtin.schema(builtin.named(group, version, kind))
    obj, found = decode.decode(
        raw, form, schema, api_version=api_version, kind=kind, validation=what.validation, also=_ALSO.get(kind, ())
    )
    what.warnings += found
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    return obj


# /scale -----------------------------------------------------------------------------------------------------------------------------


async def get_scale(request: Request, rest: Rest, kind: Kind) -> None:
    what = writing.call(request, kind, {})
    entry = rest.get(kind, what.namespace, what.name)
    if kind.strategy.converter is not None:
        entry = await conversion.one(kind, entry)
    await _send_scale(request, kind, await encoding.parsed(kind, entry))


async def _send_scale(request: Request, kind: Kind, obj: Object) -> None:
    """The Scale of an object in the form the client asked for."""
    made, form = scale.of(obj, kind.strategy.scale), negotiation.of(request, kind)
    if form.shape == "Table":
        made = table.scale(kind, made, reading.include_object(request), form.version)
    elif form.shape == "PartialObjectMetadata":
        made = table.partial(made, form.version)
    elif form.shape:
        raise errors.NotAcceptable("406: Not Acceptable", {})
    await responses.send_object(request, 200, made, form)


async def put_scale(request: Request, rest: Rest, kind: Kind) -> None:
    """PUT a Scale."""
    given = options.write_options(request.query, "UpdateOptions")
    what = writing.call(request, kind, given)
    wanted = await _body(request, rest, what, "autoscaling", "v1", "Scale")
    metadata.check_name(wanted["metadata"], what.name)
    await _write_scale(request, rest, what, lambda current: wanted)


async def patch_scale(request: Request, rest: Rest, kind: Kind) -> None:
    """PATCH the Scale of an object: the patch is applied to the Scale, the Scale to the object."""
    type_ = writing.patch_type(request, kind)
    given = options.write_options(request.query, "PatchOptions", apply=type_ == patching.APPLY, patch=True)
    what = writing.call(request, kind, given)
    if type_ == patching.APPLY:
        await _apply_scale(request, rest, what)
        return
    raw = await writing.body_for(request, rest, what)
    schema = builtin.schema(builtin.named("autoscaling", "v1", "Scale"))
    await _write_scale(request, rest, what, await what.run(writing.merger, what, type_, raw, schema, "autoscaling/v1", "Scale"))


async def _apply_scale(request: Request, rest: Rest, what: Call) -> None:
    """An applied Scale owns spec.replicas of the object: it becomes an apply of just that field on the object."""
    wanted = await _body(request, rest, what, "autoscaling", "v1", "Scale", "yaml")
    resource = what.kind.resource
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    applied = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": what.name}}
    applied |= scale.wrapped(replicas, what.kind.strategy.scale.replicas)
    try:
        written = await writing.applied(rest, what, applied, bool(what.options.get("force")))
    except errors.Conflict as error:
        raise _scaled(error, resource.api_version) from None
    await _answer_scale(request, what.kind, written)


def _scaled(error: errors.Conflict, api_version: str) -> errors.Conflict:
    """The conflict as the Scale's own: its managers are shown as owners of autoscaling/v1 fields."""
    text = orjson.dumps([error.message, error.details]).decode().replace(f"using {api_version}", "using autoscaling/v1")
    message, details = orjson.loads(text)
    return errors.Conflict(message, details)


async def _write_scale(request: Request, rest: Rest, what: Call, wanted: Any) -> None:
    paths = what.kind.strategy.scale

    def change(current: Object) -> Object:
        new = wanted(scale.of(current, paths))
        replicas = (new.get("spec") or {}).get("replicas", 0)
        if replicas < 0:
            raise errors.invalid("Scale", "autoscaling", what.name, [causes.invalid("spec.replicas", replicas, causes.NON_NEGATIVE)])
        return scale.put(current, new, paths)

    await _answer_scale(request, what.kind, await rest.update(what, change))


async def _answer_scale(request: Request, kind: Kind, written: WriteResult) -> None:
    await _send_scale(request, kind, await encoding.loaded(kind, written.body))


# pods -------------------------------------------------------------------------------------------------------------------------------


def _check_name(wanted: Object, name: str, kind: str) -> None:
    """What is sent about a pod is about the pod of the URL, also after webhooks changed it. Raises BadRequest."""
    given = wanted["metadata"].get("name")
    if given and given != name:
        raise errors.BadRequest(f"name in URL does not match name in {kind} object")


async def bind(request: Request, rest: Rest, kind: Kind) -> None:
    """POST pods/NAME/binding, or a Binding that names the pod itself to bindings."""
    form = negotiation.of_review(request)
    given = options.write_options(request.query, "CreateOptions") if request.scope["query_string"] else {}
    what = writing.call(request, kind, given)
    wanted = await _body(request, rest, what, "", "v1", "Binding")
    given_name = wanted["metadata"].get("name")
    if not request.target or not request.target.name:
        what.name, what.subresource = given_name or "", "binding"
    _check_name(wanted, what.name, "Binding")
    await rest.admit(what, "CREATE", wanted)
    _check_name(wanted, what.name, "Binding")
    await binding.bind(rest, what, wanted)
    await responses.send_object(request, 201, SUCCESS, form)


async def evict(request: Request, rest: Rest, kind: Kind, budgets: Kind) -> None:
    """POST pods/NAME/eviction."""
    form = negotiation.of_review(request)
    given = options.write_options(request.query, "CreateOptions")
    what = writing.call(request, kind, given)
    wanted = await _body(request, rest, what, "policy", "v1", "Eviction")
    _check_name(wanted, what.name, "Eviction")
    how = options.delete_options(options.Query(), wanted.get("deleteOptions") or {})
    what.dry_run = what.dry_run or "dryRun" in how
    await rest.admit(what, "CREATE", wanted)
    _check_name(wanted, what.name, "Eviction")
    await eviction.evict(rest, what, budgets, writing.deletion_options(how))
    await responses.send_object(request, 201, SUCCESS, form)


# service accounts -------------------------------------------------------------------------------------------------------------------


async def token(request: Request, rest: Rest, kind: Kind, tokens: Tokens) -> None:
    """POST serviceaccounts/NAME/token."""
    form = negotiation.of_review(request)
    given = options.write_options(request.query, "CreateOptions")
    what = writing.call(request, kind, given)
    wanted = await _body(request, rest, what, "authentication.k8s.io", "v1", "TokenRequest")
    await rest.admit(what, "CREATE", wanted)
    answered = tokens.request(what.namespace, what.name, wanted)
    await responses.send_object(request, 201, table.partial(answered, form.version) if form.shape else answered, form)
