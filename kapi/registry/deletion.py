"""Deleting: preconditions, graceful deletion, finalizers and propagation, deletecollection.

An object goes at once unless its kind is graceful, it has finalizers, or the request asks for orphaning or foreground deletion:
then it is marked (deletionTimestamp) and goes when the last of these is gone. Source: apiserver's registry Store.Delete (v1.36).
"""

from dataclasses import dataclass

from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.registry import conversion, encoding, metadata
from kapi.registry.call import Call
from kapi.registry.rest import Rest, WriteResult
from kapi.storage.store import Entry, Mismatch

_RETRIES = 5


@dataclass(slots=True)
class Options:
    """The DeleteOptions that decide how an object is deleted."""

    grace: int | None = None
    propagation: str = ""
    orphan: bool | None = None
    uid: str = ""
    version: str = ""


async def delete(rest: Rest, call: Call, options: Options, *, admitted: bool = False) -> WriteResult:
    """Delete the object named by `call`. The result has `deleted` set when it is removed, not only marked."""
    for _ in range(_RETRIES):
        entry = rest.get(call.kind, call.namespace, call.name)
        if call.kind.strategy.converter is not None:
            entry = await conversion.one(call.kind, entry, call)
        call.weigh(entry.body)
        old = await call.run(encoding.parse, call.kind, entry)
        if not admitted:
            await rest.admit(call, "DELETE", old=old)
        _check(call, options, old["metadata"])
        try:
            return await _delete(rest, call, options, entry, old)
        except Mismatch:
            continue
    raise errors.conflict(call.kind.resource.plural, call.kind.resource.group, call.name, errors.STALE)


def _check(call: Call, options: Options, meta: Object) -> None:
    resource = call.kind.resource
    why = ""
    if options.uid and options.uid != meta["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated"
        )
    elif options.version and options.version != meta["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in record "
            f"({meta['resourceVersion']}). The object might have been modified"
        )
    if why:
        raise errors.conflict(resource.kind, resource.group, call.name, why)


async def _delete(rest: Rest, call: Call, options: Options, entry: Entry, old: Object) -> WriteResult:
    strategy = call.kind.strategy
    new = await call.run(encoding.parse, call.kind, entry)
    meta = new["metadata"]
    grace: int | None = None
    if strategy.graceful:
        grace = _begin_graceful_deletion(strategy.grace(new, options.grace), meta)
        if grace is None:
            return WriteResult(await rest.final(call, old))
    _set_finalizers(meta, options)
    if meta.get("finalizers") or strategy.blocks_deletion(new):
        if grace is None:
            _mark(meta, 0)
            strategy.mark_deleted(new)
        return await _update(rest, call, entry, new, old)
    if grace:
        return await _update(rest, call, entry, new, old)
    if not call.dry_run:
        gone = await rest.store.commit(call.key, None, expect=entry.revision, labels={}, fields={})
        meta["resourceVersion"] = str(gone.revision)
        rest.allocators.release(call.kind, old)
    return WriteResult(await rest.final(call, new), deleted=True)


async def _update(rest: Rest, call: Call, entry: Entry, new: Object, old: Object) -> WriteResult:
    if call.dry_run or new == old:
        return WriteResult(await rest.final(call, new))
    return WriteResult((await rest.commit(call, call.key, new, entry.revision)).body)


def _begin_graceful_deletion(seconds: int, meta: Object) -> int | None:
    """Mark a graceful deletion. Returns its grace period in seconds, None when one as short has begun already."""
    seconds = 1 if seconds < 0 else seconds
    if not meta.get("deletionTimestamp"):
        _mark(meta, seconds)
        return seconds
    current = meta.get("deletionGracePeriodSeconds")
    if current is None:
        return 0
    if seconds >= current:
        return None
    meta["deletionTimestamp"] = time.stamp(time.parse(meta["deletionTimestamp"]) - current + seconds)
    meta["deletionGracePeriodSeconds"] = seconds
    return seconds


def _mark(meta: Object, grace: int) -> None:
    first = not meta.get("deletionTimestamp")
    if first:
        meta["deletionTimestamp"] = time.stamp(time.now() + grace)
        if meta.get("generation"):
            meta["generation"] += 1
    meta["deletionGracePeriodSeconds"] = grace


def _set_finalizers(meta: Object, options: Options) -> None:
    """Add or remove 'orphan' and 'foregroundDeletion' by propagationPolicy; without one they stay."""
    if not options.propagation and options.orphan is None:
        return
    kept = [f for f in meta.get("finalizers") or () if f not in (metadata.ORPHAN, metadata.FOREGROUND)]
    if options.propagation == "Orphan" or options.orphan:
        kept.append(metadata.ORPHAN)
    elif options.propagation == "Foreground":
        kept.append(metadata.FOREGROUND)
    if kept:
        meta["finalizers"] = kept
    else:
        meta.pop("finalizers", None)
