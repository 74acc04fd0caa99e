"""StorageVersionMigration: writes every object of a resource anew, so that all are in the version that is stored now.

Each is applied without a field: nothing changes but what it is stored in, and a conflict means that somebody else has written it anew. The
API is off by default. Source: the storage-version-migrator and its resource version controller (v1.36).
"""

from collections.abc import AsyncIterator

from kapi.client import Controller
from kapi.controllers.discovery import discover
from kapi.objects import conditions, errors, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import STORAGE_VERSION_MIGRATIONS, Resource

RETRY_SECONDS, PATIENCE = 5.0, 60.0
"""Seconds between two looks for a resource that is not served, and after its creation until a migration of one fails."""
PAGE = 500
_REASONS = {kind: f"StorageVersionMigration{end}" for kind, end in
            (("Running", "InProgress"), ("Succeeded", "Succeeded"), ("Failed", "Failed"))}  # fmt: skip
_COME_AGAIN = (errors.Expired, errors.TooManyRequests, errors.ServiceUnavailable, errors.Timeout, errors.ServerTimeout)


class StorageVersionMigrations(Controller):
    name = "storage-version-migrator-controller"

    async def run(self) -> None:
        if STORAGE_VERSION_MIGRATIONS not in (await discover(self.client)).able("list", "watch", "update"):
            return
        self.objects = self.watch(STORAGE_VERSION_MIGRATIONS)
        await super().run()

    async def sync(self, migration: Object) -> float | None:
        status = migration.get("status") or {}
        known = {condition["type"]: condition.get("status") for condition in status.get("conditions") or ()}
        if "True" in (known.get("Succeeded"), known.get("Failed")):
            return None
        resource = await self._resource(migration)
        if resource is None:
            if time.now() - time.parse(migration["metadata"]["creationTimestamp"]) < PATIENCE:
                return RETRY_SECONDS
            await self._fail(migration, "unable to obtain GVR from discovery")
        elif not status.get("resourceVersion"):
            nothing = await self.client.list(resource, fields="metadata.name=none", limit=1, metadata=True)
            newest = nothing["metadata"]["resourceVersion"]
            await self.put_status(STORAGE_VERSION_MIGRATIONS, migration, {**status, "resourceVersion": newest})
        else:
            await self._migrate(migration, resource, int(status["resourceVersion"]))
        return None

    async def _resource(self, migration: Object) -> Resource | None:
        """The resource at its preferred version, if it can be written."""
        wanted = migration["spec"]["resource"]
        name = (wanted.get("group") or "", wanted["resource"])
        served = (await discover(self.client)).able("list", "patch")
        return next((resource for resource in served if (resource.group, resource.plural) == name), None)

    async def _migrate(self, migration: Object, resource: Resource, until: int) -> None:
        """Write anew all that was there at a revision."""
        migration = await self._say(migration, "Running")
        try:
            async for obj in self._objects(resource):
                if int(meta.resource_version(obj)) <= until:
                    await self._rewrite(resource, obj)
        except _COME_AGAIN:
            raise
        except errors.StatusError as why:
            if why.reason == errors.InternalError.reason:
                raise
            await self._fail(migration, why.message)
        else:
            await self._say(migration, "Succeeded")

    async def _objects(self, resource: Resource) -> AsyncIterator[Object]:
        """The metadata of all objects, a page at a time."""
        after = ""
        while True:
            page = await self.client.list(resource, limit=PAGE, continue_=after, metadata=True)
            for obj in page["items"]:
                yield obj
            after = page["metadata"].get("continue") or ""
            if not after:
                return

    async def _rewrite(self, resource: Resource, obj: Object) -> None:
        """Apply nothing. Of an object that is gone or has changed meanwhile nothing is left to do."""
        about = {"name": meta.name(obj), "uid": meta.uid(obj), "resourceVersion": meta.resource_version(obj)}
        patch = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": about}
        try:
            await self.client.patch(
                resource, meta.name(obj), patch, namespace=meta.namespace(obj) or None, kind="apply", fieldManager=self.name
            )
        except errors.Conflict:
            return

    async def _fail(self, migration: Object, why: str) -> None:
        await self._say(migration, "Failed", f"migration encountered unhandled error: {why}")

    async def _say(self, migration: Object, kind: str, message: str = "") -> Object:
        """Set the condition; one that is over does not run any more."""
        status = migration.get("status") or {}
        listed = status.get("conditions") or []
        if kind != "Running" and conditions.find(listed, "Running"):
            listed = conditions.updated(listed, {"type": "Running", "status": "False", "reason": _REASONS["Running"], "message": ""})
        listed = conditions.updated(listed, {"type": kind, "status": "True", "reason": _REASONS[kind], "message": message})
        return await self.put_status(STORAGE_VERSION_MIGRATIONS, migration, {**status, "conditions": listed})
