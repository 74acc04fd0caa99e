"""One API server put together: store, registry, admission, access, application, socket. `serving` is all of it as a context.

`assemble` makes the same without a socket, for clients in this process and for tests.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from kapi import logs, storage
from kapi.access.access import Access
from kapi.access.authentication import Authenticator
from kapi.access.authentication import Settings as AccessSettings
from kapi.access.authorization import Authorization
from kapi.access.escalation import Escalation
from kapi.access.tokens import Settings as TokenSettings
from kapi.access.tokens import Tokens
from kapi.admission import chain
from kapi.admission.plugin import Reader
from kapi.api.aggregation import Aggregation, Identity
from kapi.api.app import App, immediate
from kapi.api.kubelets import Kubelets
from kapi.apiserver import bootstrap
from kapi.apiserver.crd_controller import CRDController
from kapi.apiserver.health import Health
from kapi.apiserver.settings import Settings, addresses, advertised, static_tokens
from kapi.apiserver.status_controllers import StatusControllers
from kapi.apiserver.token_use import TokenUse
from kapi.http import server
from kapi.http.webhook_client import WebhookClient
from kapi.objects.meta import Object
from kapi.registry import catalogue as catalogues
from kapi.registry.allocators import Allocators
from kapi.registry.catalogue import Catalogue
from kapi.registry.rest import Rest
from kapi.storage.store import Store, collection_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    """An API server without its socket: the application, and what goes on beside it while it serves."""

    app: App
    crds: CRDController
    health: Health
    caller: WebhookClient
    """The client of webhooks; closed when the server ends."""


def _place(settings: Settings) -> str:
    """Where objects are kept."""
    return settings.storage or str(settings.data_dir / "kapi.db")


def open_store(settings: Settings) -> Store:
    """The store, still to be started. Raises storage.Unusable."""
    return storage.open(_place(settings))


async def assemble(settings: Settings, pki: Path, store: Store | None = None) -> Server:
    """A server over a started store, with everything in it that is there from the beginning."""
    store = store or open_store(settings)
    catalogue = catalogues.standard(settings.runtime_config)
    store.describe = describer(catalogue)
    await store.start()
    allocators = Allocators(store, (settings.service_cluster_ip_range,))
    authorization = Authorization(store)
    caller = WebhookClient()
    admission = chain.default(store, catalogue, authorization, caller, Escalation(authorization).check)
    rest = Rest(store, admission, allocators)
    tokens = Tokens(TokenSettings(signing_key=pki / "sa.key"), store)
    authenticator = Authenticator(AccessSettings(token_file=static_tokens(settings)), tokens, store)
    if secrets := catalogue.get("", "v1", "secrets"):
        tokens.note_use = TokenUse(rest, secrets)
    access = Access(authenticator, authorization, tokens)
    health, address = Health(store, catalogue, pki / "apiserver.crt"), advertised(settings)
    front = _aggregation(store, catalogue, pki)
    app = App(rest, catalogue, access, Kubelets(_kubelet_tls(pki)), health, f"{address}:{settings.port}", front)
    crds = CRDController(rest, catalogue, caller)
    crds.load()
    app.metrics.most = settings.max_requests_inflight, settings.max_mutating_requests_inflight
    app.metrics.add(admission.phases, admission.durations)
    for part in ("storage", "admission", "authorization", "allocation", "custom kinds"):
        health.parts.done(part)
    authorities = [(pki / name).read_text() for name in ("ca.crt", "front-proxy-ca.crt")]
    place = bootstrap.Place(address, settings.port, settings.service_cluster_ip_range, *authorities)
    await bootstrap.ensure(rest, catalogue, place, health.parts.done)
    return Server(app, crds, health, caller)


def describer(catalogue: Catalogue) -> Callable[[str, Object], dict[str, str]]:
    """The selectable fields of an object that was read from disk."""

    def describe(key: str, obj: Object) -> dict[str, str]:
        if (fields := catalogue.kept.get("fields")) is None:
            fields = catalogue.kept["fields"] = {kind.collection: kind.strategy.index for kind in catalogue if kind.strategy.index}
        known = fields.get(collection_of(key))
        return {name: get(obj) for name, get in known.items()} if known else {}

    return describe


def _aggregation(store: Store, catalogue: Catalogue, pki: Path) -> Aggregation:
    return Aggregation(Reader(store, catalogue), Identity(pki / "front-proxy-client.crt", pki / "front-proxy-client.key"))


def _kubelet_tls(pki: Path) -> ssl.SSLContext:
    """This server's identity towards kubelets; their names are not checked (nodes register by address), their CA is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(str(pki / "ca.crt"))
    context.load_cert_chain(str(pki / "apiserver-kubelet-client.crt"), str(pki / "apiserver-kubelet-client.key"))
    return context


@contextlib.asynccontextmanager
async def serving(settings: Settings, pki: Path) -> AsyncIterator[Server]:
    """An API server that answers on its port while the context lasts. Raises OSError when the port is taken, storage.Unusable."""
    listen = server.Listen(
        addresses(settings), settings.port, pki / "apiserver.crt", pki / "apiserver.key", (pki / "ca.crt", pki / "front-proxy-ca.crt")
    )
    sockets = server.bound(listen)
    try:
        made = await assemble(settings, pki)
        app = made.app
        http = server.Server(app, listen, immediate)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    await http.start(sockets)
    store, address = app.rest.store, ",".join(f"{host}:{settings.port}" for host in addresses(settings))
    log.info("Serving", extra=logs.fields(address=address, storage=_place(settings), revision=store.revision, bytes=store.size()))
    status = StatusControllers(app.rest, app.catalogue, made.health.parts, app.aggregation)
    app.metrics.add(status.availability.unavailable, status.availability.changes)
    controllers = [*status.start(), asyncio.create_task(made.crds.run())]
    made.health.parts.goes_on("custom kinds", controllers[-1])
    try:
        yield made
    finally:
        made.health.closing = True
        for task in controllers:
            task.cancel()
        await asyncio.gather(*controllers, return_exceptions=True)
        await http.stop()
        await made.caller.close()
        await app.rest.store.close()


async def run(settings: Settings, pki: Path, ready: Callable[[], None]) -> None:
    """Serve until cancelled; `ready` is called once /readyz returns 200."""
    async with serving(settings, pki) as made:
        await made.health.parts.settled()
        ready()
        await asyncio.Event().wait()
