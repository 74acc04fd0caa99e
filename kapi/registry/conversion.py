"""Conversion of custom resources between their versions by a webhook: entries of the store, and objects on their way.

What comes out of here is an Entry like any other, only in the version that is asked for; so everything behind it works on bytes and
knows of no webhook. Waiting for a webhook blocks nobody else: the definition it is of has a line of its own, and a write gives back its
turn to work on a large body. The other strategy, None, changes only the apiVersion: kapi.registry.custom does so by itself.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import orjson

from kapi import limits
from kapi.http.webhook_client import CallFailed, Locate, NoClient, Target, WebhookClient
from kapi.objects import offload
from kapi.objects.meta import Object
from kapi.objects.resource import Resource
from kapi.registry import conversion_review, encoding
from kapi.registry.call import RequestInfo
from kapi.registry.conversion_review import ConversionFailed
from kapi.registry.custom import CustomStrategy
from kapi.registry.kind import Kind, stored_version
from kapi.storage.entry import Entry

Result = TypeVar("Result")
_LOOKED_AT = 10_000
"""Entries that are looked at in one turn."""
_LEAST = limits.CONVERSION_LINE_BYTES // 32
"""What a review counts for at least: so many are under way at once."""


class ConversionWebhook:
    """The webhook of one definition."""

    def __init__(self, config: Object, client: WebhookClient, locate: Locate | None) -> None:
        """`config`: the `webhook` of spec.conversion."""
        self._target = Target.of(config["clientConfig"])
        self._version = next((v for v in config["conversionReviewVersions"] if v in conversion_review.VERSIONS), "")
        self._client, self._locate = client, locate
        self._line = offload.Line(limits.CONVERSION_LINE_BYTES)
        self._held = 0
        self.recent: dict[tuple[str, str, int], asyncio.Future[Entry]] = {}
        """Entries that watchers were told of: (version, key, revision) -> the converted one."""

    async def convert(
        self, make: Callable[[], list[bytes]], source: Resource, target: Resource, finish: Callable[[Object], Result], size: int,
        held: int = 0,
    ) -> list[Result]:  # fmt: skip
        """`finish` of each of the converted objects.

        `make` returns the objects in the version of `source`, about `size` bytes, when it is their turn; `held` is what the caller keeps
        in memory until then. Raises ConversionFailed, offload.TooMuch.
        """
        if not self._version:
            raise ConversionFailed("no supported conversion review versions")
        with self._bounded(held):
            try:
                async with asyncio.timeout(limits.CONVERSION_SECONDS):
                    return await self._in_turn(make, source, target, finish, size)
            except TimeoutError:
                why = f'Post "{self._target.server}{self._target.path(limits.CONVERSION_SECONDS)}": context deadline exceeded'
        raise ConversionFailed(f"conversion webhook for {conversion_review.named(source)} failed: {why}")

    @contextmanager
    def _bounded(self, size: int) -> Iterator[None]:
        if self._held and self._held + size > limits.CONVERSION_HELD_BYTES:
            raise offload.TooMuch
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    async def _in_turn(
        self, make: Callable[[], list[bytes]], source: Resource, target: Resource, finish: Callable[[Object], Result], size: int
    ) -> list[Result]:
        turn = offload.Turn(max(size, _LEAST), self._line)
        try:
            await turn.ready
            uid, raws = str(uuid.uuid4()), await _worked(make, size)
            body = conversion_review.encode(self._version, uid, raws, target)
            try:
                answer = await self._client.post(self._target, body, limits.CONVERSION_SECONDS, self._locate)
            except (CallFailed, NoClient) as why:
                raise ConversionFailed(f"conversion webhook for {conversion_review.named(source)} failed: {why}") from None
            del body

            def finished() -> list[Result]:
                return [finish(obj) for obj in conversion_review.converted(answer, self._version, uid, raws, source, target)]

            return await _worked(finished, max(size, len(answer[2])))
        finally:
            turn.give_back()


async def _worked(function: Callable[[], Result], size: int) -> Result:
    return await offload.run(function) if size >= limits.OFFLOAD_BYTES else function()


# entries --------------------------------------------------------------------------------------------------------------------------------


class Converted(Entry):
    """An entry that is what a version serves, whatever its revision."""

    __slots__ = ()


def needs_webhook(kind: Kind, entry: Entry) -> bool:
    """Whether the entry is not yet as this version serves it: a webhook has to convert it, or it was written under another schema."""
    if kind.strategy.converter is None or type(entry) is Converted:
        return False
    return entry.revision <= _strategy(kind).since or (
        not entry.body.endswith(kind.version_suffix) and _version(kind, entry) != kind.resource.version
    )


def _version(kind: Kind, entry: Entry) -> str:
    return (stored_version(entry.body) or kind.unmarked).rpartition("/")[2]


async def needed(kind: Kind, given: Sequence[Entry]) -> bool:
    """Whether any of these is `needs_webhook`; many are looked at in turns."""
    if kind.strategy.converter is None:
        return False
    for start in range(0, len(given), _LOOKED_AT):
        if start:
            await asyncio.sleep(0)
        if any(needs_webhook(kind, entry) for entry in given[start : start + _LOOKED_AT]):
            return True
    return False


async def one(kind: Kind, entry: Entry, call: RequestInfo | None = None) -> Entry:
    """The entry in the version of `kind`. Raises ConversionFailed."""
    if not needs_webhook(kind, entry):
        return entry
    if call is None:
        return (await entries(kind, [entry]))[0]
    async with call.without_turn():
        return (await entries(kind, [entry], len(entry.body)))[0]


async def entries(kind: Kind, given: Sequence[Entry], held: int = 0) -> list[Entry]:
    """Each in the version of `kind`: one review for all that are in the same version. Raises ConversionFailed."""
    out = list(given)
    by_version: dict[str, list[int]] = {}
    for i, entry in enumerate(given):
        if needs_webhook(kind, entry):
            by_version.setdefault(_version(kind, entry), []).append(i)
    for version, places in by_version.items():
        source, of_version = sibling(kind, version), [given[i] for i in places]
        if source.resource == kind.resource:
            found = await offload.run(_reread, kind, of_version)
        else:
            found = await _converted(kind, source, of_version, held)
        for i, entry in zip(places, found, strict=True):
            out[i] = entry
    return out


async def _converted(kind: Kind, source: Kind, given: list[Entry], held: int) -> list[Entry]:
    converter = _webhook(kind)
    order = iter(given)

    def make() -> list[bytes]:
        return [encoding.wire(source, entry.body) for entry in _reread(source, given)]

    def finish(obj: Object) -> Entry:
        return _entry(kind, next(order), _strategy(kind).schema.prune(obj))

    size = sum(len(entry.body) for entry in given)
    return await asyncio.ensure_future(converter.convert(make, source.resource, kind.resource, finish, size, held))


def _reread(kind: Kind, given: list[Entry]) -> list[Entry]:
    """Entries of this version, those that were written under another schema as they are under this one."""
    strategy = _strategy(kind)
    return [
        _entry(kind, entry, strategy.schema.read(encoding.served(kind, entry.obj), [])) if entry.revision <= strategy.since else entry
        for entry in given
    ]


def _entry(kind: Kind, old: Entry, obj: Object) -> Entry:
    fields = {name: get(obj) for name, get in kind.strategy.fields.items()}
    labels = obj["metadata"].get("labels") or {}
    return Converted(old.key, old.revision, old.created, encoding.unstored(kind, obj), labels, fields)


async def batches(kind: Kind, given: Sequence[Entry]) -> AsyncIterator[list[Entry]]:
    """All entries in the version of `kind`, as many at a time as are asked for at once. Raises ConversionFailed."""
    batch: list[Entry] = []
    size = 0
    for entry in given:
        if batch and size + len(entry.body) > limits.CONVERSION_BATCH_BYTES:
            yield await entries(kind, batch)
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.body)
    if batch:
        yield await entries(kind, batch)


async def recent(kind: Kind, given: Sequence[Entry]) -> list[Entry]:
    """The same as `entries` for watchers, who ask for the same ones: each is converted once. Raises ConversionFailed."""
    version, known = kind.resource.version, _webhook(kind).recent
    new = {(version, entry.key, entry.revision): entry for entry in given if needs_webhook(kind, entry)}
    new = {key: entry for key, entry in new.items() if key not in known}
    if new:
        promised = {key: known.setdefault(key, asyncio.get_running_loop().create_future()) for key in new}
        task = asyncio.create_task(entries(kind, list(new.values())))
        task.add_done_callback(lambda done: _settle(known, promised, done))
    waited = [known.get((version, entry.key, entry.revision)) for entry in given]
    return [entry if future is None else await asyncio.shield(future) for entry, future in zip(given, waited, strict=True)]


_Known = dict[tuple[str, str, int], asyncio.Future[Entry]]


def _settle(known: _Known, promised: _Known, done: "asyncio.Task[list[Entry]]") -> None:
    """Keep what was converted, as far as there is room; what failed is asked for again."""
    failed = asyncio.CancelledError() if done.cancelled() else done.exception()
    for i, (key, future) in enumerate(promised.items()):
        if failed is None:
            future.set_result(done.result()[i])
            continue
        known.pop(key, None)
        if not future.cancelled():
            future.set_exception(ConversionFailed("the server stops") if done.cancelled() else failed)
            future.exception()  # nobody may wait for it any more
    kept = sum(len(future.result().body) for future in known.values() if future.done())
    for key in list(known):
        if kept <= limits.CONVERSION_KEPT_BYTES:
            break
        if known[key].done():
            kept -= len(known.pop(key).result().body)


# objects --------------------------------------------------------------------------------------------------------------------------------


async def to(target: Kind, source: Kind, obj: Object, call: RequestInfo | None = None, *, fill: bool = False) -> Object:
    """An object of one version in another, with the defaults of that one if it is to `fill`. Raises ConversionFailed, offload.TooMuch."""
    if source.resource.version == target.resource.version:
        return obj
    raw, schema = orjson.dumps(obj), _strategy(target).schema

    def finish(made: Object) -> Object:
        out: Object = schema.read(made, []) if fill else schema.prune(made)
        return out

    size = len(raw)
    found = _webhook(target).convert(lambda: [raw], source.resource, target.resource, finish, size, size if call else 0)
    if call is None:
        return (await found)[0]
    async with call.without_turn():
        return (await found)[0]


async def stored(kind: Kind, obj: Object, call: RequestInfo) -> Object:
    """An object as it is written to the store. Raises ConversionFailed, offload.TooMuch."""
    return await to(sibling(kind, kind.stored.rpartition("/")[2]), kind, obj, call, fill=True)


def versions(kind: Kind) -> Mapping[str, Kind]:
    """All versions of a custom kind by name, served or not."""
    return _strategy(kind).source.kinds


def own(kind: Kind, entry: Entry) -> Kind:
    """The version an entry is in, which serves it without any webhook."""
    return kind if kind.strategy.converter is None else versions(kind).get(_version(kind, entry), kind)


def sibling(kind: Kind, version: str) -> Kind:
    """Another version of a custom kind. Raises StatusError where there is none."""
    return _strategy(kind).sibling(version)


def _strategy(kind: Kind) -> CustomStrategy:
    return cast(CustomStrategy, kind.strategy)


def _webhook(kind: Kind) -> ConversionWebhook:
    return cast(ConversionWebhook, kind.strategy.converter)
