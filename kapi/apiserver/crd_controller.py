"""CustomResourceDefinitions brought to life: names are accepted, kinds served and withdrawn, group versions registered as APIServices.

Level-based: `once` compares every definition with what is served, whoever wrote it and whenever. A kind is served before its
definition says Established, so who waits for that finds it. Ending them is the work of kapi.apiserver.crd_finalizer.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from typing import Any, cast

import orjson

from kapi import logs
from kapi.admission.plugin import Reader
from kapi.admission.service_resolver import locator
from kapi.apiserver import bootstrap, crd_finalizer
from kapi.apiserver.bootstrap import LOOPBACK
from kapi.apiserver.changes import changed
from kapi.http.webhook_client import WebhookClient
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.registry import custom, encoding, naming
from kapi.registry.call import Call
from kapi.registry.catalogue import CUSTOM, Catalogue
from kapi.registry.conversion import ConversionWebhook
from kapi.registry.custom import CustomStrategy, Life, Source
from kapi.registry.kind import Kind, stored_version
from kapi.registry.rest import Rest
from kapi.storage.entry import Entry

log = logging.getLogger(__name__)

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
RETRY = 5.0
"""Seconds until a definition that could not be dealt with is looked at again."""


@contextlib.contextmanager
def guarded(key: str) -> Iterator[None]:
    """A definition that cannot be dealt with does not keep the others waiting."""
    try:
        yield
    except Exception:
        log.exception("A definition could not be dealt with", extra=logs.once(key, definition=key))


class Known:
    """What was last seen of a definition, and what is served for it."""

    def __init__(self, entry: Entry, definition: Object) -> None:
        self.revision = entry.revision
        self.source = Source(entry, Life())
        self.uid = definition["metadata"]["uid"]
        self.group = definition["spec"]["group"]
        self.names: Object = {}
        self.versions: tuple[str, ...] = ()
        """That are marked as served."""
        self.sign = b""
        self.ending = False
        self.refused = False
        """Not all of its names were accepted: when other definitions go, it may get them."""
        self.kinds: dict[str, Kind] = {}
        """By version, all of them; those in `versions` are in the catalogue."""


def _fields(known: Known, stored: Kind, entry: Entry) -> dict[str, str]:
    """The selectable fields of an entry: where a webhook converts, those of the version it is in."""
    kind, getters = stored, stored.strategy.index
    if stored.strategy.converter is not None:
        kind = known.kinds.get((stored_version(entry.body) or stored.unmarked).rpartition("/")[2], stored)
        getters = kind.strategy.fields
    obj = encoding.parse(kind, entry) if getters else {}
    return {name: get(obj) for name, get in getters.items()}


class CRDController:
    """The standing work on definitions of one API server."""

    def __init__(self, rest: Rest, catalogue: Catalogue, caller: WebhookClient) -> None:
        """`caller` is closed by whoever passes it."""
        self.rest, self.store, self.catalogue = rest, rest.store, catalogue
        self.caller, self.reader = caller, Reader(rest.store, catalogue)
        self.definitions = catalogue.by_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        self.services = catalogue.by_kind("apiregistration.k8s.io/v1", "APIService")
        self._known: dict[str, Known] = {}
        self._due: set[str] = set()
        """Definitions that changed and were not judged since, or could not be."""
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._registered: dict[str, int] = {}
        """Revisions of APIServices that say what they should."""

    def load(self) -> None:
        """Serve what is established already; before the first request."""
        if self.definitions:
            self._look()

    async def run(self) -> None:
        if not self.definitions or not self.services:
            return
        try:
            while True:
                since = self.store.revision
                await self.once()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY if self._due else None):
                        await changed(self.store, since, (self.definitions.collection, self.services.collection))
        finally:
            for task in self._ending.values():
                task.cancel()

    async def once(self) -> None:
        """Bring everything up to date."""
        self._look()
        due = self._due | {key for key, known in self._known.items() if known.refused}
        self._due &= self._known.keys()
        for key in sorted(due & self._known.keys()):
            with guarded(key):
                await self._accept(key, self._known[key].source.entry.obj)
                self._due.discard(key)
        with guarded("APIServices"):
            await self._register()

    # what is served -----------------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take in what changed of the definitions."""
        assert self.definitions is not None
        entries = {entry.key: entry for entry in self.store.list(self.definitions.collection).entries}
        for key in self._known.keys() - entries.keys():
            self._withdraw(self._known.pop(key))
        for key, entry in entries.items():
            known = self._known.get(key)
            if known is None or known.revision != entry.revision:
                self._due.add(key)
                with guarded(key):
                    self._take(key, entry, entry.obj)

    def _take(self, key: str, entry: Entry, definition: Object) -> None:
        known = self._known.get(key)
        if known is not None and known.uid != definition["metadata"]["uid"]:
            self._withdraw(known)
            known = None
        if known is None:
            known = self._known[key] = Known(entry, definition)
        known.source.entry, known.revision = entry, entry.revision
        known.names = (definition.get("status") or {}).get("acceptedNames") or {}
        known.refused = not naming.is_condition_true(definition, "NamesAccepted")
        if naming.is_condition_true(definition, "Established"):
            self._serve(known, definition)

    def _serve(self, known: Known, definition: Object) -> None:
        """Serve a definition as it is now. What only begins to end keeps its schemas and watches."""
        names, ends = definition["status"]["acceptedNames"], naming.is_condition_true(definition, "Terminating")
        sign = hashlib.sha256(orjson.dumps([definition["spec"], names])).digest()
        if sign != known.sign:
            old, known.source = known.kinds, Source(known.source.entry, known.source.life)
            self._withdraw(known)
            known.sign, known.ending = sign, False
            known.source.converter = self._converter(definition["spec"])
            known.kinds = custom.kinds_of(definition, known.source)
            known.versions = tuple(version["name"] for version in definition["spec"]["versions"] if version.get("served"))
            self._settle(known, old)
            self._add(known)
        if ends != known.ending:
            known.ending = ends
            verbs = custom.ENDING_VERBS if ends else custom.VERBS
            known.kinds = {name: dataclasses.replace(kind, ending=ends, discovered=verbs) for name, kind in known.kinds.items()}
            self._add(known)

    def _converter(self, spec: Object) -> ConversionWebhook | None:
        """What converts between the versions of a definition, where that is a webhook."""
        conversion = spec.get("conversion") or {}
        if conversion.get("strategy") != "Webhook":
            return None
        webhook = conversion["webhook"]
        return ConversionWebhook(webhook, self.caller, locator(self.reader, webhook["clientConfig"].get("service")))

    def _add(self, known: Known) -> None:
        """Put the served versions into the catalogue; built-in kinds stay as they are."""
        for version in known.versions:
            resource = known.kinds[version].resource
            there = self.catalogue.get(resource.group, resource.version, resource.plural)
            if there is None or there.custom:
                self.catalogue.add(known.kinds[version])

    def _overlaps(self, kind: Kind) -> bool:
        """Whether a built-in kind keeps its objects in the same place."""
        return any(other.collection == kind.collection and not other.custom for other in self.catalogue)

    def _settle(self, known: Known, old: dict[str, Kind]) -> None:
        """What objects that are there already mean under these schemas: which are read anew, and their selectable fields."""
        stored = next(kind for kind in known.kinds.values() if kind.stored == kind.resource.api_version)
        entries = self.store.list(stored.collection).entries
        if not entries:
            return
        since = known.revision if any(entry.revision <= known.revision for entry in entries) else 0
        for kind in known.kinds.values():
            cast(CustomStrategy, kind.strategy).since = since
        if any(kind.strategy.index for kind in (stored, *old.values())):
            for entry in entries:
                entry.fields = _fields(known, stored, entry)

    def _withdraw(self, known: Known) -> None:
        """Serve it no longer: requests find nothing, watches end."""
        for kind in known.kinds.values():
            kind.strategy.withdrawn = True
            resource = kind.resource
            if self.catalogue.get(resource.group, resource.version, resource.plural) is kind:
                self.catalogue.remove(resource.group, resource.version, resource.plural)
            self.store.wake_watchers(kind.collection)

    # conditions ---------------------------------------------------------------------------------------------------------------------

    async def _accept(self, key: str, definition: Object) -> None:
        """Names and conditions of a definition; one that is on its way out is ended instead."""
        if definition["metadata"].get("deletionTimestamp") and naming.FINALIZER in (definition["metadata"].get("finalizers") or ()):
            self._end(key)
            return
        status = self._calculated_status(key, definition)
        if status == definition.get("status"):
            return
        self._known[key].names = status["acceptedNames"]
        if naming.is_condition_true({"status": status}, "Established"):
            self._serve(self._known[key], {**definition, "status": status})

        def change(obj: Object) -> Object:
            return {**obj, "status": self._calculated_status(key, obj)}

        await self._write(definition["metadata"]["name"], change)

    def _calculated_status(self, key: str, definition: Object) -> Object:
        group = definition["spec"]["group"]
        others = [known.names for other, known in self._known.items() if other != key and known.group == group]
        return naming.calculate_status(definition, others)

    async def _write(self, name: str, change: Any) -> None:
        assert self.definitions is not None
        what = Call(kind=self.definitions, user=LOOPBACK, name=name, subresource="status", manager="kube-apiserver")
        try:
            await self.rest.update(what, change)
        except (errors.NotFound, errors.Conflict):
            return  # gone or changed meanwhile: the next round sees it

    def _end(self, key: str) -> None:
        """Start the end of a definition, once."""
        if key in self._ending:
            return
        assert self.definitions is not None
        known = self._known[key]
        known.source.life.ending = True
        kind = next((kind for kind in known.kinds.values() if kind.stored == kind.resource.api_version), None)
        end = crd_finalizer.CRDFinalizer(self.rest, self.definitions, key.rpartition("/")[2], known.uid)
        task = self._ending[key] = asyncio.create_task(end.run(kind, overlaps=kind is not None and self._overlaps(kind)))
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        """What failed begins anew after a while."""
        self._ending.pop(key, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("A definition could not be ended, trying again", extra=logs.once(key, definition=key), exc_info=error)
            assert self.definitions is not None
            self._due.add(key)
            asyncio.get_running_loop().call_later(RETRY, self.store.wake_watchers, self.definitions.collection)

    # APIServices --------------------------------------------------------------------------------------------------------------------

    async def _restore(self, entry: Entry, spec: Object) -> None:
        """What is managed here says what it should, whoever changed it."""
        assert self.services is not None
        name = entry.key.rpartition("/")[2]
        if entry.obj["spec"] == spec:
            self._registered[name] = entry.revision
            return
        what = Call(kind=self.services, user=LOOPBACK, name=name, manager="kube-apiserver")
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            await self.rest.update(what, lambda obj: {**obj, "spec": spec})

    async def _register(self) -> None:
        """An APIService for each group version that a definition serves, and none for the others."""
        assert self.services is not None
        served = {f"{version}.{known.group}": (known.group, version) for known in self._known.values() for version in known.versions}
        there = set()
        for entry in self.store.list(self.services.collection, equals={AUTOMANAGED: "true"}).entries:
            name = entry.key.rpartition("/")[2]
            there.add(name)
            if name not in served:
                await crd_finalizer.delete(self.rest, self.services, "", name)
            elif self._registered.get(name) != entry.revision:
                await self._restore(entry, bootstrap.api_service(*served[name], "true", *CUSTOM)["spec"])
        for name in sorted(served.keys() - there):
            obj = bootstrap.api_service(*served[name], "true", *CUSTOM)
            await bootstrap.create(self.rest, self.catalogue, obj)
