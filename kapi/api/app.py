"""The application: an ASGI callable. A request runs through one visible route:

identify -> impersonate -> authorize -> dispatch by (verb, subresource) -> answer; every failure becomes a Status here and nowhere else.
Requests for paths that are not resources (health, version, discovery, OpenAPI, metrics) are dispatched by a Starlette router, in
kapi.api.infrastructure.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from kapi import limits
from kapi.access import rbac, websocket_token
from kapi.access.access import Access
from kapi.access.impersonation import impersonate
from kapi.api import (
    components,
    infrastructure,
    metrics,
    options,
    reading,
    requestlog,
    responses,
    reviews,
    streams,
    subresources,
    watching,
    writing,
)  # fmt: skip
from kapi.api.aggregation import Aggregation
from kapi.api.healthz import Checks
from kapi.api.kubelets import Kubelets
from kapi.api.request import Receive, Request, Scope, Send, Target, target
from kapi.http import server
from kapi.objects import duration, errors, names, offload
from kapi.objects.user import ANONYMOUS, MASTERS, Attributes
from kapi.registry.catalogue import Catalogue, GroupVersion
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest, definition_ends

Handler = Callable[[Request, "App", Kind], Awaitable[None]]

IDENTITY = "kapi.user"
"""Scope extension: who calls, when the call comes from inside this process (kapi.client.local)."""

_NO_RESOURCE = "the server could not find the requested resource"
_NO_METHOD = "the server does not allow this method on the requested resource"
_AUDIT = map(f"{os.getpid():08x}-{int(time.time()) & 0xFFFF:04x}-4000-8000-%012x".__mod__, itertools.count(1))


class App:
    """One API server without its socket."""

    def __init__(
        self, rest: Rest, catalogue: Catalogue, access: Access, kubelets: Kubelets, checks: Checks, address: str,
        aggregation: Aggregation,
    ) -> None:  # fmt: skip
        """`checks` are those of its health; `address` is where clients reach this server, host:port: discovery tells."""
        self.rest, self.catalogue, self.access, self.kubelets = rest, catalogue, access, kubelets
        self.aggregation = aggregation
        self.metrics = metrics.Metrics()
        self._logged_from = requestlog.threshold()
        self.infrastructure = infrastructure.application(rest.store, catalogue, self.metrics, checks, access.tokens, address)
        self.components = components.checks(rest.store)
        """What `kubectl get componentstatuses` asks."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        request.audit_id = request.audit_id or next(_AUDIT)
        request.began = time.perf_counter()
        over_limit = self.metrics.begin(request)
        try:
            await self._handle(request, over_limit)
        except errors.StatusError as error:
            await responses.send_error(request, error)
        except RecursionError:
            await responses.send_error(request, errors.BadRequest("exceeded max depth"))
        except offload.TooMuch:
            self.metrics.ended(request, 429)
            await responses.send_too_many(request)
        except ConnectionError:
            request.code = 499
        except asyncio.CancelledError:  # the server stops
            request.code = 499
            raise
        except Exception:
            requestlog.broke(request)
            self.metrics.ended(request, 500)
            await responses.send_error(request, errors.InternalError("Internal error occurred: see the server's log", {}))
        finally:
            request.end_turn()
            self.metrics.observe(request)
            if time.perf_counter() - request.began > self._logged_from:
                requestlog.ended(request)

    async def _handle(self, request: Request, over_limit: bool) -> None:
        where = request.target = target(request.path)
        query: bytes = request.scope["query_string"]
        if query and b"timeout=" in query:
            _check_deadline(request, where)
        self._identify(request)
        if over_limit and not _exempt(request, where):
            self.metrics.ended(request, 429)
            await responses.send_too_many(request)
            return
        if where is None:
            self._authorize(Attributes(request.user, request.method.lower(), path=request.path))
            if self.aggregation.backends and (there := self.aggregation.at(request.path)):
                await self._pass_on(request, where, there)
                return
            request.scope[infrastructure.REQUEST] = request
            await self.infrastructure(request.scope, request.receive, request.send)
            return
        kind = self.catalogue.get(where.group, where.version, where.plural)
        if len(query) >= limits.OFFLOAD_QUERY:
            await offload.run(request.read_query)
        request.verb = verb(request, where)
        elsewhere = self.aggregation.backends and (where.group, where.version) in self.aggregation.backends
        request.known = kind is not None and not elsewhere and (not where.subresource or where.subresource in kind.subresources)
        self._authorize(_attributes(request, where))
        if elsewhere:
            await self._pass_on(request, where, (where.group, where.version))
            return
        if kind is None:
            await self._unknown(request, where)
            return
        if kind.strategy.deprecated:
            request.warnings.append(kind.strategy.deprecated)
            if request.known:
                self.metrics.deprecated(kind, where.subresource)
        await self._dispatch(request, kind, where)

    def _identify(self, request: Request) -> None:
        extensions = request.scope.get("extensions") or {}
        user = extensions.get(IDENTITY)
        try:
            user = user or self.access.authenticator.authenticate(
                request.authorization, extensions.get(server.CERTIFICATE), request.scope["headers"]
            )
        finally:
            self.metrics.identified(user, time.perf_counter() - request.began)
        if server.UPGRADE in extensions:
            request.scope["headers"] = websocket_token.without(request.scope["headers"])
        connection = extensions.get(server.CONNECTION)
        if connection is not None and connection.user != user.name and user.name != ANONYMOUS:
            connection.set_user(user.name)
        if request.impersonates:
            user = impersonate(user, request.scope["headers"], self.access.authorizer)
        request.user = user

    def _authorize(self, attributes: Attributes) -> None:
        began = time.perf_counter()
        decision = self.access.authorizer.authorize(attributes)
        self.metrics.authorized(decision.allowed, time.perf_counter() - began)
        if not decision.allowed:
            raise rbac.forbidden(attributes, decision.reason)

    async def _pass_on(self, request: Request, where: Target | None, there: GroupVersion) -> None:
        """Let the server of another group version answer."""
        if _is_long(request, where) or server.UPGRADE in (request.scope.get("extensions") or {}):
            with _long_running(request, self):
                await self.aggregation.pass_on(request, there, long=True)
        else:
            await self.aggregation.pass_on(request, there, long=False)

    async def _unknown(self, request: Request, where: Target) -> None:
        if where.version not in self.catalogue.groups().get(where.group, ()):
            await responses.send_missing(request)
            return
        raise errors.NotFound(_NO_RESOURCE, {})

    async def _dispatch(self, request: Request, kind: Kind, where: Target) -> None:
        handler = HANDLERS.get((where.subresource, request.verb))
        if where.subresource and where.subresource not in kind.subresources:
            raise errors.NotFound(_NO_RESOURCE, {})
        served = kind.subresources[where.subresource] if where.subresource else kind.verbs
        if handler is None or (request.verb not in served and not (request.verb == "" and request.method == "OPTIONS")):
            raise errors.MethodNotAllowed(_NO_METHOD, {})
        if (request.method == "POST" and where.name and not where.subresource) or (request.verb in ("update", "patch") and not where.name):
            raise errors.MethodNotAllowed(_NO_METHOD, {})
        if kind.ending and request.verb == "create" and not where.subresource:
            raise definition_ends(kind)
        if kind.resource.namespaced and not where.namespace and request.verb not in ("list", "watch"):
            raise errors.MethodNotAllowed(_NO_METHOD, {})
        await handler(request, self, kind)


def immediate(scope: Scope) -> bool:
    """Whether a request only looks something up: GET of objects and lists."""
    query = scope["query_string"]
    if scope["method"] != "GET" or (query and b"watch" in query) or server.UPGRADE in scope["extensions"]:
        return False
    where = target(scope["path"])
    return where is not None and not where.subresource and not where.watch


def _check_deadline(request: Request, where: Target | None) -> None:
    """Raises BadRequest for an invalid `timeout` of a request that is not long-running; checked before authentication, as in stock."""
    if (text := request.query.get("timeout")) and not _is_long(request, where):
        try:
            duration.parse(text)
        except ValueError as why:
            raise errors.BadRequest(f"invalid timeout specified in the request URL - {why}") from None


def _is_long(request: Request, where: Target | None) -> bool:
    return where is not None and (where.subresource in metrics.CONNECTING or verb(request, where) == "watch")


def _exempt(request: Request, where: Target | None) -> bool:
    """Whether a request counts for nothing among those under way: of the masters, of probes, watches and streams."""
    if MASTERS in request.user.groups:
        return True
    if where is None:
        return request.path.startswith(("/healthz", "/livez", "/readyz"))
    return _is_long(request, where)


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def verb(request: Request, where: Target) -> str:
    """The API verb of a request: get, list, watch, create, update, patch, delete, deletecollection; '' for methods that have none."""
    method = request.method
    if method in ("GET", "HEAD"):
        if where.watch or (not where.name and b"watch=" in request.scope["query_string"] and options.truth(request.query, "watch")):
            return "watch"
        return "get" if where.name else "list"
    if method == "DELETE":
        return "delete" if where.name else "deletecollection"
    return _VERBS.get(method, "")


def _attributes(request: Request, where: Target) -> Attributes:
    """What the authorizer is asked about a request on a resource."""
    name, selected = _selected(request, where)
    what = where.group, where.version, where.plural, where.subresource, where.namespace, name
    return Attributes(request.user, request.verb, *what, selected=selected)


def _selected(request: Request, where: Target) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The object that is asked for, and what the field selector of a list, watch or deletecollection requires.

    A list or watch may name its one object in the selector: who may read that object may also list and watch it.
    """
    if request.verb not in _MANY or b"fieldSelector" not in request.scope["query_string"]:
        return where.name, ()
    try:
        by_field = request.query.fields
    except ValueError:
        return where.name, ()
    equals = by_field.equals if by_field is not None else {}
    name = equals.get("metadata.name", "") if request.verb != "deletecollection" else ""
    return where.name or ("" if names.path_segment(name) else name), tuple(equals.items())


_MANY = frozenset({"list", "watch", "deletecollection"})


# handlers: (subresource, verb) -> what answers ------------------------------------------------------------------------------------------


def _place(request: Request, kind: Kind) -> tuple[str, str]:
    assert request.target is not None
    return (request.target.namespace if kind.resource.namespaced else ""), request.target.name


async def _get(request: Request, app: App, kind: Kind) -> None:
    if kind.stored:
        await reading.get(request, app.rest, kind, *_place(request, kind))
    else:
        await components.get(request, app.components, kind, _place(request, kind)[1])


async def _list(request: Request, app: App, kind: Kind) -> None:
    namespace, name = _place(request, kind)
    how = options.list_options(request.query, kind, name)
    if kind.stored:
        await reading.list_(request, app.rest, kind, namespace, how)
    else:
        await components.list_(request, app.components, kind, how)


def _long_running(request: Request, app: App) -> AbstractContextManager[None]:
    """A watch or a stream: no body that comes slowly ends it, and it is none of the requests in flight."""
    connection = request.scope["extensions"].get(server.CONNECTION)
    if connection is not None:
        connection.set_long_running()
    return app.metrics.running_long(request)


async def _watch(request: Request, app: App, kind: Kind) -> None:
    namespace, name = _place(request, kind)
    how = options.list_options(request.query, kind, name)
    count = app.metrics.counter(kind)
    with _long_running(request, app):
        if server.UPGRADE in (request.scope.get("extensions") or {}):
            await streams.watch(request, app.rest, kind, namespace, how, count)
        else:
            await watching.serve(request, app.rest, kind, namespace, how, count)


async def _create(request: Request, app: App, kind: Kind) -> None:
    if (kind.resource.group, kind.resource.plural) == ("", "bindings"):
        pods = app.catalogue.get("", "v1", "pods")
        assert pods is not None
        await subresources.bind(request, app.rest, pods)
    elif kind.verbs == ("create",):
        await reviews.answer(request, app.access, kind)
    else:
        await writing.create(request, app.rest, kind)


async def _evict(request: Request, app: App, kind: Kind) -> None:
    budgets = app.catalogue.get("policy", "v1", "poddisruptionbudgets")
    assert budgets is not None
    await subresources.evict(request, app.rest, kind, budgets)


async def _token(request: Request, app: App, kind: Kind) -> None:
    await subresources.token(request, app.rest, kind, app.access.tokens)


async def _connect(request: Request, app: App, kind: Kind) -> None:
    with _long_running(request, app):
        await streams.connect(request, kind, app.rest, app.catalogue, app.kubelets)


def _plain(function: Callable[[Request, Rest, Kind], Awaitable[None]]) -> Handler:
    return lambda request, app, kind: function(request, app.rest, kind)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "get"): _get,
    ("", "list"): _list,
    ("", "watch"): _watch,
    ("", "create"): _create,
    ("", "update"): _plain(writing.update),
    ("", "patch"): _plain(writing.patch_),
    ("", "delete"): _plain(writing.delete),
    ("", "deletecollection"): _plain(writing.delete_collection),
    ("scale", "get"): _plain(subresources.get_scale),
    ("scale", "update"): _plain(subresources.put_scale),
    ("scale", "patch"): _plain(subresources.patch_scale),
    ("binding", "create"): _plain(subresources.bind),
    ("eviction", "create"): _evict,
    ("token", "create"): _token,
    **{(sub, "get"): _get for sub in ("status", "approval", "ephemeralcontainers", "resize")},
    **{(sub, "update"): _plain(writing.update) for sub in ("status", "approval", "finalize", "ephemeralcontainers", "resize")},
    **{(sub, "patch"): _plain(writing.patch_) for sub in ("status", "approval", "ephemeralcontainers", "resize")},
    ("log", "get"): _connect,
    **{(sub, verb): _connect for sub in ("exec", "attach", "portforward") for verb in ("get", "create")},
    **{("proxy", verb): _connect for verb in ("get", "create", "update", "patch", "delete", "")},
}


__all__ = ["IDENTITY", "App", "immediate"]
