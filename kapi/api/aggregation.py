"""Requests for group versions that other servers serve, passed on to them: what stock's kube-aggregator does in front of the API.

Which group versions these are, and who serves them, is kept up to date by kapi.apiserver.aggregator. This server has authorized a request
before it comes here; the other one trusts the headers that name the user for the sake of the front-proxy client certificate. It is found
by the EndpointSlices of its Service, as with stock's --enable-aggregator-routing: this server need not be where ClusterIPs lead anywhere.
A Service of type ExternalName leads to its host.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote_to_bytes

from kapi import limits
from kapi.access import identity_headers
from kapi.admission.plugin import Reader
from kapi.admission.service_resolver import resolve_endpoint
from kapi.api import links, proxies, relay, responses
from kapi.api.relay import Peer
from kapi.api.request import Request
from kapi.http import server
from kapi.objects import duration, errors, offload, urls
from kapi.objects.meta import Object
from kapi.objects.user import User
from kapi.registry.catalogue import GroupVersion

_BAD_CA = "unable to load root certificates: unable to parse bytes as PEM block"


class NoClient(Exception):
    """Nothing can be sent to the server, e.g. because its CA is not a certificate."""


@dataclass(frozen=True)
class Backend:
    """The server of a group version, as its APIService names it."""

    namespace: str
    name: str
    port: int
    authority: str = ""
    """The caBundle: base64 of PEM; "" means the CAs of the system."""
    insecure: bool = False
    """Whether any certificate will do."""

    @classmethod
    def of(cls, spec: Object) -> "Backend":
        """From the spec of an APIService with a service."""
        service = spec["service"]
        trust = spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify"))
        return cls(service["namespace"], service["name"], service.get("port") or 443, *trust)

    @property
    def server_name(self) -> str:
        """The name its certificate must be for."""
        return f"{self.name}.{self.namespace}.svc"


@dataclass(frozen=True)
class Identity:
    """The certificate this server shows; none in tests without backends."""

    certificate: Path | None = None
    key: Path | None = None

    def context(self, authority: str, insecure: bool) -> ssl.SSLContext:
        """The TLS context for a backend; takes milliseconds. Raises NoClient."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.hostname_checks_common_name = False
        if self.certificate and self.key:
            context.load_cert_chain(str(self.certificate), str(self.key))
        if insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif authority:
            try:
                context.load_verify_locations(cadata=base64.b64decode(authority).decode("ascii"))
            except (ssl.SSLError, ValueError):
                raise NoClient(_BAD_CA) from None
        else:
            context.load_default_certs()
        return context


class Aggregation:
    """The backends of one API server."""

    def __init__(self, reader: Reader, identity: Identity | None = None) -> None:
        self.backends: Mapping[GroupVersion, Backend] = {}
        """Who serves which group version; replaced when that changes, never changed."""
        self.available: frozenset[GroupVersion] = frozenset()
        """Those whose APIService says Available."""
        self.failed: Callable[[GroupVersion], None] = lambda where: None
        """Called when the server of a group version could not be reached."""
        self._reader = reader
        self._identity = identity or Identity()
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    def replace(self, backends: Mapping[GroupVersion, Backend], available: frozenset[GroupVersion]) -> None:
        """Pass requests on to these from now on."""
        if backends != self.backends:
            self._contexts.clear()  # with the CAs of those that are gone
        self.backends, self.available = backends, available

    def at(self, path: str) -> GroupVersion | None:
        """The group version of others that a path is about which names no resource: /apis/G/V, /openapi/v3/apis/G/V."""
        words = path.removeprefix("/openapi/v3").split("/")
        found = (words[2], words[3]) if len(words) > 3 and words[1] == "apis" else ("", "")
        return found if found in self.backends else None

    async def peer(self, backend: Backend, user: User, *, insecure: bool = False) -> Peer:
        """Where the backend is now, asked by a user. Raises NotFound, ServiceUnavailable, NoClient, relay.NoAnswer."""
        host, port = resolve_endpoint(self._reader, backend.namespace, backend.name, backend.port)
        insecure = insecure or backend.insecure
        trust = "" if insecure else backend.authority, insecure
        context = self._contexts.get(trust)
        if context is None:
            context = self._contexts[trust] = await offload.run(self._identity.context, *trust)
        try:
            return Peer(host, port, context, backend.server_name, identity_headers.of_user(user))
        except ValueError as why:
            raise relay.NoAnswer(str(why)) from None

    async def pass_on(self, request: Request, where: GroupVersion, *, long: bool) -> None:
        """Answer with what the backend says. A request that is not `long` (a watch, a stream) is given up after a while."""
        await asyncio.sleep(0)  # from here on in a task of its own
        if where not in self.available:
            await _refuse(request, "service unavailable")
            return
        answering = _Answering(request)
        try:
            async with asyncio.timeout(None if long else _seconds(request)):
                await self._pass_on(request, where, answering)
        except TimeoutError:
            if answering.begun:
                raise relay.CutOff("the backend's answer took too long") from None
            raise errors.Timeout("Timeout: request did not complete within the allotted timeout", {}) from None

    async def _pass_on(self, request: Request, where: GroupVersion, answering: "_Answering") -> None:
        try:
            peer = await self.peer(self.backends[where], request.user)
        except errors.StatusError:
            await _refuse(request, "service unavailable")
            return
        except NoClient as why:
            await _refuse(request, str(why), 500)
            return
        except relay.NoAnswer as why:
            await _refuse(request, f"error trying to reach service: {why}")
            return
        audit = (b"audit-id", request.audit_id.encode("latin-1"))
        peer = Peer(peer.host, peer.port, peer.tls, peer.name, (*peer.identity, audit))
        try:
            if server.UPGRADE in (request.scope.get("extensions") or {}):
                await relay.splice(request, peer, _path(request))
            else:
                await relay.exchange(request, peer, _path(request), partial(answering.respond, peer))
        except relay.NoAnswer as why:
            self.failed(where)
            await _refuse(request, f"error trying to reach service: {why}")
        except errors.StatusError as error:
            self.failed(where)
            await _refuse(request, error.message)


class _Answering:
    """A backend's answer on its way to the caller."""

    def __init__(self, request: Request) -> None:
        self.request, self.begun = request, False

    async def respond(self, peer: Peer, answer: relay.Answer) -> None:
        self.begun = True
        if not any(name == b"audit-id" for name, _ in answer.headers):
            answer.headers.append((b"audit-id", self.request.audit_id.encode("latin-1")))
        await proxies.respond(self.request, answer, links.Links("", peer.authority, self.request.header(b"host")))


def _path(request: Request) -> str:
    """The path and query as they are sent on: decoded, and encoded again."""
    query = request.scope["query_string"].decode("latin-1")
    return urls.escaped(unquote_to_bytes(request.scope["raw_path"])) + (f"?{query}" if query else "")


def _seconds(request: Request) -> float:
    """How long a request may take: as its `timeout` says, but not for ever."""
    asked = duration.parse(request.query.get("timeout") or "0s")
    return min(asked, limits.AGGREGATED_SECONDS) if asked > 0 else limits.AGGREGATED_SECONDS


async def _refuse(request: Request, text: str, code: int = 503) -> None:
    await responses.send_text(request, code, text + "\n")
