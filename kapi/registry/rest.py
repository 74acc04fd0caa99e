"""The pipeline (stock's generic registry Store): get, list, watch, create, update for every kind. Kinds differ in their Strategy.

create: default -> managedFields -> admission mutates -> fill metadata -> allocate -> prepare, validate -> admission validates -> commit.
update is the same around a `change` (old object -> new object): PUT, the patches, apply, /status and /scale are each only another change;
what it gives is defaulted like a new object.
Deleting is in kapi.registry.deletion. Decoding of request bodies is the API's.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kapi import limits
from kapi.objects import errors, time
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry import conversion, encoding, managers, metadata
from kapi.registry.admission import Admission, AdmissionAttributes
from kapi.registry.allocators import Allocators
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.schema import managed
from kapi.storage.store import Entry, Mismatch, Page, Store, Watch

Change = Callable[[Object], Object]
"""From the current object (a private copy) to the wanted one; raises a StatusError to refuse."""

_NAME_TRIES = 8
_RETRIES = 5
_EVENT_SECONDS = 3600.0


class WriteResult(NamedTuple):
    """What a write left: the stored form's bytes (with resourceVersion), and whether the object is new."""

    body: bytes
    created: bool = False
    deleted: bool = False
    entry: Entry | None = None
    """The entry these bytes are of, where it is stored now."""


class Rest:
    """The verbs, over one store and one admission chain."""

    def __init__(self, store: Store, admission: Admission, allocators: Allocators | None = None) -> None:
        self.store = store
        self.admission = admission
        self.allocators = allocators or Allocators(store)

    # reads ------------------------------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Entry:
        entry = self.store.get(kind.key(namespace, name))
        if entry is None:
            raise errors.not_found(kind.resource.plural, kind.resource.group, name)
        return entry

    def page(self, kind: Kind, namespace: str, name: str = "", **how: Any) -> Page:
        """A page of entries in key order; `how` goes to Store.list. With `name`, `how` asks for that one: only its like is looked at."""
        known = name and (namespace or not kind.resource.namespaced)
        return self.store.list(kind.key(namespace, name) if known else kind.prefix(namespace), **how)

    def watch(self, kind: Kind, namespace: str, since: int, equals: Mapping[str, str] | None = None) -> Watch:
        """`equals`: what fields must be; the watcher is woken for (about) those objects only, and still has to look."""
        wanted = dict(equals or {})
        name = wanted.pop("metadata.name", "")
        known = bool(name) and (bool(namespace) or not kind.resource.namespaced)
        indexed = kind.strategy.index if kind.strategy.converter is None else {}
        field = next((field for field in wanted if field in indexed), "")
        return self.store.watch(kind.key(namespace, name) if known else kind.prefix(namespace), since, field, wanted.get(field, ""))

    def waits(self, call: Call, operation: str) -> bool:
        """Whether a write may have to wait for others: for expressions of clients, which have one worker thread, or webhooks."""
        return _has_rules(call.kind) or self.admission.waits(AdmissionAttributes.of(call, operation))

    # create -----------------------------------------------------------------------------------------------------------------------

    async def create(self, call: Call, obj: Object) -> WriteResult:
        """Create `obj`, as it was decoded. Raises AlreadyExists, Invalid, Forbidden …"""
        call.long = call.long or call.kind.strategy.long
        await call.run(default, call, obj)
        url_name = call.name
        """The name on the URL, where there is one."""
        generated = not obj["metadata"].get("name") and bool(obj["metadata"].get("generateName"))
        for attempt in range(_NAME_TRIES):
            try:
                return await self._create(call, attempt_copy(obj) if generated else obj, url_name)
            except errors.AlreadyExists as error:
                if not generated or attempt == _NAME_TRIES - 1:
                    if obj["metadata"].get("generateName"):
                        error.message += ", the server was not able to generate a unique name for the object"
                        error.details = {**(error.details or {}), "retryAfterSeconds": 1}
                    raise
        raise AssertionError("unreachable")

    async def _create(self, call: Call, obj: Object, url_name: str) -> WriteResult:
        kind = call.kind
        call.namespace_existed = self._namespace_exists(call)
        await call.run(self._track_fields, call, None, obj)
        attrs = AdmissionAttributes.of(call, "CREATE", obj)
        await self.admission.mutate(attrs)
        obj = attrs.new or obj
        self._dedupe_owners(call, obj, " after mutating admission happens")
        metadata.check_namespace(obj["metadata"], kind.resource.namespaced, call.namespace)
        if url_name:
            metadata.check_name(obj["metadata"], url_name)
        metadata.fill_system_fields(obj["metadata"])
        call.name = obj["metadata"].get("name", "")
        release = self.allocators.allocate(kind, obj, None, call.dry_run)
        try:
            await call.run(self._validate_new, call, obj, rules=_has_rules(kind))
            await self.admission.validate(attrs)
            return await self._insert(call, obj)
        except BaseException:
            release()
            raise

    def _validate_new(self, call: Call, obj: Object) -> None:
        """Prepare and validate a new object."""
        with call.empties.restored(obj):
            self._prepare_new(call, obj)
            strategy = call.kind.strategy
            causes = strategy.validate_within(obj, None, lambda: self._labels(call.namespace))
            causes += metadata.validate(obj["metadata"], call.kind.resource.namespaced, strategy.name_check, strategy.loose_finalizers)
            self._raise_invalid(call, causes + strategy.validate(obj, None))
            call.warnings += strategy.warnings(obj, None)

    def _prepare_new(self, call: Call, obj: Object) -> None:
        kind, strategy, meta = call.kind, call.kind.strategy, obj["metadata"]
        if strategy.status:
            self._set_status(kind, obj, None)
        if strategy.generation:
            meta["generation"] = 1
        strategy.prepare(obj, None)
        strategy.set_user(obj, call.user)
        call.name = meta.get("name", "")

    async def _insert(self, call: Call, obj: Object) -> WriteResult:
        kind, key = call.kind, call.key
        call.empties.write_nulls(obj)
        # a resourceVersion that is not a number counts as absent
        if not call.dry_run and metadata.revision(obj["metadata"].pop("resourceVersion", "")):
            raise errors.StatusError("resourceVersion should not be set on objects to be created", reason="")
        if self.store.get(key) is not None:
            raise errors.already_exists(kind.resource.plural, kind.resource.group, call.name)
        if call.dry_run:
            return WriteResult(await self.final(call, obj), created=True)
        try:
            entry = await self.commit(call, key, obj, 0)
        except Mismatch as mismatch:
            raise errors.already_exists(kind.resource.plural, kind.resource.group, call.name) from mismatch
        return WriteResult(entry.body, created=True, entry=entry)

    # update -----------------------------------------------------------------------------------------------------------------------

    async def update(
        self, call: Call, change: Change, *, create: Callable[[], Object] | None = None, unconditional: bool = True, replaces: bool = False
    ) -> WriteResult:
        """Change the object named by `call`. `create` makes the object where there is none and the verb may create it.

        `replaces`: `change` does not look at the current object, so that none is parsed for it.
        """
        for _ in range(_RETRIES):
            entry = self.store.get(call.key)
            if entry is None:
                if create is None:
                    raise errors.not_found(call.kind.resource.plural, call.kind.resource.group, call.name)
                made = await call.run(create)
                metadata.version_of(made["metadata"])
                return await self.create(call, made)
            try:
                return await self._update(call, entry, change, unconditional, replaces)
            except Mismatch:
                continue
        raise errors.conflict(call.kind.resource.plural, call.kind.resource.group, call.name, errors.STALE)

    async def _update(self, call: Call, entry: Entry, change: Change, unconditional: bool, replaces: bool) -> WriteResult:
        kind = call.kind
        stored = entry
        if kind.strategy.converter is not None:
            entry = await conversion.one(kind, entry, call)
        call.long = call.long or kind.strategy.long
        call.weigh(entry.body)
        if kind.strategy.converter is None:
            old, new = await call.run(self._apply_change, call, entry, change, replaces)
        else:
            old, new = await managers.with_versions(call, self._apply_change, call, entry, change, replaces)
        attrs = AdmissionAttributes.of(call, "UPDATE", new, old)
        await self.admission.mutate(attrs)
        new = attrs.new or new
        self._dedupe_owners(call, new, " after mutating admission happens")
        metadata.check_namespace(new["metadata"], kind.resource.namespaced, call.namespace)
        self._check_version(call, new, old, unconditional)
        release = self.allocators.allocate(kind, new, old, call.dry_run) if not call.subresource else None
        try:
            await call.run(self._validate_update, call, new, old, rules=_has_rules(kind))
            await self.admission.validate(attrs)
            return await self._replace(call, entry, new, old, stored.body)
        except BaseException:
            if release:
                release()
            raise

    def _apply_change(self, call: Call, entry: Entry, change: Change, replaces: bool) -> tuple[Object, Object]:
        """(the object as it is, and as it is wanted)."""
        old = encoding.parse(call.kind, entry)
        new = change({} if replaces else encoding.parse(call.kind, entry))
        default(call, new)
        self._check_uid(call, new, old)
        self._track_fields(call, old, new)
        return old, new

    def _validate_update(self, call: Call, new: Object, old: Object) -> None:
        """Prepare and validate a changed object."""
        with call.empties.restored(new, old):
            self._validate_prepared(call, new, old)

    def _validate_prepared(self, call: Call, new: Object, old: Object) -> None:
        strategy, subresource = call.kind.strategy, call.subresource
        self._prepare(call, new, old)
        causes = strategy.validate_within(new, old, lambda: self._labels(call.namespace))
        causes += metadata.validate_update(new["metadata"], old["metadata"], call.kind.served, strategy.loose_finalizers)
        if subresource in ("", "scale"):
            causes += strategy.validate(new, old)
        else:
            causes += strategy.validate_subresource(subresource, new, old)
        self._raise_invalid(call, causes)
        call.warnings += strategy.warnings(new, old)

    def _prepare(self, call: Call, new: Object, old: Object) -> None:
        """Put back what this endpoint may not change, and count generations."""
        strategy = call.kind.strategy
        metadata.restore_immutable(new["metadata"], old["metadata"])
        if call.subresource == "status":
            for key in [k for k in new if k not in ("metadata", "kind", "apiVersion", "status")]:
                del new[key]
            new.update((k, v) for k, v in old.items() if k not in ("metadata", "kind", "apiVersion", "status"))
        elif strategy.status and call.subresource in ("", "scale"):
            self._set_status(call.kind, new, old.get("status"))
        if call.subresource in ("", "scale"):
            strategy.prepare(new, old)
        else:
            strategy.prepare_subresource(call.subresource, new, old)
        if strategy.generation and strategy.changed(new, old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    async def _replace(self, call: Call, entry: Entry, new: Object, old: Object, stored: bytes) -> WriteResult:
        """Write the changed object, unless nothing changed: not even (`stored`) the version it is stored in."""
        kind = call.kind
        call.empties.write_nulls(new)
        meta = new["metadata"]
        if (
            meta.get("deletionTimestamp")
            and not meta.get("finalizers")
            and not meta.get("deletionGracePeriodSeconds")
            and not kind.strategy.blocks_deletion(new)
        ):
            meta["resourceVersion"] = old["metadata"]["resourceVersion"]
            if not call.dry_run:
                await self.store.commit(call.key, None, expect=entry.revision, labels={}, fields={})
                self.allocators.release(kind, old)
            return WriteResult(await self.final(call, new), deleted=True)
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        if kind.is_current(stored) and await call.run(managed.unchanged_but_times, new, old):
            return WriteResult(entry.body, entry=entry)
        if call.dry_run:
            return WriteResult(await self.final(call, new))
        written = await self.commit(call, call.key, new, entry.revision)
        return WriteResult(written.body, entry=written)

    def _set_status(self, kind: Kind, obj: Object, status: Object | None) -> None:
        """The status of an object whose writer may not set it: the old one, or an empty one."""
        status = kind.blank_status() if status is None else status
        if status is None:
            obj.pop("status", None)
        else:
            obj["status"] = status

    def _check_version(self, call: Call, new: Object, old: Object, unconditional: bool) -> None:
        sent = metadata.version_of(new["metadata"])
        resource = call.kind.resource
        if not sent:
            if not (unconditional and call.kind.strategy.unconditional_update):
                cause = Cause("FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion")
                raise errors.invalid(resource.plural, resource.group, call.name, [cause])
        elif sent != int(old["metadata"]["resourceVersion"]):
            raise errors.conflict(resource.plural, resource.group, call.name, errors.STALE)

    def _check_uid(self, call: Call, new: Object, old: Object) -> None:
        uid, known = new["metadata"].get("uid"), old["metadata"]["uid"]
        if uid and uid != known:
            resource = call.kind.resource
            root = ("/" if call.dry_run else "/registry/") + STORAGE_PREFIXES.get(resource.plural, resource.plural)
            where = f"{root}/{call.namespace}/{call.name}" if call.namespace else f"{root}/{call.name}"
            why = (
                f"StorageError: invalid object, Code: 4, Key: {where}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {known}"
            )
            raise errors.conflict(resource.plural, resource.group, call.name, why)

    # shared -----------------------------------------------------------------------------------------------------------------------

    def _labels(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace."""
        entry = self.store.get(f"/core/namespaces/{namespace}")
        return entry.labels if entry else {}

    def _dedupe_owners(self, call: Call, obj: Object, when: str = "") -> None:
        if metadata.dedupe_owners(obj["metadata"]):
            call.warnings.append(DUPLICATE_OWNERS.format(when=when))

    def _raise_invalid(self, call: Call, causes: list[Cause]) -> None:
        if causes:
            group = call.kind.strategy.error_group
            raise errors.invalid(call.kind.resource.kind, call.kind.resource.group if group is None else group, call.name, causes)

    async def admit(self, call: Call, operation: str, new: Object | None = None, old: Object | None = None) -> None:
        """Run admission for a request that is neither a create nor an update. Raises the StatusError of the plugin that refuses it."""
        attrs = AdmissionAttributes.of(call, operation, new, old)
        await self.admission.mutate(attrs)
        await self.admission.validate(attrs)

    def _track_fields(self, call: Call, old: Object | None, new: Object) -> None:
        """Drop duplicate owner references, and update managedFields."""
        self._dedupe_owners(call, new)
        if not call.tracked:
            return
        strategy = call.kind.strategy
        reset = strategy.status_reset_fields if call.subresource == "status" else strategy.reset_fields
        if strategy.status and call.subresource != "status":
            reset = (*reset, ("status",))
        managed.track(
            call.kind.schema, old, new, manager=call.manager, api_version=call.kind.resource.api_version,
            subresource=call.subresource, reset=reset, stamp="" if call.subresource == "scale" else time.stamp(),
            versions=call.versions,
        )  # fmt: skip

    async def commit(self, call: Call, key: str, obj: Object, expect: int) -> Entry:
        """Write an object as it is, if `key` still has the revision `expect`; every write ends here. Raises Mismatch.

        The entry is in the version of the call's kind.
        """
        kind = call.kind
        if kind.strategy.converter is None:
            stored = kind.strategy.to_storage(obj, kind.resource.api_version)
        else:
            stored = await conversion.stored(kind, obj, call)
        body = await call.run(encoding.body, stored, kind.custom) if call.long else encoding.body(stored, kind.custom)
        if len(body) > limits.OBJECT_BYTES:
            raise errors.StatusError("etcdserver: request is too large", reason="")
        if not expect:
            self._check_parents_exist(call)
        ttl = _EVENT_SECONDS if kind.collection == "/core/events/" else None
        entry = await self.store.commit(
            key, body, expect=expect, labels=stored["metadata"].get("labels") or {},
            fields={name: get(stored) for name, get in kind.strategy.index.items()}, ttl=ttl,
        )  # fmt: skip
        return entry if kind.strategy.converter is None else await conversion.one(kind, entry, call)

    def _check_parents_exist(self, call: Call) -> None:
        """What a new object would belong to may have gone while its request waited. Raises MethodNotAllowed, NotFound."""
        if call.kind.strategy.ending:
            raise definition_ends(call.kind)
        if call.namespace_existed and not self._namespace_exists(call):
            raise errors.not_found("namespaces", "", call.namespace)

    def _namespace_exists(self, call: Call) -> bool:
        return call.kind.resource.namespaced and self.store.get(f"/core/namespaces/{call.namespace}") is not None

    async def final(self, call: Call, obj: Object) -> bytes:
        """The stored form's bytes of an object that is not stored, in the version of the call's kind or the stored one."""
        kind = call.kind
        if kind.strategy.converter is None:
            return await call.run(encoding.final, kind, obj)
        if call.dry_run:  # as far as it would go
            target = conversion.sibling(kind, kind.stored.rpartition("/")[2])
            obj = await conversion.to(kind, target, await conversion.stored(kind, obj, call), call)
        return await call.run(encoding.unstored, kind, obj)


def definition_ends(kind: Kind) -> errors.MethodNotAllowed:
    """The answer to who creates an object whose definition is being deleted."""
    details = {"group": kind.resource.group, "kind": kind.resource.plural}
    return errors.MethodNotAllowed("create not allowed while custom resource definition is terminating", details)


STORAGE_PREFIXES = {
    "apiservices": "apiregistration.k8s.io/apiservices", "customresourcedefinitions": "apiextensions.k8s.io/customresourcedefinitions",
    "endpoints": "services/endpoints", "ingresses": "ingress", "nodes": "minions", "replicationcontrollers": "controllers",
    "services": "services/specs",
}  # fmt: skip
"""Storage prefixes of stock that are not the plural; messages of conflicts contain them."""
DUPLICATE_OWNERS = (
    ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, "
    "and may reject such requests as early as 1.24; please fix your requests"
)


def _has_rules(kind: Kind) -> bool:
    """Whether validation may evaluate expressions of clients, or compile them."""
    return kind.custom or kind.strategy.long


def default(call: Call, obj: Object) -> None:
    """Apply the kind's defaults to a new or changed object."""
    with call.empties.restored(obj):
        call.kind.strategy.default(obj)
    if call.empties.has("metadata", "managedFields"):
        obj["metadata"]["managedFields"] = []  # not the same as none given: it asks to forget them


def attempt_copy(obj: Object) -> Object:
    """A copy deep enough for one attempt of a generateName create (metadata is what an attempt changes at the top)."""
    return {**obj, "metadata": dict(obj["metadata"])}
